"""Data files of a repository on this disk, as rows: for kinds that read them when they list."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from vlm_assets.captions.arrow_types import is_text, python_values
from vlm_assets.captions.tables import TableReading
from vlm_assets.hub.client import HubRepo
from vlm_assets.hub.columns import LabelRule
from vlm_assets.hub.layouts import HubSpec, RepoLayout, origin_of
from vlm_assets.hub.readers import TABLE_FORMATS, TEXT_FORMATS, batches_of
from vlm_assets.hub.repo_files import RepoFile
from vlm_assets.hub.tables import class_names, labelled, numbered_label
from vlm_assets.hub.text_tables import TextTable
from vlm_assets.transfer.files import FileHashes
from vlm_assets.transfer.sync_guest import SyncGuest
from vlm_assets.words.contexts import ListContext
from vlm_assets.words.errors import SourceError


@dataclass(frozen=True, slots=True)
class LocalTable:
    """A verified data file of a table format on disk."""

    path: Path
    format: str
    name: str
    where: str
    features: Mapping[str, Any]
    reading: TableReading
    known: Callable[[str], bool]
    """Names that a column has if the table is read rightly."""
    label: LabelRule | None = None
    """Of a ClassLabel whose map is written by numbers, the number stays."""

    def columns(self) -> list[str]:
        """Names of its columns; of JSON those of the first rows.

        Raises:
            SourceError: it cannot be read.
        """
        if self.format in TEXT_FORMATS:
            return list(self._text().load().columns)
        return next(
            (list(batch.schema.names) for batch in batches_of(self.path, self.format, self.where)), []
        )

    def kinds(self) -> dict[str, pa.DataType] | None:
        """Arrow types by column; None of JSON and CSV.

        Raises:
            SourceError: it cannot be read.
        """
        if self.format in TEXT_FORMATS:
            return None
        first = next(batches_of(self.path, self.format, self.where), None)
        return {} if first is None else {field.name: field.type for field in first.schema}

    def rows(self) -> Iterator[dict[str, Any]]:
        """Its rows as JSON values, ClassLabel integers as names, bytes that are text as such.

        Raises:
            SourceError: it cannot be read to its end.
        """
        if self.format in TEXT_FORMATS:
            names = self._class_names(None)
            for row in self._text().rows():
                yield {name: labelled(value, names.get(name)) for name, value in row.items()}
            return
        for names_of, cells in self._batches():
            for row_cells in cells:
                yield dict(zip(names_of, row_cells, strict=True))

    def cells(self) -> Iterator[tuple[int, Sequence[Any]]] | None:
        """The same with the number of each row, as lists in the order of `columns`; None of JSON and CSV."""
        if self.format in TEXT_FORMATS:
            return None
        return enumerate((row for _, cells in self._batches() for row in cells), 1)

    def _batches(self) -> Iterator[tuple[list[str], Iterator[Sequence[Any]]]]:
        """Names of the columns and rows of values, a batch at a time."""
        for batch in batches_of(self.path, self.format, self.where):
            names = self._class_names(batch.schema)
            columns = []
            for field in batch.schema:
                values = python_values(batch.column(field.name))
                if field.name in names or not _is_plain(field.type):
                    values = [labelled(_plain(value), names.get(field.name)) for value in values]
                columns.append(values)
            yield list(batch.schema.names), zip(*columns, strict=True)

    def _class_names(self, schema: pa.Schema | None) -> dict[str, Sequence[str]]:
        names = class_names(schema, self.features)
        names.pop(numbered_label(self.label, names) or "", None)
        return names

    def _text(self) -> TextTable:
        return TextTable(self.path, self.name, self.where, self.reading, self.features, self.known)


def local_tables(
    spec: HubSpec,
    context: ListContext,
    layout: RepoLayout,
    reading: TableReading,
    known: Callable[[str], bool],
    label: LabelRule | None = None,
) -> list[LocalTable]:
    """The data files of a repository's wanted splits, downloaded below the cache.

    Raises:
        SourceError: one cannot be had; or the dataset holds images itself.
    """
    tables: list[LocalTable] = []
    with (
        SyncGuest(context.settings, spec, context.locks_dir) as guest,
        FileHashes(context.cache_dir / "hub.sqlite") as hashes,
    ):
        repo = HubRepo.open(spec.repo, context.settings, guest)
        for split, items in layout.splits:
            if split.format not in TABLE_FORMATS:
                raise SourceError(
                    f"source {spec.name}: {spec.repo}, {split.config}/{split.split} is {split.format}: it holds "
                    "images, not URLs; use kind hf_dataset"
                )
            for item in items:
                file = RepoFile(**item.payload["file"])
                path = repo.fetch(file, layout.sha, context.cache_dir / "hub", hashes, force=context.force)
                where = origin_of(spec, file.path)
                features = split.features or {}
                tables.append(
                    LocalTable(path, split.format, item.key, where, features, reading, known, label)
                )
    return tables


def _is_plain(kind: pa.DataType) -> bool:
    """Whether all values of a type are JSON values as they are."""
    return is_text(kind) or bool(pa.types.is_signed_integer(kind) or pa.types.is_boolean(kind))


def _plain(value: Any) -> Any:
    """Text where a writer has left out that its bytes are text."""
    if not isinstance(value, bytes):
        return value
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value
