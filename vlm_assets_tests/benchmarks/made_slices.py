"""Committed slices by a fast path, for benchmarks: realistic metadata, made-up image bytes, skewed sizes.

The image hashes are made up too (nothing here checks them), and the rows' digests; everything else is what the
slice writer would have written, batch limits included.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from vlm_assets.allocation.files import PLAN_FILE, PLAN_SCHEMA
from vlm_assets.allocation.manifest import AllocatedCell, AllocatedShard, AllocatedSlice, AllocationManifest
from vlm_assets.operate.schema_1 import records_of
from vlm_assets.store.arrow_files import dataset_state, write_bytes
from vlm_assets.store.slices import BATCH_BYTES, BATCH_ROWS, FILE_BYTES, INDEX_BATCH_ROWS, INDEX_FILE
from vlm_assets.store.versions import commit_version
from vlm_assets.words.layout import STAGING, DataRoot
from vlm_assets.words.manifest import FileEntry, SliceManifest
from vlm_assets.words.schema import IMAGE_TYPE, INDEX_SCHEMA, SAMPLE_SCHEMA

_POOL_BYTES = 64 * 2**20
_TEXT_BYTES = 80
_NO_ENTRY = FileEntry(size_bytes=0, blake3="")
CORPUS = "bench"
TARGET = "t"


@dataclass(frozen=True, slots=True)
class Shape:
    """How much to make."""

    rows: int
    image_bytes: int
    sources: int
    slices: int
    seed: int = 1


def add_shape_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `Shape`."""
    parser.add_argument(
        "--rows", type=int, default=200_000, help="committed rows, of which half are selected"
    )
    parser.add_argument(
        "--image-bytes", type=int, default=2_000, help="mean; sizes vary from half to 1.5 times"
    )
    parser.add_argument("--sources", type=int, default=10)
    parser.add_argument("--slices", type=int, default=40, help="in all; sizes are skewed 1:10")


class _Maker:
    """Random columns, vectorised. Strings are cut out of one pool."""

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        self.random = np.random.default_rng(shape.seed)
        self._pool = self.random.integers(0, 256, max(_POOL_BYTES, 2 * shape.image_bytes), np.uint8)
        self._letters = self.random.integers(97, 123, _POOL_BYTES // 16, np.uint8)

    def cut(self, sizes: np.ndarray, pool: np.ndarray, kind: pa.DataType) -> pa.Array:
        """Consecutive pieces of a pool, from a random place on."""
        offsets = np.concatenate(([0], np.cumsum(sizes))).astype(np.int32)
        total = int(offsets[-1])
        first = int(self.random.integers(0, len(pool)))
        data = np.resize(
            np.roll(pool[first : first + total], 0) if first + total <= len(pool) else pool, total
        )
        return pa.Array.from_buffers(kind, len(sizes), [None, pa.py_buffer(offsets), pa.py_buffer(data)], 0)

    def images(self, sizes: np.ndarray) -> pa.Array:
        values = self.cut(sizes, self._pool, pa.binary())
        return pa.StructArray.from_arrays(
            [values, pa.nulls(len(sizes), pa.string())], fields=list(IMAGE_TYPE)
        )

    def texts(self, rows: int) -> pa.Array:
        return self.cut(self.random.integers(0, 2 * _TEXT_BYTES, rows), self._letters, pa.string())

    def hex(self, rows: int, digits: int) -> pa.Array:
        """Random hex strings."""
        nibbles = np.frombuffer(b"0123456789abcdef", np.uint8)[
            self.random.integers(0, 16, rows * digits, np.uint8)
        ]
        return fixed_strings(nibbles, rows, digits)

    def sizes(self, rows: int) -> np.ndarray:
        mean = self._shape.image_bytes
        return self.random.integers(mean // 2, mean + mean // 2 + 1, rows)


def fixed_strings(data: np.ndarray, rows: int, width: int) -> pa.Array:
    """Strings of one width."""
    offsets = np.arange(rows + 1, dtype=np.int32) * np.int32(width)
    return pa.Array.from_buffers(pa.string(), rows, [None, pa.py_buffer(offsets), pa.py_buffer(data)], 0)


def prefixed(prefix: str, values: pa.Array, width: int) -> pa.Array:
    """`prefix` before each of the fixed-width values."""
    rows = len(values)
    both = np.empty((rows, len(prefix) + width), np.uint8)
    both[:, : len(prefix)] = np.frombuffer(prefix.encode(), np.uint8)
    both[:, len(prefix) :] = np.frombuffer(values.buffers()[2], np.uint8, rows * width).reshape(rows, width)
    return fixed_strings(both.reshape(-1), rows, len(prefix) + width)


def slice_names(shape: Shape) -> Iterator[tuple[str, str, int]]:
    """(source, slice, rows): sizes fall from 10 to 1 over the slices."""
    weights = np.linspace(10, 1, shape.slices)
    ends = np.round(np.cumsum(weights) / weights.sum() * shape.rows).astype(int).tolist()
    for number, (start, end) in enumerate(zip([0, *ends[:-1]], ends, strict=True)):
        yield f"source{number % shape.sources:04d}", f"slice{number:05d}", end - start


def make_slices(root: DataRoot, shape: Shape) -> None:
    """Commits all slices of a shape."""
    maker = _Maker(shape)
    for source, name, rows in slice_names(shape):
        _make_slice(root, maker, source, name, rows)


def _make_slice(root: DataRoot, maker: _Maker, source: str, name: str, rows: int) -> None:
    staging = root.source(source) / STAGING / name
    staging.mkdir(parents=True)
    sizes = maker.sizes(rows)
    hashes = np.sort(maker.random.integers(0, 2**64, rows, np.uint64))
    batch_rows = min(BATCH_ROWS, max(1, BATCH_BYTES // (int(sizes.mean()) + 400)))
    data, index = _DataFiles(staging), _Index(staging)
    for start in range(0, rows, batch_rows):
        here = slice(start, min(start + batch_rows, rows))
        columns = _columns(maker, source, name, sizes[here], hashes[here])
        data.write([columns[n] for n in SAMPLE_SCHEMA.names])
        index.write([columns[n] for n in INDEX_SCHEMA.names])
    names = data.close()
    index.close()
    for file, content in dataset_state(names, "bench").items():
        write_bytes(staging / file, content)
    manifest = SliceManifest(
        source=source, slice=name, kind="bench", kind_version=1, category="bench", licence="CC0-1.0",
        subcategories={}, revision="", listing_fingerprint="", config_fingerprint="", formats=(),
        content_hash=f"{source}/{name}", container=False, items_per_slice=max(rows, 1), items=rows,
        items_fetched=rows, items_rejected=0, records=rows, rows=rows, rejects={}, records_rejected=0,
        transient_rejects=0, data_bytes=0, image_bytes=int(sizes.sum()), images=rows, multi_image_rows=0,
        rows_with_text=0, rows_with_messages=0, remarks={},
        files=dict.fromkeys([*names, INDEX_FILE], _NO_ENTRY),
    )  # fmt: skip
    commit_version(staging, root.slice(source, name), manifest)


class _DataFiles:
    """Data files, a new one where the store would begin one."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._names, self._bytes = folder, list[str](), 0
        self._writer = self._next()

    def _next(self) -> pa.RecordBatchStreamWriter:
        self._names.append(f"data-{len(self._names):05d}.arrow")
        self._bytes = 0
        return pa.ipc.new_stream(str(self._folder / self._names[-1]), SAMPLE_SCHEMA)

    def write(self, columns: list[pa.Array]) -> None:
        batch = pa.RecordBatch.from_arrays(columns, schema=SAMPLE_SCHEMA)
        if self._bytes + batch.nbytes > FILE_BYTES:
            self._writer.close()
            self._writer = self._next()
        self._writer.write_batch(batch)
        self._bytes += batch.nbytes

    def close(self) -> list[str]:
        self._writer.close()
        return self._names


class _Index:
    """The index, in batches as large as the store's."""

    def __init__(self, folder: Path) -> None:
        self._writer = pa.ipc.new_file(str(folder / INDEX_FILE), INDEX_SCHEMA)
        self._waiting: list[pa.RecordBatch] = []

    def write(self, columns: list[pa.Array]) -> None:
        self._waiting.append(pa.RecordBatch.from_arrays(columns, schema=INDEX_SCHEMA))
        if sum(one.num_rows for one in self._waiting) >= INDEX_BATCH_ROWS:
            self._flush()

    def _flush(self) -> None:
        if self._waiting:
            self._writer.write_batch(pa.concat_batches(self._waiting))
        self._waiting = []

    def close(self) -> None:
        self._flush()
        self._writer.close()


def _columns(
    maker: _Maker, source: str, name: str, sizes: np.ndarray, hashes: np.ndarray
) -> dict[str, pa.Array]:
    columns = flat_columns(maker, source, name, sizes, hashes)
    digests = pa.Array.from_buffers(
        pa.binary(32), len(sizes), [None, pa.py_buffer(maker.random.bytes(32 * len(sizes)))], 0
    )
    return records_of({**columns, "digest": digests}, digests=False)


def flat_columns(
    maker: _Maker, source: str, name: str, sizes: np.ndarray, hashes: np.ndarray
) -> dict[str, pa.Array]:
    """One image a row, its facts as columns of the row."""
    rows = len(sizes)

    def same(value: object, kind: pa.DataType) -> pa.Array:
        return pa.array([value], kind).take(pa.array(np.zeros(rows, np.int8)))

    def bytes32() -> pa.Array:
        data = maker.random.bytes(32 * rows)
        return pa.Array.from_buffers(pa.binary(32), rows, [None, pa.py_buffer(data)], 0)

    keys = maker.hex(rows, 24)
    columns: dict[str, Any] = {
        "image": maker.images(sizes),
        "id": prefixed(f"{source}/{name}/", keys, 24),
        "text": maker.texts(rows),
        "extra": same(None, pa.string()),
        "label": same(None, pa.string()),
        "category": same("bench", pa.string()),
        "subcategory": same("all", pa.string()),
        "source": same(source, pa.string()),
        "slice": same(name, pa.string()),
        "origin": prefixed(f"https://images.example.org/{source}/2024/", keys, 24),
        "licence": same("CC0-1.0", pa.string()),
        "image_sha256": maker.hex(rows, 64),
        "dhash": pa.array(maker.random.integers(0, 2**64, rows, np.uint64)),
        "width_px": pa.array(maker.random.integers(64, 4_096, rows, np.int32)),
        "height_px": pa.array(maker.random.integers(64, 4_096, rows, np.int32)),
        "orientation": same(None, pa.uint8()),
        "frames": same(1, pa.int32()),
        "format": same("JPEG", pa.string()),
        "dpi": same(None, pa.int32()),
        "size_bytes": pa.array(sizes.astype(np.int64)),
        "text_sha256": bytes32(),
        "item_hash": pa.array(hashes),
        "record": same(0, pa.int64()),
    }
    return columns


def make_plan(root: DataRoot, shape: Shape, shard: AllocatedShard) -> Path:
    """Commits a plan over a random half of the rows, one cell a source; returns its folder."""
    random = np.random.default_rng(shape.seed + 1)
    link = root.allocation(CORPUS, TARGET)
    staging = link.parent / STAGING / TARGET
    staging.mkdir(parents=True)
    slices, total = [], 0
    with pa.ipc.new_file(str(staging / PLAN_FILE), PLAN_SCHEMA) as writer:
        for number, (source, name, rows) in enumerate(sorted(slice_names(shape))):
            chosen = np.flatnonzero(random.random(rows) < 0.5).astype(np.uint32)
            slices.append(
                AllocatedSlice(
                    source=source, slice=name, version=root.slice(source, name).readlink().name,
                    content_hash=f"{source}/{name}", container=False, items_per_slice=max(rows, 1), rows=rows,
                    selected=len(chosen),
                )
            )  # fmt: skip
            if len(chosen):
                cells = np.full(len(chosen), int(source.removeprefix("source")), np.uint32)
                columns = [np.full(len(chosen), number, np.uint32), chosen, cells, chosen.astype(np.uint64)]
                writer.write_batch(
                    pa.RecordBatch.from_arrays([pa.array(c) for c in columns], schema=PLAN_SCHEMA)
                )
            total += len(chosen)
    cells_of = tuple(
        AllocatedCell(
            category="bench", subcategory="all", source=f"source{n:04d}", licence="CC0-1.0", grant=0
        )
        for n in range(shape.sources)
    )
    manifest = AllocationManifest(
        corpus=CORPUS, target=TARGET, target_rows=total, granted_rows=total, seed=1, algorithm_version=1,
        inputs_hash="bench", shard=shard, slices=tuple(slices), cells=cells_of, excluded={},
    )  # fmt: skip
    return commit_version(staging, link, manifest)
