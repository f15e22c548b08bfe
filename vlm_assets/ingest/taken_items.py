"""Takedowns at the door: what they name by its address is neither asked for nor let in, whatever its kind."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import sha256

from vlm_assets.ingest.rows import Outcome, readable_images
from vlm_assets.ingest.taken_words import is_taken, words_left
from vlm_assets.store.tombstones import StoredTombstones
from vlm_assets.transfer.taken_urls import TakenUrls
from vlm_assets.words.errors import Reject, RejectReason
from vlm_assets.words.layout import sample_id
from vlm_assets.words.records import Item, Record
from vlm_assets.words.schema import Row, without_content


class TakenRows:
    """`row in taken`: whether a takedown covers the row: its id, one of its images, or where it came from.

    Remembers what came in though it is covered, rows and rejects, by id with the identity of its item: `met`.
    """

    def __init__(self, takedowns: StoredTombstones, slice_name: str = "") -> None:
        """`slice_name`: `<source>/<slice>`, with which ids begin."""
        self._takedowns = takedowns
        self._slice = slice_name
        self._identities: dict[str, str] = {}
        self.urls = TakenUrls(takedowns.urls)
        self._whole_urls = TakenUrls(takedowns.whole_urls)
        self.met: dict[str, str] = {}

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

    def expect(self, items: Iterable[Item]) -> None:
        """What the slice has; items that are refused for their address count as met, where they have words."""
        if not self:
            return
        for item in items:
            self._identities[item.key] = item.identity
            if is_taken(item, self._whole_urls):
                self.met |= {f"{self._slice}/{key}": item.identity for key in words_left(item)}

    def see(self, row: Row, item: str) -> None:
        """Remembers a row of the item with that key, where it is covered."""
        if self and row in self:
            self.met[row["id"]] = self._identities.get(item, "")

    def watch(self, outcomes: Iterable[Outcome], max_bytes: int) -> Iterable[Outcome]:
        """Passes on what became of records, and remembers those that are covered; of rejects by what can be read."""
        return self._watched(outcomes, max_bytes) if self else outcomes

    def _watched(self, outcomes: Iterable[Outcome], max_bytes: int) -> Iterator[Outcome]:
        for event, result in outcomes:
            if not isinstance(result, Reject):
                self.see(result, event.item)
            elif isinstance(event, Record):
                self._see_reject(event, readable_images(event, max_bytes))
            yield event, result

    def _see_reject(self, record: Record, images: Iterable[bytes]) -> None:
        taken = self._takedowns.image_sha256
        if taken and any(sha256(data).hexdigest() in taken for data in images):
            self._meet(record)

    def see_refused(self, record: Record) -> None:
        """Remembers a record that was refused for its address, unless that was named for another row alone."""
        if _is_named(record, self._whole_urls):
            self._meet(record)

    def _meet(self, record: Record) -> None:
        source, slice_key = self._slice.split("/")
        self.met[sample_id(source, slice_key, record.key)] = self._identities.get(record.item, "")


def at_the_door(
    items: Sequence[Item],
    events: Iterable[Record | Reject],
    taken: TakenUrls,
    refuse: Callable[[Record], None] = lambda record: None,  # noqa: ARG005 - does nothing
) -> Iterator[Record | Reject]:
    """The events of the items that no takedown names, with a reject in its place for each that one does.

    A record is a reject too where a takedown names its origin, or that of one of its images; `refuse` is told of it.
    """
    places = {item.key: place for place, item in enumerate(items)}
    refused = [item.key for item in reversed(items) if is_taken(item, taken)]
    for event in events:
        while refused and places[refused[-1]] < places.get(event.item, -1):
            yield Reject(refused.pop(), RejectReason.TOMBSTONED)
        if isinstance(event, Record) and _is_named(event, taken):
            refuse(event)
            yield Reject(event.item, RejectReason.TOMBSTONED, record=event.record)
        else:
            yield event
    yield from (Reject(key, RejectReason.TOMBSTONED) for key in reversed(refused))


def _is_named(record: Record, taken: TakenUrls) -> bool:
    return record.origin in taken or any(one.origin and one.origin in taken for one in record.images)
