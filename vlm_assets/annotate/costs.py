"""What annotating costs before it is done: images and texts that are due, and hours of one core for them."""

from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel

from vlm_assets.annotate.content import keys_of
from vlm_assets.annotate.files import AnnotationState, annotation_state, read_keys
from vlm_assets.annotate.reuse import kept_places
from vlm_assets.annotate.wanted import annotation_version
from vlm_assets.annotators.picture import DECODE_COST_S
from vlm_assets.annotators.protocol import Reads
from vlm_assets.annotators.registry import annotator_of
from vlm_assets.catalog.spec import SourceSpec
from vlm_assets.ingest.summary import summarise_source
from vlm_assets.installation.opening import Installation
from vlm_assets.store.listings import read_listing
from vlm_assets.store.slices import INDEX_FILE
from vlm_assets.store.taken_down import read_index
from vlm_assets.words.errors import AnnotationError, StoreError
from vlm_assets.words.layout import VERSIONS


class AnnotationForecast(BaseModel):
    """What one annotation of one source would take. Of slices not fetched yet an item counts as one image."""

    name: str
    """`decoding`: of all annotations of images together, once."""
    source: str
    slices: int = 0
    """Not fresh: committed ones, and those that a build would fetch."""
    seen: int = 0
    """Images, or records, that would be looked at: not those that are as they were when they were looked at."""
    core_hours: float = 0.0
    problem: str = ""


def annotation_forecasts(
    installation: Installation, listed: Mapping[str, tuple[int, int]] | None = None
) -> list[AnnotationForecast]:
    """Of every annotation of the catalogue, for every source that it covers and that is not disabled.

    `listed`: slices and items of sources, for those that have no listing yet.
    """
    found: list[AnnotationForecast] = []
    for source in installation.catalog.sources:
        if source.enabled:
            found += _of_source(installation, source, (listed or {}).get(source.name, (0, 0)))
    return found


def _of_source(
    installation: Installation, source: SourceSpec, listed: tuple[int, int]
) -> list[AnnotationForecast]:
    annotations = [
        one
        for one in installation.catalog.corpus.annotations
        if one.only.covers(source.name, source.category)
    ]
    found: list[AnnotationForecast] = []
    decoded = AnnotationForecast(name="decoding", source=source.name)
    for one in annotations:
        forecast = AnnotationForecast(name=one.name, source=source.name)
        found.append(forecast)
        of_images = not one.imported and annotator_of(one.name).reads is Reads.IMAGES
        try:
            version = annotation_version(one)
        except AnnotationError as error:
            forecast.problem = str(error)
            continue
        due = _due(installation, one.name, version, source.name, images=of_images)
        forecast.slices, forecast.seen = due or listed
        if not one.imported:
            forecast.core_hours = _hours(annotator_of(one.name).cost_s, forecast.seen)
        if of_images and forecast.seen > decoded.seen:
            decoded.slices, decoded.seen = forecast.slices, forecast.seen
    decoded.core_hours = _hours(DECODE_COST_S, decoded.seen)
    return [*found, decoded] if decoded.seen else found


def _hours(cost_s: float, seen: int) -> float:
    return round(cost_s * seen / 1000 / 3600, 4)


def _due(
    installation: Installation, name: str, version: str, source: str, *, images: bool
) -> tuple[int, int] | None:
    """Slices that are due, and what would be looked at of them; None of a source that has never been listed."""
    listing = read_listing(installation.root, source)
    committed = summarise_source(installation.root, source).slices
    if listing is None and not committed:
        return None
    slices = seen = 0
    for key in listing.slices if listing is not None else committed:
        one = committed.get(key)
        if one is None:
            slices, seen = slices + 1, seen + (listing.slices[key].items if listing is not None else 0)
            continue
        path = installation.root.annotation(name, source, key)
        state = annotation_state(path, version, one.content_hash)
        if state is AnnotationState.FRESH:
            continue
        slices += 1
        folder = installation.root.source(source) / VERSIONS / one.version
        left = _left(path, version, folder, images=images) if state is AnnotationState.STALE else None
        seen += left if left is not None else one.images if images else one.rows
    return slices, seen


def _left(path: Path, version: str, folder: Path, *, images: bool) -> int | None:
    """Of a slice whose values are stale, what would be looked at; None: all, as far as can be told here."""
    try:
        found = read_keys(path)
        if found is None or found[0].version != version:
            return None
        reads = Reads.IMAGES if images else Reads.TEXT
        due = kept_places(found[1], keys_of(folder, reads)) < 0
        if not images:
            return int(due.sum())
        counts = read_index(folder / INDEX_FILE, ("image_count",)).column(0)
        return int(counts.to_numpy()[due].sum())
    except StoreError:  # values that are damaged, or a machine that has headers alone
        return None
