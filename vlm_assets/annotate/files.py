"""The file of one annotator's values for one slice: its format, its writer, its reader.

`annotations/<name>/<source>/<slice>.parquet`: `id`, then the value columns, one row a record in the slice's order. Of
annotators that look at images each value is a list, one entry an image. Null: there is no value. Beside computed
values stands `content_key`, the first 16 bytes of a sha256 of what the annotator reads of it (`images_sha256`, or
one over `text_sha256` and `messages_sha256`). So records that stay as they are need not be looked at again.
"""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from blake3 import blake3
from pydantic import BaseModel, ConfigDict, ValidationError

from vlm_assets.store.arrow_files import replace_file
from vlm_assets.words.errors import AnnotationError, of_the_disk

FORMAT: Final = 2
_READ: Final = (1, 2)
"""Format 1 has no `content_key`: its values are as good, and none of them is taken over."""
HEADER_KEY: Final = b"vlm_annotation"
"""Key of the schema's metadata under which the header stands, as JSON."""
ID: Final = "id"
CONTENT_KEY: Final = "content_key"
KEY_BYTES: Final = 16
KEY_TYPE: Final = pa.binary(KEY_BYTES)
"""Of `content_key`, of which no value is. Null: the values are not to be taken over, for the annotator broke on one
of the record's images, or the record was taken down."""
VALUE_TYPES: Final = (pa.bool_(), pa.int32(), pa.int64(), pa.float32(), pa.float64(), pa.string())
"""What a value can be; of images, lists of these."""


class AnnotationState(StrEnum):
    """What of an annotator's values for a slice is there."""

    FRESH = "fresh"
    """Of this version of the annotator, and of what the slice has now."""
    STALE = "stale"
    """Of another version of the annotator, or of other content."""
    MISSING = "missing"
    DAMAGED = "damaged"


class Header(BaseModel):
    """What a file says of itself."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = FORMAT
    annotator: str
    version: str
    """Of the annotator; of imported values a hash of the files they come from."""
    source: str
    slice: str
    content_hash: str
    """Of the slice whose records were looked at."""
    rows: int
    values_hash: str
    """`values_hash` of the table: what of the values counts in an inputs hash, whatever wrote the file."""
    keys_hash: str = ""
    """blake3 over the content keys; "" where there are none."""
    failed: dict[str, int] = {}
    """Images or words that the annotator broke on, by how; their values are null."""


@dataclass(frozen=True, slots=True)
class Annotation:
    """The values of a slice."""

    header: Header
    table: pa.Table
    """`id` and the value columns."""
    keys: pa.Array | None = None
    """Of each row its content key; None in a file without."""


def write_annotation(path: Path, header: Header, table: pa.Table, keys: pa.Array | None = None) -> Header:
    """Puts the values at `path` in one step; what was there before is there until then. Returns the header written.

    `header.rows` and both hashes are taken from what is given. `keys`: of computed values, of each row its content
    key. Equal values give equal bytes.

    Raises:
        AnnotationError: the table is not of this format.
        DiskFullError, StoreError: it cannot be written.
    """
    check_columns(table.schema, str(path))
    found = {"rows": table.num_rows, "values_hash": values_hash(table), "keys_hash": _keys_hash(keys)}
    header = header.model_copy(update=found)
    table = table.combine_chunks()
    if keys is not None:
        table = table.append_column(pa.field(CONTENT_KEY, KEY_TYPE), keys)
    table = table.replace_schema_metadata({HEADER_KEY: _dumped(header)})
    sink = pa.BufferOutputStream()
    repeating = [_leaf(field) for field in table.schema if not _seldom_repeats(field)]
    pq.write_table(table, sink, compression="zstd", write_page_checksum=True, use_dictionary=repeating)
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, bytes(sink.getvalue()))
    return header


def _leaf(field: pa.Field) -> str:
    """As Parquet names the column of its values."""
    return f"{field.name}.list.element" if is_per_image(field.type) else str(field.name)


def _seldom_repeats(field: pa.Field) -> bool:
    """A dictionary of such values costs a fifth of the file and of the time to read it."""
    kind = field.type.value_type if is_per_image(field.type) else field.type
    return bool(pa.types.is_floating(kind) or kind == KEY_TYPE or field.name == ID)


def read_header(path: Path) -> Header | None:
    """The header alone; None where there is no file. The values are not looked at.

    Raises:
        AnnotationError: damaged, or no file of this format.
    """
    try:
        return _header(pq.read_schema(path), path)
    except FileNotFoundError:
        return None
    except (OSError, pa.ArrowException, ValueError) as error:
        raise _damaged(path, error) from error


def read_keys(path: Path) -> tuple[Header, pa.Array | None] | None:
    """The header, and the content keys where it has any; None where there is no file. The values are not looked at.

    Raises:
        AnnotationError: damaged, or no file of this format.
    """
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            header = _header(file.schema_arrow, path)
            return header, _parted(file.read(columns=[CONTENT_KEY]))[1] if header.keys_hash else None
    except FileNotFoundError:
        return None
    except (OSError, pa.ArrowException, ValueError) as error:
        raise _damaged(path, error) from error


def read_annotation(path: Path) -> Annotation | None:
    """Header and values, looked at in full; None where there is no file.

    Raises:
        AnnotationError: damaged, no file of this format, or its values are not those it was written with.
    """
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            table = file.read().combine_chunks()
        table, keys = _parted(table)
        table = table.cast(_plain(table.schema))
        table.validate(full=True)
    except FileNotFoundError:
        return None
    except (OSError, pa.ArrowException, ValueError) as error:
        raise _damaged(path, error) from error
    header = _header(table.schema, path)
    check_columns(table.schema, str(path))
    if table.num_rows != header.rows or values_hash(table) != header.values_hash:
        raise _damaged(path, "its values are not those that it was written with")
    if _keys_hash(keys) != header.keys_hash:
        raise _damaged(path, "its content keys are not those that it was written with")
    return Annotation(header, table.replace_schema_metadata(None), keys)


def _parted(table: pa.Table) -> tuple[pa.Table, pa.Array | None]:
    """The values, and beside them the content keys."""
    place = table.schema.get_field_index(CONTENT_KEY)
    if place < 0 or table.schema.field(place).type != KEY_TYPE:
        return table, None
    chunks = table.column(place).chunks
    keys = pa.concat_arrays(chunks) if chunks else pa.array([], KEY_TYPE)
    keys.validate(full=True)
    return table.remove_column(place), keys


def without_values(data: bytes, where: str) -> bytes:
    """A file with the header of this one and no rows: as much as `read_header` looks at.

    Raises:
        AnnotationError: it is no file of this format.
    """
    try:
        schema = pq.read_schema(pa.BufferReader(data))
    except (OSError, pa.ArrowException, ValueError) as error:
        raise _damaged(Path(where), error) from error
    sink = pa.BufferOutputStream()
    pq.write_table(schema.empty_table(), sink)
    return bytes(sink.getvalue())


def annotation_state(
    path: Path, version: str, content_hash: str, *, thorough: bool = False
) -> AnnotationState:
    """Whether the file has the values of this version of its annotator for this content.

    Reads the header alone, unless `thorough`: damage to values goes unnoticed by it.
    """
    try:
        found = read_annotation(path) if thorough else None
        header = found.header if found is not None else read_header(path)
    except AnnotationError:
        return AnnotationState.DAMAGED
    if header is None:
        return AnnotationState.MISSING
    fresh = header.version == version and header.content_hash == content_hash
    return AnnotationState.FRESH if fresh else AnnotationState.STALE


def is_per_image(kind: pa.DataType) -> bool:
    """Whether a value column has a value for each image of a record."""
    return bool(pa.types.is_list(kind))


def check_columns(schema: pa.Schema, where: str) -> None:
    """Returns where these are `id` and value columns.

    Raises:
        AnnotationError: they are not.
    """
    if schema.names[:1] != [ID] or schema.field(0).type != pa.string() or len(schema.names) < 2:
        raise AnnotationError(f"{where}: expected a column id of strings, then values; got {schema.names}")
    for field in list(schema)[1:]:
        kind = field.type.value_type if is_per_image(field.type) else field.type
        if kind not in VALUE_TYPES:
            raise AnnotationError(
                f"{where}: column {field.name} is of {field.type}, which is no kind of value"
            )


def _plain(schema: pa.Schema) -> pa.Schema:
    """With lists as Arrow makes them: Parquet calls their elements something else."""
    fields = [
        pa.field(one.name, pa.list_(one.type.value_type) if is_per_image(one.type) else one.type)
        for one in schema
    ]
    return pa.schema(fields, metadata=schema.metadata)


def values_hash(table: pa.Table) -> str:
    """blake3 over ids and values with the columns' names and types; whatever file or chunks they lie in."""
    digest = blake3()
    for field in table.schema:
        column = table.column(field.name).combine_chunks()
        array = pa.concat_arrays(column.chunks) if isinstance(column, pa.ChunkedArray) else column
        kind = [str(field.type.value_type)] if is_per_image(field.type) else str(field.type)
        digest.update(orjson.dumps([field.name, kind, len(array)]))
        _feed(digest, array)
    return digest.hexdigest()


def _keys_hash(keys: pa.Array | None) -> str:
    if keys is None:
        return ""
    digest = blake3()
    _feed(digest, keys)
    return str(digest.hexdigest())


def _feed(digest: Any, array: pa.Array) -> None:
    """Which values there are, and those, without what lies in memory below a null."""
    digest.update(np.packbits(array.is_valid().to_numpy(zero_copy_only=False)).tobytes())
    present = array.drop_null()
    if is_per_image(array.type):
        digest.update(present.value_lengths().to_numpy(zero_copy_only=False).astype("<i8").tobytes())
        _feed(digest, present.flatten())
    elif pa.types.is_string(array.type):
        digest.update(pc.binary_length(present).to_numpy().astype("<i8").tobytes())
        digest.update(_text_bytes(present))
    elif pa.types.is_fixed_size_binary(array.type):
        digest.update(_key_bytes(present))
    else:
        digest.update(present.to_numpy(zero_copy_only=False).tobytes())


def _key_bytes(keys: pa.FixedSizeBinaryArray) -> memoryview:
    """All of them, one behind the other; none is null."""
    data = keys.buffers()[1] if len(keys) else None
    begin = KEY_BYTES * keys.offset
    return memoryview(b"") if data is None else memoryview(data)[begin : begin + KEY_BYTES * len(keys)]


def _text_bytes(texts: pa.StringArray) -> memoryview:
    """All of them, one behind the other; none is null."""
    _, offsets, data = texts.buffers()
    if not len(texts) or data is None:
        return memoryview(b"")
    ends = np.frombuffer(offsets, np.int32, count=len(texts) + 1, offset=4 * texts.offset)
    return memoryview(data)[int(ends[0]) : int(ends[-1])]


def _dumped(header: Header) -> bytes:
    return orjson.dumps(header.model_dump(), option=orjson.OPT_SORT_KEYS)


def _header(schema: pa.Schema, path: Path) -> Header:
    told = (schema.metadata or {}).get(HEADER_KEY)
    if told is None:
        raise _damaged(path, "it says nothing of its annotator")
    try:
        header = Header.model_validate_json(told)
    except ValidationError as error:
        raise _damaged(path, error) from error
    if header.format not in _READ:
        raise _damaged(path, f"it is of format {header.format}, this program reads up to {FORMAT}")
    return header


def _damaged(path: Path, error: object) -> AnnotationError:
    if isinstance(error, OSError) and of_the_disk(error):
        return AnnotationError(f"{path}: cannot be read: {error.strerror}")
    told = " ".join(str(error).split())[:200]
    return AnnotationError(f"{path} is damaged: {told}. `vlm-assets annotate` computes it anew")
