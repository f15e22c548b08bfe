"""Finds the annotators: every module of this package that is named like one and defines `ANNOTATOR`."""

import importlib
import pkgutil
from functools import cache
from typing import TYPE_CHECKING, Any, cast

import vlm_assets.annotators as package

if TYPE_CHECKING:
    from vlm_assets.annotators.protocol import Annotator

_NOT_ANNOTATORS = frozenset({"picture", "protocol", "registry", "work"})


@cache
def annotator_names() -> tuple[str, ...]:
    """Names of all that are built in, sorted. Imports none of them."""
    names = (module.name for module in pkgutil.iter_modules(package.__path__))
    return tuple(sorted(name for name in names if name not in _NOT_ANNOTATORS and not name.startswith("_")))


@cache
def annotator_of(name: str) -> "Annotator[Any]":
    """The annotator of a name; imports its module, no model.

    Raises:
        KeyError: no such annotator; the message lists those there are.
    """
    if name not in annotator_names():
        raise KeyError(f"no annotator {name!r}; there are: {', '.join(annotator_names())}")
    return cast("Annotator[Any]", importlib.import_module(f"{package.__name__}.{name}").ANNOTATOR)
