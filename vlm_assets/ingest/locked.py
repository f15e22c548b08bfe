"""Listings and slices held to `corpus.lock`: nothing else comes in, and what comes in is the same row for row.

What was a reject stays one, be it right by now: a corpus is the same only where the same things are missing.
Identities decide nothing here, rows do: a server that names its files anew but gives the same bytes changed nothing.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from vlm_assets.ingest.due import Committed, Due, ItemPlan
from vlm_assets.ingest.taken_items import TakenRows
from vlm_assets.store.corpus_lock import Locked, LockedItem, LockedSlice
from vlm_assets.store.slices import INDEX_FILE, read_items_ledger, read_rejects
from vlm_assets.store.sound_files import IndexFile
from vlm_assets.store.tombstones import StoredTombstones
from vlm_assets.words.errors import LeftOut, LeftOutReason, LockedError, Reject, RejectReason, told_why
from vlm_assets.words.layout import slice_key
from vlm_assets.words.records import Item, Listed
from vlm_assets.words.schema import CONTENT_COLUMNS, Row

_SHOWN: Final = 20
_COMPARED: Final = {"images_sha256": "image", "text_sha256": "text", "messages_sha256": "conversation"}


def only_locked(listed: Listed, locked: Locked, source: str) -> Listed:
    """The listing without what is not locked; that is left out on record."""
    known = locked.source(source).slices
    slices, later = [], []
    for one in listed.slices:
        key = slice_key(one.name)
        wanted = locked.identities(source, key) if key in known else {}
        later += [item for item in one.items if item.key not in wanted]
        items = [item for item in one.items if item.key in wanted]
        if items:
            slices.append(replace(one, items=items, requests=None))
    left_out = [LeftOut(one.key, LeftOutReason.NOT_LOCKED, "", one.size_bytes) for one in later]
    return replace(listed, slices=slices, left_out=[*listed.left_out, *left_out])


def lock_of(locked: Locked | None, source: str, slice_key: str) -> "SliceLock | None":
    """What a lock says of a slice; None without a lock.

    Raises:
        LockedError: the lock does not name the slice.
    """
    if locked is None:
        return None
    found = locked.source(source)
    if slice_key not in found.slices:
        raise LockedError(f"{source}/{slice_key}: not in corpus.lock; list {source} again with --locked")
    return SliceLock(f"{source}/{slice_key}", found.slices[slice_key], found.config_fingerprint, locked)


@dataclass(slots=True)
class SliceLock:
    """What one slice must become. Collects what is otherwise, and tells all of it at the end."""

    name: str
    """`source/slice`."""
    locked: LockedSlice
    config_fingerprint: str
    of: Locked
    faults: list[str] = field(default_factory=list)
    _items: Mapping[str, LockedItem] = field(default_factory=dict)
    _taken: TakenRows = field(default_factory=lambda: TakenRows(StoredTombstones.none()))

    def due(self, manifest: Committed | None) -> Due:
        """Whether it is to be made: unless what is committed is what is locked."""
        if manifest is None:
            return Due.NEW
        return Due.COMMITTED if is_as_locked(manifest, self.locked) else Due.CHANGED

    def open(self, items: Sequence[Item]) -> None:
        """Reads the lock's items.

        Raises:
            LockedError: some that gave rows are not listed any more; names them.
        """
        source, _, key = self.name.partition("/")
        self._items = {one.key: one for one in self.of.items(source, key)}
        listed = {item.key for item in items}
        self.faults += [
            f"{one.key}: gone" for one in self._items.values() if one.digests and one.key not in listed
        ]
        if self.faults:
            raise self._error("")

    def narrow(
        self, plan: ItemPlan, items: Sequence[Item], version: Path | None, taken: TakenRows
    ) -> ItemPlan:
        """The plan, keeping only items whose rows and rejects in the last version are those of the lock.

        What was rejected as a whole, or is taken down by now, is not asked for: the lock gives its results.
        """
        self._taken = taken
        stands = dict(_as_it_stands(version)) if plan.kept and version is not None else {}
        kept = {key: one for key, one in plan.kept.items() if stands.get(key) == self._says(key)}
        answered = {
            item.key: found for item in items if item.key not in kept and (found := self._answer(item))
        }
        fetched = [item for item in items if item.key not in kept and item.key not in answered]
        return ItemPlan(kept, fetched, plan.attempts, answered)

    def _says(self, key: str) -> tuple[dict[int, bytes], set[tuple[int | None, str]]]:
        one = self._items[key]
        return dict(one.digests), {(reject.record, str(reject.reason)) for reject in one.rejects}

    def _answer(self, item: Item) -> list[Row | Reject]:
        """An item's results where none of its rows has content; nothing where it is to be fetched."""
        one = self._items[item.key]
        return _without_fetch(one) if one.digests.keys() <= self._down(one) else []

    def _down(self, one: LockedItem) -> frozenset[int]:
        """Records whose rows were taken down before the lock or since: they come from the lock, without content."""
        since = (
            frozenset(row["record"] for row in one.rows() if row in self._taken)
            if self._taken
            else frozenset()
        )
        return one.taken_down | since

    def hold(self, item: Item, results: Iterable[Row | Reject]) -> Iterator[Row | Reject]:
        """Passes an item's results on, what was rejected as a reject; notes each that is not as locked."""
        one = self._items[item.key]
        seen: set[int | None] = set()
        down = self._down(one)
        for result in results:
            record = result.record if isinstance(result, Reject) else result["record"]
            if isinstance(result, Reject) and record is None and result.reason is RejectReason.TOMBSTONED:
                yield from _without_fetch(one)  # taken down since, and not asked for: its rows are holes
                return
            seen.add(record)
            if record in down:
                yield _emptied(one.row(record))
                continue
            before = next((reject for reject in one.rejects if reject.record == record), None)
            if before is None:
                self._compare(one, record, result)
            yield before or result
            if record is None:
                return
        known = [*one.digests, *(reject.record for reject in one.rejects)]
        self.faults += [f"{_place(one, record)}: gone" for record in known if record not in seen]

    def _compare(self, one: LockedItem, record: int | None, now: Row | Reject) -> None:
        if isinstance(now, Reject):
            self.faults.append(f"{_place(one, record)}: {told_why(now.reason, now.detail)}")
        elif record is None or record not in one.digests:
            self.faults.append(f"{_place(one, record)}: was not there")
        elif one.digests[record] != now["digest"]:
            self.faults.append(f"{_place(one, record)}: another {_difference(one.row(record), now)}")

    def check(self, content_hash: str, config_fingerprint: str, renderer: str | None) -> None:
        """Returns where the slice is what was locked.

        Raises:
            LockedError: it is not; names the items, and what of this machine may be the cause.
        """
        if not self.faults and content_hash == self.locked.content_hash:
            return
        causes = []
        if config_fingerprint != self.config_fingerprint:
            causes.append(
                "keys of the catalogue, limits on images or the kind's version are not those of the lock"
            )
        if self.locked.renderer not in {None, renderer}:
            causes.append(f"drawn under the renderer identity {self.locked.renderer}, here {renderer}")
        raise self._error("".join(f"; {cause}" for cause in causes))

    def _error(self, causes: str) -> LockedError:
        told = "\n  ".join(self.faults[:_SHOWN]) or "its rows stand in another order"
        more = f"\n  and {len(self.faults) - _SHOWN} more" if len(self.faults) > _SHOWN else ""
        return LockedError(f"{self.name}: is not as locked, nothing was committed{causes}:\n  {told}{more}")


def is_as_locked(manifest: Committed, locked: LockedSlice) -> bool:
    """Whether a committed slice has the locked rows, in their order and their blocks."""
    return (manifest.content_hash, manifest.container, manifest.items_per_slice) == (
        locked.content_hash,
        locked.container,
        locked.items_per_slice,
    )


def _as_it_stands(
    version: Path,
) -> Iterator[tuple[str, tuple[dict[int, bytes], set[tuple[int | None, str]]]]]:
    """Items of a committed version: digests by record, rejects."""
    index = IndexFile(version / INDEX_FILE).read_all().select(["record", "digest"])
    rows = zip(index.column(0).to_pylist(), index.column(1).to_pylist(), strict=True)
    rejects: dict[str, set[tuple[int | None, str]]] = {}
    for one in read_rejects(version):
        rejects.setdefault(one.key, set()).add((one.record, str(one.reason)))
    for entry in read_items_ledger(version):
        yield entry.key, (dict(next(rows) for _ in range(entry.rows)), rejects.get(entry.key, set()))


def _emptied(row: Row) -> Row:
    return {**dict.fromkeys(CONTENT_COLUMNS), **row, "remarks": {}}


def _without_fetch(item: LockedItem) -> list[Row | Reject]:
    """An item's results from the lock alone: its rows as a takedown leaves them, and its rejects, by record."""
    found: list[tuple[int, Row | Reject]] = [(row["record"], _emptied(row)) for row in item.rows()]
    found += [(-1 if reject.record is None else reject.record, reject) for reject in item.rejects]
    return [result for _, result in sorted(found, key=lambda one: one[0])]


def _place(item: LockedItem, record: int | None) -> str:
    alone = len(item.digests) + len(item.rejects) == 1
    return item.key if record is None or (alone and record == 0) else f"{item.key}, record {record}"


def _difference(before: Row, now: Row) -> str:
    told = [what for name, what in _COMPARED.items() if before[name] != now[name]]
    told = told or [name for name in ("id", "label", "origin", "image_facts") if before[name] != now[name]]
    return " and ".join(told) or "extra"
