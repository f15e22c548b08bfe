"""Checks of the plan behind a corpus: sums, quotas, and whether every declared source landed."""

from collections import Counter
from collections.abc import Iterator

import numpy as np

from vlm_assets.audit.checks_rows import selected_though
from vlm_assets.audit.findings import MAX_EXAMPLES, Verdict
from vlm_assets.audit.quotas import judge
from vlm_assets.audit.recount import Recount
from vlm_assets.catalog.spec import SourceSpec
from vlm_assets.store.listings import read_listing
from vlm_assets.words.counts import so_many

Sums = dict[str, int]


def source_sums(recount: Recount) -> dict[str, dict[str, int | Sums]]:
    """Counted again, per source: admitted, selected, excluded by reason, not selected."""
    evidence, supply = recount.evidence, recount.supply
    reasons = supply.reasons
    found: dict[str, Counter[str]] = {name: Counter() for name in evidence.rules.sources}
    for number, one in enumerate(evidence.slices):
        span = slice(int(evidence.starts[number]), int(evidence.starts[number + 1]))
        reason, planned = supply.reason[span], recount.planned[span]
        counts = found.setdefault(one.claim.source, Counter())
        counts["admitted"] += len(reason)
        counts["selected"] += int(planned.sum())
        counts["not_selected"] += int((~planned & (reason == 0)).sum())
        for code, rows in enumerate(np.bincount(reason, minlength=len(reasons) + 1).tolist()):
            if code and rows:
                counts[reasons[code - 1]] += rows
    return {
        name: {
            "admitted": counts["admitted"],
            "selected": counts["selected"],
            "not_selected": counts["not_selected"],
            "excluded": {reason: counts[reason] for reason in reasons if counts[reason]},
        }
        for name, counts in sorted(found.items())
    }


def check_allocation_sums(recount: Recount) -> Verdict:
    """The recount against `metadata.json` and `grants.json` of the plan."""
    sums = source_sums(recount)
    faults = list(_sum_faults(recount, sums))
    totals: Counter[str] = Counter()
    for one in sums.values():
        excluded = one["excluded"]
        totals.update(excluded if isinstance(excluded, dict) else {})
    admitted = sum(int(str(one["admitted"])) for one in sums.values())
    selected = sum(int(str(one["selected"])) for one in sums.values())
    left = sum(int(str(one["not_selected"])) for one in sums.values())
    return Verdict(
        f"{admitted} admitted = selected + excluded + not selected, and as the plan claims, per source and slice",
        f"{selected} + {sum(totals.values())} + {left}; {len(faults)} numbers differ",
        faults[:MAX_EXAMPLES],
        len(faults),
        {
            "admitted": admitted,
            "selected": selected,
            "excluded": dict(totals),
            "not_selected": left,
            "sources": sums,
        },
    )


def _sum_faults(recount: Recount, sums: dict[str, dict[str, int | Sums]]) -> Iterator[str]:
    plan, supply = recount.evidence.plan, recount.supply
    slack = supply.unsure
    for code, reason in enumerate(supply.reasons, start=1):
        counted, claimed = int((supply.reason == code).sum()), plan.excluded.get(reason, 0)
        if abs(counted - claimed) > slack:
            one = "".join(
                f", one is {row}" for row in recount.names_of(np.flatnonzero(supply.reason == code), 1)
            )
            yield f"excluded as {reason}: the plan says {claimed}, counted {counted}{one}"
    selected = len(recount.evidence.plan_rows.place)
    if selected != plan.granted_rows:
        yield f"granted_rows: counted {selected}, the plan says {plan.granted_rows}"
    for cell in plan.cells:
        counted = recount.selected_by_cell[cell.category, cell.subcategory, cell.source]
        if counted != cell.grant:
            name = f"{cell.category}/{cell.subcategory}/{cell.source}"
            yield f"cell {name}: {so_many(counted, 'row')}, the plan grants {cell.grant}"
    for line in recount.evidence.grants.get("sources", ()):
        counted_line = sums.get(line.get("source"))
        if counted_line is None:
            yield f"source {line.get('source')}: in grants.json, not in the plan's inputs"
            continue
        for key in ("admitted", "selected", "excluded", "not_selected"):
            if _differ(line.get(key), counted_line[key], 0 if key in ("admitted", "selected") else slack):
                yield f"source {line['source']}: {key} {counted_line[key]}, grants.json says {line.get(key)}"
    for node in recount.evidence.grants.get("nodes", ()):
        if node.get("level") != "source":
            continue
        *categories, source = node.get("path") or ["", ""]
        cell_name = (categories[0], "/".join(categories[1:]), source)
        for key, counts in (("granted", recount.selected_by_cell), ("supply", recount.supply_by_cell)):
            if _differ(node.get(key), counts.get(cell_name, 0), slack if key == "supply" else 0):
                name = "/".join([*categories, source])
                yield f"{name}: {key} {counts.get(cell_name, 0)}, grants.json says {node.get(key)}"


def _differ(claimed: int | Sums, counted: int | Sums, slack: int) -> bool:
    """Whether numbers are further apart than rows whose values are gone can explain."""
    if isinstance(claimed, dict) and isinstance(counted, dict):
        names = claimed.keys() | counted.keys()
        return any(_differ(claimed.get(name, 0), counted.get(name, 0), slack) for name in names)
    if isinstance(claimed, int) and isinstance(counted, int):
        return abs(claimed - counted) > slack
    return True


def check_filters(recount: Recount) -> Verdict:
    """Values that filters read are those of the plan and of the slices, and no selected row fails a filter."""
    rules = recount.evidence.rules
    filters = [name for name in rules.reasons if name.startswith("filter:")]
    if not filters:
        return Verdict("no filters", "no filters")
    read = len(rules.content["values"])
    faults = list(recount.filter_faults)
    excluded: dict[str, int] = {}
    count = 0
    if not faults:
        supply = recount.supply
        excluded = {name: int(supply.excluded(name).sum()) for name in filters}
        count, examples = selected_though(recount, *filters)
        faults += examples
    return Verdict(
        f"the values of {so_many(read, 'annotated slice')} are those of the plan, and no selected row fails a filter",
        f"{len(recount.filter_faults)} are not; selected though excluded: {so_many(count, 'row')}",
        faults[:MAX_EXAMPLES],
        len(recount.filter_faults) + count,
        {"excluded": excluded},
    )


def check_quotas(recount: Recount) -> Verdict:
    """The divisor method's inequality between siblings, at every node of the tree."""
    rules = recount.evidence.rules
    policy = rules.content["shortfall"]
    faults = judge(recount.tree, rules.target_rows, policy)
    wanted = "all rows" if rules.target_rows is None else so_many(rules.target_rows, "row")
    if not recount.tree.granted:
        faults.insert(0, f"the corpus: no rows of {rules.target_rows or 'all'}")
    granted = {
        "/".join(node.path): {"granted": node.granted, "supply": node.supply}
        for node in recount.tree.below()
        if node.path and not node.is_source
    }
    return Verdict(
        f"{wanted} by the divisor method within all bounds (shortfall: {policy or 'not said'})",
        f"{so_many(recount.tree.granted, 'row')}; {so_many(len(faults), 'node')} not at the optimum",
        faults[:MAX_EXAMPLES],
        len(faults),
        {"granted": granted},
    )


def check_sources_landed(recount: Recount) -> Verdict:
    """Every source of the catalogue that the corpus was planned with, and those that the catalogue has now."""
    evidence = recount.evidence
    corpus = evidence.corpus
    grants: Counter[str] = Counter()
    for (_, _, source), rows in recount.selected_by_cell.items():
        grants[source] += rows
    present: Counter[str] = Counter()
    counts = np.bincount(recount.rows.home, minlength=len(recount.rows.homes)).tolist()
    for (home, _), rows in zip(recount.rows.homes, counts, strict=True):
        present[str(home)] += rows
    holes = _holes_by_source(recount)
    declared = set(evidence.rules.sources)
    catalog = {spec.name: spec for spec in evidence.installation.catalog.sources}
    figures: dict[str, dict[str, int | str]] = {}
    faults = []
    for source in sorted(declared | set(present) | set(catalog)):
        wanted = grants[source] - holes[source]
        why = "" if present[source] else _why_not(recount, source, catalog.get(source))
        figures[source] = {
            "granted": grants[source],
            "holes": holes[source],
            "present": present[source],
            "why": why,
        }
        if source not in declared and present[source]:
            faults.append(f"{source}: {so_many(present[source], 'row')}, and it was not declared")
        elif present[source] != wanted:
            faults.append(
                f"{source}: {so_many(present[source], 'row')}, granted {grants[source]} less "
                f"{so_many(holes[source], 'hole')}"
            )
    landed = sum(1 for one in figures.values() if one["present"])
    return Verdict(
        f"{so_many(len(declared), 'declared source')}: rows = grant - holes, or a reason",
        f"{landed} landed, {len(figures) - landed} with a reason, {len(faults)} wrong; target {corpus.target_rows}",
        faults[:MAX_EXAMPLES],
        len(faults),
        {"sources": figures},
    )


def _holes_by_source(recount: Recount) -> Counter[str]:
    evidence = recount.evidence
    holes: Counter[str] = Counter()
    if not evidence.corpus.tombstones:
        return holes
    mask = recount.taken_down(evidence.takedowns(evidence.corpus.tombstones)) & recount.planned
    for number, one in enumerate(evidence.slices):
        span = slice(int(evidence.starts[number]), int(evidence.starts[number + 1]))
        holes[one.claim.source] += int(mask[span].sum())
    return holes


def _why_not(recount: Recount, source: str, spec: SourceSpec | None) -> str:
    """Why a source has no row in the corpus."""
    evidence = recount.evidence
    if source not in evidence.rules.sources:
        if spec is None or not spec.enabled:
            return "disabled"
        return "declared after the plan was made"
    slices = [one for one in evidence.plan.slices if one.source == source]
    if not slices:
        if read_listing(evidence.root, source) is None:
            return "never listed"
        return "no slice of it was committed when the plan was made"
    sums = source_sums(recount)[source]
    excluded = sums["excluded"]
    admitted = sums["admitted"]
    if not admitted:
        return "its slices have no rows"
    if not sums["not_selected"] and isinstance(excluded, dict) and excluded and isinstance(admitted, int):
        told = ", ".join(f"{reason} {rows}" for reason, rows in excluded.items())
        return f"all {so_many(admitted, 'row')} excluded: {told}"
    if sums["selected"]:
        return "all its rows were taken down"
    return "its quota gave it no seat (share 0, max, or a target too small)"
