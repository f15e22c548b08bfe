"""Takedowns at the door: what they name by its address is neither asked for nor let in, whatever its kind."""

from collections.abc import Iterable, Iterator, Sequence

from vlm_assets.store.tombstones import StoredTombstones
from vlm_assets.transfer.taken_urls import TakenUrls
from vlm_assets.words.errors import Reject, RejectReason
from vlm_assets.words.records import Item, Record
from vlm_assets.words.schema import Row, without_content


class TakenRows:
    """`row in taken`: whether a takedown covers the row: its id, one of its images, or where it came from."""

    def __init__(self, takedowns: StoredTombstones) -> None:
        self._takedowns = takedowns
        self.urls = TakenUrls(takedowns.urls)

    def __bool__(self) -> bool:
        return bool(self._takedowns.names)

    def __contains__(self, row: Row) -> bool:
        down = self._takedowns
        return (
            row["id"] in down.ids
            or any(fact["sha256"] in down.image_sha256 for fact in row["image_facts"])
            or row["origin"] in self.urls
        )

    def strip(self, row: Row) -> Row:
        """The row, emptied where it was taken down: an image that comes in again by another way stays out."""
        return without_content(row) if self and row in self else row


def is_taken(item: Item, taken: TakenUrls) -> bool:
    """Whether a takedown names an address that the item is fetched from: `url` or one of `urls` in its payload."""
    if not taken:
        return False
    urls = [item.payload.get("url"), *item.payload.get("urls", ())]
    return any(isinstance(url, str) and url in taken for url in urls)


def at_the_door(
    items: Sequence[Item], events: Iterable[Record | Reject], taken: TakenUrls
) -> Iterator[Record | Reject]:
    """The events of the items that no takedown names, with a reject in its place for each that one does.

    A record is a reject too where a takedown names its origin, or that of one of its images.
    """
    places = {item.key: place for place, item in enumerate(items)}
    refused = [item.key for item in reversed(items) if is_taken(item, taken)]
    for event in events:
        while refused and places[refused[-1]] < places.get(event.item, -1):
            yield Reject(refused.pop(), RejectReason.TOMBSTONED)
        if isinstance(event, Record) and _is_named(event, taken):
            yield Reject(event.item, RejectReason.TOMBSTONED, record=event.record)
        else:
            yield event
    yield from (Reject(key, RejectReason.TOMBSTONED) for key in reversed(refused))


def _is_named(record: Record, taken: TakenUrls) -> bool:
    return record.origin in taken or any(one.origin and one.origin in taken for one in record.images)
