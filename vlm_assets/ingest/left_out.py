"""What a slice's items held besides records: left out, or gone with records. Kept apart from these, and counted."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

from vlm_assets.words.caption_rows import sum_counts
from vlm_assets.words.errors import Companion, LeftOut, Reject
from vlm_assets.words.records import Event, Item, JoinedCaptions, Record


class LeftOutOfItems:
    """Takes what is no record out of a stream of events; an item that gave nothing else has been dealt with."""

    def __init__(self, items: Iterable[Item]) -> None:
        self._keys = frozenset(item.key for item in items)
        self.by_item: defaultdict[str, list[LeftOut]] = defaultdict(list)
        """What was left out of an item, by its key."""
        self.companions: Counter[str] = Counter()
        """How many members went with an item's records, by its key."""
        self.caption_rows: dict[str, dict[str, Any]] = {}
        """What became of captions in an item or beside it, by its key."""

    def strip(self, events: Iterable[Event]) -> Iterator[Record | Reject]:
        """The records and rejects."""
        for event in events:
            if isinstance(event, LeftOut):
                self.by_item[self._item_of(event.key)].append(event)
            elif isinstance(event, Companion):
                self.companions[self._item_of(event.key)] += event.members
            elif isinstance(event, JoinedCaptions):
                known = self.caption_rows.get(event.item, {})
                self.caption_rows[event.item] = sum_counts([known, event.counts])
            else:
                yield event

    def _item_of(self, key: str) -> str:
        """The item that something lay in: the longest listed key that is it or a folder above it."""
        above = key
        while above and above not in self._keys:
            above = above.rpartition("/")[0]
        return above or key
