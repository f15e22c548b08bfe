"""The two ledgers of a slice under way: what became of each item, and every reject with its reason."""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Final

import orjson

from vlm_assets.ingest.retries import due_at
from vlm_assets.store.left_out import counts_of
from vlm_assets.store.slices import ItemEntry, RejectEntry
from vlm_assets.words.caption_counts import GUESSED_NAME
from vlm_assets.words.caption_rows import sum_counts
from vlm_assets.words.counts import so_many
from vlm_assets.words.errors import (
    UNREAD,
    LeftOut,
    Reject,
    RejectReason,
    RejectToleranceError,
    SourceError,
    told_why,
)
from vlm_assets.words.records import Item
from vlm_assets.words.schema import Row
from vlm_assets.words.tolerance import Tolerance, tolerance_for

_HARMLESS: Final = frozenset({RejectReason.DUPLICATE_ITEM, RejectReason.TOMBSTONED, RejectReason.TEST_MODE})
"""Rejects that tell nothing about the source's health: outside `reject_tolerance`."""
_MAX_GUESSED: Final = 2000
_MAX_NAMED: Final = 5
"""Rejects that a message names."""
_ARCHIVE: Final = re.compile(r"^[^!#]*[!#]")


@dataclass(slots=True)
class Ledgers:
    """Counts while rows pass through. items = fetched + rejected; records = rows + rejected records."""

    slice_name: str
    """`source/slice`, for messages."""
    attempts: Mapping[str, int]
    """Earlier attempts of items that are fetched again."""
    items: list[ItemEntry] = field(default_factory=list)
    rejects: list[RejectEntry] = field(default_factory=list)
    left_out: dict[str, Sequence[LeftOut]] = field(default_factory=dict)
    """What was left out of an item, by its key, in the order of the items."""
    guessed_names: set[str] = field(default_factory=set)
    """Names in archives whose encoding nobody declares, of what was fetched; some thousand of them."""

    def count(self, item: Item, results: Iterator[Row | Reject]) -> Iterator[Row]:
        """Passes a fetched item's rows on, keeps its rejects, and enters the item once it is through.

        Raises:
            SourceError: the item was both rejected as a whole and gave rows.
        """
        records = rows = 0
        whole = False
        remarks: Counter[str] = Counter()
        for result in results:
            if isinstance(result, Reject):
                whole = whole or result.record is None
                records += result.record is not None
                self.rejects.append(_entry(result, self.attempts.get(item.key, 0)))
            else:
                records += 1
                rows += 1
                if said := result.pop("remarks"):
                    remarks.update(said)
                    if GUESSED_NAME in said and len(self.guessed_names) < _MAX_GUESSED:
                        self.guessed_names.add(_name_in(result["origin"]))
                yield result
        if whole and rows:
            raise SourceError(f"{self.slice_name}: item {item.key!r} is both rejected and admitted")
        told = _as_json(remarks)
        self.items.append(ItemEntry(item.key, item.identity, not whole, records, rows, remarks=told))

    def keep(self, entry: ItemEntry, rejects: Sequence[RejectEntry]) -> None:
        """Enters an item of the last version as it stood there, with its rejects."""
        self.items.append(entry)
        self.rejects += rejects

    def enter_left_out(
        self,
        by_item: Mapping[str, Sequence[LeftOut]],
        companions: Mapping[str, int] = MappingProxyType({}),
        caption_rows: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
    ) -> None:
        """Takes in what items that are entered held besides records, and what became of the captions of these.

        Once all are entered; of kept ones it is known.
        """
        self.left_out = {entry.key: by_item[entry.key] for entry in self.items if by_item.get(entry.key)}
        for place, entry in enumerate(self.items):
            beyond = len(self.left_out.get(entry.key, ()))
            beside = companions.get(entry.key, entry.companions)
            said = caption_rows.get(entry.key)
            rows = entry.caption_rows if said is None else _json(said)
            if (beyond, beside, rows) != (entry.left_out, entry.companions, entry.caption_rows):
                self.items[place] = replace(entry, left_out=beyond, companions=beside, caption_rows=rows)

    def check_tolerance(self, rows: int, tolerance: Tolerance, entry: Callable[[], str] = lambda: "") -> None:
        """Returns where rejects and unread members are no more than the source tolerates.

        `entry`: the file that has the source's entry.

        Raises:
            RejectToleranceError: they are more; names the first few, and the line that admits them.
        """
        counted: list[RejectEntry | LeftOut] = [one for one in self.rejects if one.reason not in _HARMLESS]
        counted += [one for found in self.left_out.values() for one in found if one.reason in UNREAD]
        total = rows + len(counted)
        if tolerance.allows(len(counted), total):
            return
        reasons = Counter(str(reject.reason) for reject in counted)
        told = ", ".join(f"{reason} {count:,}" for reason, count in reasons.most_common())
        raise RejectToleranceError(
            f"{self.slice_name}: {len(counted):,} of {so_many(total, 'record')} are rejects ({told}), more than "
            f"{tolerance}; nothing was committed:\n{_named(counted)}\n{self._advice(reasons, total, entry)}."
        )

    def _advice(self, reasons: Counter[str], total: int, entry: Callable[[], str]) -> str:
        """What to do about so many rejects; no tolerance helps where the settings forbid the host."""
        if reasons.most_common(1)[0][0] == RejectReason.PRIVATE_ADDRESS:
            return "Allow the hosts that are yours, take the others out of the list"
        source = self.slice_name.partition("/")[0]
        line = f"`reject_tolerance: {tolerance_for(reasons.total(), total)}`"
        where = entry() or "the catalogue"
        return f"Mend the source, or write {line} to the entry {source} in {where}"

    def figures(self) -> dict[str, Any]:
        """The counts of a `SliceManifest`, by its field names."""
        fetched = sum(entry.fetched for entry in self.items)
        reasons = Counter(str(reject.reason) for reject in self.rejects)
        return {
            "items": len(self.items),
            "items_fetched": fetched,
            "items_rejected": len(self.items) - fetched,
            "records": sum(entry.records for entry in self.items),
            "records_rejected": sum(reject.record is not None for reject in self.rejects),
            "rejects": dict(sorted(reasons.items())),
            "remarks": dict(sorted(self._remarks().items())),
            "transient_rejects": sum(reject.transient for reject in self.rejects),
            "caption_rows": self._caption_rows(),
            **self._upstream(),
        }

    def _upstream(self) -> dict[str, Any]:
        """What the items held: records, companions and what was left out."""
        companions = sum(entry.companions for entry in self.items)
        left_out = counts_of(one for found in self.left_out.values() for one in found)
        records = sum(entry.records for entry in self.items)
        return {
            "upstream": records + companions + sum(left_out.values()),
            "companions": companions,
            "left_out": left_out,
        }

    def _caption_rows(self) -> dict[str, Any] | None:
        """What became of captions in and beside the items, together."""
        told = [orjson.loads(entry.caption_rows) for entry in self.items if entry.caption_rows]
        return sum_counts(told) or None

    def _remarks(self) -> Counter[str]:
        """What was mended, by kind, over all items."""
        total: Counter[str] = Counter()
        for entry in self.items:
            total.update(orjson.loads(entry.remarks) if entry.remarks else {})
        return total

    def next_retry(self) -> int:
        """Earliest time at which a transient reject is due again, Unix seconds; 0 where there is none."""
        return min((reject.next_retry for reject in self.rejects if reject.transient), default=0)


def _entry(reject: Reject, earlier: int) -> RejectEntry:
    """A reject with its attempts; a transient one is due by the common schedule, never before upstream allows."""
    attempts = earlier + 1
    transient = reject.transient and not (reject.tries and attempts >= reject.tries)
    due = due_at(attempts, reject.not_before) if transient else 0
    return RejectEntry(reject.item, reject.record, reject.reason, reject.detail, attempts, transient, due)


def _name_in(origin: str) -> str:
    """A member's name: what follows its archive in `a.zip!b/c.jpg`, of a WebDataset in `a.tar#b.jpg`."""
    return _ARCHIVE.sub("", origin, count=1)


def _as_json(remarks: Counter[str]) -> str | None:
    return _json(remarks) if remarks else None


def _json(counts: Mapping[str, Any]) -> str:
    return orjson.dumps(counts, option=orjson.OPT_SORT_KEYS).decode()


def _named(counted: Sequence[RejectEntry | LeftOut]) -> str:
    """The first few with their reasons, a line each."""
    lines = [f"  {one.key}: {told_why(one.reason, one.detail)}" for one in counted[:_MAX_NAMED]]
    more = len(counted) - len(lines)
    return "\n".join([*lines, f"  and {more:,} more"] if more else lines)
