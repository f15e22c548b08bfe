"""`quotas` of a catalogue that nobody has edited yet: equal shares of all that its sources give.

A file is recognised by its text: as long as the block is what would be written for the very leaves that are in it,
nobody has touched it, and `add` writes it anew.
"""

import re
from collections.abc import Collection, Iterable, Iterator
from typing import Any, Final

from vlm_assets.catalog.rules import fixed_subcategories
from vlm_assets.catalog.spec import CorpusSpec, SourceSpec
from vlm_assets.operate.authoring.scalars import scalar

Leaf = tuple[str, str]
"""Category, and subcategory as `street/night`."""

FILL_IN: Final = "fill_in"
"""Stands where only a person can say; `check` names each place."""
FIRST: Final[Leaf] = ("images", "all")
_HEAD: Final = """\
quotas:                        # categories, subcategories below them; shares of siblings sum to 1 (1/3 is allowed)
  # Equal shares of what was added: `vlm-assets add` writes them anew until somebody has edited them.
  # In rows instead: min, max, or count, as in  scans: {share: 1, max: 500}
"""
_BLOCK: Final = re.compile(r"^quotas:.*?(?=\n*^\S|\n*\Z)", re.MULTILINE | re.DOTALL)


def drafted(leaves: Collection[Leaf]) -> str | None:
    """The block with equal shares, without a line's end; None where a leaf is also a node above another."""
    tree: dict[str, Any] = {}
    for category, path in sorted(leaves):
        node = tree
        for name in (category, *path.split("/")):
            node = node.setdefault(name, {})
    return _HEAD + "\n".join(_lines(tree, "  ")) if set(_leaves(tree)) == set(leaves) else None


def _leaves(tree: dict[str, Any]) -> Iterator[Leaf]:
    for category, below in tree.items():
        for path in _paths(below):
            yield category, path


def _paths(tree: dict[str, Any]) -> Iterator[str]:
    for name, below in tree.items():
        if not below:
            yield name
        for path in _paths(below):
            yield f"{name}/{path}"


def _lines(tree: dict[str, Any], indent: str) -> Iterator[str]:
    share = f"1/{len(tree)}" if len(tree) > 1 else "1"
    for name, below in tree.items():
        if below:
            yield f"{indent}{scalar(name)}:"
            yield f"{indent}  share: {share}"
            yield f"{indent}  subcategories:"
            yield from _lines(below, f"{indent}    ")
        else:
            yield f"{indent}{scalar(name)}: {{share: {share}}}"


def is_draft(text: str, corpus: CorpusSpec) -> bool:
    """Whether the quotas in the text of `corpus.yaml` are as they were written here."""
    block = _BLOCK.search(text)
    return block is not None and block.group() == drafted(corpus.leaves())


def redrafted(text: str, sources: Iterable[SourceSpec]) -> str | None:
    """The text with equal shares of what these sources give; None where that is nothing yet, or no tree."""
    leaves = {
        (spec.category, leaf)
        for spec in sources
        for leaf in fixed_subcategories(spec) or ()
        if FILL_IN not in (spec.category, leaf)
    }
    block = drafted(leaves) if leaves else None
    return None if block is None else _BLOCK.sub(lambda _: block, text, count=1)
