"""The staging folder of one corpus build: what is to be done, what is done, and the files that become the version.

    .staging/<target>-<allocation version>-<hash of the holes>/
        plan.json             `CorpusPlan`: every shard, where the slices lie, what the cells say
        windows/r<bits>.arrow one record batch a window: its rows; only of shards to be written
        done/r<bits>.json     `ShardResult`, written last: this shard's files are complete
        locks/r<bits>         OS lock of the shard's writer
        files/                becomes the corpus version

Everything is found again by evidence: the same plan and holes lead to the same folder.
"""

from pathlib import Path
from typing import Final, Literal

import orjson
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, ValidationError

from vlm_assets.allocation.manifest import AllocatedCell, AllocatedShard
from vlm_assets.corpus.images import IMAGES
from vlm_assets.corpus.manifest import data_name, index_name
from vlm_assets.corpus.slice_files import SliceFiles
from vlm_assets.store.arrow_files import replace_file
from vlm_assets.store.away import away
from vlm_assets.store.slices import file_hash
from vlm_assets.words.errors import CorpusError
from vlm_assets.words.layout import STAGING, DataRoot
from vlm_assets.words.manifest import FileEntry, Manifest
from vlm_assets.words.schema import ASSIGNED_COLUMNS, COLUMN_NAMES, INDEX_SCHEMA

WINDOW_SCHEMA: Final = pa.schema(
    [
        pa.field("slice", pa.uint32(), nullable=False),  # number of the slice in `CorpusPlan.slices`
        pa.field("row", pa.uint32(), nullable=False),  # its row
        pa.field("cell", pa.uint32(), nullable=False),  # number of the cell in `CorpusPlan.cells`
        pa.field("place", pa.uint32(), nullable=False),  # n-th row of the written window: place in this batch
    ]
)
"""One record batch a window, present rows only, in block order, so that reading goes along the blocks."""


OF_SLICE: Final = ("source", "slice")
CHECKED: Final = ("image_facts",)
"""Columns of which data and index must say the same."""
COPIED: Final = tuple(name for name in COLUMN_NAMES if name not in (*ASSIGNED_COLUMNS, *OF_SLICE, IMAGES))
"""Columns that a writer takes from the data as they are."""
INDEX_ONLY: Final = tuple(name for name in INDEX_SCHEMA.names if name not in COLUMN_NAMES)


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ShardPlan(_Part):
    """One shard to be: what it holds and what decides its bytes."""

    bits: str
    rows: int
    """Present rows; planned rows = rows + holes."""
    holes: int
    windows: int
    planned_bytes: int
    index_bytes: int
    """Estimate of the index file, for the disk check."""
    inputs_digest: str
    rows_hash: str


class PlanSlice(_Part):
    """A slice of the plan and where its rows lie now. `directory` is empty where no row of it is selected."""

    source: str
    slice: str
    directory: str
    data_files: tuple[str, ...]
    rows: int
    objects: tuple[FileEntry, ...] = ()
    """What the data files are at the remote, where the folder has the index alone."""

    @property
    def files(self) -> SliceFiles:
        """Where its rows lie."""
        return SliceFiles(
            self.source, self.slice, Path(self.directory), self.data_files, self.rows, objects=self.objects
        )


class CorpusPlan(Manifest):
    """`plan.json`: all that the shard writers and the seal need, so that they are handed a path and bits only."""

    type: Literal["corpus_plan"] = "corpus_plan"
    data_root: str
    corpus: str
    target: str
    target_rows: int
    seed: int
    inputs_hash: str
    algorithm_version: int
    allocation_version: str
    shard: AllocatedShard
    tombstones: tuple[str, ...]
    slices: tuple[PlanSlice, ...]
    cells: tuple[AllocatedCell, ...]
    shards: tuple[ShardPlan, ...]
    sources: dict[str, int]
    categories: dict[str, dict[str, int]]

    def find(self, bits: str) -> ShardPlan:
        """The shard of these bits.

        Raises:
            CorpusError: not in the plan.
        """
        for shard in self.shards:
            if shard.bits == bits:
                return shard
        known = ", ".join(f"r{shard.bits}" for shard in self.shards[:8])
        raise CorpusError(f"{self.corpus}/{self.target}: no shard r{bits} in the plan; there are {known} …")


class FileProof(_Part):
    """A complete file: what it is, and how the file system showed it then."""

    entry: FileEntry
    inode: int
    mtime_ns: int

    @classmethod
    def of(cls, path: Path, entry: FileEntry) -> "FileProof":
        """Proof of a file just written or linked."""
        stat = path.stat()
        return cls(entry=entry, inode=stat.st_ino, mtime_ns=stat.st_mtime_ns)

    @classmethod
    def of_away(cls, entry: FileEntry) -> "FileProof":
        """Proof of a file whose bytes lie at the remote alone."""
        return cls(entry=entry, inode=0, mtime_ns=0)

    def holds(self, path: Path) -> bool:
        """Whether the file is still that one, or away as it is. Hashed again only where the disk shows a change."""
        try:
            stat = path.stat()
        except FileNotFoundError:
            found = away(path)
            return found is not None and found.entry == self.entry
        if stat.st_size != self.entry.size_bytes:
            return False
        return (stat.st_ino, stat.st_mtime_ns) == (self.inode, self.mtime_ns) or (
            file_hash(path) == self.entry.blake3
        )


class ShardResult(_Part):
    """`done/r<bits>.json`: the shard's files are complete."""

    bits: str
    inputs_digest: str
    data: FileProof
    index: FileProof
    how: Literal["written", "reused"]
    """`reused`: a hard link to an equal shard of an earlier version."""


class Staging:
    """Paths of one staging folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def of(cls, data_root: DataRoot, corpus: str, target: str, key: str) -> "Staging":
        """The folder for a target's plan and holes."""
        return cls(data_root.corpus(corpus, target).parent / STAGING / f"{target}-{key}")

    @property
    def files(self) -> Path:
        """The version under way."""
        return self.path / "files"

    def data(self, bits: str) -> Path:
        """The shard's data file."""
        return self.files / data_name(bits)

    def index(self, bits: str) -> Path:
        """The shard's index file."""
        return self.files / index_name(bits)

    def windows(self, bits: str) -> Path:
        """The rows of a shard's windows."""
        return self.path / "windows" / f"r{bits}.arrow"

    def lock(self, bits: str) -> Path:
        """Lock of the shard's writer."""
        return self.path / "locks" / f"r{bits}"

    def done(self, bits: str) -> Path:
        """Sidecar of a complete shard."""
        return self.path / "done" / f"r{bits}.json"

    def create(self) -> None:
        """Makes the folders."""
        for name in ("files", "windows", "done", "locks"):
            (self.path / name).mkdir(parents=True, exist_ok=True)

    def write_plan(self, plan: CorpusPlan) -> None:
        """Puts `plan.json` in place."""
        replace_file(self.path / "plan.json", plan.to_bytes())

    def read_plan(self) -> CorpusPlan:
        """The plan.

        Raises:
            CorpusError: not planned here.
        """
        try:
            return CorpusPlan.from_bytes((self.path / "plan.json").read_bytes())
        except FileNotFoundError:
            raise CorpusError(f"{self.path}: no plan here; plan the shards first") from None
        except ValidationError:
            raise CorpusError(f"{self.path}: a plan of another version; plan the shards again") from None

    def write_result(self, result: ShardResult) -> None:
        """Marks a shard complete. Its files are synced by now."""
        replace_file(self.done(result.bits), orjson.dumps(result.model_dump(mode="json")))

    def result(self, shard: ShardPlan) -> ShardResult | None:
        """The complete shard of these inputs, if its files are all there and unchanged."""
        found = read_result(self.done(shard.bits))
        if found is None or found.inputs_digest != shard.inputs_digest:
            return None
        whole = found.data.holds(self.data(shard.bits)) and found.index.holds(self.index(shard.bits))
        return found if whole else None


def read_result(path: Path) -> ShardResult | None:
    """A sidecar; None where there is none or it cannot be read."""
    try:
        return ShardResult.model_validate_json(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None
