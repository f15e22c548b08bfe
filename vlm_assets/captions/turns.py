"""Turns of a conversation out of a column's value, whatever form upstream gave it.

Pure. Gives turns with words and places of images as upstream has them; where the images of a record go is decided in
`conversations`.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final, TypeGuard

from vlm_assets.captions.marks import Mark
from vlm_assets.words.errors import VlmAssetsError
from vlm_assets.words.layout import nfc

MAX_CHARACTERS: Final = 16 * 2**20
"""Of the JSON text of a conversation, and of all its words together."""
MAX_TURNS: Final = 10_000
MAX_FIELDS: Final = 100
"""Different fields beside the conversation: each takes a place for every turn."""
MAX_DEPTH: Final = 16
"""Levels of lists and objects in a field beside the conversation."""

ROLES: Final[Mapping[str, str]] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
    "chatbot": "assistant",
    "model": "assistant",
    "ai": "assistant",
}
"""Upstream's names of the roles, in lower case; `<|User|>` is `user`."""
ROLE_KEYS: Final = ("role", "from")
CONTENT_KEYS: Final = ("content", "value")
PAIR_KEYS: Final = (("user", "assistant"), ("human", "gpt"))
TEXT_TYPES: Final = ("text", "input_text", "output_text")
IMAGE_TYPES: Final = ("image", "image_url", "input_image", "image_file")
_WORD_KEYS: Final = ("text", "content", "value")
_HEADS: Final = (*ROLE_KEYS, *(key for pair in PAIR_KEYS for key in pair), "type", "text")
"""Fields that are lists only where an object holds a list for each field."""
_SHORT: Final = 4096
_LONGEST_EMPTY: Final = 256
"""Characters of a JSON text that may be of nothing; longer ones are read as conversations, once."""

MESSAGES_NAMES: Final = ("messages", "conversations", "conversation", "texts")
"""Names under which a conversation is found without being named."""


class ConversationError(VlmAssetsError):
    """A row's value is no conversation; the message, one line, is the detail of its reject."""


@dataclass(frozen=True, slots=True)
class Turn:
    """What one side says: texts (NFC, marks still in them) and image parts, in order."""

    role: str
    pieces: Sequence[str | Mark]


@dataclass(frozen=True, slots=True)
class Reading:
    """A conversation as upstream has it."""

    turns: Sequence[Turn]
    beside: Mapping[str, Any]
    """Fields that are no part of the conversation: a value for each upstream turn (None where it has none)."""


def says_nothing(value: object) -> bool:
    """Whether a cell is empty: a record without a conversation, and no faulty one. The one rule for all forms.

    Null, NaN (what is missing in a column of numbers), blank text (CSV has no other null), a list without turns, an
    object whose fields are all null or lists without turns; JSON text and bytes of these. Turns that are there and
    say nothing are a conversation, and for `normalise` to judge.
    """
    if isinstance(value, (str, bytes)):
        return _is_empty_text(value.strip())
    if isinstance(value, Mapping):
        return all(one is None or (_is_list(one) and not one) for one in value.values())
    return (
        value is None or (_is_list(value) and not value) or (isinstance(value, float) and math.isnan(value))
    )


def _is_empty_text(text: str | bytes) -> bool:
    if not text or len(text) > _LONGEST_EMPTY:
        return not text
    try:
        return says_nothing(json.loads(text))
    except ValueError:
        return False


def read_turns(value: object) -> Reading:
    """The turns of a cell's value.

    Takes lists of `{role, content}`, `{from, value}` and `{user, assistant}` (with an optional `system`), the same
    as an object of lists (what a `Sequence` of `datasets` gives) or as one object, content as text or as a list of
    parts, and JSON text of all of these. Null fields count as absent, as Arrow gives every row all fields.

    Raises:
        ConversationError: anything else; a role, type or size that is not known; names the turn.
    """
    rows, beside = _rows(_parsed(value) if isinstance(value, (str, bytes)) else value)
    if not rows:
        raise ConversationError("the conversation has no turn")
    if len(rows) > MAX_TURNS:
        raise ConversationError(f"the conversation has {len(rows)} turns, at most {MAX_TURNS}")
    turns: list[Turn] = []
    columns: dict[str, list[Any]] = {}
    for number, row in enumerate(rows):
        said, others = _turns_of(row, f"turn {number + 1}")
        turns += said
        for name, other in others.items():
            columns.setdefault(name, [None] * len(rows))[number] = other
        if len(columns) > MAX_FIELDS:
            raise ConversationError(f"the turns have more than {MAX_FIELDS} different fields")
    _check_size(turns)
    return Reading(turns, {**beside, **columns})


def kind_of(value: object) -> str:
    """What a JSON-like value is, in one word for a message."""
    if value is None:
        return "null"
    names = ((bool, "a boolean"), ((int, float), "a number"), (str, "text"), (bytes, "bytes"),
             (Mapping, "an object"), ((list, tuple), "a list"))  # fmt: skip
    return next((name for types, name in names if isinstance(value, types)), type(value).__name__)


def _parsed(text: str | bytes) -> object:
    if len(text) > MAX_CHARACTERS:
        raise ConversationError(f"JSON of {len(text)} characters, at most {MAX_CHARACTERS}")
    try:
        return json.loads(text)
    except RecursionError:
        raise ConversationError("JSON nested too deep") from None
    except ValueError as error:
        reason = error.msg if isinstance(error, json.JSONDecodeError) else "not UTF-8"
        raise ConversationError(f"text that is no JSON ({reason}); a conversation as text is JSON") from None


def _rows(value: object) -> tuple[Sequence[Mapping[str, Any]], dict[str, Any]]:
    """The turns of a value as objects, and the fields that an object of lists has for the whole conversation."""
    if isinstance(value, Mapping):
        return _transposed(value, "the conversation")
    if not _is_list(value):
        raise ConversationError(f"the conversation is {kind_of(value)}, not a list of turns")
    for number, row in enumerate(value):
        if not isinstance(row, Mapping):
            raise ConversationError(f"turn {number + 1} is {kind_of(row)}, not an object")
    return value, {}


def _transposed(value: Mapping[str, Any], where: str) -> tuple[Sequence[Mapping[str, Any]], dict[str, Any]]:
    """An object of lists as a list of objects; an object without lists as the only one."""
    if not any(_is_list(value.get(name)) for name in _HEADS):
        return [value], {}
    spoken = {name: len(value[name]) for name in (*_HEADS, *CONTENT_KEYS) if _is_list(value.get(name))}
    if len(set(spoken.values())) > 1:
        lengths = ", ".join(f"{name} {length}" for name, length in spoken.items())
        raise ConversationError(f"{where} is an object of lists that differ in length: {lengths}")
    length = next(iter(spoken.values()))
    lists = {name: one for name, one in value.items() if _is_list(one) and len(one) == length}
    rows = [dict(zip(lists, cells, strict=True)) for cells in zip(*lists.values(), strict=True)]
    others = {str(name): one for name, one in value.items() if name not in lists and one is not None}
    for one in others.values():
        _check_depth(one, where)
    return rows, others


def _is_list(value: object) -> TypeGuard[Sequence[Any]]:
    return isinstance(value, (list, tuple))


def _turns_of(row: Mapping[str, Any], where: str) -> tuple[list[Turn], dict[str, Any]]:
    """The one turn of an object, or the two or three of a pair; and its other fields."""
    sides, taken = _sides(row, where)
    turns: list[Turn] = []
    beside: dict[str, Any] = {}
    for role, key in sides:
        pieces, references = _pieces(row.get(key), f"{where}, {key}")
        turns.append(Turn(role, pieces))
        if any(references):
            beside[key] = references
    for name, other in row.items():
        if name not in taken and other is not None:
            _check_depth(other, f"{where}, {_shown(name)}")
            beside[str(name)] = other
    return turns, beside


def _sides(row: Mapping[str, Any], where: str) -> tuple[list[tuple[str, str]], set[str]]:
    """Role and key of everything that is said in an object of a turn, and the keys that this uses up."""
    role_key = next((name for name in ROLE_KEYS if row.get(name) is not None), None)
    if role_key is not None:
        there = [name for name in CONTENT_KEYS if name in row]
        if there:
            key = next((name for name in there if row[name] is not None), there[0])
            return [(_role(row[role_key], where), key)], {role_key, key}
    pairs = [pair for pair in PAIR_KEYS if any(key in row for key in pair)]
    if pairs:
        said = (pair for pair in pairs if any(row.get(key) is not None for key in pair))
        asked, answered = next(said, pairs[0])
        sides = [("user", asked), ("assistant", answered)]
        if row.get("system") is not None:
            sides.insert(0, ("system", "system"))
        return sides, {key for _, key in sides}
    fields = ", ".join(_shown(name) for name, one in row.items() if one is not None) or "none"
    raise ConversationError(
        f"{where} has the fields {fields}; a turn has role and content, from and value, or user and assistant"
    )


def _role(name: object, where: str) -> str:
    if not isinstance(name, str):
        raise ConversationError(f"{where}: the role is {kind_of(name)}, not text")
    role = ROLES.get(name.strip().removeprefix("<|").removesuffix("|>").lower())
    if role is None:
        raise ConversationError(f"{where}: unknown role {_shown(name)}; there are {', '.join(ROLES)}")
    return role


def _pieces(content: object, where: str) -> tuple[list[str | Mark], list[dict[str, Any]]]:
    """Texts and image parts of a content, and what else its parts hold (an object for each part)."""
    if content is None:
        return [], []
    others: dict[str, Any] = {}
    if isinstance(content, str):
        parts = _json_parts(content)
        if parts is None:
            return [nfc(content)], []
        content = parts
    if isinstance(content, Mapping):
        content, others = _transposed(content, where)
    if not _is_list(content):
        raise ConversationError(f"{where} is {kind_of(content)}, neither text nor a list of parts")
    read = [_piece(part, f"{where}, part {number + 1}") for number, part in enumerate(content)]
    return [piece for piece, _ in read], [*(beside for _, beside in read), *([others] if others else [])]


def _json_parts(text: str) -> list[Any] | None:
    """Content parts that upstream keeps as text; None where the text is words, which may be JSON too."""
    if not (text.startswith("[") and '"type"' in text and len(text) <= MAX_CHARACTERS):
        return None
    try:
        parts = json.loads(text)
    except (ValueError, RecursionError):
        return None
    known = {*TEXT_TYPES, *IMAGE_TYPES}
    plain = all(isinstance(part, dict) and _type_name(part) in known for part in parts)
    return list(parts) if parts and plain else None


def _type_name(part: Mapping[str, Any]) -> str | None:
    kind = part.get("type")
    return kind.lower() if isinstance(kind, str) else None


def _piece(part: object, where: str) -> tuple[str | Mark, dict[str, Any]]:
    if isinstance(part, str):
        return nfc(part), {}
    if not isinstance(part, Mapping):
        raise ConversationError(f"{where} is {kind_of(part)}, not an object")
    fields = {str(name): one for name, one in part.items() if one is not None}
    kind = fields.pop("type", None) or _untyped(fields, where)
    name = kind.lower() if isinstance(kind, str) else ""
    if name in IMAGE_TYPES:
        index = fields.get("index")
        number = fields.pop("index") if isinstance(index, int) and not isinstance(index, bool) else None
        return Mark(number, part=True), {
            key: _reference(one, where) for key, one in fields.items() if one != ""
        }
    if name not in TEXT_TYPES:
        shown = _shown(kind) if isinstance(kind, str) else kind_of(kind)
        known = ", ".join((*TEXT_TYPES, *IMAGE_TYPES))
        raise ConversationError(f"{where} is of type {shown}; the types are {known}")
    words = fields.pop(next((key for key in _WORD_KEYS if key in fields), "text"), "")
    if not isinstance(words, str):
        raise ConversationError(f"{where}: its text is {kind_of(words)}")
    for one in fields.values():
        _check_depth(one, where)
    return nfc(words), fields


def _untyped(fields: Mapping[str, Any], where: str) -> str:
    """Type of a part that does not say it, as Qwen-VL writes `{image: path}` and `{text: words}`."""
    found = [name for name in ("text", *IMAGE_TYPES) if name in fields]
    if len(found) != 1:
        shown = ", ".join(_shown(name) for name in fields) or "none"
        raise ConversationError(f"{where} has no type, and the fields {shown}")
    return found[0]


def _reference(value: Any, where: str) -> Any:
    """What an image part says of its image (path, URL, detail), with the image itself as its hash.

    The record's images are the bytes; a second copy of them must not stand among its words.
    """
    _check_depth(value, where)
    if isinstance(value, str) and (len(value) > _SHORT or value.startswith("data:")):
        value = value.encode("utf-8", "surrogatepass")
    if isinstance(value, bytes):
        return {"sha256": sha256(value).hexdigest(), "size_bytes": len(value)}
    if isinstance(value, Mapping):
        return {str(name): _reference(one, where) for name, one in value.items() if one is not None}
    if isinstance(value, (list, tuple)):
        return [_reference(one, where) for one in value]
    return value


def _check_depth(value: object, where: str, depth: int = MAX_DEPTH) -> None:
    if not isinstance(value, (Mapping, list, tuple)):
        return
    if depth == 0:
        raise ConversationError(f"{where} is nested more than {MAX_DEPTH} deep")
    for one in value.values() if isinstance(value, Mapping) else value:
        _check_depth(one, where, depth - 1)


def _check_size(turns: Sequence[Turn]) -> None:
    characters = sum(len(piece) for turn in turns for piece in turn.pieces if isinstance(piece, str))
    if characters > MAX_CHARACTERS:
        raise ConversationError(f"the conversation has {characters} characters, at most {MAX_CHARACTERS}")


def _shown(text: object) -> str:
    """An upstream name in a message: quoted, one line, short."""
    return json.dumps(str(text)[:60], ensure_ascii=False)
