"""CSV and JSON data files as rows, read as the tables of captions are: in a certain encoding, no row swallowed.

What stands in them is kept as it is written ("007", "None"); numbers and classes that the README declares are read as
such.
"""

import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Final

import pyarrow as pa

from vlm_assets.captions.tables import LoadedTable, Table, TableReading
from vlm_assets.captions.turns import MESSAGES_NAMES
from vlm_assets.captions.words import TEXT_NAMES
from vlm_assets.hub.cells import Follow
from vlm_assets.hub.columns import Wanted
from vlm_assets.hub.image_columns import IMAGE_NAMES
from vlm_assets.hub.tables import SAMPLE_ROWS, Rows, plan_columns, sampled_names
from vlm_assets.hub.tables import Columns as TableColumns
from vlm_assets.words.layout import nfc

CHUNK_ROWS: Final = 64
"""Rows in memory at a time; each may hold images in base64."""
_WHOLE: Final = re.compile(r"[+-]?\d{1,100}")
_TRUTH: Final = {"true": True, "false": False, "True": True, "False": False}


@dataclass(frozen=True, slots=True)
class TextTable:
    """A CSV, TSV, JSON or JSON-lines data file."""

    path: Path
    name: str
    """Its name upstream, whose suffix tells the format: a cached file has none."""
    where: str
    reading: TableReading = field(default_factory=TableReading)
    features: Mapping[str, Any] = field(default_factory=dict)
    known: Callable[[str], bool] = lambda name: False  # noqa: ARG005 - knows none
    """Further names that a column has if the table is read rightly."""

    def load(self) -> LoadedTable:
        """The table with its columns found.

        Raises:
            SourceError: unreadable, undecodable, or not certain; names file, line and key.
        """
        usual = {nfc(name) for name in (*IMAGE_NAMES, *TEXT_NAMES, *MESSAGES_NAMES, *self.features)}
        name = PurePosixPath(self.name).name

        def wanted(column: str) -> bool:
            return column in usual or column.lower() in usual or self.known(column)

        return Table(name, self.where, lambda: self.path.open("rb"), self.reading, wanted).load()

    def rows(self) -> Iterator[dict[str, Any]]:
        """Its rows; of a CSV with the types that the features give.

        Raises:
            SourceError: as `load`; a row that is not right.
        """
        loaded = self.load()
        casts = {name: one for name, one in self.features.items() if isinstance(one, Mapping)}
        for row in loaded.rows():
            values = {name: row.values.get(name) for name in loaded.columns} | row.values
            yield {
                name: _cast(value, casts[name]) if name in casts and isinstance(value, str) else value
                for name, value in values.items()
            }

    def chunks(self, wanted: Wanted, follow: Follow | None = None) -> Iterator[tuple[Rows, TableColumns]]:
        """Its rows a few at a time, with what their columns mean.

        Columns are planned again where a chunk has a column, or the first value in one, that those before had not.

        Raises:
            SourceError: as `rows`; as `plan_columns`.
        """
        filled: dict[str, Any] = {}
        planned: TableColumns | None = None
        for chunk in _batched(self.rows()):
            before = {name for name, value in filled.items() if value is not None}
            for row in chunk:
                for name, value in row.items():
                    if filled.get(name) is None:
                        filled[name] = value
            if planned is None or {name for name, value in filled.items() if value is not None} != before:
                planned = self._planned(chunk, filled, wanted, follow)
            columns = {name: [row.get(name) for row in chunk] for name in filled}
            yield Rows(columns, len(chunk)), planned

    def _planned(
        self,
        chunk: Sequence[Mapping[str, Any]],
        filled: Mapping[str, Any],
        wanted: Wanted,
        follow: Follow | None,
    ) -> TableColumns:
        kinds = {name: _kind([filled[name], *(row.get(name) for row in chunk)]) for name in filled}
        looked_at = sampled_names(list(filled), wanted)
        samples = {name: [row.get(name) for row in chunk[:SAMPLE_ROWS]] for name in looked_at}
        return plan_columns(
            pa.schema(list(kinds.items())), self.where, wanted,
            features=self.features, samples=samples, follow=follow,
        )  # fmt: skip


def _batched(rows: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    while chunk := list(itertools.islice(rows, CHUNK_ROWS)):
        yield chunk


def _kind(values: Sequence[Any]) -> pa.DataType:
    """The Arrow type of a column; of one whose values have several, text, which may be JSON."""
    there = [value for value in values if value is not None]
    try:
        return pa.array(there).type if there else pa.null()
    except MemoryError:  # Arrow's own is one of its exceptions too
        raise
    except (pa.ArrowException, OverflowError):
        return pa.string()


def _cast(value: str, feature: Mapping[str, Any]) -> Any:
    """A cell of a CSV as its feature has it; as it is written where it cannot be that."""
    dtype = str(feature.get("dtype", ""))
    if (feature.get("_type") == "ClassLabel" or dtype.startswith(("int", "uint"))) and _WHOLE.fullmatch(
        value
    ):
        return int(value)
    if dtype.startswith("float"):
        try:
            return float(value)
        except ValueError:
            return value
    return _TRUTH.get(value, value) if dtype == "bool" else value
