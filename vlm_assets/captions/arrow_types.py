"""What an Arrow type holds, however it holds it: large, viewed, as a dictionary, behind an extension."""

from typing import Any

import pyarrow as pa


def storage_of(kind: pa.DataType) -> pa.DataType:
    """The type without its clothes: an extension's storage, a dictionary's values."""
    if isinstance(kind, pa.BaseExtensionType):
        return storage_of(kind.storage_type)
    return storage_of(kind.value_type) if pa.types.is_dictionary(kind) else kind


def is_list(kind: pa.DataType) -> bool:
    """Whether its values are lists."""
    types = pa.types
    return bool(
        types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
        or types.is_list_view(kind) or types.is_large_list_view(kind)
    )  # fmt: skip


def is_text(kind: pa.DataType) -> bool:
    """Whether its values are text."""
    kind = storage_of(kind)
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def is_binary(kind: pa.DataType) -> bool:
    """Whether its values are bytes."""
    kind = storage_of(kind)
    types = pa.types
    return bool(
        types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind)
        or types.is_fixed_size_binary(kind)
    )  # fmt: skip


def check_names(schema: pa.Schema) -> None:
    """Returns where the names of all columns, inner ones too, are text.

    Raises:
        UnicodeDecodeError: one is not; pyarrow says so only when it is asked for.
    """
    level = list(schema)
    while level:
        for field in level:
            field.name  # noqa: B018 - is what raises
        kinds = [storage_of(field.type) for field in level]
        level = [kind.field(number) for kind in kinds for number in range(kind.num_fields)]


def python_values(column: pa.Array) -> list[Any]:
    """A column's values; of those that Python has no type for (a date beyond its years) what Arrow prints."""
    try:
        values: list[Any] = column.to_pylist()
    except UnicodeError:  # damage
        raise
    except (OverflowError, ValueError):
        return [_python_value(column.slice(place, 1)) for place in range(len(column))]
    return values


def _python_value(column: pa.Array) -> Any:
    try:
        return column[0].as_py()
    except (OverflowError, ValueError):
        return column.to_string(skip_new_lines=True).removeprefix("[").removesuffix("]").strip()
