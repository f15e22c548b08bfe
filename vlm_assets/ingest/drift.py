"""Addresses that give other bytes than before: the same picture encoded again is taken, another one is quarantined.

Only for sources whose item is the stable name of one picture (`SourceSpec.quarantines_drift`). What an address gave
before lies in the slice's last version: in its index, and in `drift.parquet` for addresses without a row now. Without
a last version there is no memory: a slice built in an empty data root takes what the addresses give at that time.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from vlm_assets.images.likeness import same_by_dhash, same_by_pixels
from vlm_assets.store.arrow_files import write_bytes
from vlm_assets.store.slices import INDEX_FILE, ItemEntry, images_of_row, read_items_ledger
from vlm_assets.store.sound_files import IndexFile
from vlm_assets.words.errors import Reject, RejectReason
from vlm_assets.words.manifest import FileEntry
from vlm_assets.words.records import Record
from vlm_assets.words.schema import Row

DRIFT_FILE: Final = "drift.parquet"
_SCHEMA: Final = pa.schema(
    [
        ("key", pa.string()), ("image_sha256_before", pa.string()), ("dhash_before", pa.uint64()),
        ("image_sha256_now", pa.string()), ("dhash_now", pa.uint64()),
    ]
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Memory:
    """What an address gave when it last had a row, and what it gave since, if anything.

    `row`: its row in the last version, where it still had one.
    """

    sha256: str
    dhash: int | None
    row: int | None = None
    now_sha256: str | None = None
    now_dhash: int | None = None


@dataclass(slots=True)
class DriftGuard:
    """Judges what comes in against what addresses gave before. `figures` counts for `run.json`."""

    memories: Mapping[str, Memory] = field(default_factory=dict)
    images_of: Callable[[int], list[bytes] | None] = lambda row: None  # noqa: ARG005 - does nothing
    """The pictures in a row of the last version; None after a takedown."""
    figures: Counter[str] = field(default_factory=Counter)
    _without_row: dict[str, Memory] = field(default_factory=dict)

    def judge(
        self,
        key: str,
        outcomes: Iterable[tuple[Record | Reject, Row | Reject]],
        told: Callable[[Row], None] = lambda row: None,  # noqa: ARG005 - does nothing
    ) -> Iterator[Row | Reject]:
        """An item's results; rows with another picture than before become rejects with reason `drifted`.

        `told` is given each row that became one.
        """
        memory = self.memories.get(key)
        if memory is None:
            yield from (result for _, result in outcomes)
            return
        latest, rows = memory, 0
        for event, result in outcomes:
            words = "" if _meant(event) or isinstance(result, Reject) else self._difference(memory, result)
            if words and not isinstance(result, Reject):
                told(result)
                latest = replace(memory, now_sha256=result["images_sha256"].hex(), now_dhash=result["dhash"])
                yield Reject(key, RejectReason.DRIFTED, words, result["record"])
            else:
                rows += not isinstance(result, Reject)
                yield result
        if not rows:
            self._without_row[key] = latest

    def keep(self, entry: ItemEntry) -> None:
        """Takes over what is known of an item that was not fetched again."""
        if not entry.rows and entry.key in self.memories:
            self._without_row[entry.key] = self.memories[entry.key]

    def _difference(self, memory: Memory, row: Row) -> str:
        """Why the row's picture is not the one before; "" where it is."""
        if row["images_sha256"].hex() == memory.sha256:
            return ""
        same = same_by_dhash(memory.dhash, row["dhash"])
        how = "another picture"
        if same is None:
            before = None if memory.row is None else self.images_of(memory.row)
            same = None if before is None else _same_pictures(before, row["images"])
            how = "another picture" if same is False else "cannot be compared with the picture before"
        self.figures["pictures encoded again" if same else "pictures quarantined"] += 1
        return "" if same else f"{how}: {memory.sha256} before, now {row['images_sha256'].hex()}"

    def write(self, path: Path) -> FileEntry | None:
        """Writes what addresses without a row gave before, in their order; nothing where there are none."""
        if not self._without_row:
            return None
        columns = [
            list(self._without_row),
            *(
                [getattr(memory, name) for memory in self._without_row.values()]
                for name in ("sha256", "dhash", "now_sha256", "now_dhash")
            ),
        ]
        arrays = [pa.array(one, kind) for one, kind in zip(columns, _SCHEMA.types, strict=True)]
        sink = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_arrays(arrays, schema=_SCHEMA), sink, compression="zstd")
        return write_bytes(path, bytes(sink.getvalue()))


def _same_pictures(before: Sequence[bytes], now: Sequence[bytes]) -> bool | None:
    """Whether each looks like the one before; None where one cannot be compared, and no other differs."""
    if len(before) != len(now):
        return False
    alike = [one == other or same_by_pixels(one, other) for one, other in zip(before, now, strict=True)]
    return False if False in alike else None if None in alike else True


def _meant(event: Record | Reject) -> bool:
    return isinstance(event, Record) and event.vouched


def guard_of(version: Path, data_files: Sequence[str]) -> DriftGuard:
    """The guard over the last version of a slice."""
    memories = {
        row["key"]: Memory(
            row["image_sha256_before"],
            row["dhash_before"],
            now_sha256=row["image_sha256_now"],
            now_dhash=row["dhash_now"],
        )
        for row in read_drift(version)
    }
    reader = IndexFile(version / INDEX_FILE)
    index = reader.read_all().select(["images_sha256", "dhash"])
    hashes, dhashes = [one.hex() for one in index.column(0).to_pylist()], index.column(1).to_pylist()
    first = 0
    for entry in read_items_ledger(version):
        if entry.rows:
            memories[entry.key] = Memory(hashes[first], dhashes[first], first)
        first += entry.rows
    return DriftGuard(memories, lambda row: images_of_row(version, data_files, row))


def read_drift(version: Path) -> list[dict[str, Any]]:
    """Rows of `drift.parquet` of a committed version: what addresses without a row gave before, and give now."""
    path = version / DRIFT_FILE
    return pq.read_table(path).to_pylist() if path.is_file() else []
