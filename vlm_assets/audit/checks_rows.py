"""Checks of which rows are in a corpus: where they come from, what they are called, and who should not be there."""

from collections import Counter
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa

from vlm_assets.audit.duplicates import any_repeated
from vlm_assets.audit.evidence import UnjudgedError
from vlm_assets.audit.findings import MAX_EXAMPLES, Verdict
from vlm_assets.audit.recount import Recount
from vlm_assets.audit.words import I64, Bool, ranks
from vlm_assets.store.away import readable
from vlm_assets.store.slices import data_file_names
from vlm_assets.words.counts import so_many
from vlm_assets.words.errors import OperationError
from vlm_assets.words.layout import MANIFEST, VERSIONS
from vlm_assets.words.schema import CONTENT_COLUMNS

_CHUNK: Final = 1_000_000
"""Supply rows looked at together."""


def check_lineage(recount: Recount) -> Verdict:
    """Source, slice and digest of every row lead to one row of a committed slice with the same image."""
    lineage, rows = recount.lineage, recount.rows
    lost = np.flatnonzero(lineage.place < 0)
    examples = [f"slice {name}: not in the plan, or its content is gone" for name in lineage.unknown_homes]
    examples += [f"{recount.row_name(row)}: no such row in its slice" for row in lost[:MAX_EXAMPLES].tolist()]
    differs = lineage.sha_differs.tolist()
    examples += [f"{recount.row_name(row)}: another images_sha256 than in its slice" for row in differs[:5]]
    return Verdict(
        f"{so_many(len(rows.home), 'row')} resolved to committed slice rows with the same images_sha256",
        f"{len(lost)} do not resolve, {len(differs)} have another images_sha256",
        examples[:MAX_EXAMPLES],
        len(lost) + len(differs),
        {"rows": len(rows.home), "unresolved": len(lost)},
    )


def check_corpus_sums(recount: Recount) -> Verdict:
    """Selected = present + holes, for every slice; the manifest's numbers too."""
    evidence, planned, present = recount.evidence, recount.planned, recount.present
    corpus = evidence.corpus
    if gone := [one.claim.name for one in evidence.slices if one.directory is None and one.claim.selected]:
        raise UnjudgedError(f"slices whose planned content is gone: {', '.join(gone[:5])}")
    hole = recount.taken_down(evidence.takedowns(corpus.tombstones)) & planned
    twice, foreign = np.flatnonzero(present > 1), np.flatnonzero((present > 0) & ~planned)
    lost = np.flatnonzero(planned & (present == 0) & ~hole)
    faults = [f"{name}: there more than once" for name in recount.names_of(twice)]
    faults += [f"{name}: present, and the plan does not select it" for name in recount.names_of(foreign)]
    faults += [f"{name}: selected, and neither present nor taken down" for name in recount.names_of(lost)]
    selected, holes = len(evidence.plan_rows.place), int(hole.sum())
    if int(planned.sum()) != selected:
        faults.append(f"the plan names {so_many(selected, 'row')}, {int(planned.sum())} of them distinct")
    if corpus.holes != holes:
        faults.append(
            f"{so_many(holes, 'planned row')} taken down, the manifest says {so_many(corpus.holes, 'hole')}"
        )
    if corpus.rows + corpus.holes != evidence.plan.granted_rows:
        faults.append(
            f"{so_many(corpus.rows, 'row')} + {so_many(corpus.holes, 'hole')}, the plan granted "
            f"{evidence.plan.granted_rows}"
        )
    for number, one in enumerate(evidence.slices):
        span = slice(int(evidence.starts[number]), int(evidence.starts[number + 1]))
        if int(planned[span].sum()) != one.claim.selected:
            faults.append(
                f"slice {one.claim.name}: the plan has {so_many(int(planned[span].sum()), 'row')}, claims "
                f"{one.claim.selected}"
            )
    total = int(present.sum())
    unresolved = int((recount.lineage.place < 0).sum())
    return Verdict(
        f"{selected} selected = present + holes, in every slice",
        f"{total} present and resolved, {unresolved} unresolved, {so_many(holes, 'hole')}; {len(lost)} lost, "
        f"{len(foreign)} not "
        f"selected, {len(twice)} twice",
        faults[:MAX_EXAMPLES],
        len(lost) + len(foreign) + len(twice) or len(faults),
        {"selected": selected, "present": total, "holes": holes, "lost": len(lost)},
    )


def _disagreeing(recount: Recount, *, licence: bool) -> tuple[int, list[str]]:
    """Corpus rows whose assigned values are not those of their cell, and the first in words."""
    cells, given = recount.supply.cells, recount.rows.assignments
    sources = recount.evidence.rules.sources

    def agrees(number: int, values: tuple[str | None, ...]) -> bool:
        category, subcategory, source = cells[number]
        if licence:
            return bool(values[2] == sources[source]["licence"])
        return values[:2] == (category, subcategory)

    counts = recount.assigned_by_cell
    wrong = [
        (cell, assigned)
        for cell, assigned in np.argwhere(counts[:-1]).tolist()
        if not agrees(cell, given[assigned])
    ]
    examples = []
    for cell, assigned in wrong[:MAX_EXAMPLES]:
        category, subcategory, source = cells[cell]
        found = given[assigned]
        wanted = sources[source]["licence"] if licence else f"{category}/{subcategory}"
        said = found[2] if licence else f"{found[0]}/{found[1]}"
        examples += [
            f"{recount.row_name(row)}: {said}, should be {wanted}"
            for row in _rows_assigned(recount, cell, assigned)[:MAX_EXAMPLES].tolist()
        ]
    return sum(int(counts[pair]) for pair in wrong), examples[:MAX_EXAMPLES]


def _rows_assigned(recount: Recount, cell: int, assigned: int) -> I64:
    """Corpus rows of a cell with these assigned values."""
    here = np.flatnonzero(recount.rows.assigned == assigned)
    place = recount.lineage.place[here]
    return np.asarray(here[(place >= 0) & (recount.supply.cell[place] == cell)], np.int64)


def check_labels(recount: Recount) -> Verdict:
    """Category and subcategory resolved again from source and label."""
    wrong, examples = _disagreeing(recount, licence=False)
    return Verdict(
        "every row stands under the category and subcategory that its source and label give",
        f"{so_many(wrong, 'row')} under another",
        examples,
        wrong,
    )


def check_licences(recount: Recount) -> Verdict:
    """Licence of every row, and the policy."""
    wrong, examples = _disagreeing(recount, licence=True)
    rules, rows = recount.evidence.rules, recount.rows
    counts = np.bincount(rows.assigned, minlength=len(rows.assignments)).tolist()
    denied = [
        f"{so_many(count, 'row')} under {one[2]}, which the policy does not admit"
        for one, count in zip(rows.assignments, counts, strict=True)
        if count and not rules.admits(str(one[2]))
    ]
    bad = int((recount.planned & recount.supply.excluded("licence")).sum())
    if bad and not denied:
        denied = [f"{so_many(bad, 'row')} of sources whose licence the policy does not admit"]
    return Verdict(
        "every row has its source's licence, and the policy admits it",
        f"{so_many(wrong, 'row')} with another licence, {so_many(len(denied), 'licence')} not admitted",
        [*denied, *examples][:MAX_EXAMPLES],
        wrong + len(denied),
    )


def selected_though(recount: Recount, *reasons: str) -> tuple[int, list[str]]:
    """How many rows the plan selects that should be excluded for one of these reasons, and examples."""
    count = 0
    examples: list[str] = []
    for reason in reasons:
        bad = np.flatnonzero(recount.planned & recount.supply.excluded(reason))
        count += len(bad)
        examples += [f"{name}: selected, should be excluded as {reason}" for name in recount.names_of(bad)]
    return count, examples


def check_exclusions(recount: Recount) -> Verdict:
    """Reasons that have no finding of their own."""
    count, examples = selected_though(recount, "unmapped_label", "min_side", "too_large", "max_samples")
    return Verdict(
        "no selected row is unmapped, too small, too large, or beyond max_samples",
        so_many(count, "such row"),
        examples[:MAX_EXAMPLES],
        count,
    )


def check_duplicates(recount: Recount) -> Verdict:
    """Selected rows that precedence drops; and row keys that are in the corpus twice, from whatever plan."""
    rules = recount.evidence.rules
    if rules.exact == "none":
        return Verdict("nothing: `dedup.exact` is none", "not looked for")
    count, examples = selected_though(recount, "duplicate")
    key = recount.supply.key
    place = np.flatnonzero(recount.present > 0)
    if not any_repeated(key[place, 0]):
        place = place[:0]
    order = place[np.lexsort((key[place, 1], key[place, 0]))]
    same = np.flatnonzero((key[order[1:]] == key[order[:-1]]).all(axis=1))
    examples += [
        f"{recount.name_of(int(order[at]))} and {recount.name_of(int(order[at + 1]))}: the same {rules.exact}"
        for at in same[:3].tolist()
    ]
    return Verdict(
        f"no two rows with the same {rules.exact}"
        + (f", nor pictures within {rules.max_near_bits} bits" if rules.max_near_bits else ""),
        f"{so_many(count, 'selected row')} that should have been dropped, {so_many(len(same), 'repeated key')}",
        examples[:MAX_EXAMPLES],
        max(count, len(same)),
    )


def check_ranks(recount: Recount) -> Verdict:
    """Per cell: the highest selected rank against the lowest that was left out."""
    supply, seed = recount.supply, recount.evidence.rules.seed
    count = len(supply.cells)
    highest, lowest = np.zeros(count, np.uint64), np.full(count, 2**64 - 1, np.uint64)
    for rows, inside in _eligible(recount):
        rank, cell = ranks(supply.key[rows, 0], seed), supply.cell[rows]
        np.maximum.at(highest, cell[inside], rank[inside])
        np.minimum.at(lowest, cell[~inside], rank[~inside])
    faults = []
    bad = 0
    for number in np.flatnonzero(highest > lowest).tolist():
        beyond, left_out = 0, ""
        for rows, inside in _eligible(recount):
            rank, here = ranks(supply.key[rows, 0], seed), supply.cell[rows] == number
            beyond += int((here & inside & (rank > lowest[number])).sum())
            if not left_out and len(found := rows[here & ~inside & (rank == lowest[number])]):
                left_out = recount.name_of(int(found[0]))
        bad += beyond
        faults.append(
            f"{'/'.join(supply.cells[number])}: {so_many(beyond, 'selected row')} of higher rank than "
            f"{left_out}, which was left out"
        )
    return Verdict(
        f"the rows of lowest rank in each of {so_many(count, 'cell')}",
        f"{so_many(bad, 'selected row')} in {so_many(len(faults), 'cell')} with a higher rank than one left out",
        faults[:MAX_EXAMPLES],
        bad,
    )


def _eligible(recount: Recount) -> Iterator[tuple[I64, Bool]]:
    """(supply rows that could be selected, whether they are), some at a time."""
    reason, planned = recount.supply.reason, recount.planned
    for begin in range(0, len(reason), _CHUNK):
        rows = begin + np.flatnonzero(reason[begin : begin + _CHUNK] == 0)
        yield rows, planned[rows]


def check_tombstones(recount: Recount) -> Verdict:
    """Takedowns of the plan, of the corpus, and since."""
    evidence = recount.evidence
    known = set(evidence.tombstones.names)
    faults = [
        f"takedown {name} was in force when this was built and is gone from tombstones/"
        for name in (*evidence.plan.tombstones, *evidence.corpus.tombstones)
        if name not in known
    ]
    if faults:
        return Verdict("every takedown that was in force still is", f"{len(faults)} are gone", faults)
    present = recount.corpus_rows_with(evidence.tombstones)
    faults += [f"{recount.row_name(row)}: its image was taken down" for row in present[:5].tolist()]
    covered = recount.taken_down(evidence.tombstones)
    by_id = np.flatnonzero(covered & (recount.present > 0))
    faults += [f"{name}: taken down and present" for name in recount.names_of(by_id)]
    left = list(chain.from_iterable(_content_left(recount, covered)))
    faults += [*left, *(_lost_folders(evidence.root.path) if known else ())]
    count, examples = selected_though(recount, "tombstone")
    return Verdict(
        f"none of {so_many(len(known), 'takedown')} has a row here, or content in a slice of the plan",
        f"{so_many(max(len(present), len(by_id)), 'row')} present, {count} selected, {len(left)} with content "
        f"in slices",
        [*faults, *examples][:MAX_EXAMPLES],
        len(faults) + count,
        {"takedowns": len(known), "rows_covered": int(covered.sum())},
    )


def _lost_folders(root: Path) -> Iterator[str]:
    """Versions without a manifest: no name shows them, and a deletion that was cut may have left the rows there."""
    for area in ("datasets", "corpora"):
        for folder in sorted((root / area).glob(f"*/{VERSIONS}/*")):
            if not (folder / MANIFEST).is_file():
                path = folder.relative_to(root).as_posix()
                yield f"{path}: has no manifest and may hold what was taken down; vlm-assets prune"


def _content_left(recount: Recount, covered: Bool) -> Iterator[list[str]]:
    """Rows of slices that are taken down and still have an image, a text, or other columns."""
    evidence = recount.evidence
    for number, one in enumerate(evidence.slices):
        begin, end = int(evidence.starts[number]), int(evidence.starts[number + 1])
        if one.directory is None or one.manifest is None or not covered[begin:end].any():
            continue
        first = begin
        for name in data_file_names(one.manifest.files):
            try:
                with (
                    readable(one.directory / name) as here,
                    pa.memory_map(str(here)) as mapped,
                    pa.ipc.open_stream(mapped) as reader,
                ):
                    for batch in reader:
                        yield _rows_with_content(batch, covered[first : first + batch.num_rows])
                        first += batch.num_rows
            except (OSError, pa.ArrowInvalid, OperationError) as error:
                raise UnjudgedError(f"{one.directory / name}: {error}") from error


def _rows_with_content(batch: pa.RecordBatch, covered: Bool) -> list[str]:
    if not covered.any():
        return []
    filled = np.zeros(batch.num_rows, bool)
    for name in CONTENT_COLUMNS:
        filled |= batch.column(name).is_valid().to_numpy(zero_copy_only=False)
    ids = batch.column("id")
    return [
        f"{ids[place]}: taken down, and its slice still holds its content; give the takedown again"
        for place in np.flatnonzero(filled & covered).tolist()
    ]


def licence_figures(recount: Recount) -> dict[str, dict[str, int]]:
    """Rows and image bytes a licence."""
    rows = recount.rows
    count = np.bincount(rows.assigned, minlength=len(rows.assignments)).tolist()
    found: dict[str, Counter[str]] = {}
    for one, n, size_bytes in zip(rows.assignments, count, rows.image_bytes, strict=True):
        found.setdefault(str(one[2]), Counter()).update(rows=n, image_bytes=size_bytes)
    return {name: dict(values) for name, values in sorted(found.items())}
