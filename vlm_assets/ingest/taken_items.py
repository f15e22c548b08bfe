"""Takedowns at the door: what they name by its address is neither asked for nor let in, whatever its kind."""

from collections.abc import Iterable, Iterator, Sequence

from vlm_assets.transfer.taken_urls import TakenUrls
from vlm_assets.words.errors import Reject, RejectReason
from vlm_assets.words.records import Item, Record


def is_taken(item: Item, taken: TakenUrls) -> bool:
    """Whether a takedown names an address that the item is fetched from: `url` or one of `urls` in its payload."""
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
