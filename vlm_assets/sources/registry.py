"""Finds the kinds of source: every module of this package that is named like a kind and defines `SOURCE`."""

import importlib
import pkgutil
from functools import cache
from typing import Any, cast

import vlm_assets.sources as package
from vlm_assets.sources.protocol import Source, Traits

_NOT_KINDS = frozenset({"protocol", "registry"})


@cache
def kinds() -> tuple[str, ...]:
    """Names of all kinds, sorted. Imports none of them."""
    names = (module.name for module in pkgutil.iter_modules(package.__path__))
    return tuple(sorted(name for name in names if name not in _NOT_KINDS and not name.startswith("_")))


@cache
def source_of(kind: str) -> Source[Any]:
    """The source object of a kind; imports its module, none of its heavy libraries.

    Raises:
        KeyError: no such kind; the message lists the kinds there are.
    """
    if kind not in kinds():
        raise KeyError(f"no kind {kind!r}; there are: {', '.join(kinds())}")
    return cast("Source[Any]", importlib.import_module(f"{package.__name__}.{kind}").SOURCE)


def traits_of(kind: str) -> Traits:
    """What fetching a kind takes.

    Raises:
        KeyError: no such kind; the message lists the kinds there are.
    """
    return source_of(kind).traits
