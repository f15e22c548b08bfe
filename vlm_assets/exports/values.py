"""Columns of a batch as Python values, by column: row by row, Arrow makes an object for each value it passes."""

from itertools import accumulate, pairwise
from typing import Any

import pyarrow as pa

from vlm_assets.store.arrays import values_of


def python_values(column: pa.Array) -> list[Any]:
    """What `to_pylist` gives, in a fraction of its time where values are nested."""
    kind = column.type
    if pa.types.is_list(kind):
        within = python_values(column.flatten())
        return _without_nulls(column, [within[start:end] for start, end in pairwise(_starts(column))])
    if pa.types.is_struct(kind):
        names = [kind.field(number).name for number in range(kind.num_fields)]
        fields = [python_values(one) for one in column.flatten()]
        rows = [dict(zip(names, values, strict=True)) for values in zip(*fields, strict=True)]
        return _without_nulls(column, rows)
    if pa.types.is_integer(kind) and not column.null_count:
        numbers: list[int] = values_of(column).tolist()
        return numbers
    values: list[Any] = column.to_pylist()
    return values


def _without_nulls(column: pa.Array, values: list[Any]) -> list[Any]:
    """None where the column has no value."""
    if not column.null_count:
        return values
    there = column.is_valid().to_pylist()
    return [value if valid else None for value, valid in zip(values, there, strict=True)]


def _starts(lists: pa.ListArray) -> list[int]:
    """Where each list begins among the flattened values, and the last one ends. Null lists are empty."""
    lengths: list[int] = lists.value_lengths().fill_null(0).to_pylist()
    return [0, *accumulate(lengths)]
