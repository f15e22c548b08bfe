"""Filters told again: their expressions over numpy arrays, with true and false as two masks.

The text is parsed by Python's own parser; what it means stands here a second time, apart from the allocator's.
"""

import ast
import operator
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vlm_assets.audit.evidence import UnjudgedError
from vlm_assets.audit.words import Bool

Numbers = NDArray[np.float64]
_SIGNS: Final[Mapping[type[ast.cmpop], Callable[[Any, Any], Any]]] = {
    ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge, ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}  # fmt: skip
_SUMS: Final[Mapping[type[ast.operator], Callable[[Any, Any], Any]]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Said:
    """Where something is true and where it is false; neither: nobody knows."""

    true: Any
    false: Any


@dataclass(frozen=True, slots=True)
class Values:
    """Numbers (NaN: none) or texts (None: none), each of a record or of an image."""

    values: Any


def tree_of(text: str) -> ast.expr:
    """The expression of a filter."""
    return ast.parse(text, mode="eval").body


def names_of(tree: ast.expr) -> set[str]:
    """What it names: `min_side_px`, `blur.laplacian`."""
    inner = {id(node.value) for node in ast.walk(tree) if isinstance(node, (ast.Attribute, ast.Subscript))}
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    named = (node for node in ast.walk(tree) if isinstance(node, (ast.Attribute, ast.Name, ast.Subscript)))
    found = {_written(node) for node in named if id(node) not in inner | called}
    return found - {"true", "false"}


def _written(node: ast.expr) -> str:
    """`blur.laplacian`, also where it is written `blur["laplacian"]`."""
    if isinstance(node, ast.Subscript):
        return f"{ast.unparse(node.value)}.{ast.literal_eval(node.slice)}"
    return ast.unparse(node)


class Telling:
    """Expressions over so many records, with so many images each.

    `column` gives an Arrow array of as many entries as there are records, lists for values of images.
    """

    def __init__(self, counts: NDArray[Any], column: Callable[[str], pa.Array]) -> None:
        self._records = len(counts)
        self._counts = counts.astype(np.int64)
        self._owner = np.repeat(np.arange(self._records), self._counts)
        self._column = column

    def of_records(self, tree: ast.expr) -> tuple[Bool, Bool]:
        """Records of which the expression is true; those of which it is false.

        Raises:
            UnjudgedError: it is none of the language, or a record has not as many values as images.
        """
        said = self._said(tree, images=False)
        return tuple(np.broadcast_to(one, self._records).copy() for one in (said.true, said.false))  # type: ignore[return-value]

    def _said(self, node: ast.expr, *, images: bool) -> Said:
        match node:
            case ast.BoolOp(op=ast.And(), values=parts):
                told = [self._said(one, images=images) for one in parts]
                return Said(_all([t.true for t in told]), ~_all([~t.false for t in told]))
            case ast.BoolOp(values=parts):
                told = [self._said(one, images=images) for one in parts]
                return Said(~_all([~t.true for t in told]), _all([t.false for t in told]))
            case ast.UnaryOp(op=ast.Not(), operand=inner):
                said = self._said(inner, images=images)
                return Said(said.false, said.true)
            case ast.Compare():
                return self._compared(node, images=images)
            case ast.Call(func=ast.Name(id="any" | "all" as function), args=[inner]):
                return self._lifted(self._quantified(function, self._said(inner, images=True)), images)
            case ast.Constant(value=bool(value)):
                return Said(np.array(value), np.array(not value))
            case ast.Name(id="true" | "false" as word):
                return Said(np.array(word == "true"), np.array(word == "false"))
            case ast.Name() | ast.Attribute() | ast.Subscript():
                values = self._named(_written(node), images=images)
                return Said(values == 1.0, values == 0.0)
        raise UnjudgedError(f"filter: {ast.unparse(node)} is none of the language")

    def _lifted(self, said: Said, images: bool) -> Said:  # noqa: FBT001 - which of two spaces
        return Said(said.true[self._owner], said.false[self._owner]) if images else said

    def _quantified(self, function: str, said: Said) -> Said:
        size = len(self._owner)
        true = np.bincount(self._owner[np.broadcast_to(said.true, size)], minlength=self._records)
        false = np.bincount(self._owner[np.broadcast_to(said.false, size)], minlength=self._records)
        if function == "any":
            return Said(true > 0, false == self._counts)
        return Said(true == self._counts, false > 0)

    def _compared(self, node: ast.Compare, *, images: bool) -> Said:
        true: Any = np.array(True)  # noqa: FBT003 - a mask
        false: Any = np.array(False)  # noqa: FBT003 - a value
        sides = [node.left, *node.comparators]
        for op, left, right in zip(node.ops, sides, sides[1:], strict=False):
            one = self._pair(op, left, right, images=images)
            true, false = true & one.true, false | one.false
        return Said(true, false)

    def _pair(self, op: ast.cmpop, left: ast.expr, right: ast.expr, *, images: bool) -> Said:
        if isinstance(right, (ast.List, ast.Tuple)):
            among = [self._pair(ast.Eq(), left, one, images=images) for one in right.elts]
            found, other = ~_all([~one.true for one in among]), _all([one.false for one in among])
            return Said(found, other) if isinstance(op, ast.In) else Said(other, found)
        if _is_truth(left) or _is_truth(right):
            return self._same_truth(op, left, right, images=images)
        one, other = (self._values(side, images=images) for side in (left, right))
        known = _known(one) & _known(other)
        with np.errstate(invalid="ignore"):
            holds = np.asarray(_SIGNS[type(op)](one, other)).astype(bool)
        return Said(holds & known, ~holds & known)

    def _same_truth(self, op: ast.cmpop, left: ast.expr, right: ast.expr, *, images: bool) -> Said:
        one, other = (self._said(side, images=images) for side in (left, right))
        same = (one.true & other.true) | (one.false & other.false)
        differ = (one.true & other.false) | (one.false & other.true)
        return Said(same, differ) if isinstance(op, ast.Eq) else Said(differ, same)

    def _values(self, node: ast.expr, *, images: bool) -> Any:
        match node:
            case ast.Constant(value=str(text)):
                return np.array(unicodedata.normalize("NFC", text), object)
            case ast.Constant(value=value):
                return np.array(float(value))  # type: ignore[arg-type]
            case ast.Name() | ast.Attribute() | ast.Subscript():
                return self._named(_written(node), images=images)
            case ast.UnaryOp(op=ast.USub(), operand=inner):
                return -self._values(inner, images=images)
            case ast.BinOp(left=left, op=op, right=right):
                one, other = (self._values(side, images=images) for side in (left, right))
                with np.errstate(all="ignore"):
                    result = _SUMS[type(op)](
                        one, np.where(other == 0, np.nan, other) if isinstance(op, ast.Div) else other
                    )
                return np.asarray(result)
            case ast.Call(func=ast.Name(id="min" | "max" as function), args=[inner]):
                found = self._extreme(function, self._values(inner, images=True))
                return found[self._owner] if images else found
        raise UnjudgedError(f"filter: {ast.unparse(node)} is none of the language")

    def _extreme(self, function: str, values: Numbers) -> Numbers:
        """NaN where one of a record's values is, and where it has none."""
        found = np.full(self._records, np.inf if function == "min" else -np.inf)
        with np.errstate(invalid="ignore"):
            (np.minimum if function == "min" else np.maximum).at(found, self._owner, values)
        found[self._counts == 0] = np.nan
        return found

    def _named(self, name: str, *, images: bool) -> Any:
        """A column as numbers (truths as 1 and 0) or texts, in the space asked for."""
        column = self._column(name)
        if not pa.types.is_list(column.type):
            values = _plain(column)
            return values[self._owner] if images else values
        lengths = column.value_lengths().fill_null(-1).to_numpy(zero_copy_only=False)
        known = lengths >= 0
        if (lengths[known] != self._counts[known]).any():
            raise UnjudgedError(f"{name}: a record has not as many values as images")
        flat = _plain(column.flatten())
        blank: Any = None if flat.dtype == object else np.nan
        values = np.full(len(self._owner), blank, flat.dtype)
        values[known[self._owner]] = flat
        return values


def _all(masks: Sequence[Any]) -> Any:
    found = masks[0]
    for one in masks[1:]:
        found = found & one
    return found


def _is_truth(node: ast.expr) -> bool:
    """What can only be true or false where it is compared with something."""
    word = isinstance(node, ast.Name) and node.id in ("true", "false")
    quantified = (
        isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("any", "all")
    )
    negated = isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not)
    constant = isinstance(node, ast.Constant) and isinstance(node.value, bool)
    return word or quantified or negated or constant or isinstance(node, (ast.BoolOp, ast.Compare))


def _known(values: Any) -> Any:
    if values.dtype == object:
        known: Any = values != None  # noqa: E711 - of each
        return known
    return ~np.isnan(values)


def _plain(column: pa.Array) -> Any:
    """Doubles, NaN for null; or texts in NFC, None for null."""
    if pa.types.is_string(column.type):
        coded = column.dictionary_encode()
        texts = [unicodedata.normalize("NFC", one) for one in coded.dictionary.to_pylist()]
        places = coded.indices.fill_null(len(texts)).to_numpy(zero_copy_only=False)
        return np.array([*texts, None], object)[places]
    values = column.cast(pa.int8()) if pa.types.is_boolean(column.type) else column
    missing = values.is_null().to_numpy(zero_copy_only=False)
    numbers = values.fill_null(0).to_numpy(zero_copy_only=False).astype(np.float64)
    numbers[missing] = np.nan
    return numbers
