"""The whole supply counted again: which rows are excluded for which reason, and what remains in each cell."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import takewhile
from pathlib import Path
from threading import Lock
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from vlm_assets.audit.benchmarks import (
    Benchmark,
    Matches,
    grams_of,
    has_words,
    near_benchmark,
    planned_benchmarks,
    with_picture_of,
)
from vlm_assets.audit.corpus_rows import with_image_of
from vlm_assets.audit.duplicates import Precedence, exact_duplicates, near_duplicates, with_other_words
from vlm_assets.audit.evidence import Evidence, FoundSlice, UnjudgedError
from vlm_assets.audit.filters import FilterRecount
from vlm_assets.audit.grams import held
from vlm_assets.audit.near import telling
from vlm_assets.audit.rules import Rules
from vlm_assets.audit.words import I64, U64, Bool, fixed_words, numbers, ranks, words_of
from vlm_assets.store.slices import INDEX_FILE
from vlm_assets.words.counts import so_many

_WINDOW_OVERHEAD: Final = 16 * 1024
_SHARD_OVERHEAD: Final = 64 * 1024
_CHUNK: Final = 1_000_000
_NO_WORDS: Final = np.frombuffer(sha256(b"").digest()[:16], "<u8")


@dataclass(slots=True)
class SupplyRows:
    """Every row of the plan's slices, slice after slice. 21 bytes a row, 30 with dhashes; 16 more for own keys."""

    sha: U64
    key: U64
    """Row keys, shape (rows, 2); the same array as `sha` under `exact: image`."""
    cell: NDArray[np.int32]
    """Number in `cells`; -1 where the label gives none."""
    cells: list[tuple[str, str, str]]
    """(category, subcategory, source)."""
    reasons: tuple[str, ...]
    """In the order in which they are tested; a row counts under the first that holds."""
    reason: NDArray[np.uint8]
    """0, or 1 + the place in `reasons`."""
    words: U64 | None
    """First word of content_sha256 under `exact: image`: equal keys whose words differ are told apart."""
    dhash: U64 | None
    telling: Bool | None
    """Rows of one image with a dhash that is not of a flat one."""
    silent: Bool | None
    """Rows without messages."""
    unsure: int = 0
    """Rows taken down since the plan, and with them what told whether a filter or a benchmark excluded them."""
    contamination: dict[tuple[str, str], dict[str, int]] = field(default_factory=dict)
    """By source and benchmark: rows in common, `exact`, `near`, `text`, and `rows` in any way."""
    benchmarks: Sequence[Benchmark] = ()
    """What they were held against."""

    def code(self, reason: str) -> int:
        """What `reason` holds where a row is excluded for it."""
        return self.reasons.index(reason) + 1

    @property
    def filter_codes(self) -> tuple[int, int]:
        """The first and the last code of a filter."""
        codes = [code for code, name in enumerate(self.reasons, start=1) if name.startswith("filter:")]
        return codes[0], codes[-1]

    def excluded(self, reason: str) -> Bool:
        """Rows that are excluded for this reason."""
        return np.asarray(self.reason == self.code(reason))

    def excluded_in(self, span: slice, reason: str) -> Bool:
        """Those of a span that are."""
        return np.asarray(self.reason[span] == self.code(reason))


class SupplyReader:
    """Counts one corpus's supply again under the rules that it was planned with."""

    def __init__(self, evidence: Evidence, planned: Bool | None = None) -> None:
        """Checks that everything the recount needs is there. `planned`: supply rows that the plan selects.

        Raises:
            UnjudgedError: the content of a slice, a takedown, or a decontamination list of then is gone.
        """
        gone = [one.claim.name for one in evidence.slices if one.directory is None]
        if gone:
            raise UnjudgedError(f"slices whose planned content is gone: {', '.join(gone[:5])}")
        self._rules: Rules = evidence.rules
        self._slices = evidence.slices
        strange = [one for one in evidence.slices if one.claim.source not in self._rules.sources]
        if strange:
            raise UnjudgedError(
                f"{strange[0].claim.name}: in the plan, and its source is not in the plan's inputs"
            )
        self._starts = evidence.starts
        self._filters = FilterRecount(evidence)
        self._planned = planned
        self._unsure = 0
        since = evidence.takedowns_since_plan
        self._images_since, self._ids_since = words_of(since.image_sha256), sorted(since.ids)
        takedowns = evidence.takedowns(evidence.plan.tombstones)
        self._images_down, self._ids_down = words_of(takedowns.image_sha256), sorted(takedowns.ids)
        self._benchmarks = planned_benchmarks(evidence)
        self._benchmark_sha = np.concatenate(
            [np.empty((0, 2), np.uint64), *(b.sha for b in self._benchmarks)]
        )
        pictures = [np.empty(0, np.uint64), *(b.dhash for b in self._benchmarks)]
        self._benchmark_dhash = np.unique(np.concatenate(pictures))
        self._matches = Matches()
        self._silenced: list[I64] = []
        self._cells: list[tuple[str, str, str]] = []
        self._cell_numbers: dict[tuple[str, str], int] = {}
        self._new_cell = Lock()
        self._leaves = self._rules.leaves()
        self._wrong_rows: dict[int, int] = {}
        self._rows = self._no_rows()

    def _no_rows(self) -> SupplyRows:
        """Room for all rows."""
        total = int(self._starts[-1])
        with_dhash = self._rules.max_near_bits > 0 or len(self._benchmark_dhash) > 0
        words = np.empty((total, 2), np.uint64)
        return SupplyRows(
            sha=words,
            key=words if self._rules.exact == "image" else np.empty((total, 2), np.uint64),
            cell=np.full(total, -1, np.int32),
            cells=[],
            reasons=self._rules.reasons,
            reason=np.zeros(total, np.uint8),
            words=np.empty(total, np.uint64) if self._rules.exact == "image" else None,
            dhash=np.zeros(total, np.uint64) if with_dhash else None,
            telling=np.zeros(total, bool) if with_dhash else None,
            silent=np.zeros(total, bool) if with_dhash else None,
        )

    def columns(self, found: FoundSlice) -> list[str]:
        """Columns of a slice's index that tell its reasons."""
        rules = self._rules
        columns = ["images_sha256", "row_bytes"]
        if rules.exact != "none":
            columns.append("content_sha256")
        listed = (self._images_down, self._benchmark_sha, self._benchmark_dhash, self._images_since)
        if found.has_lists and any(map(len, listed)):
            columns.append("image_facts")
        if rules.sources[found.claim.source]["subcategory"] is None:
            columns.append("label")
        if rules.content["min_side_px"]:
            columns.append("min_side_px")
        if self._rows.dhash is not None:
            columns += ["dhash", "messages_sha256"]
        gone = _of_slice(found, self._ids_since) if self._reads_words(found) else ()
        if rules.exact == "none" or self._down_in(found) or gone:
            columns.append("id")
        return [*columns, *self._filters.columns(found)]

    def _down_in(self, found: FoundSlice) -> list[str]:
        return _of_slice(found, self._ids_down)

    def enter(self, number: int, at: int, batch: pa.RecordBatch, sha: U64) -> None:
        """Takes in the rows of slice `number` from its row `at` on; several slices at once may be entered."""
        found, rows = self._slices[number], self._rows
        begin = int(self._starts[number]) + at
        if begin + batch.num_rows > self._starts[number + 1]:
            return  # `entered` tells that there are too many
        span = slice(begin, begin + batch.num_rows)
        rows.sha[span] = sha
        if self._rules.exact != "image":
            rows.key[span] = self._keys(batch)
        cell = self._cell_column(found.claim.source, batch)
        rows.cell[span] = cell
        if rows.words is not None:
            rows.words[span] = fixed_words(batch.column("content_sha256"))[:, 0]
        if rows.dhash is not None and rows.telling is not None and rows.silent is not None:
            rows.silent[span] = (fixed_words(batch.column("messages_sha256")) == _NO_WORDS).all(axis=1)
            column = batch.column("dhash")
            rows.dhash[span] = numbers(column)
            rows.telling[span] = telling(rows.dhash[span]) & column.is_valid().to_numpy(zero_copy_only=False)
        reason = rows.reason[span]
        for name, holds in self._tests(found, batch, sha, cell, self._filters.tests(number, at, batch)):
            reason[holds & (reason == 0)] = rows.code(name)
        if len(self._images_since) or self._ids_since:
            self._without_values(found, batch, sha, reason, span)
        self._note_matches(found, span, batch)

    def entered(self, number: int, count: int) -> None:
        """All rows of a slice were entered; there are so many in its index."""
        self._filters.done(number)
        if count != self._slices[number].claim.rows:
            self._wrong_rows[number] = count

    def finish(self, threads: int = 1) -> SupplyRows:
        """All rows with their reasons, the ones that follow from other rows included.

        Raises:
            UnjudgedError: a slice has another number of rows than the plan says, or its ids cannot be read.
        """
        for number, count in sorted(self._wrong_rows.items()):
            found = self._slices[number]
            path = _directory(found) / INDEX_FILE
            raise UnjudgedError(f"{path}: {so_many(count, 'row')}, the plan says {found.claim.rows}")
        if self._filters.faults:
            raise UnjudgedError(self.filter_faults[0])
        rows = self._rows
        rows.unsure = self._unsure
        self._number_cells(rows)
        self._mark_near_benchmark(rows)
        self._mark_grams(rows)
        slices = zip(self._slices, self._starts.tolist(), self._starts[1:].tolist(), strict=False)
        spans = [(one.claim.source, begin, end) for one, begin, end in slices]
        rows.benchmarks = self._benchmarks
        rows.contamination = self._matches.by_source(self._benchmarks, spans)
        self._mark_max_samples(rows)
        if self._rules.exact != "none":
            self._mark_duplicates(rows, threads)
        return rows

    @property
    def filter_faults(self) -> list[str]:
        """Why values that filters read are not those that the plan read; known when all slices were entered."""
        return [told for _, one in sorted(self._filters.faults.items()) for told in one]

    def _number_cells(self, rows: SupplyRows) -> None:
        """By name: so far in the order in which threads met them."""
        order = sorted(range(len(self._cells)), key=self._cells.__getitem__)
        rows.cells[:] = self._cells = [self._cells[number] for number in order]
        places = np.empty(len(order) + 1, np.int32)
        places[order] = np.arange(len(order))
        places[-1] = -1
        for begin in range(0, len(rows.cell), _CHUNK):
            part = rows.cell[begin : begin + _CHUNK]
            part[:] = places[part]

    def _keys(self, table: pa.RecordBatch) -> U64:
        if self._rules.exact == "none":
            whole = (sha256(one.encode()).digest()[:16] for one in table.column("id").to_pylist())
        else:
            return fixed_words(table.column("content_sha256"))
        return np.frombuffer(b"".join(whole), "<u8").reshape(-1, 2)

    def _cell_column(self, source: str, table: pa.RecordBatch) -> NDArray[np.int32]:
        rules = self._rules
        if rules.sources[source]["subcategory"] is not None:
            return np.full(table.num_rows, self._cell(source, rules.subcategory_of(source, None)), np.int32)
        labels = table.column("label").dictionary_encode()
        known = [
            self._cell(source, rules.subcategory_of(source, one)) for one in labels.dictionary.to_pylist()
        ]
        places = labels.indices.fill_null(len(known)).to_numpy(zero_copy_only=False)
        return np.asarray(np.array([*known, -1], np.int32)[places])

    def _cell(self, source: str, subcategory: str | None) -> int:
        category = self._rules.sources[source]["category"]
        if subcategory is None or (category, subcategory) not in self._leaves:
            return -1
        with self._new_cell:
            if (source, subcategory) not in self._cell_numbers:
                self._cells.append((category, subcategory, source))
                self._cell_numbers[source, subcategory] = len(self._cells) - 1
            return self._cell_numbers[source, subcategory]

    def _tests(
        self,
        found: FoundSlice,
        batch: pa.RecordBatch,
        sha: U64,
        cell: NDArray[np.int32],
        filtered: Iterator[tuple[str, Bool]],
    ) -> Iterator[tuple[str, Bool]]:
        """Reasons that may hold for rows of this slice, and for which they do."""
        content = self._rules.content
        source = self._rules.sources[found.claim.source]
        if len(self._images_down):
            yield "tombstone", with_image_of(batch, sha, self._images_down)
        if ids := self._down_in(found):
            named = pc.is_in(batch.column("id"), value_set=pa.array(ids))
            yield "tombstone", named.to_numpy(zero_copy_only=False)
        yield "unmapped_label", cell < 0
        if not self._rules.admits(source["licence"]):
            yield "licence", np.ones(batch.num_rows, bool)
        if content["min_side_px"]:
            yield "min_side", numbers(batch.column("min_side_px")) < content["min_side_px"]
        yield from filtered
        names = [(c, s, source["licence"]) for c, s, _ in list(self._cells)]
        extra = np.array([sum(len(text.encode()) for text in one) for one in names] + [0], np.int64)
        planned = numbers(batch.column("row_bytes")) + extra[cell]
        most = content["shard"]["max_bytes"] - _WINDOW_OVERHEAD - _SHARD_OVERHEAD
        yield "too_large", (planned > most) & (cell >= 0)
        if len(self._benchmark_sha):
            yield "decontaminate", with_image_of(batch, sha, self._benchmark_sha)
        if "image_facts" in batch.schema.names and len(self._benchmark_dhash):
            bits = content["decontaminate_bits"]
            yield "decontaminate", with_picture_of(batch, self._benchmark_dhash, bits)

    def _without_values(
        self, found: FoundSlice, batch: pa.RecordBatch, sha: U64, reason: NDArray[np.uint8], span: slice
    ) -> None:
        """Rows that were taken down since the plan have no values and no words any more: the plan is believed.

        One that it selects passed the filters. One that it does not may have failed one, and is taken to have.
        """
        if self._planned is None or not (self._filters.reads_values(found) or self._reads_words(found)):
            return
        down = with_image_of(batch, sha, self._images_since)
        if ids := _of_slice(found, self._ids_since):
            down |= pc.is_in(batch.column("id"), value_set=pa.array(ids)).to_numpy(zero_copy_only=False)
        if self._reads_words(found):
            self._silenced.append(span.start + np.flatnonzero(down & ~self._planned[span]))
        if not self._filters.reads_values(found):
            return
        first, last = self._rows.filter_codes
        passed = (reason == 0) | (reason >= first)
        reason[down & self._planned[span] & passed] = 0
        unsure = down & ~self._planned[span] & passed
        reason[unsure & ((reason == 0) | (reason > last))] = first
        with self._new_cell:
            self._unsure += int(unsure.sum())

    def _note_matches(self, found: FoundSlice, span: slice, batch: pa.RecordBatch) -> None:
        """Which benchmarks have images of the rows that are excluded for one, or like those of records of several."""
        rows = self._rows
        at = np.flatnonzero(rows.excluded_in(span, "decontaminate"))
        if not len(at):
            return
        some, sha, places = batch.take(pa.array(at)), rows.sha[span][at], span.start + at
        bits = self._rules.content["decontaminate_bits"]
        for number, one in enumerate(self._benchmarks):
            self._matches.add(number, "exact", places[with_image_of(some, sha, one.sha)])
            if found.has_lists:
                self._matches.add(number, "near", places[with_picture_of(some, one.dhash, bits)])

    def _mark_near_benchmark(self, rows: SupplyRows) -> None:
        if rows.dhash is None or rows.telling is None:
            return
        code, bits = rows.code("decontaminate"), self._rules.content["decontaminate_bits"]
        at = np.flatnonzero(((rows.reason == 0) | (rows.reason == code)) & rows.telling)
        for number, one in enumerate(self._benchmarks):
            if len(one.dhash):
                near = at[near_benchmark(rows.dhash[at], one.dhash, bits)]
                rows.reason[near] = code
                self._matches.add(number, "near", near)

    def _mark_grams(self, rows: SupplyRows) -> None:
        """Rows that share words with a benchmark. Of those that were taken down since, the plan is believed."""
        code = rows.code("decontaminate")
        for number, found in enumerate(self._slices):
            if not self._reads_words(found) or found.directory is None:
                continue
            begin, end = int(self._starts[number]), int(self._starts[number + 1])
            asked = (rows.reason[begin:end] == 0) | (rows.reason[begin:end] == code)
            for grams, said_by in grams_of(found.directory, found.claim.rows):
                for which, one in enumerate(self._benchmarks):
                    hit = np.unique(said_by[held(grams, one.grams)])
                    hit = hit[asked[hit]]
                    rows.reason[begin + hit] = code
                    self._matches.add(which, "text", begin + hit)
        for places in self._silenced:
            gone = places[rows.reason[places] == 0]
            rows.reason[gone] = code
            rows.unsure += len(gone)

    def _reads_words(self, found: FoundSlice) -> bool:
        """Whether some benchmark has words, and the slice may have some too."""
        says = found.manifest is None or has_words(found.manifest)
        return says and any(len(one.grams) for one in self._benchmarks)

    def _mark_max_samples(self, rows: SupplyRows) -> None:
        for source, spec in self._rules.sources.items():
            limit = spec["max_samples"]
            if limit is None:
                continue
            spans = [
                np.arange(self._starts[number], self._starts[number + 1])
                for number, one in enumerate(self._slices)
                if one.claim.source == source
            ]
            places = np.concatenate(spans) if spans else np.empty(0, np.int64)
            places = places[rows.reason[places] == 0]
            rank = ranks(rows.key[places, 0], self._rules.seed)
            distinct = np.unique(rank)
            if len(distinct) > limit:
                beyond = rank >= distinct[limit]
                rows.reason[places[beyond]] = rows.code("max_samples")

    def _mark_duplicates(self, rows: SupplyRows, threads: int) -> None:
        order = Precedence(self._rules, self._slices, self._starts)
        left = rows.reason == 0
        exact = exact_duplicates(rows.key, left, order, threads)
        near = np.empty(0, np.int64)
        if rows.dhash is not None and self._rules.max_near_bits:
            near = self._near_duplicates(rows, np.flatnonzero(left), order)
        for dropped in (near, exact):
            rows.reason[dropped] = rows.code("duplicate")
        if rows.words is not None:
            other = with_other_words(rows.key, rows.words, exact, left)
            rows.reason[other] = rows.code("duplicate_other_words")

    def _near_duplicates(self, rows: SupplyRows, everything: I64, order: "Precedence") -> I64:
        if rows.dhash is None or rows.telling is None or rows.silent is None:
            return np.empty(0, np.int64)
        of_cell = np.array([self._rules.near_bits(category) for category, _, _ in self._cells], np.int64)
        places = everything[rows.telling[everything] & rows.silent[everything]]
        bits = of_cell[rows.cell[places]]
        places, bits = places[bits > 0], bits[bits > 0]
        return near_duplicates(rows.dhash[places], rows.sha[places], bits, places, order)


def _of_slice(found: FoundSlice, ids: Sequence[str]) -> list[str]:
    """Those of sorted ids that are of one slice."""
    prefix = f"{found.claim.name}/"
    return list(takewhile(lambda one: one.startswith(prefix), ids[bisect_left(ids, prefix) :]))


def _directory(found: FoundSlice) -> Path:
    if found.directory is None:
        raise UnjudgedError(f"{found.claim.name}: its content is gone")
    return found.directory
