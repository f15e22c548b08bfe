"""Filters counted again: which rows the values on disk exclude, and whether these are the values of the plan."""

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vlm_assets.annotate.files import read_annotation
from vlm_assets.audit.evidence import Evidence, FoundSlice, UnjudgedError
from vlm_assets.audit.expressions import Telling, names_of, tree_of
from vlm_assets.audit.words import Bool, fixed_words, numbers
from vlm_assets.words.counts import so_many
from vlm_assets.words.errors import AnnotationError
from vlm_assets.words.schema import NO_WORDS

_NO_WORDS: Final = np.frombuffer(NO_WORDS[:16], "<u8")
_WORDS: Final = {"has_text": "text_sha256", "has_messages": "messages_sha256"}
_OF_ROWS: Final = ("image_count", "image_bytes", "min_side_px", "label", "origin", *_WORDS)
_FACTS: Final = "image_facts"


@dataclass(frozen=True, slots=True)
class _Filter:
    reason: str
    tree: ast.expr
    names: frozenset[str]
    missing: str
    only: Mapping[str, Sequence[str]]

    @property
    def annotations(self) -> frozenset[str]:
        """Those whose values it reads."""
        return frozenset(
            name.partition(".")[0]
            for name in self.names
            if name not in _OF_ROWS and not name.startswith(f"{_FACTS}.")
        )


@dataclass(slots=True)
class FilterRecount:
    """The filters that a plan was made with, over its slices; several slices at once may be told."""

    evidence: Evidence
    faults: dict[int, list[str]] = field(default_factory=dict)
    """By slice, why its values are not those that the plan read."""
    _filters: list[_Filter] = field(default_factory=list)
    _tables: dict[int, Mapping[str, pa.Table]] = field(default_factory=dict)
    _hashes: dict[tuple[str, str, str], str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Takes the filters and the hashes of values from the inputs of the plan."""
        content = self.evidence.rules.content
        for name, one in sorted(content.get("filters", {}).items()):
            tree = tree_of(one["keep"])
            self._filters.append(
                _Filter(f"filter:{name}", tree, frozenset(names_of(tree)), one["missing"], one["only"])
            )
        self._hashes = {(a, s, key): told for a, s, key, told in content.get("values", ())}

    def _of(self, found: FoundSlice) -> list[_Filter]:
        source = found.claim.source
        category = self.evidence.rules.sources[source]["category"]
        return [
            one
            for one in self._filters
            if (not one.only["source"] or source in one.only["source"])
            and (not one.only["category"] or category in one.only["category"])
        ]

    def reads_values(self, found: FoundSlice) -> bool:
        """Whether a filter reads annotations of the slice."""
        return any(one.annotations for one in self._of(found))

    def columns(self, found: FoundSlice) -> set[str]:
        """Columns of a slice's index that its filters need."""
        filters = self._of(found)
        names = {name for one in filters for name in one.names}
        columns = {_WORDS.get(name, name) for name in names if name in _OF_ROWS}
        if any(name.startswith(f"{_FACTS}.") for name in names):
            columns.add(_FACTS)
        if filters:
            columns.add("image_count")
        return columns | ({"id"} if self.reads_values(found) else set())

    def tests(self, number: int, at: int, batch: pa.RecordBatch) -> Iterator[tuple[str, Bool]]:
        """By reason, which rows of slice `number`, from its row `at` on, are excluded.

        Raises:
            UnjudgedError: an expression cannot be told.
        """
        found = self.evidence.slices[number]
        filters = self._of(found)
        if not filters:
            return
        tables = self._values_of(number, found)
        parts = {name: one.slice(at, batch.num_rows) for name, one in tables.items()}
        self._look_at_ids(number, batch, parts)
        telling = Telling(numbers(batch.column("image_count")), partial(_column, batch, parts))
        for one in filters:
            true, false = telling.of_records(one.tree)
            yield one.reason, ~true if one.missing == "drop" else false

    def done(self, number: int) -> None:
        """The slice was told to its end: its values are given back."""
        self._tables.pop(number, None)

    def _values_of(self, number: int, found: FoundSlice) -> Mapping[str, pa.Table]:
        if number not in self._tables:
            wanted = sorted({name for one in self._of(found) for name in one.annotations})
            tables = {name: self._table(number, found, name) for name in wanted}
            self._tables[number] = {name: one for name, one in tables.items() if one is not None}
        return self._tables[number]

    def _table(self, number: int, found: FoundSlice, name: str) -> pa.Table | None:
        """The values that the plan read; what is wrong with them is kept among the faults."""
        source, key = found.claim.source, found.claim.slice
        told = self._hashes.get((name, source, key))
        if told is None:
            return None  # planned without, as `missing` says
        path = self.evidence.root.annotation(name, source, key)
        try:
            annotation = read_annotation(path)
        except AnnotationError as error:
            self._fault(number, str(error))
            return None
        if annotation is None:
            self._fault(number, f"{path}: the plan read its values, and it is gone")
            return None
        header = annotation.header
        if header.content_hash != found.claim.content_hash:
            self._fault(number, f"{path}: values of other content than the slice's")
            return None
        if annotation.table.num_rows != found.claim.rows:
            self._fault(
                number,
                f"{path}: {so_many(annotation.table.num_rows, 'row')}, the slice has {found.claim.rows}",
            )
            return None
        if header.values_hash != told and not self._taken_since(found):
            self._fault(number, f"{path}: other values than those that the plan read; build again")
        return annotation.table

    def _taken_since(self, found: FoundSlice) -> bool:
        """Whether rows of the slice may have been taken down since the plan was made, and their values with them."""
        return bool(self.evidence.takedowns_since_plan.names) and self.reads_values(found)

    def _look_at_ids(self, number: int, batch: pa.RecordBatch, parts: Mapping[str, pa.Table]) -> None:
        for name, one in parts.items():
            ids = one.column("id").combine_chunks()
            same = pc.all(pc.equal(ids, batch.column("id"))).as_py() if len(ids) == batch.num_rows else False
            if batch.num_rows and not same:
                self._fault(number, f"annotation {name}: its ids are not those of the slice, in its order")

    def _fault(self, number: int, told: str) -> None:
        known = self.faults.setdefault(number, [])
        if told not in known:
            known.append(f"{self.evidence.slices[number].claim.name}: {told}")


def _column(batch: pa.RecordBatch, parts: Mapping[str, pa.Table], name: str) -> pa.Array:
    """A column of the slice's index, or of an annotation; nulls where the plan had no values of one."""
    if name in _WORDS:
        return pa.array((fixed_words(batch.column(_WORDS[name])) != _NO_WORDS).any(axis=1))
    if name in _OF_ROWS:
        return batch.column(name)
    table, _, column = name.partition(".")
    if table == _FACTS:
        facts = batch.column(_FACTS)
        return _lists(facts, pc.struct_field(facts.flatten(), column))
    if table not in parts:
        return pa.nulls(batch.num_rows, pa.float64())
    if column not in parts[table].column_names:
        raise UnjudgedError(f"annotation {table} has no column {column} any more")
    values = parts[table].column(column).combine_chunks()
    return pa.concat_arrays(values.chunks) if isinstance(values, pa.ChunkedArray) else values


def _lists(like: pa.Array, values: pa.Array) -> pa.Array:
    lengths: Any = like.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
    ends = np.concatenate(([0], np.cumsum(lengths))).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(ends), values, mask=like.is_null())
