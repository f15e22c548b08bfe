"""A source's folder as a whole: `metadata.json` and `dataset_dict.json`, derived from its committed slices."""

import time
from pathlib import Path
from typing import Any, Final

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vlm_assets.locks import hold_lock
from vlm_assets.store.arrow_files import replace_file
from vlm_assets.store.versions import current_versions, read_manifest
from vlm_assets.words.collector import collector_paused
from vlm_assets.words.layout import MANIFEST, VERSIONS, DataRoot
from vlm_assets.words.manifest import Listing, SliceManifest

_LARGE_BYTES: Final = 65_536
"""Of a summary: about 150 slices."""
_LEFT_ALONE_S: Final = 10.0


class SliceSummary(BaseModel):
    """What `status`, the sensors and the supply need to know of a committed slice."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: str
    content_hash: str
    listing_fingerprint: str
    rows: int
    items: int
    images: int
    multi_image_rows: int
    rows_with_text: int
    rows_with_messages: int
    rows_with_neither: int | None = None
    """None in summaries, or slices, of before this was counted."""
    remarks: dict[str, int]
    left_out: dict[str, int] | None
    caption_rows: dict[str, Any] | None = None
    data_bytes: int
    container: bool
    items_per_slice: int
    rejects: dict[str, int]
    transient_rejects: int
    renderer: str | None
    subcategories: dict[str, int] | None = None
    """None in summaries of an older version: the manifest has it."""


class SourceSummary(BaseModel):
    """`datasets/<source>/metadata.json`: derived, never evidence; rebuilt from the slices where they differ."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str
    slices: dict[str, SliceSummary] = Field(default_factory=dict)


def note_slice(root: DataRoot, manifest: SliceManifest, version: str, listing: Listing) -> None:
    """Takes a freshly committed slice into its source's summary.

    A summary is written whole, so that of a source with thousands of slices is left alone for some seconds after a
    write: `summarise_source` reads what it lacks from the slices, and `refresh_summary` ends a run.
    """
    if _written_just_now(root.source(manifest.source) / MANIFEST):
        return
    with hold_lock(root.locks / f"source.{manifest.source}", f"summary of {manifest.source}", wait_s=600):
        summary = _stored(root, manifest.source)
        slices = {**summary.slices, manifest.slice: _summarise(manifest, version)}
        _write(root, SourceSummary(source=manifest.source, slices=slices), listing)


def summarise_source(root: DataRoot, source: str) -> SourceSummary:
    """The summary as the symlinks have it now. Reads the manifests of those slices only that it did not know."""
    versions = root.source(source) / VERSIONS
    slices: dict[str, SliceSummary] = {}
    with collector_paused():
        stored = _stored(root, source).slices
        for name, version in current_versions(root.source(source)).items():
            known = stored.get(name)
            if known is None or known.version != version:
                known = _summarise(read_manifest(versions / version, SliceManifest), version)
            slices[name] = known
    return SourceSummary(source=source, slices=slices)


def refresh_summary(root: DataRoot, source: str, listing: Listing) -> None:
    """Writes the summary anew where listing or slices changed (retired slices leave the DatasetDict)."""
    if root.source(source).is_dir():
        with hold_lock(root.locks / f"source.{source}", f"summary of {source}", wait_s=600):
            _write(root, summarise_source(root, source), listing)


def _summarise(manifest: SliceManifest, version: str) -> SliceSummary:
    shared = SliceSummary.model_fields.keys() - {"version"}
    return SliceSummary(version=version, **manifest.model_dump(include=set(shared)))


def _written_just_now(path: Path) -> bool:
    try:
        stat = path.stat()
    except FileNotFoundError:
        return False
    return stat.st_size > _LARGE_BYTES and 0 <= time.time() - stat.st_mtime < _LEFT_ALONE_S


def _stored(root: DataRoot, source: str) -> SourceSummary:
    try:
        return SourceSummary.model_validate_json((root.source(source) / MANIFEST).read_bytes())
    except (FileNotFoundError, ValidationError):
        return SourceSummary(source=source)


def _write(root: DataRoot, summary: SourceSummary, listing: Listing) -> None:
    folder = root.source(summary.source)
    splits = [name for name, one in sorted(summary.slices.items()) if one.rows and name in listing.slices]
    for name, content in (
        ("dataset_dict.json", orjson.dumps({"splits": splits})),
        (MANIFEST, orjson.dumps(summary.model_dump(mode="json"), option=orjson.OPT_SORT_KEYS)),
    ):
        path = folder / name
        if not path.is_file() or path.read_bytes() != content:
            replace_file(path, content)
