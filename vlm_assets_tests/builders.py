"""Committed slices and plans in one line each, for tests of what comes after them."""

from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pyarrow as pa

from vlm_assets.allocation.files import PLAN_FILE, PLAN_SCHEMA
from vlm_assets.allocation.manifest import AllocatedCell, AllocatedShard, AllocatedSlice, AllocationManifest
from vlm_assets.store import slices
from vlm_assets.store.arrow_files import ArrowFile
from vlm_assets.store.slices import SliceWriter
from vlm_assets.store.versions import commit_version, current_version, read_manifest
from vlm_assets.words.layout import STAGING, DataRoot, key_hash, sample_id
from vlm_assets.words.manifest import SliceManifest
from vlm_assets.words.schema import COLUMN_NAMES, Row, flat_columns

SHARD = AllocatedShard(max_bytes=2_000_000_000, block_rows=64, window_bytes=32_000_000)
CELL = AllocatedCell(category="photos", subcategory="street", source="src", licence="CC0-1.0", grant=0)


def sample(source: str, slice_name: str, item: str, record: int = 0, **columns: Any) -> Row:
    """A row with every column of the data and of the index; `image` is bytes, or `images` a list; `fact` of each."""
    images = columns.pop("images", None) or [columns.pop("image", f"{item}#{record}".encode())]
    given = columns.pop("fact", {})
    facts = [image_fact(image, **given) for image in images]
    row: Row = {
        **dict.fromkeys(COLUMN_NAMES),
        "images": images,
        "id": sample_id(source, slice_name, f"{item}#{record}"),
        "category": "as fetched",
        "subcategory": "as fetched",
        "source": source,
        "slice": slice_name,
        "origin": item,
        "licence": "as fetched",
        "image_facts": facts,
        "images_upstream": len(images),
        "item_hash": key_hash(item),
        "record": record,
        **columns,
    }
    return {**row, **flat_columns(row)}


def image_fact(image: bytes, **values: Any) -> Row:
    """The facts beside an image."""
    return {
        "name": None, "origin": None, "sha256": sha256(image).hexdigest(), "dhash": None, "width_px": 8,
        "height_px": 8, "orientation": None, "frames": 1, "format": "PNG", "dpi": None, "size_bytes": len(image),
        **values,
    }  # fmt: skip


def commit_slice(
    root: DataRoot,
    source: str,
    slice_name: str,
    rows: Sequence[Row],
    *,
    container: bool = False,
    items_per_slice: int = 1_000,
    batch_rows: int = 1_000,
    index_batch_rows: int = 65_536,
    rejected: int = 0,
) -> SliceManifest:
    """Commits rows, put in canonical order, as the slice's current version; beside them `rejected` items."""
    staging = root.source(source) / STAGING / slice_name
    staging.mkdir(parents=True)
    ordered = sorted(
        rows, key=lambda row: (row["origin"] if container else "", row["item_hash"], row["record"])
    )
    with (
        patch.object(slices, "BATCH_ROWS", batch_rows),
        patch.object(slices, "INDEX_BATCH_ROWS", index_batch_rows),
        SliceWriter(staging) as writer,
    ):
        for row in ordered:
            writer.add(row)
        written = writer.finish()
    manifest = SliceManifest(
        source=source,
        slice=slice_name,
        kind="client_folder",
        kind_version=1,
        category="as fetched",
        licence="as fetched",
        subcategories={},
        revision="",
        listing_fingerprint="",
        config_fingerprint="",
        formats=(),
        content_hash=written.content_hash,
        container=container,
        items_per_slice=items_per_slice,
        items=len(rows) + rejected,
        items_fetched=len(rows),
        items_rejected=rejected,
        records=len(rows),
        rows=len(rows),
        rejects={"corrupt": rejected} if rejected else {},
        records_rejected=0,
        transient_rejects=0,
        data_bytes=written.data_bytes,
        images=written.images,
        image_bytes=written.image_bytes,
        multi_image_rows=written.multi_image_rows,
        rows_with_text=written.rows_with_text,
        rows_with_messages=written.rows_with_messages,
        rows_with_neither=written.rows_with_neither,
        remarks={},
        files=written.files,
    )
    commit_version(staging, root.slice(source, slice_name), manifest)
    return manifest


Selection = Mapping[tuple[str, str], Mapping[int, int]]
"""(source, slice) → row → cell."""


def commit_plan(
    root: DataRoot,
    selection: Selection,
    *,
    cells: Sequence[AllocatedCell] = (CELL,),
    shard: AllocatedShard = SHARD,
    seed: int = 7,
    corpus: str = "corpus",
    target: str = "t",
    tombstones: tuple[str, ...] = (),
) -> Path:
    """Commits a plan that selects those rows of the slices as they are now; returns its folder."""
    link = root.allocation(corpus, target)
    staging = link.parent / STAGING / target
    staging.mkdir(parents=True)
    entries = []
    with ArrowFile(staging / PLAN_FILE, PLAN_SCHEMA, form="file") as file:
        for number, (name, chosen) in enumerate(sorted(selection.items())):
            entries.append(_allocated(root, *name, len(chosen)))
            if chosen:
                rows = sorted(chosen)
                columns = {"slice": [number] * len(rows), "row": rows, "cell": [chosen[row] for row in rows]}
                columns["key"] = rows
                file.write(pa.RecordBatch.from_pydict(columns, schema=PLAN_SCHEMA))
        entry = file.finish()
    total = sum(map(len, selection.values()))
    manifest = AllocationManifest(
        corpus=corpus, target=target, target_rows=total, granted_rows=total, seed=seed, algorithm_version=1,
        inputs_hash="i" * 64, shard=shard, slices=tuple(entries), cells=tuple(cells), excluded={},
        tombstones=tombstones, files={PLAN_FILE: entry},
    )  # fmt: skip
    return commit_version(staging, link, manifest)


def _allocated(root: DataRoot, source: str, slice_name: str, selected: int) -> AllocatedSlice:
    version = current_version(root.slice(source, slice_name))
    if version is None:
        raise ValueError(f"{source}/{slice_name} is not committed")
    manifest = read_manifest(version, SliceManifest)
    return AllocatedSlice(
        source=source, slice=slice_name, version=manifest.version, content_hash=manifest.content_hash,
        container=manifest.container, items_per_slice=manifest.items_per_slice, rows=manifest.rows,
        selected=selected,
    )  # fmt: skip
