"""What a sealed corpus says about itself: `metadata.json` of a corpus version."""

from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Literal

from pydantic import BaseModel, ConfigDict

from vlm_assets.allocation.manifest import AllocatedShard
from vlm_assets.words.manifest import SCHEMA_VERSION, FileEntry, Manifest


class ShardEntry(BaseModel):
    """One shard of a sealed corpus."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows: int
    """Rows in the files; planned rows = rows + holes."""
    holes: int
    planned_bytes: int
    """Upper bound of the data file's size, of the planned rows."""
    inputs_digest: str
    """Over everything that decides the files' bytes: an equal digest is an equal shard."""
    data: FileEntry
    index: FileEntry
    rows_hash: str
    """sha256 over, for each row in order: its digest (32 bytes), then `cell_digest` of its assigned values."""


class CorpusManifest(Manifest):
    """`metadata.json` of a sealed corpus. Holds no clock."""

    schema_version: int = SCHEMA_VERSION
    type: Literal["corpus"] = "corpus"
    corpus: str
    target: str
    target_rows: int
    rows: int
    """Present rows: selected − holes."""
    holes: int
    seed: int
    inputs_hash: str
    algorithm_version: int
    order_version: int
    allocation_version: str
    shard: AllocatedShard
    shards: dict[str, ShardEntry]
    """By bits; the empty string is a corpus of one shard. Data file `data-r<bits>.arrow`, sorted by bits."""
    root_hash: str
    """sha256 over `<name>\\0<blake3>\\n` of the data and index files, sorted by name."""
    rows_hash: str
    """sha256 over `<bits>\\0<rows_hash>\\n` of the shards, sorted by bits. Independent of library versions."""
    tombstones: tuple[str, ...]
    """H: the takedowns after the plan; their rows are holes."""
    sources: dict[str, int]
    """Present rows a source."""
    categories: dict[str, dict[str, int]]
    """Present rows a category and subcategory."""
    data_bytes: int
    files: dict[str, FileEntry]

    @property
    def mean_fill(self) -> float:
        """Share of `shard.max_bytes` that the data files take on average; a trie's leaves are half to wholly full."""
        sizes = [one.data.size_bytes for one in self.shards.values()]
        return sum(sizes) / max(len(sizes), 1) / self.shard.max_bytes

    def data_files(self) -> list[str]:
        """Names of the data files in row order."""
        return [data_name(bits) for bits in sorted(self.shards)]


def data_name(bits: str) -> str:
    """File with the shard's rows."""
    return f"data-r{bits}.arrow"


def index_name(bits: str) -> str:
    """File with the shard's index, row for row."""
    return f"index-r{bits}.arrow"


def root_hash(files: Mapping[str, FileEntry]) -> str:
    """`CorpusManifest.root_hash` of data and index files by name."""
    lines = (f"{name}\0{files[name].blake3}\n" for name in sorted(files))
    return sha256("".join(lines).encode()).hexdigest()


def corpus_rows_hash(shards: Iterable[tuple[str, str]]) -> str:
    """`CorpusManifest.rows_hash` of (bits, rows_hash) pairs."""
    return sha256("".join(f"{bits}\0{digest}\n" for bits, digest in sorted(shards)).encode()).hexdigest()


def cell_digest(category: str, subcategory: str, licence: str) -> bytes:
    r"""sha256 of the assigned values, joined by `\0`: the second half of a row in `ShardEntry.rows_hash`."""
    return sha256(f"{category}\0{subcategory}\0{licence}".encode()).digest()
