"""What a filter may say: an expression over the values of a record and of its images, read and never run.

Python's own parser gives the tree with the place of each part; what stands here admits a small part of it and knows
what kind each part has. Who evaluates it walks the same tree over whole columns.
"""

import ast
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from vlm_assets.words.nearest import did_you_mean

MAX_CHARACTERS: Final = 2_000
_MAX_DEPTH: Final = 40
_MAX_NUMBER: Final = 2**53
"""Numbers are compared as doubles, which hold whole ones up to here."""
FUNCTIONS: Final = ("min", "max", "any", "all")
"""Of the values of a record's images, the one value of the record."""
TRUTHS: Final = {"true": True, "false": False}
_ORDERED: Final = (ast.Lt, ast.LtE, ast.Gt, ast.GtE)
_EQUAL: Final = (ast.Eq, ast.NotEq)
_AMONG: Final = (ast.In, ast.NotIn)
_ARITHMETIC: Final = (ast.Add, ast.Sub, ast.Mult, ast.Div)
_USED: Final = (
    "names, numbers, texts in quotes, true, false, + - * /, < <= > >= == !=, in [...], and, or, not, "
    "min(...), max(...), any(...), all(...)"
)


class ExpressionError(ValueError):
    """What is wrong with an expression, in words, with the column where it is."""


class Kind(StrEnum):
    """What a value is."""

    NUMBER = "a number"
    TEXT = "text"
    TRUTH = "true or false"


@dataclass(frozen=True, slots=True)
class ColumnKind:
    """A column that an expression may name. `of_images`: a value for each image of a record."""

    kind: Kind
    of_images: bool = False


IMAGE_FACTS: Final = "image_facts"
"""What every row has of its images stands under this name, where others have that of an annotation."""
ROW_COLUMNS: Final[Mapping[str, ColumnKind]] = {
    "image_count": ColumnKind(Kind.NUMBER),
    "image_bytes": ColumnKind(Kind.NUMBER),
    "min_side_px": ColumnKind(Kind.NUMBER),
    "has_text": ColumnKind(Kind.TRUTH),
    "has_messages": ColumnKind(Kind.TRUTH),
    "label": ColumnKind(Kind.TEXT),
    "origin": ColumnKind(Kind.TEXT),
    "image_facts.width_px": ColumnKind(Kind.NUMBER, of_images=True),
    "image_facts.height_px": ColumnKind(Kind.NUMBER, of_images=True),
    "image_facts.orientation": ColumnKind(Kind.NUMBER, of_images=True),
    "image_facts.frames": ColumnKind(Kind.NUMBER, of_images=True),
    "image_facts.dpi": ColumnKind(Kind.NUMBER, of_images=True),
    "image_facts.size_bytes": ColumnKind(Kind.NUMBER, of_images=True),
    "image_facts.format": ColumnKind(Kind.TEXT, of_images=True),
    "image_facts.name": ColumnKind(Kind.TEXT, of_images=True),
}
"""What every row has without any annotation: of its index. Not what the catalogue assigns, and no hashes."""


def parsed(text: str) -> ast.expr:
    """The tree of an expression that keeps to the language; names and kinds are not looked at.

    Raises:
        ExpressionError: anything else.
    """
    if len(text) > MAX_CHARACTERS:
        raise ExpressionError(f"longer than {MAX_CHARACTERS:,} characters")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)
            tree = ast.parse(text.strip(), mode="eval").body
    except SyntaxError as error:
        place = f" at column {error.offset}" if error.offset else ""
        raise ExpressionError(f"not an expression: {error.msg}{place}") from None
    except (ValueError, RecursionError, MemoryError):
        raise ExpressionError("not an expression: nested too deep, or characters that no text has") from None
    _check_forms(tree)
    return tree


def _check_forms(tree: ast.expr) -> None:
    waiting: list[tuple[ast.expr, int]] = [(tree, 0)]
    while waiting:
        node, depth = waiting.pop()
        if depth > _MAX_DEPTH:
            raise ExpressionError(f"nested deeper than {_MAX_DEPTH}")
        waiting += [(child, depth + 1) for child in _parts(node)]


def _parts(node: ast.expr) -> list[ast.expr]:
    """What an admitted form is made of.

    Raises:
        ExpressionError: the form is none of the language.
    """
    match node:
        case ast.Constant():
            _check_constant(node)
            return []
        case ast.Name() | ast.Attribute() | ast.Subscript():
            name_of(node)
            return []
        case ast.BoolOp():
            return node.values
        case ast.UnaryOp(op=ast.Not() | ast.USub()):
            return [node.operand]
        case ast.BinOp() if isinstance(node.op, _ARITHMETIC):
            return [node.left, node.right]
        case ast.Compare():
            return list(_compared(node))
        case ast.Call():
            return [argument_of(node)]
        case _:
            raise ExpressionError(f"{_shown(node)} is not part of the language; there are: {_USED}")


def _check_constant(node: ast.Constant) -> None:
    value = node.value
    if isinstance(value, (bool, str)):
        return
    if (
        isinstance(value, (int, float)) and abs(value) <= _MAX_NUMBER
    ):  # no infinite one, and no NaN is a literal
        return
    told = "a missing value is said by the key `missing`" if value is None else f"there are: {_USED}"
    raise ExpressionError(f"{_shown(node)} is no value of the language; {told}")


def _compared(node: ast.Compare) -> Iterator[ast.expr]:
    yield node.left
    for op, other in zip(node.ops, node.comparators, strict=True):
        if not isinstance(op, (*_ORDERED, *_EQUAL, *_AMONG)):
            raise ExpressionError(f"{_shown(node)}: `is` is not part of the language; say == or !=")
        if not isinstance(op, _AMONG):
            yield other
        elif not isinstance(other, (ast.List, ast.Tuple)) or not other.elts:
            raise ExpressionError(f"{_shown(node)}: `in` takes a list in brackets, such as [1, 2]")
        elif not all(isinstance(one, ast.Constant) or _is_negative(one) for one in other.elts):
            raise ExpressionError(f"{_shown(other)}: a list holds plain numbers or texts")
        else:
            yield from other.elts


def _is_negative(node: ast.expr) -> bool:
    return (
        isinstance(node, ast.UnaryOp)
        and isinstance(node.op, ast.USub)
        and isinstance(node.operand, ast.Constant)
    )


def argument_of(call: ast.Call) -> ast.expr:
    """The one argument of a function of the language.

    Raises:
        ExpressionError: another function, or other arguments.
    """
    name = call.func.id if isinstance(call.func, ast.Name) else _shown(call.func)
    if name not in FUNCTIONS:
        raise ExpressionError(f"no function {name}; {did_you_mean(name, FUNCTIONS)}")
    if len(call.args) != 1 or call.keywords or isinstance(call.args[0], ast.Starred):
        raise ExpressionError(f"{_shown(call)}: {name} takes one value")
    return call.args[0]


def function_of(call: ast.Call) -> str:
    """`min`, `max`, `any` or `all`."""
    return call.func.id if isinstance(call.func, ast.Name) else ""


def name_of(node: ast.expr) -> str:
    """`min_side_px`, or `blur.laplacian`; `scores["clip-score"]` is `scores.clip-score`.

    Raises:
        ExpressionError: something before the point that is no name.
    """
    if isinstance(node, ast.Attribute):
        return f"{name_of(node.value)}.{node.attr}"
    if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name):
        column = node.slice.value if isinstance(node.slice, ast.Constant) else None
        if isinstance(column, str):
            return f"{node.value.id}.{column}"
    if isinstance(node, ast.Name):
        return node.id
    raise ExpressionError(f"{_shown(node)} is not part of the language; there are: {_USED}")


def names_in(tree: ast.expr) -> frozenset[str]:
    """The columns that an expression names."""
    found: set[str] = set()
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, (ast.Name, ast.Attribute, ast.Subscript)):
            found.add(name_of(node))
        else:
            waiting += _parts(node)
    return frozenset(found - TRUTHS.keys())


def check_kinds(tree: ast.expr, columns: Mapping[str, ColumnKind]) -> None:
    """Returns where the expression says true or false of a record, of columns that there are.

    Raises:
        ExpressionError: a name that there is not, values that do not go together, values of images without a
            function that makes one of them.
    """
    found = _kind(tree, columns)
    if found.of_images:
        raise ExpressionError(
            f"{_shown(tree)} speaks of images, and a record may have several: say min(...) or max(...) of their "
            "values, any(...) or all(...) of what is true of them"
        )
    _expect(tree, found, Kind.TRUTH)


def _kind(node: ast.expr, columns: Mapping[str, ColumnKind]) -> ColumnKind:
    match node:
        case ast.Constant():
            return _kind_of_constant(node)
        case ast.Name(id="true" | "false"):
            return ColumnKind(Kind.TRUTH)
        case ast.Name() | ast.Attribute() | ast.Subscript():
            name = name_of(node)
            if name not in columns:
                raise ExpressionError(f"no column {name!r}; {did_you_mean(name, columns)}")
            return columns[name]
        case ast.UnaryOp():
            wanted = Kind.TRUTH if isinstance(node.op, ast.Not) else Kind.NUMBER
            return _together(wanted, columns, wanted, node.operand)
        case ast.BoolOp():
            return _together(Kind.TRUTH, columns, Kind.TRUTH, *node.values)
        case ast.BinOp():
            return _together(Kind.NUMBER, columns, Kind.NUMBER, node.left, node.right)
        case ast.Compare():
            return _kind_of_comparison(node, columns)
        case ast.Call():
            return _kind_of_call(node, columns)
    raise ExpressionError(f"{_shown(node)} is not part of the language")


def _kind_of_constant(node: ast.Constant) -> ColumnKind:
    if isinstance(node.value, bool):
        return ColumnKind(Kind.TRUTH)
    return ColumnKind(Kind.TEXT if isinstance(node.value, str) else Kind.NUMBER)


def _together(result: Kind, columns: Mapping[str, ColumnKind], wanted: Kind, *nodes: ast.expr) -> ColumnKind:
    """The kind of what is made of parts that all have the wanted one."""
    found = [(node, _kind(node, columns)) for node in nodes]
    for node, one in found:
        _expect(node, one, wanted)
    return ColumnKind(result, any(one.of_images for _, one in found))


def _expect(node: ast.expr, found: ColumnKind, wanted: Kind) -> None:
    if found.kind is not wanted:
        raise ExpressionError(f"{_shown(node)} is {found.kind}, where {wanted} is expected")


def _kind_of_comparison(node: ast.Compare, columns: Mapping[str, ColumnKind]) -> ColumnKind:
    left = _kind(node.left, columns)
    of_images = left.of_images
    for op, other in zip(node.ops, node.comparators, strict=True):
        parts = other.elts if isinstance(other, (ast.List, ast.Tuple)) else [other]
        for part in parts:
            right = _kind(part, columns)
            of_images |= right.of_images
            _expect(part, right, left.kind)
        if isinstance(op, _ORDERED) and left.kind is not Kind.NUMBER:
            raise ExpressionError(f"{_shown(node)}: only numbers are smaller or larger; say == or !=")
    return ColumnKind(Kind.TRUTH, of_images)


def _kind_of_call(node: ast.Call, columns: Mapping[str, ColumnKind]) -> ColumnKind:
    name, argument = function_of(node), argument_of(node)
    found = _kind(argument, columns)
    if not found.of_images:
        raise ExpressionError(
            f"{_shown(node)}: {_shown(argument)} is one value of a record; {name} is for values of its images"
        )
    wanted = Kind.NUMBER if name in ("min", "max") else Kind.TRUTH
    _expect(argument, found, wanted)
    return ColumnKind(wanted)


def _shown(node: ast.AST) -> str:
    text = ast.unparse(node)
    return f"`{text if len(text) <= 60 else text[:57] + '…'}`"
