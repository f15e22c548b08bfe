"""Where in a YAML file a key stands: for messages about content that was read long before."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import yaml

from vlm_assets.words.errors import Problem
from vlm_assets.words.yaml_text import nodes_of

_NAMED: Final = " ("
"""Begins what is told beside a number: `sources[0] (street)`."""
_MOST_DIGITS: Final = 9
"""Of the number of an element."""


def located(problems: Sequence[Problem], directory: Path) -> list[Problem]:
    """The problems, those of files in the directory with line and column of their key, or of the last part that is
    there.
    """
    trees: dict[str, _Tree] = {}
    return [_located(one, directory, trees) for one in problems]


def source_lines(path: Path) -> dict[str, int]:
    """Lines of the entries of a file of sources or benchmarks, from 1, by name; none where it cannot be read."""
    found: dict[str, int] = {}
    tree = nodes_of(path)
    for entry in (*_children(tree, "sources"), *_children(tree, "benchmarks")):
        for name in _children(entry, "name"):
            found.setdefault(str(name.value), name.start_mark.line + 1)
    return found


def _children(node: Any, key: str) -> list[Any]:
    """What stands under a key of a map: the elements of a list, or the one value."""
    if not isinstance(node, yaml.MappingNode):
        return []
    values = [value for one, value in node.value if one.value == key]
    return [
        child
        for value in values
        for child in (value.value if isinstance(value, yaml.SequenceNode) else [value])
    ]


def _located(problem: Problem, directory: Path, trees: dict[str, "_Tree"]) -> Problem:
    if problem.line is not None or not problem.key or not problem.file.endswith((".yaml", ".yml")):
        return problem
    if problem.file not in trees:
        trees[problem.file] = _Tree(nodes_of(directory / problem.file))
    mark = trees[problem.file].mark(problem.key)
    return problem if mark is None else replace(problem, line=mark.line + 1, column=mark.column + 1)


@dataclass(slots=True)
class _Names:
    """Keys of a map with what stands under each, and their lengths from the longest on."""

    nodes: dict[str, tuple[Any, Any]]
    lengths: list[int]


@dataclass(slots=True)
class _Tree:
    """The nodes of a file that was read without a fault; none where that is not so any more."""

    root: Any
    _names: dict[int, _Names] = field(default_factory=dict)
    """By the identity of the node: thousands of problems may be of one map."""

    def mark(self, key: str) -> Any:
        """Of the deepest node that the key leads to; names in it may hold points and brackets."""
        if self.root is None:
            return None
        node, mark, rest = self.root, self.root.start_mark, key
        while rest:
            step = (
                _into_list(node, rest) if isinstance(node, yaml.SequenceNode) else self._into_map(node, rest)
            )
            if step is None:
                return mark
            mark, node, rest = step
            rest = rest.removeprefix(".")
        return mark

    def _into_map(self, node: Any, rest: str) -> tuple[Any, Any, str] | None:
        if not isinstance(node, yaml.MappingNode):
            return None
        names = self._names_of(node)
        for length in names.lengths:
            if rest[length : length + 1] in ("", ".", "[") and rest[:length] in names.nodes:
                key, value = names.nodes[rest[:length]]
                return key.start_mark, value, rest[length:]
        return None

    def _names_of(self, node: Any) -> _Names:
        found = self._names.get(id(node))
        if found is None:
            nodes: dict[str, tuple[Any, Any]] = {}
            for key, value in node.value:
                if isinstance(key, yaml.ScalarNode) and key.value:
                    nodes.setdefault(str(key.value), (key, value))
            found = _Names(nodes, sorted({len(name) for name in nodes}, reverse=True))
            self._names[id(node)] = found
        return found


def _into_list(node: Any, rest: str) -> tuple[Any, Any, str] | None:
    number, _, after = rest.removeprefix("[").partition("]" if rest.startswith("[") else ".")
    if not number.isdecimal() or len(number) > _MOST_DIGITS or int(number) >= len(node.value):
        return None
    child = node.value[int(number)]
    if after.startswith(_NAMED):
        after = after.partition(")")[2]
    return child.start_mark, child, after
