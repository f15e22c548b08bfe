"""What several checks need, computed once: the corpus rows, where they come from, and the supply counted again."""

from collections.abc import Callable, Sequence
from functools import cached_property
from threading import RLock
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from vlm_assets.audit.content import ContentResult, read_content
from vlm_assets.audit.corpus_rows import (
    CorpusRows,
    Lineage,
    Tracer,
    index_batches,
    index_table,
    one_array,
    read_corpus_rows,
    with_image_of,
)
from vlm_assets.audit.evidence import Evidence, FoundSlice, UnjudgedError
from vlm_assets.audit.quotas import Branch, tree_of
from vlm_assets.audit.scan import Scan, SliceFacts, scan_slices
from vlm_assets.audit.supply import SupplyReader, SupplyRows
from vlm_assets.audit.words import I64, U64, Bool, among, fixed_words, words_of
from vlm_assets.store.slices import INDEX_FILE
from vlm_assets.store.tombstones import StoredTombstones
from vlm_assets.words.errors import MachineError
from vlm_assets.workers.errors import WorkerError
from vlm_assets.workers.pool import WorkerPool

_CHUNK = 1_000_000
"""Rows looked at together."""
Cell = tuple[str, str, str]
T = TypeVar("T")


def _or_why(make: Callable[[], T]) -> T | UnjudgedError:
    try:
        return make()
    except UnjudgedError as error:
        return error


def _judged(found: T | UnjudgedError) -> T:
    if isinstance(found, UnjudgedError):
        raise found
    return found


class Recount:
    """Tables over one corpus; each is made when first asked for, or raises `UnjudgedError`.

    Memory, in bytes: 40 a corpus row (hashes, numbers of texts) and 16 for its place; 12 a planned row; 26 a supply
    row (image hash, cell, reason, two marks), 10 more with dhashes, 16 more with row keys of their own. What is read
    is given back record batch by record batch, what is sorted is sorted in parts.
    """

    def __init__(
        self, evidence: Evidence, *, threads: int, pool: WorkerPool | None, tell_rows: Callable[[int], None]
    ) -> None:
        self.evidence = evidence
        self.threads = threads
        self.tell_rows = tell_rows
        self._pool = pool
        self._locks = {name: RLock() for name in ("rows", "content", "scan", "planned")}
        self._made: dict[str, Any] = {}
        self._failed: dict[str, UnjudgedError] = {}

    def _once(self, name: str, make: Callable[[], T]) -> T:
        """What `make` gave the first time, whichever thread asked; a failure too."""
        with self._locks[name]:
            if name in self._failed:
                raise self._failed[name]
            if name not in self._made:
                try:
                    self._made[name] = make()
                except UnjudgedError as error:
                    self._failed[name] = error
                    raise
            found: T = self._made[name]
            return found

    @property
    def rows(self) -> CorpusRows:
        """The corpus as its index files have it."""
        return self._once("rows", lambda: read_corpus_rows(self.evidence, self.threads))

    @property
    def content(self) -> ContentResult:
        """What its data files hold: read by the pool, where there is one."""

        def make() -> ContentResult:
            try:
                return read_content(self.evidence, pool=self._pool, progress=self.tell_rows)
            except (MachineError, WorkerError) as error:  # says nothing of the corpus
                raise UnjudgedError(f"the data files were not read to their end: {error}") from error

        return self._once("content", make)

    @property
    def _scan(self) -> Scan:
        """Everything that the slices' indexes tell."""

        def make() -> Scan:
            tracer = _or_why(lambda: Tracer(self.evidence, self.rows, self._planned_or_none()))
            planned = self._planned_or_none()
            reader = _or_why(lambda: SupplyReader(self.evidence, planned))
            return scan_slices(self.evidence, tracer, reader, self.threads)

        return self._once("scan", make)

    def begin(self) -> None:
        """Makes, in a thread beside, what the reading of slices waits for."""
        self._planned_or_none()

    def _planned_or_none(self) -> Bool:
        """Only makes the search for rows quicker."""
        try:
            return self.planned
        except UnjudgedError:
            return np.zeros(int(self.evidence.starts[-1]), bool)

    @property
    def lineage(self) -> Lineage:
        """Where its rows come from."""
        return _judged(self._scan.lineage)

    @property
    def supply(self) -> SupplyRows:
        """The supply of its plan with exclusions."""
        return _judged(self._scan.supply)

    @property
    def filter_faults(self) -> Sequence[str]:
        """Why values that filters read are not those that the plan read."""
        return self._scan.filter_faults

    @property
    def slice_facts(self) -> Sequence[SliceFacts | UnjudgedError | None]:
        """What the index of each slice comes to."""
        return self._scan.facts

    @property
    def planned(self) -> Bool:
        """Supply rows that the plan selects."""

        def make() -> Bool:
            mask = np.zeros(int(self.evidence.starts[-1]), bool)
            mask[self.evidence.plan_rows.place] = True
            return mask

        return self._once("planned", make)

    @cached_property
    def present(self) -> NDArray[np.uint32]:
        """How often each supply row is in the corpus."""
        place = self.lineage.place
        counts = np.zeros(int(self.evidence.starts[-1]), np.uint32)
        for begin in range(0, len(place), _CHUNK):
            part = place[begin : begin + _CHUNK]
            np.add.at(counts, part[part >= 0], np.uint32(1))
        return counts

    @cached_property
    def assigned_by_cell(self) -> I64:
        """Corpus rows by number of their cell (the last: none) and of their assignment; those that resolve."""
        cells, given = len(self.supply.cells), max(len(self.rows.assignments), 1)
        counts = np.zeros((cells + 1) * given, np.int64)
        for begin in range(0, len(self.lineage.place), _CHUNK):
            place = self.lineage.place[begin : begin + _CHUNK]
            pairs = self.supply.cell[place].astype(np.int64) % (cells + 1) * given
            pairs += self.rows.assigned[begin : begin + _CHUNK]
            counts += np.bincount(pairs[place >= 0], minlength=len(counts))
        return counts.reshape(cells + 1, given)

    def corpus_rows_with(self, takedowns: StoredTombstones) -> I64:
        """Rows of the corpus one of whose images was taken down everywhere, looked for in its own indexes."""
        listed = words_of(takedowns.image_sha256)
        if not any(one.has_lists for one in self.evidence.slices) or not len(listed):
            return np.flatnonzero(among(self.rows.sha, listed))
        parts = [np.zeros(0, bool)]
        for bits in self.evidence.shard_bits:
            path = self.evidence.directory / f"index-r{bits}.arrow"
            parts += [
                with_image_of(batch, fixed_words(batch.column("images_sha256")), listed)
                for batch in index_batches(path, ("images_sha256", "image_facts"))
            ]
        return np.flatnonzero(np.concatenate(parts))

    def _with_image_of(self, found: FoundSlice, span: slice, listed: U64) -> Bool:
        sha = self.supply.sha[span]
        if not found.has_lists or found.directory is None:
            return among(sha, listed)
        table = index_table(found.directory / INDEX_FILE, ("image_facts",))
        parts = [np.zeros(0, bool)]
        begin = 0
        for batch in table.to_batches():
            parts.append(with_image_of(batch, sha[begin : begin + batch.num_rows], listed))
            begin += batch.num_rows
        return np.concatenate(parts)

    def taken_down(self, takedowns: StoredTombstones) -> Bool:
        """Supply rows that these takedowns cover."""
        mask = np.zeros(int(self.evidence.starts[-1]), bool)
        hashes = words_of(takedowns.image_sha256)
        for number, one in enumerate(self.evidence.slices):
            ids = sorted(i for i in takedowns.ids if i.startswith(f"{one.claim.name}/"))
            if one.directory is None or not (len(hashes) or ids):
                continue
            span = slice(int(self.evidence.starts[number]), int(self.evidence.starts[number + 1]))
            if len(hashes):
                mask[span] |= self._with_image_of(one, span, hashes)
            if ids:
                table = index_table(one.directory / INDEX_FILE, ("id",))
                named = pc.is_in(one_array(table, "id"), value_set=pa.array(ids))
                mask[span] |= named.to_numpy(zero_copy_only=False)
        return mask

    @cached_property
    def selected_by_cell(self) -> dict[Cell, int]:
        """Selected rows by (category, subcategory, source), named by the plan's cells."""
        claims = self.evidence.plan.cells
        counts = np.bincount(self.evidence.plan_rows.cell, minlength=len(claims)).tolist()
        return {(c.category, c.subcategory, c.source): n for c, n in zip(claims, counts, strict=True)}

    @cached_property
    def supply_by_cell(self) -> dict[Cell, int]:
        """Rows that could be selected, by cell."""
        supply = self.supply
        counts = np.bincount(supply.cell[supply.reason == 0], minlength=len(supply.cells)).tolist()
        return dict(zip(supply.cells, counts, strict=True))

    @cached_property
    def tree(self) -> Branch:
        """The quota tree with what was counted."""
        return tree_of(self.evidence.rules, self.supply_by_cell, self.selected_by_cell)

    def name_of(self, place: int) -> str:
        """A supply row for messages: its id."""
        number = int(np.searchsorted(self.evidence.starts, place, side="right")) - 1
        found = self.evidence.slices[number]
        row = place - int(self.evidence.starts[number])
        if found.directory is None:
            return f"{found.claim.name} row {row}"
        return str(one_array(index_table(found.directory / INDEX_FILE, ("id",)), "id")[row])

    def names_of(self, places: I64, limit: int = 5) -> list[str]:
        """The first of these supply rows by id."""
        return [self.name_of(int(place)) for place in places[:limit]]

    def row_name(self, row: int) -> str:
        """A corpus row for messages: its id, with shard and place."""
        shard = self.rows.shard_of(row)
        bits = self.evidence.shard_bits[shard]
        within = row - int(self.rows.starts[shard])
        table = index_table(self.evidence.directory / f"index-r{bits}.arrow", ("id",))
        return f"{one_array(table, 'id')[within]} (shard r{bits} row {within})"
