"""`quotas` of a catalogue that nobody has edited yet: equal shares of all that its sources give.

A file is recognised by its text: as long as the block is what would be written for the very leaves that are in it,
nobody has touched it, and `add` writes it anew.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from fractions import Fraction
from typing import Any, Final

from vlm_assets.catalog.rules import fixed_subcategories
from vlm_assets.catalog.spec import CorpusSpec, QuotaNode, SourceSpec
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


def missing_quotas(corpus: CorpusSpec, category: str, leaves: Iterable[str]) -> list[str]:
    """What `quotas` lacks for subcategories of a category, as lines to paste, with shares of all siblings that sum to
    1; nothing where a person has to fill in first.
    """
    missing = [leaf for leaf in leaves if (category, leaf) not in corpus.leaves()]
    if FILL_IN in (category, *missing):
        return []
    lacking: dict[tuple[str, ...], dict[str, Any]] = {}
    nodes = []
    for leaf in missing:
        below = sorted(
            one for name, one in corpus.leaves() if name == category and one.startswith(f"{leaf}/")
        )
        if below:
            nodes.append(f"{category}/{leaf} has subcategories there: give one of them, such as {below[0]}")
            continue
        above, names = _place(corpus.quotas, (category, *leaf.split("/")))
        node = lacking.setdefault(above, {})
        for name in names:
            node = node.setdefault(name, {})
    lines = [line for above, tree in sorted(lacking.items()) for line in _advice(corpus.quotas, above, tree)]
    return nodes + lines


def _place(quotas: Mapping[str, QuotaNode], path: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The part of a path that has nodes below it, or is to get some, and the rest."""
    nodes, depth = quotas, 0
    while depth < len(path) - 1 and path[depth] in nodes:
        nodes = nodes[path[depth]].subcategories
        depth += 1
    return path[:depth], path[depth:]


def _advice(quotas: Mapping[str, QuotaNode], above: tuple[str, ...], tree: dict[str, Any]) -> Iterator[str]:
    nodes = quotas
    for name in above:
        nodes = nodes[name].subcategories
    shares = {name: node.share for name, node in nodes.items() if node.share is not None and name not in tree}
    whole = len(shares) + len(tree)
    yield f"under {'.'.join(['quotas', *(f'{name}.subcategories' for name in above)])}:"
    yield f"  {_inline(tree, Fraction(1, whole))}"
    if shares:
        rest = ", ".join(f"{name}: {share * Fraction(len(shares), whole)}" for name, share in shares.items())
        yield f"  and, for shares of siblings sum to 1, other shares there: {rest}"


def _inline(tree: Mapping[str, Any], share: Fraction) -> str:
    """Nodes of equal shares in one line, those below them within."""
    told = []
    for name, below in tree.items():
        inner = f", subcategories: {{{_inline(below, Fraction(1, len(below)))}}}" if below else ""
        told.append(f"{scalar(name)}: {{share: {share}{inner}}}")
    return ", ".join(told)
