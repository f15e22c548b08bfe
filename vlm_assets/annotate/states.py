"""What is annotated and what is not, by annotation and source: headers alone are read."""

from collections import Counter
from collections.abc import Iterator

from pydantic import BaseModel

from vlm_assets.annotate.files import AnnotationState, annotation_state, read_header
from vlm_assets.annotate.wanted import Wanted, annotation_version
from vlm_assets.catalog.spec import SourceSpec
from vlm_assets.ingest.summary import SliceSummary, summarise_source
from vlm_assets.installation.opening import Installation
from vlm_assets.store.listings import read_listing
from vlm_assets.words.errors import AnnotationError


class AnnotationStatus(BaseModel):
    """One annotation of one source: committed slices by state."""

    name: str
    source: str
    fresh: int = 0
    stale: int = 0
    missing: int = 0
    damaged: int = 0
    failed: dict[str, int] = {}
    """Images or words that the annotator broke on, in fresh files, by how."""
    problem: str = ""
    """Why nothing can be said: imported files are not there."""

    @property
    def due(self) -> int:
        """Slices that `vlm-assets annotate` would write."""
        return self.stale + self.missing + self.damaged


def annotation_statuses(installation: Installation) -> list[AnnotationStatus]:
    """Of every annotation of the catalogue, for every source that it covers and that is not disabled."""
    return [
        _status(installation, spec, name, version, problem)
        for name, version, problem, spec in _pairs(installation)
    ]


def _pairs(installation: Installation) -> Iterator[tuple[str, str, str, SourceSpec]]:
    for annotation in installation.catalog.corpus.annotations:
        version, problem = "", ""
        try:
            version = annotation_version(annotation)
        except AnnotationError as error:
            problem = str(error)
        for source in installation.catalog.sources:
            if source.enabled and annotation.only.covers(source.name, source.category):
                yield annotation.name, version, problem, source


def _status(
    installation: Installation, source: SourceSpec, name: str, version: str, problem: str
) -> AnnotationStatus:
    status = AnnotationStatus(name=name, source=source.name, problem=problem)
    failed: Counter[str] = Counter()
    for key, committed in committed_slices(installation, source.name).items():
        path = installation.root.annotation(name, source.name, key)
        state = annotation_state(path, version, committed.content_hash)
        setattr(status, state, getattr(status, state) + 1)
        header = read_header(path) if state is AnnotationState.FRESH else None
        failed.update(header.failed if header else {})
    status.failed = dict(sorted(failed.items()))
    return status


def committed_slices(installation: Installation, source: str) -> dict[str, SliceSummary]:
    """Slices of a source that are committed and listed still, by key: what is in the supply."""
    listing = read_listing(installation.root, source)
    committed = summarise_source(installation.root, source).slices
    return {key: one for key, one in committed.items() if listing is None or key in listing.slices}


def due_slices(
    installation: Installation, wanted: list[Wanted], source: str, *, thorough: bool = False
) -> dict[str, list[Wanted]]:
    """By slice the annotations that are not fresh; slices of which all are fresh are left out.

    `thorough`: fresh files are read in full, and damaged ones counted as due.
    """
    due = {}
    for key, committed in committed_slices(installation, source).items():
        paths = {one.name: installation.root.annotation(one.name, source, key) for one in wanted}
        content = committed.content_hash
        lacking = [
            one
            for one in wanted
            if annotation_state(paths[one.name], one.version, content, thorough=thorough)
            is not AnnotationState.FRESH
        ]
        if lacking:
            due[key] = lacking
    return due
