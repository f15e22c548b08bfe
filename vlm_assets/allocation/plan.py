"""From a catalogue and committed slices to a plan: which rows, under which names, and why no others."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vlm_assets.allocation.benchmarks import Benchmark, read_benchmarks
from vlm_assets.allocation.certificate import (
    Certificate,
    Figures,
    NodeGrant,
    node_grants,
    shortfall_table,
    source_totals,
    told_once,
)
from vlm_assets.allocation.contamination import benchmark_facts, contamination_of, exclude_contaminated
from vlm_assets.allocation.duplicates import exact_duplicates
from vlm_assets.allocation.examples import excluded_examples
from vlm_assets.allocation.files import AllocationPlan, PlannedSlice, read_plan, write_plan
from vlm_assets.allocation.gram_memory import GramMemory
from vlm_assets.allocation.inputs import inputs_bytes, target_rows
from vlm_assets.allocation.likeness import near_duplicates
from vlm_assets.allocation.reasons import ExclusionReason
from vlm_assets.allocation.rows import NO_CELL, Cell, Places, RowReader, RowTable
from vlm_assets.allocation.sampling import by_rank, outside_lowest_keys, select_lowest
from vlm_assets.allocation.supply import SupplySlice, checked_benchmarks, checked_supply
from vlm_assets.allocation.tree import (
    CellSupply,
    Node,
    asked_of,
    asked_of_all,
    bounds_of,
    build_tree,
    clipped,
    grants_of,
)
from vlm_assets.allocation.tree import Path as NodePath
from vlm_assets.catalog.spec import ALL_ROWS, Catalog, CorpusSpec
from vlm_assets.words.counts import so_many
from vlm_assets.words.errors import AllocationError
from vlm_assets.words.tombstones import Tombstones

__all__ = ["AllocationPlan", "PlannedSlice", "plan_allocation", "read_plan", "write_plan"]


def plan_allocation(
    catalog: Catalog,
    target: str,
    supply: Sequence[SupplySlice],
    tombstones: Tombstones,
    *,
    base_dir: Path | None,
    memory: GramMemory | None = None,
) -> AllocationPlan:
    """Exactly as many rows as the quotas, the supply and `shortfall` allow, the same for equal inputs.

    `supply`: committed slices of sources, to draw from, and of benchmarks. Reads index files, decontamination lists
    (relative ones under `base_dir`, the catalogue's folder), and words where a benchmark has some and `memory` does
    not know; writes nothing but what `memory` keeps.
    Memory: about 60 bytes a row.

    Raises:
        AllocationError: no such target; damaged inputs, or a list that changes while it is read; `shortfall: fail`
            and a quota that is not met.
    """
    corpus = catalog.corpus
    rows_wanted = target_rows(catalog, target)
    ordered_supply = checked_supply(catalog, supply)
    inputs = inputs_bytes(catalog, target, supply, tombstones, base_dir=base_dir)
    digest = sha256(inputs).hexdigest()
    benchmarks = read_benchmarks(catalog, supply, base_dir=base_dir)
    table, by_key = eligible_rows(catalog, ordered_supply, tombstones, benchmarks, memory or GramMemory())
    if inputs_bytes(catalog, target, supply, tombstones, base_dir=base_dir) != inputs:
        raise AllocationError(
            f"target {target}: a list of `decontaminate` changed while it was read; plan again"
        )
    counts = _Counts.of(table)
    kept = _cells_to_show(catalog, table, counts)
    root = build_tree(corpus, [_cell_supply(catalog, table, counts, number) for number in kept])
    figures = _figures(corpus, root, rows_wanted, table, counts)
    if rows_wanted == ALL_ROWS:
        rows_wanted = figures.granted[()]
    nodes = node_grants(root, figures)
    _judge(corpus, target, rows_wanted, figures.granted[()], nodes)
    grants = [0] * len(table.cells)
    for number in kept:
        grants[number] = figures.granted[_path(table.cells[number])]
    selected = select_lowest(table, by_key, grants)
    slices = _planned_slices(table, selected, kept)
    certificate = Certificate(
        corpus=corpus.name,
        target=target,
        target_rows=rows_wanted,
        granted_rows=figures.granted[()],
        capacity=figures.bounds[()].cap,
        shortfall_mode=corpus.shortfall,
        inputs_hash=digest,
        nodes=nodes,
        sources=source_totals(
            [spec.name for spec in catalog.sources if spec.enabled],
            counts.admitted,
            counts.excluded,
            _selected_by_source(slices),
            nodes,
            labels=table.labels,
        ),
        benchmarks=benchmark_facts(benchmarks),
        contamination=contamination_of(table, benchmarks, corpus.seed),
    )
    return AllocationPlan(
        corpus=corpus.name,
        target=target,
        target_rows=rows_wanted,
        seed=corpus.seed,
        inputs_hash=digest,
        shard=corpus.shard,
        slices=slices,
        cells=tuple(table.cells[number] for number in kept),
        grants=tuple(grants[number] for number in kept),
        excluded={
            reason: sum(by_reason[reason] for by_reason in counts.excluded.values())
            for reason in table.reasons
        },
        certificate=certificate,
        tombstones=tuple(sorted(tombstones.hashes)),
        inputs=inputs,
        examples=excluded_examples(table, corpus.seed),
        benchmarks=checked_benchmarks(catalog, supply),
    )


def eligible_rows(
    catalog: Catalog,
    supply: Sequence[SupplySlice],
    tombstones: Tombstones,
    benchmarks: Sequence[Benchmark],
    memory: GramMemory,
) -> tuple[RowTable, Places]:
    """The table with every exclusion marked, and the rows that remain, by rank. No target takes part."""
    corpus = catalog.corpus
    bits = max((corpus.dedup.bits_of(name) for name in corpus.quotas), default=0)
    with_dhash = bits > 0 or any(len(one.pictures) for one in benchmarks)
    table = RowReader(catalog, tombstones, with_dhash=with_dhash, benchmarks=benchmarks).read(supply)
    exclude_contaminated(table, benchmarks, corpus.decontaminate_bits, memory)
    for spec in catalog.sources:
        if spec.max_samples is not None and spec.name in table.sources:
            begin, end = table.sources[spec.name]
            places = begin + np.flatnonzero(table.reason[begin:end] == 0)
            table.exclude(
                outside_lowest_keys(table, places, spec.max_samples, corpus.seed), ExclusionReason.MAX_SAMPLES
            )
    places = np.flatnonzero(table.reason == 0)
    by_key = by_rank(table, places, corpus.seed)
    if corpus.dedup.exact != "none":
        near = near_duplicates(table, corpus, places) if bits else places[:0]
        same, other_words = exact_duplicates(table, by_key)
        table.exclude(near, ExclusionReason.DUPLICATE)
        table.exclude(same, ExclusionReason.DUPLICATE)
        table.exclude(other_words, ExclusionReason.DUPLICATE_OTHER_WORDS)
    return table, by_key[table.reason[by_key] == 0]


@dataclass(frozen=True, slots=True)
class _Counts:
    """Rows by source, cell and reason."""

    admitted: Mapping[str, int]
    excluded: Mapping[str, Mapping[str, int]]
    """By source; every reason named."""
    by_cell: NDArray[np.int64]
    """Shape (cells + 1, reasons + 1): column 0 is the supply, the last line rows without a cell."""
    cellless: Mapping[str, NDArray[np.int64]]
    """By source: its rows without a cell, by reason code."""

    @classmethod
    def of(cls, table: RowTable) -> "_Counts":
        width = len(table.reasons) + 1
        by_cell = np.zeros((len(table.cells) + 1, width), dtype=np.int64)
        admitted: dict[str, int] = {}
        excluded: dict[str, Mapping[str, int]] = {}
        cellless: dict[str, NDArray[np.int64]] = {}
        for source, (begin, end) in table.sources.items():
            reason = table.reason[begin:end]
            cell = np.minimum(table.cell[begin:end], len(table.cells)).astype(np.int64)
            matrix = np.bincount(cell * width + reason, minlength=by_cell.size).reshape(by_cell.shape)
            by_cell += matrix
            admitted[source] = end - begin
            totals = matrix.sum(axis=0).tolist()
            excluded[source] = {name: totals[code] for code, name in enumerate(table.reasons, start=1)}
            cellless[source] = matrix[-1]
        return cls(admitted, excluded, by_cell, cellless)


def _cells_to_show(catalog: Catalog, table: RowTable, counts: _Counts) -> list[int]:
    """Cells with rows, and those that the catalogue names outright (so that an empty one says why)."""
    open_ended = {
        spec.name
        for spec in catalog.sources
        if spec.subcategory_from is not None and spec.subcategory_from.map is None
    }
    return [
        number
        for number, cell in enumerate(table.cells)
        if cell.source not in open_ended or counts.by_cell[number].any()
    ]


def _path(cell: Cell) -> NodePath:
    return (cell.category, *cell.subcategory.split("/"), cell.source)


def _cell_supply(catalog: Catalog, table: RowTable, counts: _Counts, number: int) -> CellSupply:
    cell = table.cells[number]
    return CellSupply(
        category=cell.category,
        subcategory=cell.subcategory,
        source=cell.source,
        supply=int(counts.by_cell[number, 0]),
        weight=catalog.source(cell.source).weight,
    )


def _figures(corpus: CorpusSpec, root: Node, seats: int, table: RowTable, counts: _Counts) -> Figures:
    bounds = bounds_of(root)
    if seats == ALL_ROWS:
        granted = grants_of(root, seats, bounds)
        asked = asked_of_all(root, granted)
    else:
        asked = asked_of(root, seats)
        granted = clipped(root, asked) if corpus.shortfall == "report" else grants_of(root, seats, bounds)
    rows: dict[NodePath, int] = {}
    excluded: dict[NodePath, dict[str, int]] = {}

    def add(path: NodePath, line: NDArray[np.int64]) -> None:
        for depth in range(1, len(path) + 1):
            rows[path[:depth]] = rows.get(path[:depth], 0) + int(line.sum())
            by_reason = excluded.setdefault(path[:depth], dict.fromkeys(table.reasons, 0))
            for code, name in enumerate(table.reasons, start=1):
                by_reason[name] += int(line[code])

    for number, cell in enumerate(table.cells):
        if counts.by_cell[number].any():
            add(_path(cell), counts.by_cell[number])
    categories = {cell.source: cell.category for cell in table.cells}
    for source, line in counts.cellless.items():
        if line.any() and source in categories:
            add((categories[source],), line)
    return Figures(asked, bounds, granted, rows, excluded, _missing(table))


def _missing(table: RowTable) -> dict[NodePath, dict[str, int]]:
    """Rows that lack a value a filter needs, by node and filter."""
    found: dict[NodePath, dict[str, int]] = {}
    for name, by_cell in table.missing.items():
        for number in np.flatnonzero(by_cell[:-1]).tolist():
            path = _path(table.cells[number])
            for depth in range(1, len(path) + 1):
                counts = found.setdefault(path[:depth], {})
                counts[name] = counts.get(name, 0) + int(by_cell[number])
    return found


def _judge(corpus: CorpusSpec, target: str, seats: int, granted: int, nodes: Sequence[NodeGrant]) -> None:
    """`shortfall: fail`: every category and subcategory gets what it asks, and the target is reached.

    Sources are not judged: what one cannot give the others of its subcategory do.
    """
    missed = [node for node in nodes if node.shortfall and node.level != "source"]
    if corpus.shortfall == "fail" and (missed or granted < seats):
        raise AllocationError(
            f"{corpus.name}/{target}: {granted} of {so_many(seats, 'row')}, with shortfall: fail\n"
            f"{shortfall_table(told_once(nodes))}"
        )


def _planned_slices(
    table: RowTable, selected: NDArray[np.bool_], kept: Sequence[int]
) -> tuple[PlannedSlice, ...]:
    renumber = np.full(len(table.cells) + 1, NO_CELL, dtype=np.uint32)
    renumber[list(kept)] = np.arange(len(kept), dtype=np.uint32)
    planned = []
    for number, entry in enumerate(table.slices):
        begin, end = int(table.starts[number]), int(table.starts[number + 1])
        row = np.flatnonzero(selected[begin:end])
        planned.append(
            PlannedSlice(
                supply=entry,
                row=row.astype(np.uint32),
                cell=renumber[table.cell[begin + row]],
                key=table.key[0][begin + row],
            )
        )
    return tuple(sorted(planned, key=lambda one: (one.supply.source, one.supply.slice)))


def _selected_by_source(slices: Sequence[PlannedSlice]) -> dict[str, int]:
    selected: dict[str, int] = {}
    for one in slices:
        selected[one.supply.source] = selected.get(one.supply.source, 0) + len(one.row)
    return selected
