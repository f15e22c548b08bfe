"""Conversations for tests, written in every form that upstream has."""

import json
from collections.abc import Callable, Sequence
from typing import Any, Final

IMAGE: Final = None
"""The place of an image among the texts of a turn."""

Said = Sequence[str | None]
Talk = Sequence[tuple[str, Said]]
"""Turns: `system`, `user` or `assistant`, and what is said."""

_LLAVA: Final = {"system": "system", "user": "human", "assistant": "gpt"}


def marked(said: Said, mark: str = "<image>") -> str:
    return "\n".join(mark if one is IMAGE else one for one in said)


def parts(said: Said, image: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    place = image or {"type": "image"}
    return [place if one is IMAGE else {"type": "text", "text": one} for one in said]


def messages(talk: Talk) -> list[dict[str, Any]]:
    """As the corpus keeps it."""
    return [
        {"role": role, "content": parts(said, {"type": "image", "text": None})} for role, said in talk if said
    ]


def role_content(talk: Talk) -> list[dict[str, Any]]:
    return [{"role": role, "content": marked(said)} for role, said in talk]


def from_value(talk: Talk) -> list[dict[str, Any]]:
    return [{"from": _LLAVA[role], "value": marked(said)} for role, said in talk]


def user_assistant(talk: Talk) -> list[dict[str, Any]]:
    """FineVision's pairs; the talk has to go back and forth between `user` and `assistant`."""
    said = [marked(one) for _, one in talk]
    return [{"user": asked, "assistant": told} for asked, told in zip(said[::2], said[1::2], strict=True)]


def content_parts(talk: Talk) -> list[dict[str, Any]]:
    url = {"type": "image_url", "image_url": {"url": "https://images.example.org/1.jpg"}}
    return [{"role": role, "content": parts(said, url)} for role, said in talk]


def arrow_parts(talk: Talk) -> list[dict[str, Any]]:
    """As Arrow gives parts back: every part with all fields."""
    image = {"type": "image", "text": None, "image_url": None}
    return [
        {"role": role, "content": [{"text": None, "image_url": None, **part} for part in parts(said, image)]}
        for role, said in talk
    ]


def object_of_lists(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    return {name: [row[name] for row in rows] for name in rows[0]}


FORMS: Final[dict[str, Callable[[Talk], Any]]] = {
    "role-content": role_content,
    "from-value": from_value,
    "content-parts": content_parts,
    "arrow-parts": arrow_parts,
    "role-content-lists": lambda talk: object_of_lists(role_content(talk)),
    "from-value-lists": lambda talk: object_of_lists(from_value(talk)),
    "content-parts-lists": lambda talk: object_of_lists(content_parts(talk)),
    "parts-lists-lists": lambda talk: object_of_lists(
        [{**row, "content": object_of_lists(row["content"])} for row in arrow_parts(talk)]
    ),
    "role-content-json": lambda talk: json.dumps(role_content(talk)),
    "from-value-json": lambda talk: json.dumps(from_value(talk), ensure_ascii=False).encode(),
    "content-parts-json": lambda talk: json.dumps(content_parts(talk)),
    "lists-json": lambda talk: json.dumps(object_of_lists(from_value(talk))),
    "parts-as-text": lambda talk: [
        {**row, "content": json.dumps(row["content"])} for row in content_parts(talk)
    ],
    "normalised": messages,
}
"""All that can say any talk."""

PAIRED: Final[dict[str, Callable[[Talk], Any]]] = {
    "user-assistant": user_assistant,
    "user-assistant-lists": lambda talk: object_of_lists(user_assistant(talk)),
    "user-assistant-json": lambda talk: json.dumps(user_assistant(talk)),
}
"""Those that say talks of user and assistant in turn."""
