"""`export.json`: what an export is made of, and what stands in it."""

from pydantic import BaseModel, ConfigDict

from vlm_assets.exports.formats import Format
from vlm_assets.words.manifest import FileEntry

MANIFEST = "export.json"


class ExportedShard(BaseModel):
    """A finished file, and the corpus files that it was made of."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    shard_blake3: str
    index_blake3: str = ""
    """Of the index, which decides which rows are wanted; empty where all are."""
    rows: int
    file: FileEntry
    sha256: str = ""
    """Of a file at the Hub, which knows files by it."""


class ExportManifest(BaseModel):
    """What stands in an export; rewritten after each file, so that a killed export goes on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Format
    format_version: int
    corpus: str
    target: str
    where: str | None = None
    """The expression that each row of it satisfies."""
    root_hash: str
    complete: bool
    rows: int
    files: dict[str, ExportedShard]
    """By path below the export's place."""

    @property
    def size_bytes(self) -> int:
        """Of all its files."""
        return sum(one.file.size_bytes for one in self.files.values())
