"""Rows of an Arrow table as records: the image found, text and label named, every other column kept.

Pure: takes record batches, gives records. Images stay encoded.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson
import pyarrow as pa

from vlm_assets.captions.arrow_types import is_binary, is_list, is_text, python_values, storage_of
from vlm_assets.captions.columns import find_messages_column, form_of, is_conversation_type
from vlm_assets.captions.conversations import Conversation, conversation_of
from vlm_assets.captions.json_values import json_value
from vlm_assets.captions.turns import MESSAGES_NAMES, ConversationError
from vlm_assets.captions.words import as_text, plain_text, usual_texts
from vlm_assets.hub.cells import (
    Cell,
    Follow,
    ImageColumn,
    beside_image,
    cells_of,
    count_images,
    followed_cells,
    gives_image,
)
from vlm_assets.hub.columns import LabelRule, Wanted
from vlm_assets.hub.image_columns import IMAGE_NAMES, image_shape, named_shape, other_fields
from vlm_assets.words.errors import Reject, RejectReason, SourceError
from vlm_assets.words.layout import nfc
from vlm_assets.words.records import Record, RecordImage

SAMPLE_ROWS: Final = 8
"""First rows whose values tell what a column of text holds."""

_FOLLOWED_ROWS: Final = 64
"""Rows whose named files are fetched together: they lie on disk meanwhile."""


class ColumnsError(SourceError):
    """A sound table that leaves open which column is the image, or lacks one that the catalogue names."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Some rows of a table, by column."""

    columns: Mapping[str, Sequence[Any]]
    count: int

    @classmethod
    def of(cls, batch: pa.RecordBatch) -> "Rows":
        """Those of a batch."""
        names = batch.schema.names
        return cls({name: python_values(batch.column(name)) for name in names}, batch.num_rows)


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
    numbered: str | None = None
    """A ClassLabel column whose number is a row's label."""
    label: str | None = None
    """The column of the labels, if the catalogue names one."""
    texts: Sequence[str] = ()
    """Where no text is declared: columns that may be it, in turn; that of a row is the first that has one."""


def features_of(schema: pa.Schema | None) -> dict[str, Any]:
    """The Hugging Face features in a schema's metadata; empty where there are none."""
    raw = None if schema is None else (schema.metadata or {}).get(b"huggingface")
    if raw is None:
        return {}
    try:
        return {nfc(name): feature for name, feature in orjson.loads(raw)["info"]["features"].items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


def nfc_names(schema: pa.Schema, where: str) -> list[str]:
    """Names of the columns in NFC, as the catalogue has them.

    Raises:
        SourceError: two columns have one name.
    """
    names = [nfc(name) for name in schema.names]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise SourceError(f"{where}: two columns are named {', '.join(twice)}")
    return names


def plan_columns(
    schema: pa.Schema,
    where: str,
    wanted: Wanted,
    *,
    features: Mapping[str, Any] | None = None,
    samples: Mapping[str, Sequence[Any]] | None = None,
    follow: Follow | None = None,
) -> Columns:
    """Finds the image column (the only one, or those named), the text column and the conversation.

    `features` in the schema win over those given (from the README). Without a Hugging Face feature a column counts
    as images when it is struct<bytes, path>, or plain bytes under a usual name. `samples`: first values by column,
    which tell JSON text of conversations, and text that is an image or (`follow`) names one, from other text.

    Raises:
        SourceError: no image column, several and none named, a named column that does not exist or cannot be what
            it is named as; lists the columns.
    """
    known = {**(features or {}), **features_of(schema)}
    found = {field.name: image_shape(field, known.get(field.name)) for field in schema}
    shapes = {name: known_shape for name, known_shape in found.items() if known_shape is not None}
    names = wanted.image_columns
    if not names and not wanted.words_only:
        names = (_only_image(shapes, schema, where, wanted, samples or {}, follow),)
    for key, name in [*(("image_column", one) for one in names), ("messages_column", wanted.messages_column)]:
        if name is not None and name not in schema.names:
            raise ColumnsError(f"{where}: no column {name!r} ({key}); {_columns_text(schema)}")
    images = tuple(
        ImageColumn(
            one,
            *(shapes.get(one) or named_shape(schema.field(one).type, one, where)),
            other_fields(schema.field(one).type),
        )
        for one in names
    )
    messages = _messages_column(schema, where, wanted, samples or {})
    text = _text_column(schema, where, wanted)
    usual = () if wanted.text_column else _usual_texts(schema, set(names))
    classes = class_names(schema, features or {})
    return Columns(
        images,
        text,
        messages,
        wanted.split_images,
        classes,
        numbered_label(wanted.label, classes),
        wanted.label.column if wanted.label else None,
        usual,
    )


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
        return next((one for one in _usual_texts(schema) if _holds_text(schema.field(one).type)), None)
    column, _, inner = (name, "", "") if name in schema.names else name.partition(".")
    if column not in schema.names:
        raise ColumnsError(f"{where}: no column {name!r} (text_column); {_columns_text(schema)}")
    kind = schema.field(column).type
    if not inner and is_conversation_type(kind):
        raise SourceError(
            f"{where}: column {name!r} (text_column) holds conversations; name it as messages_column instead"
        )
    for part in inner.split(".") if inner else ():
        kind = storage_of(kind)
        fields = [one.name for one in kind] if pa.types.is_struct(kind) else []
        if part not in fields:
            there = f"; there are: {', '.join(fields)}" if fields else ""
            raise ColumnsError(f"{where}: column {name!r} (text_column): {kind} has no field {part!r}{there}")
        kind = kind.field(part).type
    if _holds_objects(kind):
        raise SourceError(f"{where}: column {name!r} (text_column) is {kind}: objects, no text")
    return name


def _usual_texts(schema: pa.Schema, images: Collection[str] = ()) -> tuple[str, ...]:
    """Columns that may be the text; bytes among them, for not all writers of Parquet say which bytes are text."""
    return tuple(
        name
        for name in usual_texts(schema.names)
        if name not in images and (_holds_text(schema.field(name).type) or is_binary(schema.field(name).type))
    )


def _holds_text(kind: pa.DataType) -> bool:
    return is_text(kind) or (is_list(storage_of(kind)) and is_text(storage_of(kind).value_type))


def _holds_objects(kind: pa.DataType) -> bool:
    kind = storage_of(kind)
    if is_list(kind):
        return _holds_objects(kind.value_type)
    return bool(pa.types.is_struct(kind) or pa.types.is_map(kind))


def sampled_names(names: Sequence[str], wanted: Wanted) -> list[str]:
    """Columns whose first values `plan_columns` looks at."""
    looked_at = {*MESSAGES_NAMES, wanted.messages_column}
    return [name for name in names if name in looked_at or name.lower() in IMAGE_NAMES]


def class_names(schema: pa.Schema | None, features: Mapping[str, Any]) -> dict[str, Sequence[str]]:
    """Names of the integers of every ClassLabel column; features in the schema win over those given."""
    known = {**features, **features_of(schema)}.items()
    classes = [
        (name, one) for name, one in known if isinstance(one, dict) and one.get("_type") == "ClassLabel"
    ]
    told = [(name, one["names"]) for name, one in classes if isinstance(one.get("names"), list)]
    return {name: tuple(names) for name, names in told if set(map(type, names)) == {str}}


def numbered_label(rule: LabelRule | None, classes: Mapping[str, Sequence[str]]) -> str | None:
    """The ClassLabel column of the labels, where their map is written by numbers and the classes' names are none."""
    if rule is None or not rule.by_number or rule.column not in classes:
        return None
    return None if all(name.isdecimal() for name in classes[rule.column]) else rule.column


def labelled(value: Any, names: Sequence[str] | None) -> Any:
    """A column's value as JSON; the integer of a ClassLabel as its name, None below 0 (unlabelled)."""
    if names is not None and isinstance(value, int):
        return names[value] if 0 <= value < len(names) else None if value < 0 else value
    return json_value(value)


def records_of(
    rows: pa.RecordBatch | Rows,
    columns: Columns,
    item: str,
    origin: str,
    *,
    first_row: int,
    first_record: int,
    follow: Follow | None = None,
) -> Iterator[Record | Reject]:
    """Records in row order, a whole row each. Keys are `<item>/<row>`; `#image=<n>` where rows are split.

    `first_row` and `first_record` are the places of the first row in the item; a row without an image takes one
    record number, as a reject. `follow`: where files that rows name instead of bytes are.
    """
    rows = rows if isinstance(rows, Rows) else Rows.of(rows)
    record = first_record
    for start in range(0, rows.count, _FOLLOWED_ROWS):
        places = range(start, min(start + _FOLLOWED_ROWS, rows.count))
        found = [
            cells_of(
                {one.name: rows.columns[one.name][offset] for one in columns.images}, columns.images, follow
            )
            for offset in places
        ]
        for offset, cells in zip(places, followed_cells(found, follow), strict=True):
            row = first_row + offset
            place = _Place(item, record, f"{item}/{row}", f"{origin}#row={row}", row)
            for event in _events(place, cells, rows, offset, columns):
                yield event
                record += 1


def _events(
    place: "_Place", cells: Sequence[Cell], rows: Rows, offset: int, columns: Columns
) -> Iterator[Record | Reject]:
    pictures = {one.name for one in columns.images}
    upstream = sum(count_images(rows.columns[one.name][offset], one) for one in columns.images)
    raw = {name: values[offset] for name, values in rows.columns.items() if name not in pictures}
    for column in columns.images:
        if column.beside and (told := beside_image(rows.columns[column.name][offset], column)) is not None:
            raw[column.name] = told
    try:
        if columns.split:
            yield from _split(place, cells, raw, columns, upstream)
        else:
            yield _whole(place, cells, raw, columns, upstream)
    except SourceError as error:
        raise SourceError(f"{place.origin}: {error}") from error


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a record stands, and what it is called."""

    item: str
    record: int
    key: str
    origin: str
    row: int

    def reject(self, reason: RejectReason, detail: str, *, transient: bool = False) -> Reject:
        detail = f"row {self.row}: {detail}"[:300]
        return Reject(self.item, reason, detail, self.record, transient=transient)


def _whole(
    place: _Place,
    cells: Sequence[Cell],
    raw: Mapping[str, Any],
    columns: Columns,
    upstream: int,
) -> Record | Reject:
    """The record of a row, or its reject: one image that is missing rejects it whole."""
    if not cells and columns.images:
        return place.reject(RejectReason.NO_IMAGE, "no image")
    for number, cell in enumerate(cells, 1):
        if cell.data is None:
            which = f"image {number} of {len(cells)} ({cell.name}): " if len(cells) > 1 else ""
            told = f"{which}{cell.problem or 'no image bytes'}"
            return place.reject(cell.reason, told, transient=cell.transient)
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
        tuple(
            RecordImage(cell.data or b"", None if alone else cell.path or cell.name, cell.origin)
            for cell in cells
        ),
        place.origin,
        text=text,
        messages=None if said is None else said.messages,
        label=_label(raw, extra, columns),
        extra=extra,
        images_upstream=upstream,
        remarks={} if said is None else {str(change): count for change, count in said.changes.items()},
    )


def _label(raw: Mapping[str, Any], extra: Mapping[str, Any], columns: Columns) -> str | None:
    """The label, where `extra` does not have it: a class's number, or what is the text as well."""
    if columns.numbered:
        value = raw.get(columns.numbered)
        return str(value) if isinstance(value, int) and value >= 0 else None
    if not columns.label or columns.label in extra or raw.get(columns.label) is None:
        return None
    return str(json_value(raw[columns.label]))


def _split(
    place: _Place, cells: Sequence[Cell], raw: Mapping[str, Any], columns: Columns, upstream: int
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
        yield _whole(part, [cell], _said_of(cell, raw, columns), columns, upstream)


def _said_of(cell: Cell, raw: Mapping[str, Any], columns: Columns) -> Mapping[str, Any]:
    """A row's values, of those beside its images only what stands beside this one."""
    told = dict(raw)
    for column in columns.images:
        if isinstance(beside := raw.get(column.name), list):
            place = cell.name.removeprefix(f"{column.name}[").removesuffix("]")
            told[column.name] = beside[int(place)] if place.isdecimal() else None
    return told


def _conversation(raw: Mapping[str, Any], columns: Columns, images: int) -> Conversation | None:
    value = raw.get(columns.messages) if columns.messages is not None else None
    return conversation_of(value, images)


def _only_image(
    shapes: Mapping[str, Any],
    schema: pa.Schema,
    where: str,
    wanted: Wanted,
    samples: Mapping[str, Sequence[Any]],
    follow: Follow | None,
) -> str:
    if len(shapes) == 1:
        return next(iter(shapes))
    if not shapes:
        usual = [
            str(one.name)
            for one in schema
            if one.name.lower() in IMAGE_NAMES
            and _holds_text(one.type)
            and any(gives_image(value, follow) for value in samples.get(one.name, ()))
        ]
        if len(usual) == 1:
            return usual[0]
        told = "; set image_column. " if wanted.names_images else "; "
        raise ColumnsError(f"{where}: no image column found{told}{_columns_text(schema)}")
    told = "set image_column" if wanted.names_images else "hf_disk reads such files: set its image_column"
    raise ColumnsError(
        f"{where}: several image columns: {', '.join(shapes)}; {told} to one of them, "
        "or to the list of those that make up a sample"
    )


def _columns_text(schema: pa.Schema) -> str:
    return "columns: " + ", ".join(f"{field.name} ({field.type})" for field in schema)


def _text_and_extra(raw: Mapping[str, Any], columns: Columns) -> tuple[str | None, dict[str, Any]]:
    extra: dict[str, Any] = {}
    text: str | None = None
    said = (name for name in columns.texts if _says(raw.get(name)))
    silent = (name for name in columns.texts if raw.get(name) is None)
    chosen = next(said, None) or columns.text or next(silent, None)
    column, _, inner = (chosen, "", "") if chosen in raw else (chosen or "").partition(".")
    for name, value in raw.items():
        if name == columns.messages:
            continue
        if chosen is not None and name == column:
            text = as_text(_dug(value, inner), f"column {chosen!r}")
            if not inner:
                continue
        extra[name] = labelled(value, columns.class_names.get(name))
    return text, extra


def _says(value: Any) -> bool:
    if isinstance(value, list):
        return any(map(_says, value))
    return bool(plain_text(value).strip())


def _dug(value: Any, inner: str) -> Any:
    for part in inner.split(".") if inner else ():
        value = value.get(part) if isinstance(value, Mapping) else None
    return value
