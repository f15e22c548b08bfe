"""What was left out, as tables: one beside a listing, one in a slice for the inside of its containers."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from blake3 import blake3

from vlm_assets.store.arrow_files import write_bytes
from vlm_assets.store.sound_files import damage_named, ledger_rows
from vlm_assets.words.errors import LeftOut, LeftOutReason
from vlm_assets.words.layout import DataRoot
from vlm_assets.words.manifest import FileEntry, Listing

LEFT_OUT_FILE: Final = "left_out.parquet"
LEFT_OUT_SCHEMA: Final = pa.schema(
    [("key", pa.string()), ("reason", pa.string()), ("detail", pa.string()), ("size_bytes", pa.int64())]
)
_EXAMPLES: Final = 5
_READ_AT_ONCE: Final = 64
_NAMED_LIKE_ITEMS: Final = frozenset({LeftOutReason.FRAME, LeftOutReason.NOT_LOCKED})
_IN_SLICE: Final = LEFT_OUT_SCHEMA.append(pa.field("item", pa.string()))


def left_out_file_name(source: str, left_out: Sequence[LeftOut]) -> str:
    """Name of a listing's table by what it holds; "" where it would hold nothing."""
    if not left_out:
        return ""
    digest = blake3()
    for one in left_out:
        digest.update(orjson.dumps((one.key, one.reason, one.detail, one.size_bytes)))
    return f"{source}.{digest.hexdigest()[:12]}.left_out.parquet"


def write_listed_left_out(path: Path, left_out: Sequence[LeftOut]) -> FileEntry:
    """Writes the table beside a listing, in the given order."""
    return write_bytes(path, _parquet(_columns(left_out), LEFT_OUT_SCHEMA))


def write_slice_left_out(path: Path, by_item: Iterable[tuple[str, Sequence[LeftOut]]]) -> FileEntry:
    """Writes `left_out.parquet` of a slice: what was left out of each item, in the given order."""
    flat = [(item, one) for item, found in by_item for one in found]
    columns = [*_columns([one for _, one in flat]), pa.array([item for item, _ in flat], pa.string())]
    return write_bytes(path, _parquet(columns, _IN_SLICE))


def read_slice_left_out(version: Path) -> dict[str, list[LeftOut]]:
    """What was left out of each item of a committed version; empty where it has no such table."""
    path = version / LEFT_OUT_FILE
    found: dict[str, list[LeftOut]] = {}
    for row in ledger_rows(path) if path.is_file() else ():
        found.setdefault(row["item"], []).append(_left_out(row))
    return found


def listed_left_out(root: DataRoot, listing: Listing) -> list[LeftOut]:
    """What a listing left out; empty where it has no table."""
    path = root.listings / listing.left_out_file if listing.left_out_file else None
    return [_left_out(row) for row in ledger_rows(path)] if path is not None and path.is_file() else []


def examples_of(path: Path, *, for_papers: bool = False) -> list[str]:
    """The first that a table names, a line each, with their reasons; none where there is no such file.

    `for_papers`: none whose name or address is that of an item or a record, which may be taken down.

    Raises:
        StoreError: it is damaged.
    """
    if not path.is_file():
        return []
    found: list[str] = []
    with damage_named(path), pq.ParquetFile(path) as file:
        for batch in file.iter_batches(_READ_AT_ONCE, columns=["key", "reason", "detail"]):
            found += [
                _line(row["key"], row["reason"], row["detail"])
                for row in batch.to_pylist()
                if not (for_papers and row["reason"] in _NAMED_LIKE_ITEMS)
            ]
            if len(found) >= _EXAMPLES:
                break
    return found[:_EXAMPLES]


def listed_examples(root: DataRoot, listing: Listing, *, for_papers: bool = False) -> list[str]:
    """The same of a listing."""
    if not listing.left_out_file:
        return []
    return examples_of(root.listings / listing.left_out_file, for_papers=for_papers)


def inside_examples(versions: Iterable[Path], *, for_papers: bool = False) -> list[str]:
    """The first that were left out inside of items, of slices that left something out."""
    found: list[str] = []
    for version in versions:
        found += examples_of(version / LEFT_OUT_FILE, for_papers=for_papers)
        if len(found) >= _EXAMPLES:
            break
    return found[:_EXAMPLES]


def left_out_lines(left_out: Iterable[LeftOut]) -> list[str]:
    """The first of these, as `examples_of` tells them."""
    return [_line(one.key, one.reason, one.detail) for one in islice(left_out, _EXAMPLES)]


def added_up(*counts: Mapping[str, int] | None) -> dict[str, int]:
    """Counts by reason of a listing and of slices together, most first."""
    total: Counter[str] = Counter()
    for one in counts:
        if one:
            total.update(one)
    return dict(total.most_common())


def counts_of(left_out: Iterable[LeftOut]) -> dict[str, int]:
    """How many were left out, by reason, sorted."""
    return dict(sorted(Counter(str(one.reason) for one in left_out).items()))


def _line(key: str, reason: str, detail: str) -> str:
    return f"{key}: {reason}" + (f" ({detail})" if detail else "")


def _left_out(row: Mapping[str, Any]) -> LeftOut:
    return LeftOut(row["key"], LeftOutReason(row["reason"]), row["detail"], row["size_bytes"])


def _columns(left_out: Sequence[LeftOut]) -> list[pa.Array]:
    return [
        pa.array([one.key for one in left_out], pa.string()),
        pa.array([str(one.reason) for one in left_out], pa.string()),
        pa.array([one.detail for one in left_out], pa.string()),
        pa.array([one.size_bytes for one in left_out], pa.int64()),
    ]


def _parquet(columns: Sequence[pa.Array], schema: pa.Schema) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_arrays(columns, schema=schema), sink, compression="zstd")
    return bytes(sink.getvalue())
