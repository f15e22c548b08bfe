"""What was left out of a slice's items while they were fetched: counted, and kept apart from the records."""

from collections import defaultdict
from collections.abc import Iterable, Iterator

from vlm_assets.words.errors import LeftOut, Reject
from vlm_assets.words.records import Item, Record


class LeftOutOfItems:
    """Takes `LeftOut` out of a stream of events; an item that gave nothing else has still been dealt with."""

    def __init__(self, items: Iterable[Item]) -> None:
        self._keys = frozenset(item.key for item in items)
        self.by_item: defaultdict[str, list[LeftOut]] = defaultdict(list)
        """What was left out of an item, by its key."""

    def strip(self, events: Iterable[Record | Reject | LeftOut]) -> Iterator[Record | Reject]:
        """The records and rejects."""
        for event in events:
            if isinstance(event, LeftOut):
                self.by_item[self._item_of(event.key)].append(event)
            else:
                yield event

    def _item_of(self, key: str) -> str:
        """The item that something lay in: the longest listed key that is it or a folder above it."""
        above = key
        while above and above not in self._keys:
            above = above.rpartition("/")[0]
        return above or key
