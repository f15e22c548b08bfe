"""`export.json`: what an export is made of, and what stands in it."""

from pydantic import BaseModel, ConfigDict

from vlm_assets.exports.formats import Format
from vlm_assets.words.manifest import FileEntry

MANIFEST = "export.json"


class ExportedShard(BaseModel):
    """A finished file, and the corpus file that it was made of."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    shard_blake3: str
    rows: int
    file: FileEntry


class ExportManifest(BaseModel):
    """What stands in an export's folder; rewritten after each file, so that a killed export goes on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Format
    format_version: int
    corpus: str
    target: str
    root_hash: str
    complete: bool
    rows: int
    files: dict[str, ExportedShard]
    """By path below the folder."""
