"""What a spec refuses, in words: the key as it is written, what stands there, what would do."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, get_args

from pydantic import BaseModel, SecretStr, ValidationError

from vlm_assets.words.errors import Problem
from vlm_assets.words.nearest import did_you_mean

_WANTED: Final[Mapping[str, str]] = {
    "string_type": "text", "int_type": "a whole number", "int_parsing": "a whole number",
    "int_from_float": "a whole number", "int_parsing_size": "a whole number", "float_type": "a number",
    "float_parsing": "a number", "finite_number": "a number", "bool_type": "true or false",
    "bool_parsing": "true or false", "tuple_type": "a list", "list_type": "a list", "dict_type": "a mapping of keys",
    "model_type": "a mapping of keys", "model_attributes_type": "a mapping of keys", "path_type": "a path",
    "string_sub_type": "text", "mapping_type": "a mapping of keys",
}  # fmt: skip
_NONE: Final = object()
_SPELLED: Final = 500
"""Keys of which what was meant is looked for; whoever has more unknown ones made no slips."""


def problems_of(
    error: ValidationError, model: type[BaseModel], content: Any, shown: str, prefix: str = ""
) -> list[Problem]:
    """One problem a key. `content`: what was validated, None where nobody has that; `prefix` goes before keys."""
    told: dict[tuple[str, ...], list[str]] = {}
    for fault in error.errors():
        path, value = _place(content, fault["loc"])
        spelled = fault["type"] != "extra_forbidden" or len(told) < _SPELLED
        message = _message(fault, model, path, value) if spelled else "unknown key"
        told.setdefault(path, []).append(message)
    return [Problem(shown, _joined(prefix, path), _merged(messages)) for path, messages in told.items()]


def _joined(prefix: str, path: Sequence[str]) -> str:
    return ".".join([*([prefix] if prefix else []), *path])


def _place(content: Any, location: Sequence[int | str]) -> tuple[tuple[str, ...], Any]:
    """The keys of a location that stand in the content, and the value there, without what pydantic puts between."""
    if content is None:
        return tuple(str(step) for step in location if str(step).isidentifier()), _NONE
    path: list[str] = []
    value = content
    for number, step in enumerate(location):
        if isinstance(value, Mapping):
            if step in value:
                path.append(str(step))
                value = value[step]
            elif number == len(location) - 1 and step != "[key]":
                path.append(str(step))
                value = _NONE
        elif isinstance(value, (list, tuple)) and isinstance(step, int) and step < len(value):
            path.append(str(step))
            value = value[step]
    return tuple(path), value


def _message(fault: Any, model: type[BaseModel], path: Sequence[str], value: Any) -> str:
    kind, details = fault["type"], fault.get("ctx", {})
    if kind == "missing":
        return "missing; it is mandatory"
    if kind == "extra_forbidden":
        return f"unknown key; {did_you_mean(path[-1], _keys_at(model, path[:-1]))}"
    if kind in ("value_error", "assertion_error"):
        return str(details.get("error", fault["msg"])).removeprefix("Value error, ")
    if _is_secret(model, path):
        value = SecretStr("")
    if fault["loc"][-1:] == ("[key]",):
        return f"{fault['input']!r} is no name: {_expected(kind, details, fault['input'])}"
    return _expected(kind, details, value if value is not _NONE else fault.get("input"))


def _is_secret(model: type[BaseModel], path: Sequence[str]) -> bool:
    field = model.model_fields.get(path[0]) if path else None
    return field is not None and SecretStr in (field.annotation, *get_args(field.annotation))


_FORMS: Final = {
    "^[a-z0-9_]+$": "lower-case letters without marks, digits and _",
    "^[a-z]{2,3}$": "the code of a language, as tr",
    r"^[\w.-]+/[\w.-]+$": "owner/name",
    r"^[\w-]+/[\w-]+(/versions/[1-9]\d*)?$": "owner/dataset or owner/dataset/versions/1",
}
"""What patterns of the catalogue ask for, in words."""


def _expected(kind: str, details: Mapping[str, Any], value: Any) -> str:
    got = f", got {_shown(value)}"
    if kind in _WANTED:
        return f"expected {_WANTED[kind]}{got}"
    match kind:
        case "literal_error" | "enum":
            choices = str(details["expected"]).replace("'", "")
            near = did_you_mean(value, choices.replace(" or ", ", ").split(", "))
            return f"expected {choices}{got}" + (f"; {near}" if near.startswith("did") else "")
        case "greater_than_equal" | "greater_than" | "less_than_equal" | "less_than":
            signs = {
                "greater_than_equal": "at least",
                "greater_than": "more than",
                "less_than_equal": "at most",
            }
            bound = next(iter(details.values()))
            return f"expected {signs.get(kind, 'less than')} {bound}{got}"
        case "string_pattern_mismatch":
            pattern = str(details["pattern"])
            return f"expected {_FORMS.get(pattern, f'text of the form {pattern}')}{got}"
        case "string_too_long" | "too_long":
            return f"too long, at most {details['max_length']}{got}"
        case "string_too_short" | "too_short":
            return f"too short, at least {details['min_length']}{got}"
    return f"not as it should be ({kind.replace('_', ' ')}){got}"


def _shown(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, SecretStr):
        return "something else"
    if isinstance(value, Mapping):
        return "a mapping of keys"
    if isinstance(value, (list, tuple)):
        return "a list"
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _merged(messages: Sequence[str]) -> str:
    """What would do instead of one value, where there are several ways: `expected a or b, got c`."""
    kinds = list(dict.fromkeys(messages))
    if len(kinds) == 1:
        return kinds[0]
    wanted = [
        one.removeprefix("expected ").partition(", got ") for one in kinds if one.startswith("expected ")
    ]
    if len(wanted) < len(kinds):
        return "; ".join(one for one in kinds if not one.startswith("expected ")) or kinds[0]
    return f"expected {' or '.join(one[0] for one in wanted)}, got {wanted[0][2]}"


def _keys_at(model: type[BaseModel], path: Sequence[str]) -> list[str]:
    """Keys that a mapping may have which stands at a path of a model."""
    models = [model]
    for step in path:
        fields = [one.model_fields[step].annotation for one in models if step in one.model_fields]
        if fields:
            models = [found for one in fields for found in _models_in(one)]
    return sorted({name for one in models for name in one.model_fields})


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models_in(part)
