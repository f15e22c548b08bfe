"""The whole supply counted again: which rows are excluded for which reason, and what remains in each cell."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from vlm_assets.audit.ahead import ahead
from vlm_assets.audit.corpus_rows import index_table, one_array
from vlm_assets.audit.duplicates import Precedence, exact_duplicates, near_duplicates
from vlm_assets.audit.evidence import Evidence, FoundSlice, UnjudgedError
from vlm_assets.audit.near import near_pairs, telling
from vlm_assets.audit.rules import Rules
from vlm_assets.audit.words import I64, U64, Bool, among, hex_words, numbers, ranks, words_of
from vlm_assets.store.slices import INDEX_FILE
from vlm_assets.store.tombstones import StoredTombstones

REASONS: Final = (
    "tombstone", "unmapped_label", "licence", "min_side", "too_large", "decontaminate", "max_samples", "duplicate",
)  # fmt: skip
"""In the order in which they are tested; a row counts under the first that holds."""

_WINDOW_OVERHEAD: Final = 16 * 1024
_SHARD_OVERHEAD: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Benchmark:
    """Images that must not be in the corpus: first words of their sha256, and their telling dhashes."""

    sha: U64
    dhash: U64


@dataclass(slots=True)
class SupplyRows:
    """Every row of the plan's slices, slice after slice. About 40 bytes a row, 50 with dhashes."""

    sha: U64
    key: U64
    """Row keys, shape (rows, 2); the same array as `sha` under `exact: image`."""
    cell: NDArray[np.int32]
    """Number in `cells`; -1 where the label gives none."""
    cells: list[tuple[str, str, str]]
    """(category, subcategory, source)."""
    reason: NDArray[np.uint8]
    """0, or 1 + the place in `REASONS`."""
    dhash: U64 | None
    telling: Bool | None

    def excluded(self, reason: str) -> Bool:
        """Rows that are excluded for this reason."""
        return np.asarray(self.reason == REASONS.index(reason) + 1)


class SupplyReader:
    """Counts one corpus's supply again under the rules that it was planned with."""

    def __init__(self, evidence: Evidence) -> None:
        """Checks that everything the recount needs is there.

        Raises:
            UnjudgedError: the content of a slice, a takedown, or a decontamination list of then is gone.
        """
        gone = [one.claim.name for one in evidence.slices if one.directory is None]
        if gone:
            raise UnjudgedError(f"slices whose planned content is gone: {', '.join(gone[:5])}")
        self._rules: Rules = evidence.rules
        self._slices = evidence.slices
        self._starts = evidence.starts
        self._takedowns = evidence.takedowns(evidence.plan.tombstones)
        self._benchmark = read_benchmark(benchmark_files(evidence, self._rules))
        self._cell_numbers: dict[tuple[str, str], int] = {}
        self._cells: list[tuple[str, str, str]] = []
        self._leaves = self._rules.leaves()
        self._with_dhash = self._rules.max_near_bits > 0 or len(self._benchmark.dhash) > 0

    def read(self, threads: int = 1) -> SupplyRows:
        """All rows with their reasons; slices are read ahead."""
        total = int(self._starts[-1])
        words = np.empty((total, 2), np.uint64)
        rows = SupplyRows(
            sha=words,
            key=words if self._rules.exact == "image" else np.empty((total, 2), np.uint64),
            cell=np.full(total, -1, np.int32),
            cells=self._cells,
            reason=np.zeros(total, np.uint8),
            dhash=np.zeros(total, np.uint64) if self._with_dhash else None,
            telling=np.zeros(total, bool) if self._with_dhash else None,
        )
        tables = ahead(self._table, self._slices, threads)
        for number, (one, table) in enumerate(zip(self._slices, tables, strict=True)):
            span = slice(int(self._starts[number]), int(self._starts[number + 1]))
            self._enter(rows, one, span, table)
        self._mark_near_benchmark(rows)
        self._mark_max_samples(rows)
        if self._rules.exact != "none":
            self._mark_duplicates(rows)
        return rows

    def _columns(self, found: FoundSlice) -> list[str]:
        rules = self._rules
        columns = ["image_sha256", "row_bytes"]
        if rules.sources[found.claim.source]["subcategory"] is None:
            columns.append("label")
        if rules.content["min_side_px"]:
            columns += ["width_px", "height_px"]
        if self._with_dhash:
            columns.append("dhash")
        if rules.exact == "image_text":
            columns.append("text_sha256")
        if rules.exact == "none" or self._ids_down(found):
            columns.append("id")
        return columns

    def _ids_down(self, found: FoundSlice) -> list[str]:
        return sorted(one for one in self._takedowns.ids if one.startswith(f"{found.claim.name}/"))

    def _table(self, found: FoundSlice) -> pa.Table:
        if found.claim.source not in self._rules.sources:
            raise UnjudgedError(
                f"{found.claim.name}: in the plan, and its source is not in the plan's inputs"
            )
        return index_table(_directory(found) / INDEX_FILE, self._columns(found))

    def _enter(self, rows: SupplyRows, found: FoundSlice, span: slice, table: pa.Table) -> None:
        path = _directory(found) / INDEX_FILE
        if table.num_rows != span.stop - span.start:
            raise UnjudgedError(f"{path}: {table.num_rows} rows, the plan says {span.stop - span.start}")
        try:
            rows.sha[span] = hex_words(one_array(table, "image_sha256"))
        except ValueError as error:
            raise UnjudgedError(f"{path}: {error}") from error
        if self._rules.exact != "image":
            rows.key[span] = self._keys(table)
        rows.cell[span] = self._cell_column(found.claim.source, table)
        if rows.dhash is not None and rows.telling is not None:
            column = one_array(table, "dhash")
            rows.dhash[span] = numbers(column)
            rows.telling[span] = telling(rows.dhash[span]) & column.is_valid().to_numpy(zero_copy_only=False)
        for reason, holds in self._tests(found, table, rows.sha[span], rows.cell[span]):
            here = rows.reason[span]
            here[holds & (here == 0)] = REASONS.index(reason) + 1

    def _keys(self, table: pa.Table) -> U64:
        if self._rules.exact == "none":
            whole = (sha256(one.encode()).digest()[:16] for one in table.column("id").to_pylist())
        else:
            pairs = zip(
                table.column("image_sha256").to_pylist(), table.column("text_sha256").to_pylist(), strict=True
            )
            whole = (sha256(bytes.fromhex(image) + text).digest()[:16] for image, text in pairs)
        return np.frombuffer(b"".join(whole), "<u8").reshape(-1, 2)

    def _cell_column(self, source: str, table: pa.Table) -> NDArray[np.int32]:
        rules = self._rules
        if rules.sources[source]["subcategory"] is not None:
            return np.full(table.num_rows, self._cell(source, rules.subcategory_of(source, None)), np.int32)
        labels = one_array(table, "label").dictionary_encode()
        known = [
            self._cell(source, rules.subcategory_of(source, one)) for one in labels.dictionary.to_pylist()
        ]
        places = labels.indices.fill_null(len(known)).to_numpy(zero_copy_only=False)
        return np.asarray(np.array([*known, -1], np.int32)[places])

    def _cell(self, source: str, subcategory: str | None) -> int:
        category = self._rules.sources[source]["category"]
        if subcategory is None or (category, subcategory) not in self._leaves:
            return -1
        if (source, subcategory) not in self._cell_numbers:
            self._cell_numbers[source, subcategory] = len(self._cells)
            self._cells.append((category, subcategory, source))
        return self._cell_numbers[source, subcategory]

    def _tests(
        self, found: FoundSlice, table: pa.Table, sha: U64, cell: NDArray[np.int32]
    ) -> list[tuple[str, Bool]]:
        content, count = self._rules.content, table.num_rows
        source = self._rules.sources[found.claim.source]
        down = among(sha, words_of(self._takedowns.image_sha256))
        if ids := self._ids_down(found):
            named = pc.is_in(one_array(table, "id"), value_set=pa.array(ids))
            down |= named.to_numpy(zero_copy_only=False)
        tests = [("tombstone", down), ("unmapped_label", cell < 0)]
        tests.append(("licence", np.full(count, not self._rules.admits(source["licence"]))))
        if content["min_side_px"]:
            side = np.minimum(numbers(one_array(table, "width_px")), numbers(one_array(table, "height_px")))
            tests.append(("min_side", side < content["min_side_px"]))
        names = [(c, s, source["licence"]) for c, s, _ in self._cells]
        extra = np.array([sum(len(text.encode()) for text in one) for one in names] + [0], np.int64)
        planned = numbers(one_array(table, "row_bytes")) + extra[cell] + _WINDOW_OVERHEAD + _SHARD_OVERHEAD
        tests.append(("too_large", (planned > content["shard"]["max_bytes"]) & (cell >= 0)))
        tests.append(("decontaminate", among(sha, self._benchmark.sha)))
        return tests

    def _mark_near_benchmark(self, rows: SupplyRows) -> None:
        if rows.dhash is None or rows.telling is None or not len(self._benchmark.dhash):
            return
        open_rows = np.flatnonzero((rows.reason == 0) & rows.telling)
        near = near_benchmark(
            rows.dhash[open_rows], self._benchmark, self._rules.content["decontaminate_bits"]
        )
        rows.reason[open_rows[near]] = REASONS.index("decontaminate") + 1

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
                rows.reason[places[beyond]] = REASONS.index("max_samples") + 1

    def _mark_duplicates(self, rows: SupplyRows) -> None:
        order = Precedence(self._rules, self._slices, self._starts)
        everything = np.flatnonzero(rows.reason == 0)
        exact = exact_duplicates(rows.key, everything, order)
        near = np.empty(0, np.int64)
        if rows.dhash is not None and self._rules.max_near_bits:
            near = self._near_duplicates(rows, everything, order)
        for dropped in (exact, near):
            rows.reason[dropped] = REASONS.index("duplicate") + 1

    def _near_duplicates(self, rows: SupplyRows, everything: I64, order: "Precedence") -> I64:
        if rows.dhash is None or rows.telling is None:
            return np.empty(0, np.int64)
        of_cell = np.array([self._rules.near_bits(category) for category, _, _ in self._cells], np.int64)
        places = everything[rows.telling[everything]]
        bits = of_cell[rows.cell[places]]
        places, bits = places[bits > 0], bits[bits > 0]
        return near_duplicates(rows.dhash[places], rows.sha[places], bits, places, order)


def _directory(found: FoundSlice) -> Path:
    if found.directory is None:
        raise UnjudgedError(f"{found.claim.name}: its content is gone")
    return found.directory


def benchmark_files(evidence: Evidence, rules: Rules) -> list[Path]:
    """The decontamination lists that the rules name by their content, found among those of the catalogue.

    Raises:
        UnjudgedError: one of them is not there any more.
    """
    base, corpus = evidence.installation.catalog_dir, evidence.installation.catalog.corpus
    try:
        found = {sha256((base / path).read_bytes()).hexdigest(): base / path for path in corpus.decontaminate}
        return [found[digest] for digest in rules.content["decontaminate"]]
    except OSError as error:
        raise UnjudgedError(f"decontaminate: {error}") from error
    except KeyError:
        raise UnjudgedError("a decontamination list of the plan is gone or changed; see staleness") from None


def read_benchmark(paths: Sequence[Path]) -> Benchmark:
    """Hashes of benchmark images: columns `image_sha256` (hex) and `dhash` of parquet files."""
    import pyarrow.parquet as pq

    hashes: set[str] = set()
    pictures: set[int] = set()
    for path in paths:
        try:
            columns: Mapping[str, Any] = pq.read_table(path).to_pydict()
        except (OSError, pa.ArrowInvalid) as error:
            raise UnjudgedError(f"decontaminate: {path}: {error}") from error
        hashes.update(value for value in columns.get("image_sha256", ()) if value is not None)
        pictures.update(int(value) % 2**64 for value in columns.get("dhash", ()) if value is not None)
    values = np.array(sorted(pictures), np.uint64)
    return Benchmark(words_of(hashes), values[telling(values)])


def near_benchmark(dhash: U64, benchmark: Benchmark, bits: int) -> Bool:
    """Which of these telling hashes are within `bits` of a benchmark image's."""
    values, value_of = np.unique(dhash, return_inverse=True)
    hit = np.zeros(len(values), bool)
    hit[near_pairs(values, benchmark.dhash, bits)[0]] = True
    return hit[value_of]


def takedown_mask(sha: U64, takedowns: StoredTombstones) -> Bool:
    """Rows whose image was taken down everywhere."""
    return among(sha, words_of(takedowns.image_sha256))
