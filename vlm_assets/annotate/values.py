"""Values as the table of a file, held against the columns that their annotator declares."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from vlm_assets.annotate.files import ID, is_per_image
from vlm_assets.annotators.protocol import Values
from vlm_assets.words.errors import AnnotationError

_PYTHON: Mapping[str, tuple[type, ...]] = {
    "bool": (bool,), "int32": (int,), "int64": (int,), "float": (float, int), "double": (float, int),
    "string": (str,),
}  # fmt: skip


def table_of(
    name: str, schema: pa.Schema, ids: Sequence[str], rows: Sequence[Values | Sequence[Values]]
) -> pa.Table:
    """The table of a file. `rows`: of each record its values, or those of each of its images; None: it has none.

    Raises:
        AnnotationError: a value is none that the columns allow; names annotator, record and column.
    """
    columns: list[pa.Array] = [pa.array(ids, pa.string())]
    for field in list(schema)[1:]:
        per_image = is_per_image(field.type)
        kind = field.type.value_type if per_image else field.type
        column = [
            [_value(name, ids[place], field.name, kind, one) for one in row]
            if per_image and isinstance(row, Sequence)
            else _value(name, ids[place], field.name, kind, row)
            for place, row in enumerate(rows)
        ]
        try:
            columns.append(pa.array(column, field.type))
        except (pa.ArrowException, OverflowError) as error:
            raise AnnotationError(f"annotator {name}: column {field.name}: {error}") from error
    for row, record in zip(rows, ids, strict=True):
        _check_names(name, schema, record, row)
    return pa.Table.from_arrays(columns, schema=schema)


def _value(name: str, record: str, column: str, kind: pa.DataType, values: Any) -> Any:
    """One value as Arrow takes it; null where there is none, or where it is not a number."""
    value = None if values is None else values.get(column)
    if value is None:
        return None
    wanted = _PYTHON[str(kind)]
    if not isinstance(value, wanted) or (isinstance(value, bool) and bool not in wanted):
        raise AnnotationError(f"annotator {name}: {record}: {column} is {value!r}, expected {kind}")
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _check_names(name: str, schema: pa.Schema, record: str, row: Values | Sequence[Values]) -> None:
    known = set(schema.names) - {ID}
    for one in row if isinstance(row, Sequence) else (row,):
        if one is not None and not known.issuperset(one):
            more = ", ".join(sorted(set(one) - known))
            raise AnnotationError(
                f"annotator {name}: {record}: gave {more}, declares {', '.join(sorted(known))}"
            )
