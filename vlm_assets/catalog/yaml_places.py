"""Where in a YAML file a key stands: for messages about content that was read long before."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import yaml

from vlm_assets.words.errors import Problem

_Base: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NAMED: Final = " ("
"""Begins what is told beside a number: `sources[0] (street)`."""


def located(problems: Sequence[Problem], directory: Path) -> list[Problem]:
    """The problems, those of files in the directory with line and column of their key, or of the last part that is
    there.
    """
    trees: dict[str, Any] = {}
    return [_located(one, directory, trees) for one in problems]


def source_lines(path: Path) -> dict[str, int]:
    """Lines of the entries of a file of sources or benchmarks, from 1, by name; none where it cannot be read."""
    found: dict[str, int] = {}
    tree = _tree(path)
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


def _located(problem: Problem, directory: Path, trees: dict[str, Any]) -> Problem:
    if problem.line is not None or not problem.file.endswith((".yaml", ".yml")):
        return problem
    if problem.file not in trees:
        trees[problem.file] = _tree(directory / problem.file)
    tree = trees[problem.file]
    if tree is None or not problem.key:
        return problem
    mark = _mark(tree, problem.key)
    return replace(problem, line=mark.line + 1, column=mark.column + 1)


def _tree(path: Path) -> Any:
    """The nodes of a file that was read without a fault; None where that is not so any more."""
    try:
        return yaml.compose(path.read_text("utf-8"), _Base)
    except (OSError, ValueError, yaml.YAMLError):
        return None


def _mark(node: Any, key: str) -> Any:
    """Of the deepest node that the key leads to; names in it may hold points and brackets."""
    mark = node.start_mark
    rest = key
    while rest:
        step = _into_list(node, rest) if isinstance(node, yaml.SequenceNode) else _into_map(node, rest)
        if step is None:
            return mark
        mark, node, rest = step
        rest = rest.removeprefix(".")
    return mark


def _into_list(node: Any, rest: str) -> tuple[Any, Any, str] | None:
    number, _, after = rest.removeprefix("[").partition("]" if rest.startswith("[") else ".")
    if not number.isdecimal() or int(number) >= len(node.value):
        return None
    child = node.value[int(number)]
    if after.startswith(_NAMED):
        after = after.partition(")")[2]
    return child.start_mark, child, after


def _into_map(node: Any, rest: str) -> tuple[Any, Any, str] | None:
    if not isinstance(node, yaml.MappingNode):
        return None
    found = None
    for key, value in node.value:
        name = str(key.value) if isinstance(key, yaml.ScalarNode) else ""
        ends = rest[len(name) : len(name) + 1] in ("", ".", "[")
        if name and rest.startswith(name) and ends and (found is None or len(name) > len(found[0])):
            found = (name, key, value)
    if found is None:
        return None
    name, key, value = found
    return key.start_mark, value, rest[len(name) :]
