"""A record's conversation as the `messages` column holds it, with each image in its place.

Pure. The forms that upstream may have are read in `turns`, what counts as a mark of an image stands in `marks`.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, TypedDict

from vlm_assets.captions.marks import MAX_MARKS, Mark, MarksError, split_at_marks, without_marks
from vlm_assets.captions.turns import ConversationError, Turn, read_turns, says_nothing
from vlm_assets.words.counts import so_many


class Part(TypedDict):
    """A piece of a message: words, or the place of the record's next image (`text` is None)."""

    type: str
    text: str | None


class Message(TypedDict):
    """One turn: `role` is `system`, `user` or `assistant`; `content` is never empty."""

    role: str
    content: list[Part]


class Change(StrEnum):
    """What was changed in a conversation beside its form; counted, to be told to people."""

    UNMARKED = "unmarked"
    """The words had no mark: the images were put first in the first user turn. 1 a conversation."""
    MISMATCHED = "mismatched"
    """The marks were not the images, in number or in order: removed, the images put first. 1 a conversation."""
    MARKS_REMOVED = "marks_removed"
    """Marks that were removed and stand for no image."""
    EMPTY_REMOVED = "empty_removed"
    """Texts and turns without any words, removed."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """A conversation as the corpus keeps it, and what became of upstream's."""

    messages: list[Message]
    changes: Mapping[Change, int]
    """How often each change was made; none that was not."""
    beside: Mapping[str, Any]
    """For `extra`: upstream's fields that are no part of the conversation, in most cases a list with a value for each
    upstream turn. Values are Arrow's or JSON's."""


_Pieces = list[str | Mark]
_Placed = list[tuple[str, _Pieces]]
_IMAGE: Final = "image"
_TEXT: Final = "text"


def conversation_of(value: object, image_count: int) -> Conversation | None:
    """The conversation in a cell, normalised; None where the cell is empty, as `says_nothing` has it.

    Raises:
        ConversationError: as `normalise`.
    """
    return None if says_nothing(value) else normalise(value, image_count)


def normalise(value: object, image_count: int) -> Conversation:
    """The conversation in a cell: text in NFC, exactly `image_count` image parts, no mark left in any text.

    Marks and image parts become image parts in their places when they are as many as the images, and their numbers,
    where they have some, count up from 0 or 1. Image parts alone being as many, marks in texts are removed. Otherwise
    all marks are removed and the images stand first in the first user turn, as they do where there is no mark. Texts
    and turns without words are removed. A normalised conversation is returned as it is.

    Raises:
        ConversationError: not a conversation, no user turn, no words; the message is a reject's detail. An empty
            cell is an error too: `conversation_of` takes those.
    """
    reading = read_turns(value)
    if not any(turn.role == "user" for turn in reading.turns):
        raise ConversationError("the conversation has no user turn")
    changes: Counter[Change] = Counter()
    try:
        placed = _place(reading.turns, image_count, changes)
    except MarksError as error:
        raise ConversationError(str(error)) from None
    messages = _messages(placed, changes)
    if not any(message["role"] == "user" for message in messages):
        raise ConversationError("the conversation has no user turn that says anything")
    if not any(part["type"] == _TEXT for message in messages for part in message["content"]):
        raise ConversationError("the conversation has no words")
    return Conversation(messages, {change: n for change, n in changes.items() if n}, reading.beside)


def _place(turns: Sequence[Turn], image_count: int, changes: Counter[Change]) -> _Placed:
    """Turns with as many marks as images, in their places or first; the texts have none."""
    split = [(turn.role, _split(turn.pieces)) for turn in turns]
    marks = [piece for _, pieces in split for piece in pieces if isinstance(piece, Mark)]
    if len(marks) > MAX_MARKS:
        raise ConversationError(
            f"the conversation has {so_many(len(marks), 'mark')} of images, at most {MAX_MARKS}"
        )
    if _are_the_images(marks, image_count):
        return split
    parts = [mark for mark in marks if mark.part]
    if parts and _are_the_images(parts, image_count):
        changes[Change.MARKS_REMOVED] += len(marks) - len(parts)
        return [(turn.role, _stripped(turn.pieces, keep_parts=True)) for turn in turns]
    changes[Change.MARKS_REMOVED] += len(marks)
    changes[Change.MISMATCHED if marks else Change.UNMARKED] += 1
    bare = [(turn.role, _stripped(turn.pieces, keep_parts=False)) for turn in turns]
    next(pieces for role, pieces in bare if role == "user")[:0] = [Mark()] * image_count
    return bare


def _are_the_images(marks: Sequence[Mark], image_count: int) -> bool:
    """Whether these are the record's images one for one: so many, and numbered in the images' own order."""
    numbers = [(place, mark.number) for place, mark in enumerate(marks) if mark.number is not None]
    in_order = any(all(number == place + first for place, number in numbers) for first in (0, 1))
    return len(marks) == image_count and in_order


def _split(pieces: Sequence[str | Mark]) -> _Pieces:
    return [one for piece in pieces for one in (split_at_marks(piece) if isinstance(piece, str) else [piece])]


def _stripped(pieces: Sequence[str | Mark], *, keep_parts: bool) -> _Pieces:
    kept: _Pieces = []
    for piece in pieces:
        if isinstance(piece, Mark):
            kept += [piece] if keep_parts else []
        else:
            words = without_marks(piece)
            kept += (
                [words] if words or not piece else []
            )  # a text that was nothing but marks is gone with them
    return kept


def _messages(placed: _Placed, changes: Counter[Change]) -> list[Message]:
    messages: list[Message] = []
    for role, pieces in placed:
        said = [piece for piece in pieces if isinstance(piece, Mark) or piece.strip()]
        changes[Change.EMPTY_REMOVED] += len(pieces) - len(said) if said else 1
        if said:
            messages.append({"role": role, "content": [_part(piece) for piece in said]})
    return messages


def _part(piece: str | Mark) -> Part:
    return {"type": _IMAGE, "text": None} if isinstance(piece, Mark) else {"type": _TEXT, "text": piece}
