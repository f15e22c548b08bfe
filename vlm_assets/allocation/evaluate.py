"""An expression of `catalog.expressions` over whole columns, with Arrow's kernels: true, false, or missing a row.

Missing takes part as in SQL: `false and missing` is false, `true or missing` true, all else with it is missing.
Numbers are doubles; what is not a number, and what is divided by zero, is missing. Texts are compared as NFC.
"""

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from vlm_assets.catalog.expressions import TRUTHS, argument_of, function_of, name_of
from vlm_assets.words.counts import so_many
from vlm_assets.words.errors import AllocationError
from vlm_assets.words.layout import nfc

Bool = NDArray[np.bool_]
_COMPARES: Final[Mapping[type[ast.cmpop], Callable[[Any, Any], Any]]] = {
    ast.Lt: pc.less,
    ast.LtE: pc.less_equal,
    ast.Gt: pc.greater,
    ast.GtE: pc.greater_equal,
    ast.Eq: pc.equal,
    ast.NotEq: pc.not_equal,
}
_COMPUTES: Final[Mapping[type[ast.operator], Callable[[Any, Any], Any]]] = {
    ast.Add: pc.add,
    ast.Sub: pc.subtract,
    ast.Mult: pc.multiply,
    ast.Div: pc.divide,
}


@dataclass(frozen=True, slots=True)
class _Part:
    """Values of the batch's records, of their images, or one constant of all."""

    values: Any
    of_images: bool = False


class Evaluation:
    """Expressions over one batch of records.

    `column` gives a named column: an array of the batch's length, of lists where its values are of images.
    `image_counts`: images of each record; asked for where an expression speaks of images.
    """

    def __init__(
        self, rows: int, column: Callable[[str], pa.Array], image_counts: Callable[[], NDArray[Any]]
    ) -> None:
        self._rows = rows
        self._column = column
        self._image_counts = image_counts
        self._owners: NDArray[np.int64] | None = None
        self._single: bool | None = None
        self._named_parts: dict[str, _Part] = {}

    def truth(self, tree: ast.expr) -> tuple[Bool, Bool]:
        """Rows for which the expression, of checked kinds, is true; rows for which that is missing.

        Raises:
            AllocationError: a column has another number of values than the record has images.
        """
        values = self._of(tree).values
        if isinstance(values, pa.Scalar):
            told = values.as_py()
            return np.full(self._rows, told is True), np.full(self._rows, told is None)
        missing = values.is_null().to_numpy(zero_copy_only=False)
        return values.fill_null(False).to_numpy(zero_copy_only=False), missing  # noqa: FBT003 - Arrow's signature

    def _of(self, node: ast.expr) -> _Part:
        match node:
            case ast.Constant(value=value):
                return _Part(_constant(value))
            case ast.Name(id=name) if name in TRUTHS:
                return _Part(pa.scalar(TRUTHS[name]))
            case ast.Name() | ast.Attribute() | ast.Subscript():
                return self._named(name_of(node))
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return self._with(pc.invert, operand)
            case ast.UnaryOp(operand=operand):
                return self._with(pc.negate, operand)
            case ast.BinOp(left=left, op=sign, right=right):
                return self._with(partial(_computed, sign), left, right)
            case ast.BoolOp(op=op, values=values):
                return self._with(pc.and_kleene if isinstance(op, ast.And) else pc.or_kleene, *values)
            case ast.Compare():
                return self._compared(node)
            case ast.Call():
                return _Part(self._of_record(function_of(node), self._of(argument_of(node)).values))
        raise AllocationError(f"{ast.unparse(node)}: not part of the language of filters")

    def _with(self, function: Callable[..., Any], *nodes: ast.expr) -> _Part:
        """A kernel over parts that are brought to one length; one of two arguments is applied from left to right."""
        parts = [self._of(node) for node in nodes]
        of_images = any(part.of_images for part in parts)
        first, *rest = [self._spread(part) if of_images else part.values for part in parts]
        if not rest:
            return _Part(function(first), of_images)
        for other in rest:
            first = function(first, other)
        return _Part(first, of_images)

    def _spread(self, part: _Part) -> Any:
        if part.of_images or isinstance(part.values, pa.Scalar):
            return part.values
        return part.values.take(pa.array(self._owners_of_images()))

    def _compared(self, node: ast.Compare) -> _Part:
        left, whole = node.left, None
        for op, right in zip(node.ops, node.comparators, strict=True):
            one = self._pair(op, left, right)
            whole = one if whole is None else self._both(whole, one)
            left = right
        return whole if whole is not None else _Part(pa.scalar(True))  # noqa: FBT003 - Arrow's signature

    def _both(self, one: _Part, other: _Part) -> _Part:
        of_images = one.of_images or other.of_images
        left, right = (self._spread(part) if of_images else part.values for part in (one, other))
        return _Part(pc.and_kleene(left, right), of_images)

    def _pair(self, op: ast.cmpop, left: ast.expr, right: ast.expr) -> _Part:
        if not isinstance(right, (ast.List, ast.Tuple)):
            return self._with(_COMPARES[type(op)], left, right)
        listed = pa.array([self._of(one).values.as_py() for one in right.elts])

        def among(values: Any) -> Any:
            found = pc.is_in(values, value_set=listed)
            told = found if isinstance(op, ast.In) else pc.invert(found)
            return pc.if_else(pc.is_valid(values), told, pa.scalar(None, pa.bool_()))

        return self._with(among, left)

    def _named(self, name: str) -> _Part:
        if name not in self._named_parts:
            column = self._column(name)
            of_images = pa.types.is_list(column.type)
            self._named_parts[name] = _Part(
                _plain(self._flat(name, column) if of_images else column), of_images
            )
        return self._named_parts[name]

    def _flat(self, name: str, column: pa.Array) -> pa.Array:
        """A value an image; a record without a list has a missing one for each."""
        counts = self._image_counts()
        lengths = pc.list_value_length(column).fill_null(-1).to_numpy(zero_copy_only=False)
        known = lengths >= 0
        wrong = np.flatnonzero(known & (lengths != counts))
        if len(wrong):
            raise AllocationError(
                f"{name}: {so_many(lengths[wrong[0]], 'value')} for a record of {so_many(counts[wrong[0]], 'image')}"
            )
        flat = column.flatten()
        if known.all():
            return flat
        present = known[self._owners_of_images()]
        return flat.take(pa.array(np.cumsum(present) - 1, mask=~present))

    def _owners_of_images(self) -> NDArray[np.int64]:
        """The record of each image."""
        if self._owners is None:
            self._owners = np.repeat(np.arange(self._rows), self._image_counts())
        return self._owners

    def _of_record(self, function: str, values: Any) -> Any:
        """What a function makes of the values of each record's images; missing where one that matters is."""
        if self._single is None:
            self._single = bool((self._image_counts() == 1).all())
        if self._single:
            return values
        owners = self._owners_of_images()
        if function in ("any", "all"):
            return self._any_or_all(values, owners, wanted=function == "any")
        return self._extreme(values, smallest=function == "min")

    def _any_or_all(self, values: Any, owners: NDArray[np.int64], *, wanted: bool) -> Any:
        """`any` is decided by a true one, `all` by a false one."""
        deciding = pc.equal(values, wanted).fill_null(False).to_numpy(zero_copy_only=False)  # noqa: FBT003 - a value
        unknown = values.is_null().to_numpy(zero_copy_only=False)
        decided = np.bincount(owners[deciding], minlength=self._rows) > 0
        open_ones = np.bincount(owners[unknown], minlength=self._rows) > 0
        return pa.array(decided if wanted else ~decided, mask=open_ones & ~decided)

    def _extreme(self, values: Any, *, smallest: bool) -> Any:
        numbers = values.fill_null(np.nan).to_numpy(zero_copy_only=False)
        counts = self._image_counts()
        filled = np.flatnonzero(counts > 0)
        found = np.full(self._rows, np.nan)
        if len(filled):
            starts = (np.cumsum(counts) - counts)[filled]
            with np.errstate(invalid="ignore"):
                found[filled] = (np.minimum if smallest else np.maximum).reduceat(numbers, starts)
        return pa.array(found, mask=np.isnan(found))


@lru_cache(maxsize=1024, typed=True)
def _constant(value: Any) -> pa.Scalar:
    if isinstance(value, str):
        return pa.scalar(nfc(value))
    return pa.scalar(value if isinstance(value, bool) else float(value))


def _plain(column: pa.Array) -> pa.Array:
    """Doubles without NaN, strings in NFC, truth values."""
    if pa.types.is_boolean(column.type):
        return column
    if pa.types.is_integer(column.type):
        return column.cast(pa.float64(), safe=False)
    if pa.types.is_floating(column.type):
        return _no_nan(column.cast(pa.float64(), safe=False))
    return pc.utf8_normalize(column.cast(pa.string()), form="NFC")


def _no_nan(values: Any) -> Any:
    nan = pc.is_nan(values)
    if isinstance(values, pa.Scalar):
        return pa.scalar(None, pa.float64()) if nan.as_py() else values
    return pc.if_else(nan, pa.scalar(None, pa.float64()), values) if pc.any(nan).as_py() else values


def _computed(op: ast.operator, one: Any, other: Any) -> Any:
    result = _COMPUTES[type(op)](one, other)
    if isinstance(op, ast.Div):
        result = pc.if_else(pc.equal(other, 0.0), pa.scalar(None, pa.float64()), result)
    return _no_nan(result)
