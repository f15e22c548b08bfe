"""Every key of catalogue and settings in words: what the specs say of it, their docstrings included."""

import ast
import inspect
import sys
from dataclasses import dataclass
from enum import Enum
from functools import cache
from itertools import pairwise
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

_SPOKEN = {
    "str": "text", "int": "whole number", "float": "number", "bool": "true, false", "Path": "path",
    "Fraction": "number, such as 0.7 or 1/3", "SecretStr": "text",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Key:
    """One key: what it takes, what holds where it is not given, what it is for."""

    name: str
    form: str
    default: str
    told: str


def keys_of(model: type[BaseModel], *, without: type[BaseModel] | None = None) -> list[Key]:
    """The keys of a model in their order; `without` those that are the same in another one."""
    inherited = {one.name: one for one in keys_of(without)} if without is not None else {}
    keys = [
        Key(name, _form(name, field), _default(field), description_of(model, name))
        for name, field in model.model_fields.items()
    ]
    return [one for one in keys if one.name != "kind" and inherited.get(one.name) != one] if without else keys


def description_of(model: type[BaseModel], name: str) -> str:
    """What a field is for: its own description, else the docstring under it; "" where there is neither."""
    field = model.model_fields[name]
    if field.description:
        return field.description
    told = (docstrings(cls).get(name) for cls in model.__mro__ if cls.__module__.startswith("vlm_assets"))
    return next((text for text in told if text), "")


@cache
def docstrings(cls: type[Any]) -> dict[str, str]:
    """Docstrings under the fields of a class, or the members of an enum, by name. Reads the class's module."""
    tree = ast.parse(inspect.getsource(sys.modules[cls.__module__]))
    body = next(one.body for one in tree.body if isinstance(one, ast.ClassDef) and one.name == cls.__name__)
    found = {}
    for field, after in pairwise(body):
        if isinstance(field, ast.AnnAssign):
            target: ast.expr = field.target
        elif isinstance(field, ast.Assign):
            target = field.targets[0]
        else:
            continue
        told = after.value if isinstance(after, ast.Expr) else None
        if isinstance(target, ast.Name) and isinstance(told, ast.Constant):
            found[target.id] = inspect.cleandoc(str(told.value)).replace("\n", " ")
    return found


def _form(name: str, field: FieldInfo) -> str:
    bounds = [
        f"{sign} {bound:,}"
        for part in field.metadata
        for attribute, sign in (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<"))
        if (bound := getattr(part, attribute, None)) is not None and bound < 2**63
    ]
    if name.endswith("_bytes") and not bounds[1:] and "> 0" in bounds:
        return "size, such as 2GB or 32MiB"
    return " ".join([_spoken(field.annotation), ", ".join(bounds)]).strip()


def _spoken(annotation: Any) -> str:
    """A type as people say it."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return ", ".join(f"`{one}`" for one in parts)
    if origin in (tuple, list):
        kinds = list(dict.fromkeys(_spoken(one) for one in parts if one is not Ellipsis))
        return f"list of {' and '.join(kinds)}"
    if origin is dict:
        return f"mapping to {_spoken(parts[1])}"
    if getattr(annotation, "__metadata__", None):
        return _spoken(parts[0])
    if parts:
        return " or ".join(_spoken(one) for one in parts if one is not NoneType)
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return ", ".join(f"`{one.value}`" for one in annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return f"mapping ({annotation.__name__.removesuffix('Spec')})"
    name = getattr(annotation, "__name__", str(annotation)).strip('"')
    return _SPOKEN.get(name, name)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "**mandatory**"
    value = field.get_default(call_default_factory=True)
    if (
        value is None
        or value is PydanticUndefined
        or (not isinstance(value, (bool, int, float)) and not value)
    ):
        return "–"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, BaseModel):
        told = value.model_dump(mode="json", exclude_none=True)
        return ", ".join(f"`{key}: {_plain(one)}`" for key, one in told.items() if one not in ([], {})) or "–"
    if isinstance(value, int):
        return f"`{value}`"
    return f"`{_plain(value)}`"


def _plain(value: Any) -> str:
    if isinstance(value, (tuple, list)):
        return f"[{', '.join(map(_plain, value))}]"
    if isinstance(value, Enum):
        return str(value.value)
    return f"{value:g}" if isinstance(value, float) else str(value)
