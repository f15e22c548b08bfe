"""What is wrong with the annotations of a catalogue beyond its words: programs and files that are not there."""

from collections.abc import Iterator
from pathlib import Path

from vlm_assets.annotate.wanted import columns_of
from vlm_assets.annotators.registry import annotator_of
from vlm_assets.catalog.annotations import AnnotationSpec
from vlm_assets.catalog.spec import CorpusSpec
from vlm_assets.catalog.yaml_places import located
from vlm_assets.words.errors import AnnotationError, Problem


def annotation_problems(corpus: CorpusSpec, directory: Path) -> list[Problem]:
    """Every annotator that cannot work here, every imported file that cannot be used. Reads headers alone."""
    found = [
        Problem("corpus.yaml", f"annotations[{number}]", told)
        for number, spec in enumerate(corpus.annotations)
        for told in _told(spec)
    ]
    return located(found, directory)


def _told(spec: AnnotationSpec) -> Iterator[str]:
    if not spec.imported and (lacks := annotator_of(spec.name).missing()):
        yield f"annotator {spec.name}: {lacks}"
    try:
        columns_of(spec)
    except AnnotationError as error:
        yield str(error)
