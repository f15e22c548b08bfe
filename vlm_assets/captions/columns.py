"""Which columns of an Arrow schema hold conversations, and in which form.

Pure: looks at types, and at the first values where a column is JSON text.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any, Final

import pyarrow as pa

from vlm_assets.captions.arrow_types import is_binary, is_list, is_text, storage_of
from vlm_assets.captions.turns import (
    CONTENT_KEYS,
    IMAGE_TYPES,
    MESSAGES_NAMES,
    PAIR_KEYS,
    ROLE_KEYS,
    ConversationError,
    read_turns,
    says_nothing,
)
from vlm_assets.words.errors import SourceError


class Form(StrEnum):
    """How a column holds conversations; but for `json` also as an object of lists."""

    ROLE_CONTENT = "role_content"
    """`{role, content: text}`: chat templates."""
    FROM_VALUE = "from_value"
    """`{from, value: text}`: LLaVA, ShareGPT."""
    USER_ASSISTANT = "user_assistant"
    """`{user, assistant}`: FineVision."""
    CONTENT_PARTS = "content_parts"
    """`{role, content: [{type, text, …}]}`: OpenAI, TRL."""
    JSON = "json"
    """Text that is JSON of one of these."""


_FORMS_TEXT: Final = (
    "a conversation is a list of {role, content}, {from, value} or {user, assistant}, content being text or a list "
    "of {type, text} parts, an object of such lists, or JSON text of one of these"
)


def is_conversation_type(kind: pa.DataType) -> bool:
    """Whether every value of this Arrow type is a conversation by its shape; never true of text."""
    return _form(kind) is not None


def form_of(kind: pa.DataType, samples: Iterable[object] = (), *, column: str, where: str) -> Form:
    """Form of a column that someone named as a conversation.

    `samples` are the first values of the column; they decide where it is text: it is JSON when one of them is a
    conversation, or when all are null.

    Raises:
        SourceError: the column can be no conversation; names place, column, type and the forms.
    """
    form = _form(kind)
    if form is not None:
        return form
    place = f"{where}: column {column!r} (messages_column) is {_type_text(kind)}"
    if not _may_be_json(kind):
        raise SourceError(f"{place}: no conversation; {_FORMS_TEXT}")
    problem = _first_problem(samples)
    if problem is not None:
        raise SourceError(f"{place}, and its first values are no conversation ({problem}); {_FORMS_TEXT}")
    return Form.JSON


def find_messages_column(
    schema: pa.Schema, samples: Mapping[str, Iterable[object]] | None = None, *, where: str
) -> str | None:
    """The column that plainly is a conversation, by its name and type; None where there is none.

    A column of text counts only with `samples` (first values by column), if all of them are conversations.

    Raises:
        SourceError: several are; names them.
    """
    given = samples or {}
    found = [
        field.name
        for field in schema
        if field.name in MESSAGES_NAMES
        and (is_conversation_type(field.type) or _all_json(field.type, given.get(field.name, ())))
    ]
    if len(found) > 1:
        names = ", ".join(found)
        raise SourceError(
            f"{where}: several columns of conversations: {names}; set messages_column to one of them"
        )
    return found[0] if found else None


def _form(kind: pa.DataType) -> Form | None:
    kind = storage_of(kind)
    if is_list(kind):
        kind = storage_of(kind.value_type)
        return _turn_form(_fields(kind)) if pa.types.is_struct(kind) else None
    if not pa.types.is_struct(kind):
        return None
    fields = _fields(kind)
    lists = {name: one.value_type for name, one in fields.items() if is_list(one)}
    return _turn_form(fields) or _turn_form(lists)


def _turn_form(fields: Mapping[str, pa.DataType]) -> Form | None:
    for role in ROLE_KEYS:
        contents = [fields[key] for key in CONTENT_KEYS if key in fields]
        if role in fields and is_text(fields[role]):
            if any(_is_parts(kind) for kind in contents):
                return Form.CONTENT_PARTS
            if any(is_text(kind) for kind in contents):
                return Form.FROM_VALUE if role == "from" else Form.ROLE_CONTENT
    for pair in PAIR_KEYS:
        sides = [fields[key] for key in pair if key in fields]
        said = [kind for kind in sides if not pa.types.is_null(kind)]
        if len(sides) == 2 and said and all(is_text(kind) or _is_parts(kind) for kind in said):
            return Form.USER_ASSISTANT
    return None


def _is_parts(kind: pa.DataType) -> bool:
    kind = storage_of(kind)
    of_lists = not is_list(kind)
    if not of_lists:
        kind = storage_of(kind.value_type)
    if not pa.types.is_struct(kind):
        return False
    fields = _fields(kind)
    if of_lists:
        fields = {name: one.value_type for name, one in fields.items() if is_list(one)}
    return any(is_text(fields[name]) for name in ("type", "text") if name in fields) or any(
        name in fields for name in IMAGE_TYPES
    )


def _fields(kind: pa.DataType) -> dict[str, pa.DataType]:
    return {kind.field(n).name: storage_of(kind.field(n).type) for n in range(kind.num_fields)}


def _may_be_json(kind: pa.DataType) -> bool:
    return is_binary(kind) or is_text(kind)


def _problem(sample: object) -> str | None:
    try:
        read_turns(sample)
    except ConversationError as error:
        return str(error)
    return None


def _first_problem(samples: Iterable[object]) -> str | None:
    """Why the first of the samples is no conversation; None where one of them is, or all are empty."""
    problems = [_problem(sample) for sample in samples if not says_nothing(sample)]
    return problems[0] if problems and None not in problems else None


def _all_json(kind: pa.DataType, samples: Iterable[Any]) -> bool:
    if not _may_be_json(kind):
        return False
    problems = [_problem(sample) for sample in samples if not says_nothing(sample)]
    return bool(problems) and not any(problems)


def _type_text(kind: pa.DataType) -> str:
    text = str(kind)
    return text if len(text) <= 200 else f"{text[:200]}…"
