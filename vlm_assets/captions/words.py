"""What one row says: its text, its conversation, its other columns."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from vlm_assets.captions.json_values import json_value
from vlm_assets.captions.turns import MESSAGES_NAMES, ConversationError, read_turns, says_nothing
from vlm_assets.words.errors import SourceError

TEXT_NAMES: Final = ("text", "caption", "captions", "txt", "description", "sentence", "alt_text", "TEXT")
"""Columns that are the text where none is declared, the first that has one."""
_PLACES: Final = {name: place for place, name in enumerate(TEXT_NAMES)}


@dataclass(frozen=True, slots=True)
class Words:
    """What is said of an image once. All JSON values."""

    text: str | None = None
    messages: tuple[str, Any] | None = None
    """A conversation's column and value as upstream has it: normalised when the number of images is certain."""
    extra: Mapping[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """What there is of it."""
        messages = None if self.messages is None else list(self.messages)
        told = {"text": self.text, "messages": messages, "extra": dict(self.extra) or None}
        return {name: value for name, value in told.items() if value is not None}

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> "Words":
        """From `as_json`."""
        messages = told.get("messages")
        return cls(told.get("text"), None if messages is None else tuple(messages), told.get("extra") or {})


def words_of(
    values: Mapping[str, Any],
    where: str,
    *,
    text_column: str | None = None,
    messages_column: str | None = None,
) -> Words:
    """The words of a row. `text_column` may lead into a value (`meta.caption`).

    What is not declared is found where it is plain: text under a usual name, a conversation under one of its own.

    Raises:
        SourceError: the declared text column holds objects, which is no text.
    """
    talk = messages_column or next((n for n in MESSAGES_NAMES if _is_conversation(values.get(n))), None)
    rest = dict(values)
    value = rest.pop(talk, None) if talk else None
    messages = None if talk is None or says_nothing(value) else (talk, json_value(value))
    chosen = text_column or _text_column(rest)
    if chosen is None:
        return Words(None, messages, {name: json_value(value) for name, value in rest.items()})
    name, _, inner = (chosen, "", "") if chosen in rest else chosen.partition(".")
    text = as_text(_dug(rest.get(name), inner), f"{where}: column {chosen!r}")
    if not inner:
        rest.pop(name, None)
    return Words(text, messages, {other: json_value(value) for other, value in rest.items()})


def usual_texts(names: Iterable[str]) -> list[str]:
    """Those of the columns that are the text where none is declared, in turn; in other letters (`Caption`) last."""
    found = (name for name in names if name.lower() in _PLACES)
    return sorted(
        found, key=lambda name: (name not in _PLACES, _PLACES.get(name, _PLACES[name.lower()]), name)
    )


def _is_conversation(value: Any) -> bool:
    if not isinstance(value, (list, dict, str)) or not value:
        return False
    try:
        read_turns(value)
    except ConversationError:
        return False
    return True


def _text_column(values: Mapping[str, Any]) -> str | None:
    """The first usual column with a text; where none has one, the first that is empty."""
    there = usual_texts(values)
    filled = (name for name in there if _is_text(values[name]))
    blank = (name for name in there if values[name] is None or values[name] == "")
    return next(filled, None) or next(blank, None)


def _is_text(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return bool(value) and all(one is None or isinstance(one, str) for one in value) and any(value)
    return bool(plain_text(value).strip())


def plain_text(value: Any) -> str:
    """A text as it is, and one whose bytes no writer has called text; "" of anything else."""
    if not isinstance(value, bytes):
        return value if isinstance(value, str) else ""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return ""


def _dug(value: Any, inner: str) -> Any:
    for part in inner.split(".") if inner else ():
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def as_text(value: Any, where: str) -> str | None:
    """A value as text: that of a list a line each, bytes as UTF-8; None where nothing is said.

    Raises:
        SourceError: objects, or bytes that are no UTF-8.
    """
    if isinstance(value, (list, tuple)):
        parts = [text for one in value if (text := as_text(one, where)) is not None]
        return "\n".join(parts) or None
    if isinstance(value, Mapping):
        raise SourceError(f"{where} holds objects, no text; name a conversation as messages_column")
    if value is None:
        return None
    if isinstance(value, bytes):
        try:
            value = value.decode()
        except UnicodeDecodeError:
            raise SourceError(f"{where} holds bytes that are no text in UTF-8") from None
    text = value if isinstance(value, str) else str(json_value(value))
    return text if text.strip() else None
