"""Which annotations a catalogue wants, in which version, and what columns they have."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq
from blake3 import blake3

from vlm_assets.annotate.files import ID
from vlm_assets.annotators.protocol import Reads
from vlm_assets.annotators.registry import annotator_of
from vlm_assets.catalog.annotations import AnnotationSpec
from vlm_assets.catalog.spec import Catalog, SourceSpec
from vlm_assets.store.slices import file_hash
from vlm_assets.words.errors import AnnotationError

IMAGE_SHA256: Final = "image_sha256"


@dataclass(frozen=True, slots=True)
class ValueColumn:
    """A column that filters may name."""

    type: pa.DataType
    """Of one value: a number, truth value or string."""
    per_image: bool
    """There is a value for each image of a record."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """An annotation of the catalogue, as it is to be now."""

    spec: AnnotationSpec
    version: str
    """Of its files: the annotator's, or a hash of the files that are imported."""

    @property
    def name(self) -> str:
        """As filters say it."""
        return self.spec.name

    def covers(self, source: SourceSpec) -> bool:
        """Whether that source is annotated."""
        return self.spec.only.covers(source.name, source.category)


def wanted_annotations(catalog: Catalog) -> list[Wanted]:
    """Every annotation of the catalogue. Imported files are hashed once while they stay as they are.

    Raises:
        AnnotationError: imported files are missing or cannot be read.
    """
    return [Wanted(spec, annotation_version(spec)) for spec in catalog.corpus.annotations]


def usable_annotations(catalog: Catalog) -> tuple[list[Wanted], dict[str, str]]:
    """Every annotation of the catalogue that can be made on this machine; of the others, by name, why not."""
    found: list[Wanted] = []
    lacking: dict[str, str] = {}
    for spec in catalog.corpus.annotations:
        lacks = "" if spec.imported else annotator_of(spec.name).missing()
        if lacks:
            lacking[spec.name] = f"annotator {spec.name}: {lacks}"
            continue
        try:
            columns_of(spec)
            found.append(Wanted(spec, annotation_version(spec)))
        except AnnotationError as error:
            lacking[spec.name] = str(error)
    return found, lacking


def annotation_version(spec: AnnotationSpec) -> str:
    """The version that the files of an annotation are to be of.

    Raises:
        AnnotationError: imported files are missing or cannot be read.
    """
    if not spec.imported:
        return str(annotator_of(spec.name).version)
    digests = []
    for path in scores_of(spec):
        try:
            found = path.stat()
            digests.append(_blake3_of(path, found.st_size, found.st_mtime_ns, found.st_ctime_ns))
        except OSError as error:
            raise AnnotationError(
                f"annotation {spec.name}: {path}: cannot be read: {error.strerror}"
            ) from error
    told = "\n".join((str(spec.key), *sorted(digests)))
    return f"import-{blake3(told.encode()).hexdigest()[:16]}"


@cache
def _blake3_of(path: Path, *_changed: int) -> str:
    """Of a file as it was when it was changed."""
    return file_hash(path)


def scores_of(spec: AnnotationSpec) -> list[Path]:
    """The files of an imported annotation.

    Raises:
        AnnotationError: there are none.
    """
    files = spec.files()
    if not files:
        raise AnnotationError(f"annotation {spec.name}: no file matches {spec.path}; is the volume mounted?")
    return files


def value_columns(catalog: Catalog) -> dict[str, ValueColumn]:
    """Every column that filters may name, as `<name>.<column>`. Reads headers of imported files alone.

    Raises:
        AnnotationError: imported files are missing, damaged, or have no column that can be used.
    """
    return {
        f"{spec.name}.{name}": column
        for spec in catalog.corpus.annotations
        for name, column in columns_of(spec).items()
    }


def columns_of(spec: AnnotationSpec) -> Mapping[str, ValueColumn]:
    """The columns of one annotation, in their order.

    Raises:
        AnnotationError: as `value_columns`.
    """
    if spec.imported:
        return {name: ValueColumn(kind, spec.key == IMAGE_SHA256) for name, kind in _imported(spec).items()}
    annotator = annotator_of(spec.name)
    per_image = annotator.reads is Reads.IMAGES
    return {field.name: ValueColumn(field.type, per_image) for field in annotator.columns}


def filed_schema(spec: AnnotationSpec) -> pa.Schema:
    """Of a file of this annotation: `id`, then the values, as lists where they are of images.

    Raises:
        AnnotationError: as `value_columns`.
    """
    values = [
        (name, pa.list_(column.type) if column.per_image else column.type)
        for name, column in columns_of(spec).items()
    ]
    return pa.schema([(ID, pa.string()), *values])


def _imported(spec: AnnotationSpec) -> dict[str, pa.DataType]:
    found: dict[str, pa.DataType] | None = None
    for path in scores_of(spec):
        try:
            schema = pq.read_schema(path)
        except (OSError, pa.ArrowException, ValueError) as error:
            raise AnnotationError(f"annotation {spec.name}: {path} is no Parquet file: {error}") from error
        if spec.key not in schema.names:
            there = ", ".join(schema.names)
            raise AnnotationError(f"annotation {spec.name}: {path} has no column {spec.key}; it has {there}")
        columns = _usable(schema)
        if found is not None and columns != found:
            raise AnnotationError(
                f"annotation {spec.name}: {path} has the columns {_told(columns)}, a file before it {_told(found)}"
            )
        found = columns
    if not found:
        raise AnnotationError(
            f"annotation {spec.name}: no column of {spec.path} beside {spec.key} holds numbers, truth values or text"
        )
    return found


def _usable(schema: pa.Schema) -> dict[str, pa.DataType]:
    """Columns that can be values, with the type that they are kept in."""
    kinds = {field.name: _kept_as(field.type) for field in schema if field.name not in {ID, IMAGE_SHA256}}
    return {name: kind for name, kind in kinds.items() if kind is not None}


def _kept_as(kind: pa.DataType) -> pa.DataType | None:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_boolean(kind):
        return pa.bool_()
    if pa.types.is_integer(kind):
        return pa.int64()
    if pa.types.is_floating(kind):
        return pa.float64()
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return pa.string()
    return None


def _told(columns: Mapping[str, pa.DataType]) -> str:
    return ", ".join(f"{name} ({kind})" for name, kind in sorted(columns.items()))
