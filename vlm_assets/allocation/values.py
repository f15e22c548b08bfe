"""Values of annotations as filters read them: whole columns of a slice, in the order of its rows."""

from collections.abc import Collection, Iterator, Mapping
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from vlm_assets.allocation.supply import SliceValues, SupplySlice
from vlm_assets.annotate.files import HEADER_KEY, Header
from vlm_assets.annotate.wanted import columns_of
from vlm_assets.catalog.expressions import ColumnKind, Kind
from vlm_assets.catalog.filters import annotations_read, filter_faults, kind_of
from vlm_assets.catalog.spec import Catalog
from vlm_assets.words.counts import so_many
from vlm_assets.words.errors import AllocationError, AnnotationError

_NULLS: Final = {Kind.NUMBER: pa.float64(), Kind.TEXT: pa.string(), Kind.TRUTH: pa.bool_()}


def value_kinds(catalog: Catalog) -> dict[str, ColumnKind]:
    """The columns of those annotations that filters read, as `blur.laplacian`. Reads headers of imported files.

    Raises:
        AnnotationError: imported files are missing or damaged.
    """
    read = annotations_read(catalog.corpus.filters)
    return {
        f"{spec.name}.{name}": ColumnKind(kind_of(str(column.type)), column.per_image)
        for spec in catalog.corpus.annotations
        if spec.name in read
        for name, column in columns_of(spec).items()
    }


def filter_problems(catalog: Catalog) -> Iterator[tuple[str, str]]:
    """Filters that ask for what no annotation has, and why; those that read imported values too.

    Raises:
        AnnotationError: as `value_kinds`.
    """
    names = [one.name for one in catalog.corpus.annotations]
    yield from filter_faults(catalog.corpus.filters, value_kinds(catalog), names)


def checked_kinds(catalog: Catalog) -> dict[str, ColumnKind]:
    """`value_kinds`, every filter looked at.

    Raises:
        AllocationError: a filter asks for something else, or files of imported values are missing or damaged.
    """
    try:
        told = [f"filters.{name}.keep: {why}" for name, why in filter_problems(catalog)]
        if told:
            raise AllocationError("\n".join(told))
        return value_kinds(catalog)
    except AnnotationError as error:
        raise AllocationError(str(error)) from error


def read_values(
    entry: SupplySlice, names: Collection[str], kinds: Mapping[str, ColumnKind]
) -> dict[str, pa.Array]:
    """The named columns of a slice, a value (or a list) a row; nulls where the slice has no values of an annotation.

    Pages are held to their checksums. That ids and values are those that were written, the audit looks at.

    Raises:
        AllocationError: a file is gone, damaged, or of other rows or kinds.
    """
    wanted: dict[str, list[str]] = {}
    for name in sorted(names):
        annotation, _, column = name.partition(".")
        wanted.setdefault(annotation, []).append(column)
    found: dict[str, pa.Array] = {}
    there = {one.annotation: one for one in entry.values}
    for annotation, columns in wanted.items():
        known = {column: kinds[f"{annotation}.{column}"] for column in columns}
        if annotation in there:
            read = _read(there[annotation], entry.rows, known)
        else:
            read = {column: pa.nulls(entry.rows, _null_type(kind)) for column, kind in known.items()}
        found |= {f"{annotation}.{column}": values for column, values in read.items()}
    return found


def _null_type(kind: ColumnKind) -> pa.DataType:
    return pa.list_(_NULLS[kind.kind]) if kind.of_images else _NULLS[kind.kind]


def _read(values: SliceValues, rows: int, kinds: Mapping[str, ColumnKind]) -> dict[str, pa.Array]:
    path = values.path
    try:
        # Opened here: to look up which file system a path is on takes longer than to open it.
        with (
            pa.OSFile(str(path)) as source,
            pq.ParquetFile(source, page_checksum_verification=True, pre_buffer=False) as file,
        ):
            header = Header.model_validate_json((file.schema_arrow.metadata or {}).get(HEADER_KEY, b""))
            table = file.read(columns=list(kinds), use_threads=False)
        table.validate(full=True)
    except (OSError, pa.ArrowException, ValueError, KeyError) as error:
        raise AllocationError(f"{path}: {error}; run `vlm-assets annotate`") from error
    if header.values_hash != values.values_hash:
        raise AllocationError(f"{path}: was annotated anew while a plan was made; plan again")
    if table.num_rows != rows or set(table.column_names) != set(kinds):
        raise AllocationError(
            f"{path}: {so_many(table.num_rows, 'row')} of {', '.join(table.column_names)}, expected {rows} of "
            f"{', '.join(kinds)}; run `vlm-assets annotate`"
        )
    columns = {name: _whole(table.column(name)) for name in kinds}
    for name, kind in kinds.items():
        of_images = pa.types.is_list(columns[name].type)
        value_type = columns[name].type.value_type if of_images else columns[name].type
        if ColumnKind(kind_of(str(value_type)), of_images) != kind:
            raise AllocationError(f"{path}: {name} is of {columns[name].type}; run `vlm-assets annotate`")
    return columns


def _whole(column: pa.ChunkedArray) -> pa.Array:
    joined = column.combine_chunks()
    return pa.concat_arrays(joined.chunks) if isinstance(joined, pa.ChunkedArray) else joined
