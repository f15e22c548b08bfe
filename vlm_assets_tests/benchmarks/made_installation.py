"""An installation with committed slices of any number of rows, made by a fast path whose every hash is true.

100 sources that fall off as 1/n, in slices of at most 1/200 of all rows; tiny random images with realistic metadata;
a tenth of the rows repeat another row's image, some pictures nearly equal others, some labels have no map entry, a
fifth of the rows have no caption. What the slice writer would have written, batch limits and order included, so that
the real allocation, corpus and audit run on it.
"""

import multiprocessing
import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import yaml
from numpy.typing import NDArray

from vlm_assets.installation.opening import Installation, open_installation
from vlm_assets.operate.schema_1 import records_of
from vlm_assets.settings import load_settings
from vlm_assets.store.arrow_files import ArrowFile, dataset_state, write_bytes
from vlm_assets.store.slices import (
    BATCH_BYTES,
    BATCH_ROWS,
    INDEX_BATCH_ROWS,
    INDEX_FILE,
    ITEMS_FILE,
    REJECTS_FILE,
    RUN_FILE,
    ItemEntry,
    rejects_bytes,
    write_items_ledger,
)
from vlm_assets.store.versions import commit_version
from vlm_assets.words.keys import splitmix64_array
from vlm_assets.words.layout import STAGING, DataRoot, key_hash
from vlm_assets.words.manifest import RunRecord, SliceManifest
from vlm_assets.words.schema import IMAGE_TYPE, INDEX_SCHEMA, SAMPLE_SCHEMA

SOURCES = 100
SHARES = {"photos": "0.4", "documents": "0.3", "charts": "0.2", "maps": "0.1"}
LABELS = ("a", "b", "c", "junk")
BYTES_A_ROW = 780
"""Of a committed slice beside the image: data, index and items ledger."""
INDEX_ROW_BYTES = 340
_POOL_BYTES = 2**24


@dataclass(frozen=True, slots=True)
class Made:
    """How much to make. `grown`: every slice has so many rows for each hundred more."""

    rows: int
    image_bytes: int = 480
    grown: int = 0


@dataclass(frozen=True, slots=True)
class Piece:
    """One slice to be: rows are numbers, and the rows it grew by are numbers beyond all others."""

    source: int
    name: str
    begin: int
    count: int

    @property
    def source_name(self) -> str:
        return f"source{self.source:03d}"


def pieces(made: Made) -> Iterator[Piece]:
    """All slices; the same ones whether grown or not."""
    weights = 1 / np.arange(1, SOURCES + 1)
    counts = np.maximum(1, (made.rows * weights / weights.sum()).astype(int))
    counts[0] += made.rows - counts.sum()
    cap, begin = max(1000, made.rows // 200), 0
    for source, rows in enumerate(counts.tolist()):
        parts = -(-rows // cap)
        for number in range(parts):
            count = rows * (number + 1) // parts - rows * number // parts
            yield Piece(source, f"{number:04d}-of-{parts:04d}", begin, count)
            begin += count


def install(
    folder: Path, targets: dict[str, int], *, max_bytes: str = "2GB", near_bits: int = 0
) -> Installation:
    """An empty data root and the catalogue of the sources."""
    (folder / "data").mkdir(parents=True)
    (folder / "data" / ".vlm_root").touch()
    (folder / "catalog" / "sources").mkdir(parents=True)
    quotas = {
        name: {"share": share, "subcategories": {f"s{n}": {"share": "1/5", "min": n} for n in range(5)}}
        for name, share in SHARES.items()
    }
    corpus = {
        "name": "bench", "seed": 20260115, "targets": targets, "require_complete": False, "quotas": quotas,
        "dedup": {"exact": "image", "near_bits": near_bits, "precedence": ["source050", "source003"]},
        "min_side_px": 64, "shard": {"max_bytes": max_bytes},
    }  # fmt: skip
    (folder / "catalog" / "corpus.yaml").write_text(yaml.safe_dump(corpus), "utf-8")
    sources = {"sources": [_source(number) for number in range(SOURCES)]}
    (folder / "catalog" / "sources" / "all.yaml").write_text(yaml.safe_dump(sources), "utf-8")
    return opened(folder)


def _source(number: int) -> dict[str, object]:
    """A third of the sources by label, the others in one subcategory."""
    placed: dict[str, object] = {"subcategory": f"s{number % 5}"}
    if number % 3 == 0:
        placed = {"subcategory_from": {"column": "label", "map": {"a": "s0", "b": "s1", "c": "s2"}}}
    return {
        "name": f"source{number:03d}", "kind": "client_folder", "path": "/nowhere",
        "category": list(SHARES)[number % 4], "licence": "CC0-1.0", **placed,
    }  # fmt: skip


def opened(folder: Path) -> Installation:
    """The installation in a folder."""
    return open_installation(load_settings(None, catalog=folder / "catalog", data_root=folder / "data"))


def make_slices(folder: Path, made: Made, workers: int = 2) -> int:
    """Commits all slices; returns how many. Committed again with `grown`, they get new versions."""
    jobs = list(pieces(made))
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        for future in [pool.submit(make_slice, folder, made, piece) for piece in jobs]:
            future.result()
    return len(jobs)


def make_slice(folder: Path, made: Made, piece: Piece) -> None:
    """One committed slice."""
    root = DataRoot(folder / "data")
    numbers = np.arange(piece.begin, piece.begin + piece.count, dtype=np.uint64)
    more = (piece.begin + piece.count) * made.grown // 100 - piece.begin * made.grown // 100
    if more:
        numbers = np.append(
            numbers, np.arange(piece.begin, piece.begin + more, dtype=np.uint64) + np.uint64(2**40)
        )
    keys = {key_hash(key): key for key in (f"{number:012x}.jpg" for number in numbers.tolist())}
    hashes = np.array([key_hash(f"{number:012x}.jpg") for number in numbers.tolist()], np.uint64)
    order = np.argsort(hashes)
    numbers, hashes = numbers[order], hashes[order]
    staging = root.source(piece.source_name) / STAGING / piece.name
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    content, image_bytes, waiting = sha256(), 0, list[pa.RecordBatch]()
    step = min(BATCH_ROWS, max(1, BATCH_BYTES // (2 * made.image_bytes)))
    with (
        ArrowFile(staging / "data-00000.arrow", SAMPLE_SCHEMA) as data,
        ArrowFile(staging / INDEX_FILE, INDEX_SCHEMA, form="file") as index,
    ):
        for start in range(0, len(numbers), step):
            columns = _columns(made, piece, numbers[start : start + step], hashes[start : start + step])
            data.write(
                pa.RecordBatch.from_arrays([columns[n] for n in SAMPLE_SCHEMA.names], schema=SAMPLE_SCHEMA)
            )
            waiting.append(
                pa.RecordBatch.from_arrays([columns[n] for n in INDEX_SCHEMA.names], schema=INDEX_SCHEMA)
            )
            content.update(columns["digest"].buffers()[1])
            image_bytes += int(pa.compute.sum(columns["image_bytes"]).as_py())
            if sum(batch.num_rows for batch in waiting) >= INDEX_BATCH_ROWS or start + step >= len(numbers):
                index.write(pa.concat_batches(waiting))
                waiting = []
        files = {"data-00000.arrow": data.finish(), INDEX_FILE: index.finish()}
    for name, body in dataset_state(["data-00000.arrow"], content.hexdigest()[:16]).items():
        files[name] = write_bytes(staging / name, body)
    items = (ItemEntry(keys[one], "", fetched=True, records=1, rows=1) for one in hashes.tolist())
    files[ITEMS_FILE] = write_items_ledger(staging / ITEMS_FILE, items)
    write_bytes(staging / REJECTS_FILE, rejects_bytes([]))
    write_bytes(staging / RUN_FILE, RunRecord().model_dump_json().encode())
    rows = len(numbers)
    manifest = SliceManifest(
        source=piece.source_name, slice=piece.name, kind="client_folder", kind_version=1, category="photos",
        licence="CC0-1.0", subcategories={"s0": rows}, revision="", listing_fingerprint="", config_fingerprint="",
        formats=(), content_hash=content.hexdigest(), container=False, items_per_slice=piece.count, items=rows,
        items_fetched=rows, items_rejected=0, records=rows, rows=rows, rejects={}, records_rejected=0,
        transient_rejects=0, data_bytes=files["data-00000.arrow"].size_bytes, image_bytes=image_bytes,
        images=rows, multi_image_rows=0, rows_with_text=0, rows_with_messages=0, remarks={}, files=files,
    )  # fmt: skip
    commit_version(staging, root.slice(piece.source_name, piece.name), manifest)


_pool = np.random.default_rng(7).integers(0, 256, _POOL_BYTES, np.uint8)
_HEX = np.frombuffer(b"".join(b"%02x" % n for n in range(256)), np.uint16)


def _columns(
    made: Made, piece: Piece, numbers: NDArray[np.uint64], hashes: NDArray[np.uint64]
) -> dict[str, pa.Array]:
    """Every column of data and index of some rows. All that is random about a row is a function of its number."""
    rows = len(numbers)
    draw = splitmix64_array(numbers)
    image = np.where(draw % np.uint64(10) == 0, draw % np.uint64(made.rows), numbers)
    word = splitmix64_array(image * np.uint64(3))
    sizes = (made.image_bytes // 2 + word % np.uint64(made.image_bytes + 1)).astype(np.int64)
    encoded = _images(word, sizes)
    picture = np.where(image % np.uint64(33) == 0, image + np.uint64(1), image)
    flips = (image % np.uint64(33) == 0) * (np.uint64(1) << (image % np.uint64(64)))
    keys = _hex(numbers)
    prefix = f"{piece.source_name}/{piece.name}/".encode()
    captions = np.where(draw % np.uint64(5) == 0, 0, draw % np.uint64(60)).astype(np.int64)
    columns = {
        "image": pa.StructArray.from_arrays([encoded, pa.nulls(rows, pa.string())], fields=list(IMAGE_TYPE)),
        "id": _joined(prefix, keys, b".jpg"),
        "text": _captions(draw, captions),
        "extra": pa.nulls(rows, pa.string()),
        "label": pa.array([LABELS[n] for n in (draw >> np.uint64(9)).astype(np.int64) % 4]),
        "category": _same("photos", rows),
        "subcategory": _same("s0", rows),
        "source": _same(piece.source_name, rows),
        "slice": _same(piece.name, rows),
        "origin": _joined(b"https://images.example.org/2024/", keys, b".jpg"),
        "licence": _same("CC0-1.0", rows),
        "image_sha256": pa.array(image_hashes(encoded), pa.string()),
        "dhash": pa.array(splitmix64_array(picture ^ np.uint64(99)) ^ flips),
        "width_px": pa.array((60 + word % np.uint64(1900)).astype(np.int32)),
        "height_px": pa.array((60 + (word >> np.uint64(20)) % np.uint64(1900)).astype(np.int32)),
        "orientation": pa.nulls(rows, pa.uint8()),
        "frames": pa.array(np.ones(rows, np.int32)),
        "format": _same("JPEG", rows),
        "dpi": pa.nulls(rows, pa.int32()),
        "size_bytes": pa.array(sizes),
        "item_hash": pa.array(hashes),
        "record": pa.array(np.zeros(rows, np.int64)),
    }
    return records_of(columns)


def _images(word: NDArray[np.uint64], sizes: NDArray[np.int64]) -> pa.Array:
    """Pieces of one pool of random bytes, each beginning with a number of its own."""
    offsets = np.concatenate(([0], np.cumsum(sizes)))
    first = (word % np.uint64(_POOL_BYTES - 2 * int(sizes.max()) - 1)).astype(np.int64)
    data = _pool[np.repeat(first - offsets[:-1], sizes) + np.arange(offsets[-1])]
    data[offsets[:-1, None] + np.arange(8)] = word.view(np.uint8).reshape(-1, 8)
    return pa.Array.from_buffers(
        pa.binary(), len(sizes), [None, pa.py_buffer(offsets.astype(np.int32)), pa.py_buffer(data)]
    )


def _captions(draw: NDArray[np.uint64], lengths: NDArray[np.int64]) -> pa.Array:
    """Captions of Latin letters; null where the length is 0."""
    offsets = np.concatenate(([0], np.cumsum(lengths))).astype(np.int32)
    first = (draw % np.uint64(_POOL_BYTES - 64)).astype(np.int64)
    places = np.repeat(first - offsets[:-1], lengths) + np.arange(offsets[-1])
    letters = (97 + _pool[places] % 26).astype(np.uint8)
    valid = np.packbits(lengths > 0, bitorder="little")
    buffers = [pa.py_buffer(valid), pa.py_buffer(offsets), pa.py_buffer(letters)]
    return pa.Array.from_buffers(pa.string(), len(lengths), buffers)


def _hex(numbers: NDArray[np.uint64]) -> NDArray[np.uint8]:
    """(rows, 12) letters: each number as `%012x`."""
    big = numbers.astype(">u8").view(np.uint8).reshape(-1, 8)[:, 2:]
    return _HEX[big].view(np.uint8).reshape(len(numbers), 12)


def _joined(before: bytes, middle: NDArray[np.uint8], after: bytes) -> pa.Array:
    rows, width = len(middle), len(before) + middle.shape[1] + len(after)
    data = np.empty((rows, width), np.uint8)
    data[:, : len(before)] = np.frombuffer(before, np.uint8)
    data[:, len(before) : width - len(after)] = middle
    data[:, width - len(after) :] = np.frombuffer(after, np.uint8)
    offsets = np.arange(rows + 1, dtype=np.int32) * np.int32(width)
    return pa.Array.from_buffers(pa.string(), rows, [None, pa.py_buffer(offsets), pa.py_buffer(data)])


def _same(text: str, rows: int) -> pa.Array:
    return _joined(text.encode(), np.empty((rows, 0), np.uint8), b"")


def image_hashes(encoded: pa.Array) -> list[str]:
    """sha256 of every image of a column."""
    offsets = np.frombuffer(encoded.buffers()[1], np.int32, len(encoded) + 1, 4 * encoded.offset).tolist()
    data = memoryview(encoded.buffers()[2])
    return [sha256(data[a:b]).hexdigest() for a, b in pairwise(offsets)]
