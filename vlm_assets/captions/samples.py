"""Records of an image and what is said of it: one, or one a caption."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from vlm_assets.captions.conversations import Message, conversation_of
from vlm_assets.captions.turns import ConversationError
from vlm_assets.words.errors import Reject, RejectReason
from vlm_assets.words.records import Record, RecordImage


class Talk(NamedTuple):
    """A record's part of what was a conversation upstream."""

    messages: Sequence[Message] | None = None
    beside: Mapping[str, Any] = {}
    """For `extra`: what stood beside the conversation, under the name of its column."""
    remarks: Mapping[str, int] = {}


def talk_of(said: Sequence[Any] | None, images: int) -> Talk:
    """A conversation's column and value, as listings keep them, normalised to so many images; an empty cell's: none.

    Raises:
        ConversationError: it is no conversation.
    """
    column, value = said or ("", None)
    found = conversation_of(value, images)
    if found is None:
        return Talk()
    beside = {column: dict(found.beside)} if found.beside else {}
    return Talk(found.messages, beside, {str(change): count for change, count in found.changes.items()})


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
        yield Record(item, first_record, key, [image], origin, extra=whole)
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
        upstream = len(targets) or 1
        try:
            talk = talk_of(said.get("messages"), upstream)
        except ConversationError as error:
            yield Reject(item, RejectReason.BAD_CONVERSATION, str(error)[:300], record)
            continue
        yield Record(
            item, record, caption_key(key, number + 1, len(captions)), images, origin,
            text=said.get("text"), messages=talk.messages,
            extra={**(extra or {}), **(said.get("extra") or {}), **talk.beside} or None,
            images_upstream=upstream, remarks=talk.remarks,
        )  # fmt: skip


def _named(image: RecordImage, column: str, record_origin: str) -> RecordImage:
    return replace(image, name=column, origin=None if image.origin == record_origin else image.origin)
