"""What lies on disk about one corpus: manifests as claims, the plan, and where the slices are now.

The models here take the keys that the audit judges and ignore others; they are not the writers' models.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
import orjson
import pyarrow as pa
from blake3 import blake3
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from vlm_assets.annotate.files import read_header
from vlm_assets.annotate.wanted import Wanted, wanted_annotations
from vlm_assets.audit.rules import Rules, SupplyEntry, declared_rules
from vlm_assets.audit.words import I64, Bool
from vlm_assets.catalog.spec import SourceSpec
from vlm_assets.ingest.summary import summarise_source
from vlm_assets.installation.opening import Installation
from vlm_assets.store.listings import read_listing
from vlm_assets.store.tombstones import StoredTombstones, Tombstone, read_tombstones
from vlm_assets.store.versions import current_version
from vlm_assets.words.errors import AnnotationError, StoreError
from vlm_assets.words.layout import MANIFEST, VERSIONS
from vlm_assets.words.manifest import VERSION_HASH_LENGTH, FileEntry, SliceManifest

PLAN_FILE: Final = "plan.arrow"
GRANTS_FILE: Final = "grants.json"
INPUTS_FILE: Final = "inputs.json"

ClaimT = TypeVar("ClaimT", bound="Claim")


class UnjudgedError(Exception):
    """Something that another finding names is broken, so this cannot be judged. Never leaves the audit."""


class Claim(BaseModel):
    """What a file says about itself; keys that nobody judges are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class ShardClaim(Claim):
    """One shard of a corpus."""

    rows: int
    holes: int
    data: FileEntry
    index: FileEntry
    rows_hash: str


class ShardLimits(Claim):
    """Format constants of the corpus files."""

    max_bytes: int
    window_bytes: int


class CorpusClaim(Claim):
    """`metadata.json` of a corpus."""

    corpus: str
    target: str
    target_rows: int
    rows: int
    holes: int
    seed: int
    inputs_hash: str
    allocation_version: str
    shard: ShardLimits
    shards: dict[str, ShardClaim]
    root_hash: str
    rows_hash: str
    tombstones: tuple[str, ...]
    sources: dict[str, int]
    categories: dict[str, dict[str, int]]
    data_bytes: int
    files: dict[str, FileEntry]


class SliceClaim(Claim):
    """One slice of the supply that the plan was made from."""

    source: str
    slice: str
    version: str
    content_hash: str
    rows: int
    selected: int

    @property
    def name(self) -> str:
        """For messages."""
        return f"{self.source}/{self.slice}"


class CellClaim(Claim):
    """One source in one subcategory."""

    category: str
    subcategory: str
    source: str
    licence: str
    grant: int


class PlanClaim(Claim):
    """`metadata.json` of an allocation."""

    corpus: str
    target: str
    target_rows: int
    granted_rows: int
    seed: int
    inputs_hash: str
    slices: tuple[SliceClaim, ...]
    cells: tuple[CellClaim, ...]
    excluded: dict[str, int]
    tombstones: tuple[str, ...]
    files: dict[str, FileEntry]


@dataclass(frozen=True, slots=True)
class FoundSlice:
    """A slice of the plan as it lies on disk now; `directory` None where that content is gone."""

    claim: SliceClaim
    directory: Path | None
    manifest: SliceManifest | None

    @property
    def has_lists(self) -> bool:
        """Whether rows of several images are, or may be, among its rows."""
        return self.manifest is None or self.manifest.multi_image_rows > 0


@dataclass(frozen=True, slots=True)
class PlanRows:
    """Rows of `plan.arrow`: `place` in the run of all supply rows, and number of the cell."""

    place: I64
    cell: NDArray[np.integer]


def version_name(data: bytes) -> str:
    """Name of the folder whose manifest has these bytes."""
    return blake3(data).hexdigest()[:VERSION_HASH_LENGTH]


class Evidence:
    """Everything that the checks look at; read when first asked for."""

    def __init__(self, installation: Installation, target: str, *, full: bool, sample_rows: int) -> None:
        """Finds the corpus of a target.

        Raises:
            StoreError: there is none; the message says what to do.
        """
        self.installation = installation
        self.root = installation.root
        self.target = target
        self.full = full
        self.sample_rows = sample_rows
        name = installation.catalog.corpus.name
        version = current_version(self.root.corpus(name, target))
        if version is None:
            found = self.root.corpus(name, target).parent
            there = sorted(p.name for p in found.iterdir() if p.is_symlink()) if found.is_dir() else []
            raise StoreError(
                f"no corpus {name}/{target} under {self.root.path}; there are: {', '.join(there) or 'none'}. "
                f"Build it with: vlm-assets build --target {target}"
            )
        self.directory = version
        self.manifest_bytes = (version / MANIFEST).read_bytes()

    @cached_property
    def corpus(self) -> CorpusClaim:
        """What the corpus says of itself."""
        return _claim(CorpusClaim, self.manifest_bytes, self.directory / MANIFEST)

    @cached_property
    def plan_dir(self) -> Path:
        """Folder of the plan that the corpus names."""
        folder = self.root.allocation(self.corpus.corpus, self.target).parent / VERSIONS
        path = folder / self.corpus.allocation_version
        if not (path / MANIFEST).is_file():
            raise UnjudgedError(f"{path}: the plan of this corpus is gone")
        return path

    @cached_property
    def plan(self) -> PlanClaim:
        """What the plan says of itself."""
        return _claim(PlanClaim, (self.plan_dir / MANIFEST).read_bytes(), self.plan_dir / MANIFEST)

    @cached_property
    def grants(self) -> Mapping[str, Any]:
        """`grants.json`."""
        found: Mapping[str, Any] = _json(self.plan_dir / GRANTS_FILE)
        return found

    @property
    def has_inputs(self) -> bool:
        """Whether the plan keeps its inputs; plans of early versions do not."""
        return (self.plan_dir / INPUTS_FILE).is_file()

    @cached_property
    def rules(self) -> Rules:
        """The inputs kept beside the plan; where there are none, those of the catalogue as it is."""
        if not self.has_inputs:
            return self.rules_now
        path = self.plan_dir / INPUTS_FILE
        if sha256(path.read_bytes()).hexdigest() != self.plan.inputs_hash:
            raise UnjudgedError(f"{path}: does not hash to the inputs hash of its plan")
        return Rules(_json(path))

    @cached_property
    def rules_now(self) -> Rules:
        """The inputs as catalogue, supply and takedowns have them now."""
        catalog = self.installation.catalog
        try:
            return declared_rules(
                catalog, self.target, self._supply_now(), self.tombstones.names, self.installation.catalog_dir,
                benchmarks=self._benchmarks_now(),
            )  # fmt: skip
        except (KeyError, OSError) as error:
            raise UnjudgedError(f"the inputs of {self.target} cannot be told: {error}") from error

    def _supply_now(self) -> list[SupplyEntry]:
        entries = []
        wanted = self._wanted_annotations()
        for spec in self.installation.catalog.sources:
            if not spec.enabled:
                continue
            listing = read_listing(self.root, spec.name)
            entries += [
                SupplyEntry(
                    spec.name,
                    name,
                    one.content_hash,
                    one.container,
                    one.items_per_slice,
                    values=self._values_now(spec, name, one.content_hash, wanted),
                )
                for name, one in summarise_source(self.root, spec.name).slices.items()
                if listing is None or name in listing.slices
            ]
        return entries

    def _benchmarks_now(self) -> dict[str, list[list[str]]]:
        """Committed slices of the enabled benchmarks, with their content hashes, by name."""
        found: dict[str, list[list[str]]] = {}
        for spec in self.installation.catalog.benchmarks:
            if spec.enabled:
                listing = read_listing(self.root, spec.name)
                found[spec.name] = [
                    [name, one.content_hash]
                    for name, one in sorted(summarise_source(self.root, spec.name).slices.items())
                    if listing is None or name in listing.slices
                ]
        return found

    def _wanted_annotations(self) -> list[Wanted]:
        """Those that filters of the catalogue name."""
        catalog = self.installation.catalog
        texts = " ".join(one.keep for one in catalog.corpus.filters.values())
        if not any(f"{one.name}." in texts for one in catalog.corpus.annotations):
            return []
        try:
            return wanted_annotations(catalog)
        except AnnotationError as error:
            raise UnjudgedError(str(error)) from error

    def _values_now(
        self, spec: SourceSpec, key: str, content_hash: str, wanted: Sequence[Wanted]
    ) -> tuple[tuple[str, str], ...]:
        """Hashes of the values that filters read of a slice, as far as they are of its content."""
        found = []
        for one in wanted:
            read = any(
                re.search(rf"\b{one.name}\.", each.keep) and each.only.covers(spec.name, spec.category)
                for each in self.installation.catalog.corpus.filters.values()
            )
            if not read or not one.covers(spec):
                continue
            try:
                header = read_header(self.root.annotation(one.name, spec.name, key))
            except AnnotationError:
                continue
            if header is not None and (header.version, header.content_hash) == (one.version, content_hash):
                found.append((one.name, header.values_hash))
        return tuple(found)

    @cached_property
    def tombstones(self) -> StoredTombstones:
        """All takedowns on record now."""
        return read_tombstones(self.root)

    @cached_property
    def takedowns_since_plan(self) -> StoredTombstones:
        """Those on record now that the plan was not made with."""
        return self.takedowns(sorted(set(self.tombstones.names).difference(self.plan.tombstones)))

    def takedowns(self, names: Sequence[str]) -> StoredTombstones:
        """The named takedowns.

        Raises:
            UnjudgedError: one is gone from `tombstones/`.
        """
        found = []
        for name in names:
            try:
                found.append(Tombstone.from_bytes((self.root.tombstones / f"{name}.json").read_bytes()))
            except (FileNotFoundError, ValidationError) as error:
                raise UnjudgedError(f"tombstones/{name}.json: {error}") from error
        return StoredTombstones(
            names=tuple(names),
            urls=frozenset(url for one in found for url in one.urls),
            image_sha256=frozenset(h for one in found if not one.only_row for h in one.image_sha256),
            ids=frozenset(i for one in found for i in one.ids),
        )

    @cached_property
    def slices(self) -> tuple[FoundSlice, ...]:
        """Every slice of the plan, in the plan's order."""
        return tuple(self._find(claim) for claim in self.plan.slices)

    def _find(self, claim: SliceClaim) -> FoundSlice:
        """The version of the plan, or the current one where its content is the same (after a takedown)."""
        return FoundSlice(
            claim, *self.content_of(claim.source, claim.slice, claim.content_hash, claim.version)
        )

    def content_of(
        self, source: str, key: str, content_hash: str, version: str | None = None
    ) -> tuple[Path, SliceManifest] | tuple[None, None]:
        """A version of a slice that has this content: that one, or the current one, or (none named) any."""
        versions = self.root.source(source) / VERSIONS
        current = current_version(self.root.slice(source, key))
        others = sorted(versions.glob("*")) if version is None else [versions / version]
        for directory in (current, *others) if version is None else (*others, current):
            if directory is None or not (directory / MANIFEST).is_file():
                continue
            try:
                manifest = SliceManifest.from_bytes((directory / MANIFEST).read_bytes())
            except ValidationError:
                continue
            if manifest.content_hash == content_hash and manifest.slice == key:
                return directory, manifest
        return None, None

    @cached_property
    def plan_rows(self) -> PlanRows:
        """Every selected row."""
        path = self.plan_dir / PLAN_FILE
        try:
            with pa.OSFile(str(path)) as file:
                table = pa.ipc.open_file(file).read_all()
            slices, rows, cells = (table.column(name).to_numpy() for name in ("slice", "row", "cell"))
        except (OSError, pa.ArrowInvalid, KeyError) as error:
            raise UnjudgedError(f"{path}: {error}") from error
        sizes = np.diff(self.starts)
        fits: Bool = (slices < len(sizes)) & (cells < len(self.plan.cells))
        if not fits.all() or not (rows < sizes[slices]).all():
            raise UnjudgedError(f"{path}: names slices, rows or cells that its manifest does not have")
        return PlanRows(self.starts[slices] + rows, cells)

    @cached_property
    def starts(self) -> I64:
        """First row of each slice in the run of all supply rows, and their number at the end."""
        return np.concatenate(([0], np.cumsum([claim.rows for claim in self.plan.slices], dtype=np.int64)))

    @cached_property
    def shard_bits(self) -> list[str]:
        """Shards in order."""
        return sorted(self.corpus.shards)


def _claim(kind: type[ClaimT], data: bytes, path: Path) -> ClaimT:
    try:
        return kind.model_validate_json(data)
    except ValidationError as error:
        raise UnjudgedError(f"{path}: not a manifest: {error.errors()[0]['msg']}") from error


def _json(path: Path) -> Any:
    try:
        return orjson.loads(path.read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        raise UnjudgedError(f"{path}: {error}") from error
