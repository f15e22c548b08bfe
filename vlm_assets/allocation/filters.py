"""The filters of a catalogue over the supply: which rows fail, and which lack a value; told in a thread, ahead of the
reading of rows.
"""

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

from vlm_assets.allocation.columns import hash_words, index_batches, numbers
from vlm_assets.allocation.evaluate import Evaluation
from vlm_assets.allocation.reasons import FILTER_PREFIX
from vlm_assets.allocation.supply import SupplySlice
from vlm_assets.allocation.values import checked_kinds, read_values
from vlm_assets.catalog.expressions import ROW_COLUMNS, parsed
from vlm_assets.catalog.filters import FilterSpec
from vlm_assets.catalog.spec import Catalog
from vlm_assets.store.ahead import ahead
from vlm_assets.words.counts import so_many
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


@dataclass(frozen=True, slots=True)
class SliceTold:
    """What filters say of the rows of a slice, by reason."""

    fails: Mapping[str, Bool]
    missing: Mapping[str, Bool]
    """Rows that lack a value which decides."""


class RowFilters:
    """Tests the rows of one slice after the other: `begin` with what was told, then its batches in their order."""

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
        self._told = SliceTold({}, {})
        self._at = 0
        self._missing: dict[str, Bool] = {}

    def told(self, slices: Sequence[SupplySlice]) -> Generator[SliceTold]:
        """What `begin` takes of each slice, in their order; ahead, in a thread of its own where there are filters.

        Raises:
            AllocationError: a file is damaged, or of other rows than its slice.
        """
        yield from ahead(self._told_of, slices, 1) if self._filters else map(self._told_of, slices)

    def _told_of(self, entry: SupplySlice) -> SliceTold:
        filters = self._of_source[entry.source]
        fails = {one.reason: np.zeros(entry.rows, dtype=bool) for one in filters}
        missing: dict[str, Bool] = {}
        if not filters:
            return SliceTold(fails, missing)
        names = {name for one in filters for name in one.names}
        values = read_values(entry, names.difference(ROW_COLUMNS), self._kinds)
        end = 0
        for batch in index_batches(entry.path, _columns(filters)):
            begin, end = end, end + batch.num_rows
            if end > entry.rows:
                break  # who reads the rows says so
            span = slice(begin, end)
            evaluation = _evaluation(batch, {name: one[span] for name, one in values.items()})
            for one in filters:
                keep, lacks = evaluation.truth(one.tree)
                fails[one.reason][span] = ~keep if one.spec.missing == "drop" else ~(keep | lacks)
                if lacks.any():
                    missing.setdefault(one.reason, np.zeros(entry.rows, dtype=bool))[span] = lacks
        return SliceTold(fails, missing)

    def begin(self, told: SliceTold) -> None:
        """The batches that follow are of the slice of which this was told."""
        self._told, self._at = told, 0

    def tests(self, rows: int) -> dict[str, Bool]:
        """By reason, the rows of the slice's next batch, of so many, that fail."""
        span = slice(self._at, self._at + rows)
        self._at += rows
        self._missing = {
            reason: lacks[span] for reason, lacks in self._told.missing.items() if lacks[span].any()
        }
        return {reason: fails[span] for reason, fails in self._told.fails.items()}

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
                    f"{so_many(rows, 'row')} of {source}" for source, rows in sorted(one.lacking.items())
                )
                named = ", ".join(ids(np.array(sorted(one.examples), dtype=np.int64)).to_pylist())
                told.append(f"{one.reason}: `{one.spec.keep}` has no answer for {where}, among them {named}")
        if told:
            raise AllocationError(
                "\n".join(told)
                + "\nvalues are missing; vlm-assets annotate computes those of annotators, imported ones are not in "
                "their files; or say `missing: keep` or `missing: drop` in the filter"
            )


def _columns(filters: Sequence[_Filter]) -> list[str]:
    """The columns of a slice's index that its filters read; one that every slice has, where they read none."""
    names = {name for one in filters for name in one.names if name in ROW_COLUMNS}
    found = {_INDEX.get(name, name.partition(".")[0]) for name in names}
    if not found or any(_speaks_of_images(one.tree) for one in filters):
        found.add("image_count")
    return sorted(found)


def _evaluation(batch: pa.RecordBatch, values: Mapping[str, pa.Array]) -> Evaluation:
    """Over a batch of a slice's index and the values of its rows."""
    known: dict[str, pa.Array] = dict(values)

    def column(name: str) -> pa.Array:
        if name not in known:
            known[name] = _row_column(batch, name)
        return known[name]

    return Evaluation(batch.num_rows, column, partial(_image_counts, batch))


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
