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

from vlm_assets.audit.corpus_rows import index_table, one_array
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

    def read(self) -> SupplyRows:
        """All rows with their reasons."""
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
        for number, one in enumerate(self._slices):
            span = slice(int(self._starts[number]), int(self._starts[number + 1]))
            self._read_slice(rows, one, span)
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

    def _read_slice(self, rows: SupplyRows, found: FoundSlice, span: slice) -> None:
        if found.claim.source not in self._rules.sources:
            raise UnjudgedError(
                f"{found.claim.name}: in the plan, and its source is not in the plan's inputs"
            )
        path = _directory(found) / INDEX_FILE
        table = index_table(path, self._columns(found))
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


class Precedence:
    """Orders rows: the declared sources, the others by name, then id bytes."""

    def __init__(self, rules: Rules, slices: Sequence[FoundSlice], starts: I64) -> None:
        declared = {name: number for number, name in enumerate(rules.precedence)}

        def place(number: int) -> tuple[int, bytes, bytes]:
            claim = slices[number].claim
            return (
                declared.get(claim.source, len(declared)),
                claim.source.encode(),
                f"{claim.slice}/".encode(),
            )

        self._slices = slices
        self._starts = starts
        self._order = np.empty(len(slices), np.int64)
        self._order[sorted(range(len(slices)), key=place)] = np.arange(len(slices))

    def slice_order(self, places: I64) -> I64:
        """Order of the rows' slices: rows of different slices are ordered by it."""
        return self._order[np.searchsorted(self._starts, places, side="right") - 1]

    def numbers(self, places: I64) -> I64:
        """Distinct numbers that order these rows; reads their ids."""
        owner = np.searchsorted(self._starts, places, side="right") - 1
        out = np.empty(len(places), np.int64)
        for number in np.unique(owner).tolist():
            here = np.flatnonzero(owner == number)
            ids = index_table(_directory(self._slices[number]) / INDEX_FILE, ("id",))
            taken = one_array(ids, "id").take(pa.array(places[here] - self._starts[number]))
            ranked = np.empty(len(here), np.int64)
            ranked[pc.sort_indices(taken).to_numpy()] = np.arange(len(here))
            out[here] = (self._order[number] << 40) + ranked
        return out


def exact_duplicates(key: U64, places: I64, order: Precedence) -> I64:
    """Those of `places` whose key another of them with higher precedence has."""
    first = key[places, 0]
    ordered = np.sort(first)
    repeated = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
    del ordered
    if not len(repeated):
        return np.empty(0, np.int64)
    seen = np.zeros(2**22, bool)
    seen[repeated >> np.uint64(42)] = True
    maybe = np.flatnonzero(seen[first >> np.uint64(42)])
    maybe = maybe[np.isin(first[maybe], repeated)]
    rows = places[maybe]
    slices = order.slice_order(rows)
    by_key = np.lexsort((slices, key[rows, 1], key[rows, 0]))
    rows, slices = rows[by_key], slices[by_key]
    opens = np.ones(len(rows), bool)
    opens[1:] = (key[rows[1:]] != key[rows[:-1]]).any(axis=1)
    group = np.cumsum(opens) - 1
    leaders = slices[np.flatnonzero(opens)]
    rivals = np.flatnonzero(slices == leaders[group])
    # Only rows of the leading slice can stay; where it has several of a group, the lowest id does.
    stays = np.zeros(len(rows), bool)
    precedence = order.numbers(rows[rivals])
    best = rivals[np.lexsort((precedence, group[rivals]))]
    new = np.ones(len(best), bool)
    new[1:] = np.diff(group[best]) != 0
    stays[best[new]] = True
    return rows[~stays]


def near_duplicates(dhash: U64, sha: U64, bits: I64, places: I64, order: Precedence) -> I64:
    """Those of `places` with a near picture of another image that has higher precedence.

    A pair is near within the smaller of the two rows' `bits`. Rows of one (dhash, bits) form a group; of each
    group only its first row, and its first row with another image than that, can drop others.
    """
    if not len(places):
        return places
    values, value_of = np.unique(dhash, return_inverse=True)
    left, right = near_pairs(values, values, int(bits.max()))
    lonely = np.bincount(value_of, minlength=len(values)) == 1
    busy = np.zeros(len(values), bool)
    busy[left[left != right]] = True
    wanted = np.flatnonzero(busy[value_of] | ~lonely[value_of])
    if not len(wanted):
        return np.empty(0, np.int64)
    precedence = order.numbers(places[wanted])
    _, image = np.unique(sha[wanted], axis=0, return_inverse=True)
    image = image.reshape(-1)
    groups, group_of = np.unique(value_of[wanted] * 64 + bits[wanted], return_inverse=True)
    first, second = _leaders(group_of, precedence, image, len(groups))
    dropped = np.zeros(len(wanted), bool)
    for a, b in _group_pairs(groups, values, left, right):
        rows, other = _members(group_of, a, b)
        for lead in (first, second):
            rival = lead[other]
            real = rival >= 0
            hit = real & (precedence[rival] < precedence[rows]) & (image[rival] != image[rows])
            dropped[rows[hit]] = True
    return places[wanted[dropped]]


def _leaders(group_of: I64, precedence: I64, image: I64, count: int) -> tuple[I64, I64]:
    """Of each group the row of highest precedence, and the next one with another image (-1: none)."""
    order = np.lexsort((precedence, group_of))
    ends = np.cumsum(np.bincount(group_of, minlength=count))
    starts = ends - np.bincount(group_of, minlength=count)
    first = order[starts]
    second = np.full(count, -1, np.int64)
    other = order[image[order] != image[first[group_of[order]]]]
    # Written backwards, so that the row of highest precedence is written last.
    second[group_of[other][::-1]] = other[::-1]
    return first, second


def _group_pairs(groups: I64, values: U64, left: I64, right: I64) -> list[tuple[I64, I64]]:
    """Pairs of groups (members of the first are compared with leaders of the second), in chunks."""
    group_value, group_bits = groups // 64, groups % 64
    begin = np.searchsorted(group_value, np.arange(len(values) + 1))
    i, j = left, right
    chunks = []
    for at in range(0, len(i), 1_000_000):
        a, b = _expand(begin, i[at : at + 1_000_000], j[at : at + 1_000_000])
        distance = np.bitwise_count(values[group_value[a]] ^ values[group_value[b]])
        near = distance <= np.minimum(group_bits[a], group_bits[b])
        chunks.append((a[near], b[near]))
    return chunks


def _expand(begin: I64, i: I64, j: I64) -> tuple[I64, I64]:
    """All (group of value i, group of value j) of pairs of values."""
    per_i, per_j = begin[i + 1] - begin[i], begin[j + 1] - begin[j]
    count = per_i * per_j
    pair = np.repeat(np.arange(len(i)), count)
    within = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    return begin[i][pair] + within // per_j[pair], begin[j][pair] + within % per_j[pair]


def _members(group_of: I64, a: I64, b: I64) -> tuple[I64, I64]:
    """(row, group) for every row of each group of `a`, with the group beside it in `b`."""
    order = np.argsort(group_of, kind="stable")
    count = int(group_of.max()) + 1
    ends = np.cumsum(np.bincount(group_of, minlength=count))
    sizes = np.bincount(group_of, minlength=count)
    starts = ends - sizes
    per = sizes[a]
    within = np.arange(per.sum()) - np.repeat(np.cumsum(per) - per, per)
    return order[np.repeat(starts[a], per) + within], np.repeat(b, per)


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
