"""Rows of an Arrow table as records: the image found, text and label named, every other column kept.

Pure: takes record batches, gives records. Images stay encoded.
"""

import base64
import binascii
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from hashlib import sha256
from typing import Any, Final, Literal

import orjson
import pyarrow as pa

from vlm_assets.words.errors import Reject, RejectReason, SourceError
from vlm_assets.words.records import Record

TEXT_NAMES: Final = ("text", "caption", "captions", "txt", "description", "sentence", "alt_text", "TEXT")
IMAGE_NAMES: Final = ("image", "img", "jpg", "jpeg", "png", "webp", "picture", "photo")
_INLINE_BYTES: Final = 64 * 1024
_INT64: Final = 2**63

ImageShape = Literal["struct", "binary", "text"]


@dataclass(frozen=True, slots=True)
class Columns:
    """What the columns of a table mean."""

    image: str
    shape: ImageShape
    """How one image is held: struct<bytes, path>, plain bytes, or base64 text."""
    many: bool
    """A row holds a list of images: each becomes a sample."""
    text: str | None
    class_names: Mapping[str, Sequence[str]]
    """Names of the integers of ClassLabel columns."""


def features_of(schema: pa.Schema) -> dict[str, Any]:
    """The Hugging Face features in a schema's metadata; empty where there are none."""
    raw = (schema.metadata or {}).get(b"huggingface")
    if raw is None:
        return {}
    try:
        return dict(orjson.loads(raw)["info"]["features"])
    except (ValueError, KeyError, TypeError):
        return {}


def plan_columns(
    schema: pa.Schema,
    where: str,
    *,
    features: Mapping[str, Any] | None = None,
    image_column: str | None = None,
    text_column: str | None = None,
) -> Columns:
    """Finds the image column (the only one, or the one named) and the text column.

    `features` in the schema win over those given (from the README). Without a Hugging Face feature a column counts
    as images when it is struct<bytes, path>, or plain bytes under a usual name.

    Raises:
        SourceError: no image column, several, or a named column that does not exist; lists the columns.
    """
    known = {**(features or {}), **features_of(schema)}
    found = {field.name: _image_shape(field, known.get(field.name)) for field in schema}
    shapes = {name: known_shape for name, known_shape in found.items() if known_shape is not None}
    image = image_column or _only_image(shapes, schema, where)
    if image not in schema.names:
        raise SourceError(f"{where}: no column {image!r} (image_column); {_columns_text(schema)}")
    shape, many = shapes.get(image) or _named_shape(schema.field(image).type, image, where)
    text = text_column or next(
        (n for n in TEXT_NAMES if n in schema.names and _is_text(schema.field(n).type)), None
    )
    if text is not None and text.partition(".")[0] not in schema.names:
        raise SourceError(f"{where}: no column {text!r} (text_column); {_columns_text(schema)}")
    return Columns(image, shape, many, text, class_names(schema, features or {}))


def class_names(schema: pa.Schema, features: Mapping[str, Any]) -> dict[str, Sequence[str]]:
    """Names of the integers of every ClassLabel column; features in the schema win over those given."""
    return {
        name: tuple(feature["names"])
        for name, feature in {**features, **features_of(schema)}.items()
        if isinstance(feature, dict) and feature.get("_type") == "ClassLabel" and feature.get("names")
    }


def labelled(value: Any, names: Sequence[str] | None) -> Any:
    """A column's value as JSON; the integer of a ClassLabel as its name, None where it has none (-1: unlabelled)."""
    if names is not None and isinstance(value, int):
        return names[value] if 0 <= value < len(names) else None
    return json_value(value)


def records_of(
    batch: pa.RecordBatch, columns: Columns, item: str, origin: str, *, first_row: int, first_record: int
) -> Iterator[Record | Reject]:
    """Records of a batch in row order. Keys are `<item>/<row>`, with `#<n>` for the n-th image of a list.

    `first_row` and `first_record` are the places of the batch's first row in the item; a row without an image takes
    one record number, as a reject.
    """
    others = [name for name in batch.schema.names if name != columns.image]
    values = {name: batch.column(name).to_pylist() for name in others}
    record = first_record
    for offset, cells in enumerate(_image_cells(batch.column(columns.image), columns)):
        row = first_row + offset
        raw = {name: values[name][offset] for name in others}
        text, extra = _text_and_extra(raw, columns)
        if not cells:
            yield Reject(item, RejectReason.NO_IMAGE, f"row {row} has no image", record)
            record += 1
        for n, (image, path, problem) in enumerate(cells):
            suffix = f"#{n}" if columns.many else ""
            if image is None:
                detail = f"row {row}{suffix}: {problem or 'no image bytes'}"
                yield Reject(item, RejectReason.NO_IMAGE, detail, record)
            else:
                named = {**extra, f"{columns.image}.path": path} if path else extra
                place = f"{origin}#row={row}" + (f"&image={n}" if columns.many else "")
                key = f"{item}/{row}{suffix}"
                yield Record(item, record, key, image, place, text=text, extra=named)
            record += 1


def json_value(value: Any) -> Any:
    """A column's value as JSON, nothing dropped silently.

    Times in ISO 8601, decimals and integers past 64 bits as strings, NaN and infinities as strings; bytes as
    `{"base64": …}`, past 64 KiB as `{"sha256": …, "size_bytes": …}`.
    """
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, int):
        return value if -_INT64 <= value < _INT64 else str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, bytes):
        if len(value) > _INLINE_BYTES:
            return {"sha256": sha256(value).hexdigest(), "size_bytes": len(value)}
        return {"base64": base64.b64encode(value).decode()}
    if isinstance(value, Mapping):
        return {str(key): json_value(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_value(one) for one in value]
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    return str(value) if isinstance(value, Decimal) else repr(value)


def decoded_text_image(text: str) -> bytes | None:
    """Image bytes from base64 text or a `data:` URI; None for anything else (a path, a URL)."""
    body = text.partition(",")[2] if text.startswith("data:") else text
    try:
        return base64.b64decode("".join(body.split()), validate=True) or None
    except (binascii.Error, ValueError):
        return None


def _image_shape(field: pa.Field, feature: Any) -> tuple[ImageShape, bool] | None:
    many = False
    if isinstance(feature, list) and len(feature) == 1:  # how `datasets` before 4 wrote lists
        feature, many = feature[0], True
    elif isinstance(feature, dict) and feature.get("_type") in ("List", "LargeList", "Sequence"):
        feature, many = feature.get("feature"), True
    declared = isinstance(feature, dict) and feature.get("_type") == "Image"
    kind = field.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        kind, many = kind.value_type, True
    if pa.types.is_struct(kind):
        names = {kind.field(i).name for i in range(kind.num_fields)}
        return ("struct", many) if declared or names == {"bytes", "path"} else None
    if _is_binary(kind):
        return ("binary", many) if declared or field.name.lower() in IMAGE_NAMES else None
    return ("text", many) if declared and _is_text(kind) else None


def _named_shape(kind: pa.DataType, name: str, where: str) -> tuple[ImageShape, bool]:
    many = pa.types.is_list(kind) or pa.types.is_large_list(kind)
    inner = kind.value_type if many else kind
    if pa.types.is_struct(inner) and inner.get_field_index("bytes") >= 0:
        return "struct", many
    if _is_binary(inner):
        return "binary", many
    if _is_text(inner):
        return "text", many
    raise SourceError(f"{where}: column {name!r} (image_column) is {kind}: no images")


def _only_image(shapes: Mapping[str, Any], schema: pa.Schema, where: str) -> str:
    if len(shapes) == 1:
        return next(iter(shapes))
    if not shapes:
        raise SourceError(f"{where}: no image column found; set image_column. {_columns_text(schema)}")
    raise SourceError(f"{where}: several image columns: {', '.join(shapes)}; set image_column to one of them")


def _columns_text(schema: pa.Schema) -> str:
    return "columns: " + ", ".join(f"{field.name} ({field.type})" for field in schema)


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_binary(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


_Cell = tuple[bytes | None, str | None, str | None]
"""Image bytes, upstream path, and what is wrong where there are no bytes."""


def _image_cells(column: pa.Array, columns: Columns) -> Iterator[list[_Cell]]:
    for value in column.to_pylist():
        if value is None:
            yield []
        elif columns.many:
            yield [_cell(one, columns.shape) for one in value]
        else:
            yield [_cell(value, columns.shape)]


def _cell(value: Any, shape: ImageShape) -> _Cell:
    if value is None:
        return None, None, None
    if shape == "struct":
        path = value.get("path")
        return value.get("bytes") or None, path, f"only a path: {str(path)[:100]}" if path else None
    if shape == "binary":
        return value or None, None, None
    return decoded_text_image(value), None, f"neither base64 nor a data URI: {value[:60]!r}"


def _text_and_extra(raw: Mapping[str, Any], columns: Columns) -> tuple[str | None, dict[str, Any]]:
    extra: dict[str, Any] = {}
    text: str | None = None
    column, _, inner = (columns.text or "").partition(".")
    for name, value in raw.items():
        if columns.text is not None and name == column:
            text = _as_text(_dug(value, inner))
            if not inner:
                continue
        extra[name] = labelled(value, columns.class_names.get(name))
    return text, extra


def _dug(value: Any, inner: str) -> Any:
    for part in inner.split(".") if inner else ():
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _as_text(value: Any) -> str | None:
    if isinstance(value, (list, tuple)):
        return "\n".join(str(one) for one in value if one is not None) or None
    return None if value is None else str(value)
