"""Records of an image and what is said of it: one, or one a caption."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from vlm_assets.captions.conversations import normalise
from vlm_assets.captions.turns import ConversationError
from vlm_assets.words.errors import Reject, RejectReason
from vlm_assets.words.records import Record, RecordImage


def caption_key(key: str, number: int, count: int) -> str:
    """The key of a sample: that of its image, with the caption's number from 1 where the image has several."""
    return key if count == 1 else f"{key}#caption={number}"


def caption_events(
    item: str,
    key: str,
    origin: str,
    image: RecordImage,
    captions: Sequence[Mapping[str, Any]],
    *,
    open_image: Callable[[str], RecordImage] | None = None,
    extra: Mapping[str, Any] | None = None,
    first_record: int = 0,
) -> Iterator[Record | Reject]:
    """A record for each caption in an item's payload, one without words where it has none.

    `open_image` gives the other images of rows that name several, by key. `extra` stands below the captions' own.
    A row that names an image which is not there, or whose conversation is none, is a reject.
    """
    if not captions:
        whole = dict(extra) if extra else None
        yield Record(item, first_record, key, [image], origin, extra=whole, images_upstream=1)
        return
    for number, said in enumerate(captions):
        record = first_record + number
        targets = said.get("images") or []
        missing = [
            f"{column} names {name!r}, which is not there" for column, name, found in targets if found is None
        ]
        if missing:
            yield Reject(item, RejectReason.NOT_FOUND, "; ".join(missing)[:300], record)
            continue
        images = [image]
        if targets and open_image is not None:
            images = [_named(open_image(found), column, origin) for column, _, found in targets]
        try:
            column, value = said.get("messages") or ("", None)
            talk = None if value is None else normalise(value, len(images))
        except ConversationError as error:
            yield Reject(item, RejectReason.BAD_CONVERSATION, str(error)[:300], record)
            continue
        beside = {column: dict(talk.beside)} if talk is not None and talk.beside else {}
        yield Record(
            item, record, caption_key(key, number + 1, len(captions)), images, origin,
            text=said.get("text"), messages=None if talk is None else talk.messages,
            extra={**(extra or {}), **(said.get("extra") or {}), **beside} or None, images_upstream=len(images),
            remarks={} if talk is None else {str(change): count for change, count in talk.changes.items()},
        )  # fmt: skip


def _named(image: RecordImage, column: str, record_origin: str) -> RecordImage:
    return replace(image, name=column, origin=None if image.origin == record_origin else image.origin)
