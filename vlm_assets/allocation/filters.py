"""The filters of a catalogue over the supply, batch by batch: which rows fail, and which lack a value."""

import ast
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from vlm_assets.allocation.columns import hash_words, numbers
from vlm_assets.allocation.evaluate import Evaluation
from vlm_assets.allocation.reasons import FILTER_PREFIX
from vlm_assets.allocation.supply import SupplySlice
from vlm_assets.allocation.values import checked_kinds, read_values
from vlm_assets.catalog.expressions import ROW_COLUMNS, parsed
from vlm_assets.catalog.filters import FilterSpec
from vlm_assets.catalog.spec import Catalog
from vlm_assets.store.ahead import ahead
from vlm_assets.words.errors import AllocationError
from vlm_assets.words.schema import NO_WORDS

Bool = NDArray[np.bool_]
_NO_WORDS: Final = np.frombuffer(NO_WORDS, dtype="<u8")[0]
_INDEX: Final = {"has_text": "text_sha256", "has_messages": "messages_sha256"}
"""Columns of the index by another name; `image_facts.width_px` is a part of one."""
_EXAMPLES: Final = 3


@dataclass(slots=True)
class _Filter:
    """One filter, and what it lacked so far where that is an error."""

    reason: str
    spec: FilterSpec
    tree: ast.expr
    names: frozenset[str]
    lacking: Counter[str] = field(default_factory=Counter)
    """Rows without a value, by source."""
    examples: list[int] = field(default_factory=list)


class RowFilters:
    """Tests the rows of one slice after the other: `begin` with its values, then its batches in their order."""

    def __init__(self, catalog: Catalog) -> None:
        """Looks that every filter asks for what there is.

        Raises:
            AllocationError: one does not, or files of imported values are missing or damaged.
        """
        self._kinds = checked_kinds(catalog)
        self._filters = [
            _Filter(f"{FILTER_PREFIX}{name}", one, parsed(one.keep), one.names)
            for name, one in sorted(catalog.corpus.filters.items())
        ]
        categories = {spec.name: spec.category for spec in catalog.sources}
        self._of_source = {
            source: [one for one in self._filters if one.spec.only.covers(source, category)]
            for source, category in categories.items()
        }
        self._values: Mapping[str, pa.Array] = {}
        self._at = 0
        self._missing: dict[str, Bool] = {}

    def columns(self, entry: SupplySlice) -> list[str]:
        """The columns of a slice's index that its filters read."""
        names = {name for one in self._of_source[entry.source] for name in one.names if name in ROW_COLUMNS}
        found = {_INDEX.get(name, name.partition(".")[0]) for name in names}
        if any(_speaks_of_images(one.tree) for one in self._of_source[entry.source]):
            found.add("image_count")
        return sorted(found)

    def values(self, slices: Sequence[SupplySlice]) -> Generator[Mapping[str, pa.Array]]:
        """What `begin` takes of each slice, in their order; read ahead in a thread where there is anything to read.

        Raises:
            AllocationError: a file is damaged, or of other rows than its slice.
        """
        if any(entry.values for entry in slices):
            yield from ahead(self._values_of, slices, 1)
        else:
            yield from map(self._values_of, slices)

    def _values_of(self, entry: SupplySlice) -> Mapping[str, pa.Array]:
        names = {name for one in self._of_source[entry.source] for name in one.names}
        return read_values(entry, names.difference(ROW_COLUMNS), self._kinds)

    def begin(self, values: Mapping[str, pa.Array]) -> None:
        """The batches that follow are of the slice with these values."""
        self._values, self._at = values, 0

    def tests(self, entry: SupplySlice, batch: pa.RecordBatch) -> dict[str, Bool]:
        """By reason, the rows of the slice's next batch that fail."""
        self._missing = {}
        filters = self._of_source[entry.source]
        if not filters:
            return {}
        counts = partial(_image_counts, batch)
        evaluation = Evaluation(batch.num_rows, self._column_of(batch), counts)
        found = {}
        for one in filters:
            keep, missing = evaluation.truth(one.tree)
            if missing.any():
                self._missing[one.reason] = missing
            found[one.reason] = ~keep if one.spec.missing == "drop" else ~(keep | missing)
        self._at += batch.num_rows
        return found

    def missing(self) -> Mapping[str, Bool]:
        """By reason, the rows of the last batch that lack a value which decides."""
        return self._missing

    def note_missing(self, reason: str, entry: SupplySlice, places: NDArray[np.int64]) -> None:
        """Keeps which rows lack a value; those that another reason excludes before were taken out."""
        one = next(one for one in self._filters if one.reason == reason)
        one.lacking[entry.source] += len(places)
        one.examples = (one.examples + places[:_EXAMPLES].tolist())[:_EXAMPLES]

    def refuse_missing(self, ids: Callable[[NDArray[np.int64]], pa.Array]) -> None:
        """Returns where no filter that says `missing: error` lacks a value. `ids`: of rows by their numbers.

        Raises:
            AllocationError: names filter, sources and rows, and what to do.
        """
        told = []
        for one in self._filters:
            if one.lacking and one.spec.missing == "error":
                where = ", ".join(
                    f"{rows:,} rows of {source}" for source, rows in sorted(one.lacking.items())
                )
                named = ", ".join(ids(np.array(sorted(one.examples), dtype=np.int64)).to_pylist())
                told.append(f"{one.reason}: `{one.spec.keep}` has no answer for {where}, among them {named}")
        if told:
            raise AllocationError(
                "\n".join(told)
                + "\nvalues are missing; vlm-assets annotate computes those of annotators, or say "
                "`missing: keep` or `missing: drop` in the filter"
            )

    def _column_of(self, batch: pa.RecordBatch) -> Callable[[str], pa.Array]:
        known: dict[str, pa.Array] = {}

        def column(name: str) -> pa.Array:
            if name not in known:
                if name in ROW_COLUMNS:
                    known[name] = _row_column(batch, name)
                else:
                    known[name] = self._values[name].slice(self._at, batch.num_rows)
            return known[name]

        return column


def _speaks_of_images(tree: ast.expr) -> bool:
    return any(isinstance(node, ast.Call) for node in ast.walk(tree))


def _image_counts(batch: pa.RecordBatch) -> NDArray[Any]:
    return numbers(batch.column("image_count"))


def _row_column(batch: pa.RecordBatch, name: str) -> pa.Array:
    """A column of `ROW_COLUMNS`."""
    if name in _INDEX:
        return pa.array(hash_words(batch.column(_INDEX[name]))[:, 0] != _NO_WORDS)
    table, _, part = name.partition(".")
    if not part:
        return batch.column(name)
    facts = batch.column(table)
    ends = np.cumsum(numbers(pc.list_value_length(facts)), dtype=np.int32)
    offsets = pa.array(np.concatenate((np.zeros(1, np.int32), ends)))
    return pa.ListArray.from_arrays(offsets, pc.struct_field(facts.flatten(), part), mask=facts.is_null())
