"""What sources have on disk for an allocation: committed slices, values that filters read, and what is missing."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vlm_assets.allocation.supply import SliceValues, SupplySlice
from vlm_assets.annotate.files import AnnotationState, Header, annotation_state, read_header
from vlm_assets.annotate.wanted import Wanted, annotation_version
from vlm_assets.catalog.filters import annotations_read
from vlm_assets.catalog.spec import Catalog, SourceSpec
from vlm_assets.ingest.found import FoundSource
from vlm_assets.installation.opening import Installation
from vlm_assets.words.collector import collector_paused
from vlm_assets.words.counts import so_many
from vlm_assets.words.errors import AnnotationError
from vlm_assets.words.layout import VERSIONS


@dataclass(frozen=True, slots=True)
class Supply:
    """Committed slices of all enabled sources and benchmarks, and in words what is declared and not there."""

    slices: tuple[SupplySlice, ...]
    incomplete: tuple[str, ...]
    """Held sources count with what they have."""
    unannotated: tuple[str, ...] = ()
    """What filters read and is not there, or not of what the slices have now; of held sources too."""
    benchmarks: tuple[SupplySlice, ...] = ()
    """Committed slices of all enabled benchmarks, sorted: nothing is drawn from them."""

    @property
    def everything(self) -> tuple[SupplySlice, ...]:
        """What a plan is made from: `slices` and `benchmarks`."""
        return (*self.slices, *self.benchmarks)


def gather_supply(installation: Installation, found: Mapping[str, FoundSource] | None = None) -> Supply:
    """Reads summaries, listings and headers of annotations, no index. Retired slices, disabled sources are left out.

    A held source counts with what it has. A slice whose newer content failed to arrive counts with its old version.
    What was `found` already of sources and benchmarks is not looked at again.
    """
    with collector_paused():
        return _gathered(installation, found or {})


def _gathered(installation: Installation, known: Mapping[str, FoundSource]) -> Supply:
    slices: list[SupplySlice] = []
    wanted, unannotated = _wanted(installation)
    incomplete = list(unannotated)
    for spec in installation.catalog.sources:
        if not spec.enabled:
            continue
        here = known.get(spec.name) or FoundSource.of(installation.root, spec)
        found = _slices_of(installation, here)
        needed = [one for one in wanted if one.covers(spec) and _reads(installation.catalog, one, spec)]
        found, lacking = _with_values(installation, found, needed)
        slices += found
        unannotated += lacking
        if not spec.hold:
            incomplete += [*_missing(here), *lacking]
    benchmarks: list[SupplySlice] = []
    for spec in installation.catalog.benchmarks:
        if spec.enabled:
            here = known.get(spec.name) or FoundSource.of(installation.root, spec)
            benchmarks += _slices_of(installation, here)
            # Rows like what is not committed of a benchmark would come in unseen.
            incomplete += [] if spec.hold else _missing(here, "benchmark")
    return Supply(_sorted(slices), tuple(incomplete), tuple(unannotated), _sorted(benchmarks))


def _sorted(slices: Sequence[SupplySlice]) -> tuple[SupplySlice, ...]:
    return tuple(sorted(slices, key=lambda one: (one.source, one.slice)))


def _wanted(installation: Installation) -> tuple[list[Wanted], list[str]]:
    """The annotations whose values some filter reads, and in words those whose imported files are not there."""
    read = annotations_read(installation.catalog.corpus.filters)
    found, lacking = [], []
    for spec in installation.catalog.corpus.annotations:
        if spec.name in read:
            try:
                found.append(Wanted(spec, annotation_version(spec)))
            except AnnotationError as error:
                lacking.append(str(error))
    return found, lacking


def _reads(catalog: Catalog, wanted: Wanted, spec: SourceSpec) -> bool:
    """Whether some filter reads this annotation of this source."""
    return any(
        wanted.name in one.annotations and one.only.covers(spec.name, spec.category)
        for one in catalog.corpus.filters.values()
    )


def _with_values(
    installation: Installation, slices: Sequence[SupplySlice], wanted: Sequence[Wanted]
) -> tuple[list[SupplySlice], list[str]]:
    """The slices with the values that are there for what they have now, and in words where some are not."""
    if not wanted:
        return list(slices), []
    found = []
    lacking: Counter[tuple[str, str, AnnotationState]] = Counter()
    examples: dict[tuple[str, str, AnnotationState], str] = {}
    for entry in slices:
        values = []
        for one in wanted:
            path = installation.root.annotation(one.name, entry.source, entry.slice)
            header = _fresh_header(path, one.version, entry)
            if header is not None:
                values.append(SliceValues(one.name, header.values_hash, path))
            elif entry.rows:
                key = (one.name, entry.source, annotation_state(path, one.version, entry.content_hash))
                lacking[key] += 1
                examples.setdefault(key, entry.slice)
        found.append(replace(entry, values=tuple(sorted(values, key=lambda one: one.annotation))))
    told = [
        f"annotation {name}: the values of {so_many(count, 'slice')} of {source}, which a filter reads, are "
        f"{state}, among them {examples[name, source, state]}; run vlm-assets annotate"
        for (name, source, state), count in lacking.items()
    ]
    return found, told


def _fresh_header(path: Path, version: str, entry: SupplySlice) -> Header | None:
    """What a file says of itself, where it is of this version and of what the slice has now."""
    try:
        header = read_header(path)
    except AnnotationError:
        return None
    if header is None or (header.version, header.content_hash, header.rows) != (
        version, entry.content_hash, entry.rows
    ):  # fmt: skip
        return None
    return header


def _slices_of(installation: Installation, found: FoundSource) -> list[SupplySlice]:
    versions = installation.root.source(found.spec.name) / VERSIONS
    return [
        SupplySlice(
            source=found.spec.name,
            slice=name,
            version=one.version,
            content_hash=one.content_hash,
            rows=one.rows,
            container=one.container,
            items_per_slice=one.items_per_slice,
            path=versions / one.version,
            multi_image_rows=one.multi_image_rows,
            has_words=one.rows_with_text + one.rows_with_messages > 0,
        )
        for name, one in found.in_force().items()
    ]


def _missing(found: FoundSource, what: str = "source") -> list[str]:
    name, listing = found.spec.name, found.listing
    if listing is None:
        return [f"{what} {name}: never listed"]
    missing = [one for one in listing.slices if one not in found.committed]
    if not missing:
        return []
    shown = ", ".join(missing[:5]) + (", …" if len(missing) > 5 else "")
    return [
        f"{what} {name}: {len(missing)} of {so_many(len(listing.slices), 'slice')} never committed: {shown}"
    ]
