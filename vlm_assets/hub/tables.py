"""Rows of an Arrow table as records: the image found, text and label named, every other column kept.

Pure: takes record batches, gives records. Images stay encoded.
"""

import base64
import binascii
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import orjson
import pyarrow as pa

from vlm_assets.captions.arrow_types import is_binary, is_list, is_text
from vlm_assets.captions.columns import find_messages_column, form_of, is_conversation_type
from vlm_assets.captions.conversations import Conversation, normalise
from vlm_assets.captions.json_values import json_value
from vlm_assets.captions.turns import ConversationError
from vlm_assets.captions.words import TEXT_NAMES
from vlm_assets.hub.columns import Wanted
from vlm_assets.words.errors import Reject, RejectReason, SourceError
from vlm_assets.words.records import Record, RecordImage

IMAGE_NAMES: Final = ("image", "img", "jpg", "jpeg", "png", "webp", "picture", "photo")

ImageShape = Literal["struct", "binary", "text"]


@dataclass(frozen=True, slots=True)
class ImageColumn:
    """A column with images. `many`: a row holds a list of them."""

    name: str
    shape: ImageShape
    """How one image is held: struct<bytes, path>, plain bytes, or base64 text."""
    many: bool


@dataclass(frozen=True, slots=True)
class Columns:
    """What the columns of a table mean. Each row is one record with the images of all `images` columns."""

    images: tuple[ImageColumn, ...]
    text: str | None
    messages: str | None
    split: bool
    """Each image becomes a record of its own, for lists of pictures that do not belong together."""
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
    wanted: Wanted,
    *,
    features: Mapping[str, Any] | None = None,
    samples: Mapping[str, Sequence[Any]] | None = None,
) -> Columns:
    """Finds the image column (the only one, or those named), the text column and the conversation.

    `features` in the schema win over those given (from the README). Without a Hugging Face feature a column counts
    as images when it is struct<bytes, path>, or plain bytes under a usual name. `samples`: first values by column,
    which tell JSON text of conversations from other text.

    Raises:
        SourceError: no image column, several and none named, a named column that does not exist or cannot be what
            it is named as; lists the columns.
    """
    known = {**(features or {}), **features_of(schema)}
    found = {field.name: _image_shape(field, known.get(field.name)) for field in schema}
    shapes = {name: known_shape for name, known_shape in found.items() if known_shape is not None}
    names = wanted.image_columns or (_only_image(shapes, schema, where),)
    for key, name in [*(("image_column", one) for one in names), ("messages_column", wanted.messages_column)]:
        if name is not None and name not in schema.names:
            raise SourceError(f"{where}: no column {name!r} ({key}); {_columns_text(schema)}")
    images = tuple(
        ImageColumn(one, *(shapes.get(one) or _named_shape(schema.field(one).type, one, where)))
        for one in names
    )
    messages = _messages_column(schema, where, wanted, samples or {})
    text = _text_column(schema, where, wanted)
    return Columns(images, text, messages, wanted.split_images, class_names(schema, features or {}))


def _messages_column(
    schema: pa.Schema, where: str, wanted: Wanted, samples: Mapping[str, Sequence[Any]]
) -> str | None:
    name = wanted.messages_column
    if name is not None:
        form_of(schema.field(name).type, samples.get(name, ()), column=name, where=where)
        return name
    return None if wanted.split_images else find_messages_column(schema, samples, where=where)


def _text_column(schema: pa.Schema, where: str, wanted: Wanted) -> str | None:
    name = wanted.text_column
    if name is None:
        return next((n for n in TEXT_NAMES if n in schema.names and is_text(schema.field(n).type)), None)
    column, _, inner = name.partition(".")
    if column not in schema.names:
        raise SourceError(f"{where}: no column {name!r} (text_column); {_columns_text(schema)}")
    if not inner and is_conversation_type(schema.field(column).type):
        raise SourceError(
            f"{where}: column {name!r} (text_column) holds conversations; name it as messages_column instead"
        )
    return name


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
    """Records of a batch in row order, a whole row each. Keys are `<item>/<row>`; `#image=<n>` where rows are split.

    `first_row` and `first_record` are the places of the batch's first row in the item; a row without an image takes
    one record number, as a reject.
    """
    pictures = {one.name: batch.column(one.name).to_pylist() for one in columns.images}
    others = [name for name in batch.schema.names if name not in pictures]
    values = {name: batch.column(name).to_pylist() for name in others}
    record = first_record
    for offset in range(batch.num_rows):
        row = first_row + offset
        cells = _cells({name: pictures[name][offset] for name in pictures}, columns)
        raw = {name: values[name][offset] for name in others}
        place = _Place(item, record, f"{item}/{row}", f"{origin}#row={row}", row)
        if columns.split:
            for event in _split(place, cells, raw, columns):
                yield event
                record += 1
        else:
            yield _whole(place, cells, raw, columns)
            record += 1


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a record stands, and what it is called."""

    item: str
    record: int
    key: str
    origin: str
    row: int

    def reject(self, reason: RejectReason, detail: str) -> Reject:
        return Reject(self.item, reason, f"row {self.row}: {detail}", self.record)


def _whole(
    place: _Place,
    cells: "Sequence[_Cell]",
    raw: Mapping[str, Any],
    columns: Columns,
    *,
    upstream: int | None = None,
) -> Record | Reject:
    """The record of a row, or its reject: one image that is missing rejects it whole."""
    if not cells:
        return place.reject(RejectReason.NO_IMAGE, "no image")
    for number, cell in enumerate(cells, 1):
        if cell.data is None:
            which = f"image {number} of {len(cells)} ({cell.name}): " if len(cells) > 1 else ""
            return place.reject(RejectReason.NO_IMAGE, f"{which}{cell.problem or 'no image bytes'}")
    text, extra = _text_and_extra(raw, columns)
    if len(cells) == 1 and cells[0].path:
        extra[f"{columns.images[0].name}.path"] = cells[0].path
    try:
        said = _conversation(raw, columns, len(cells))
    except ConversationError as error:
        return place.reject(RejectReason.BAD_CONVERSATION, str(error))
    if said is not None and said.beside and columns.messages is not None:
        extra[columns.messages] = json_value(said.beside)
    alone = len(cells) == 1
    return Record(
        place.item,
        place.record,
        place.key,
        tuple(RecordImage(cell.data or b"", None if alone else cell.path or cell.name) for cell in cells),
        place.origin,
        text=text,
        messages=None if said is None else said.messages,
        extra=extra,
        images_upstream=upstream or len(cells),
        remarks={} if said is None else {str(change): count for change, count in said.changes.items()},
    )


def _split(
    place: _Place, cells: "Sequence[_Cell]", raw: Mapping[str, Any], columns: Columns
) -> Iterator[Record | Reject]:
    """A record for each image of a row, with the row's words."""
    if not cells:
        yield place.reject(RejectReason.NO_IMAGE, "no image")
    for number, cell in enumerate(cells):
        part = _Place(
            place.item,
            place.record + number,
            f"{place.key}#image={number + 1}",
            f"{place.origin}&image={number + 1}",
            place.row,
        )
        yield _whole(part, [cell], raw, columns, upstream=len(cells))


def _conversation(raw: Mapping[str, Any], columns: Columns, images: int) -> Conversation | None:
    value = raw.get(columns.messages) if columns.messages is not None else None
    return None if value is None else normalise(value, images)


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
    if is_list(kind):
        kind, many = kind.value_type, True
    if pa.types.is_struct(kind):
        names = {kind.field(i).name for i in range(kind.num_fields)}
        return ("struct", many) if declared or names == {"bytes", "path"} else None
    if is_binary(kind):
        return ("binary", many) if declared or field.name.lower() in IMAGE_NAMES else None
    return ("text", many) if declared and is_text(kind) else None


def _named_shape(kind: pa.DataType, name: str, where: str) -> tuple[ImageShape, bool]:
    many = is_list(kind)
    inner = kind.value_type if many else kind
    if pa.types.is_struct(inner) and inner.get_field_index("bytes") >= 0:
        return "struct", many
    if is_binary(inner):
        return "binary", many
    if is_text(inner):
        return "text", many
    raise SourceError(f"{where}: column {name!r} (image_column) is {kind}: no images")


def _only_image(shapes: Mapping[str, Any], schema: pa.Schema, where: str) -> str:
    if len(shapes) == 1:
        return next(iter(shapes))
    if not shapes:
        raise SourceError(f"{where}: no image column found; set image_column. {_columns_text(schema)}")
    raise SourceError(
        f"{where}: several image columns: {', '.join(shapes)}; set image_column to one of them, "
        "or to the list of those that make up a sample"
    )


def _columns_text(schema: pa.Schema) -> str:
    return "columns: " + ", ".join(f"{field.name} ({field.type})" for field in schema)


@dataclass(frozen=True, slots=True)
class _Cell:
    """One image of a row: its bytes or what is wrong, upstream's path, and where in the row it stands."""

    data: bytes | None
    path: str | None
    problem: str | None
    name: str


def _cells(values: Mapping[str, Any], columns: Columns) -> list[_Cell]:
    """The images of a row, column by column. A null column is no image, a null in a list is a missing one."""
    cells: list[_Cell] = []
    for column in columns.images:
        value = values[column.name]
        if value is None:
            continue
        if column.many:
            cells += [_cell(one, column.shape, f"{column.name}[{n}]") for n, one in enumerate(value)]
        else:
            cells.append(_cell(value, column.shape, column.name))
    return cells


def _cell(value: Any, shape: ImageShape, name: str) -> _Cell:
    if value is None:
        return _Cell(None, None, None, name)
    if shape == "struct":
        path = value.get("path")
        told = f"only a path: {str(path)[:100]}" if path else None
        return _Cell(value.get("bytes") or None, path, told, name)
    if shape == "binary":
        return _Cell(value or None, None, None, name)
    return _Cell(decoded_text_image(value), None, f"neither base64 nor a data URI: {value[:60]!r}", name)


def _text_and_extra(raw: Mapping[str, Any], columns: Columns) -> tuple[str | None, dict[str, Any]]:
    extra: dict[str, Any] = {}
    text: str | None = None
    column, _, inner = (columns.text or "").partition(".")
    for name, value in raw.items():
        if name == columns.messages:
            continue
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
