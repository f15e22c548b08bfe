"""What came of a target beside what was asked: the facts that decide whether a build was fine, in words.

Read from manifests and `grants.json`. Grants that are missing, rows that moved to siblings and labels that lead to no
quota are told whether they are fine or not.
"""

from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel

from vlm_assets.allocation.certificate import Certificate, NodeGrant, told_once
from vlm_assets.allocation.files import GRANTS_FILE
from vlm_assets.allocation.labels import most_frequent
from vlm_assets.allocation.manifest import PlanHead, read_plan_head
from vlm_assets.allocation.reasons import FILTER_PREFIX, ExclusionReason
from vlm_assets.catalog.spec import ALL_ROWS
from vlm_assets.corpus.left_out import left_out_of
from vlm_assets.corpus.manifest import CorpusManifest
from vlm_assets.corpus.states import PresentInputs
from vlm_assets.installation.opening import Installation
from vlm_assets.store.versions import current_version, read_manifest
from vlm_assets.words.counts import so_many
from vlm_assets.words.errors import AllocationError
from vlm_assets.words.layout import VERSIONS

_MOST: Final = 8
"""Nodes and labels that are named; of the rest the number is told."""
_LONGEST: Final = 60
"""Characters of a label that are shown."""
_ALLOWS: Final = "`shortfall: redistribute` or `shortfall: report` in corpus.yaml says that this is fine"


class NodeShort(BaseModel):
    """A category or subcategory that was granted less than it asked for."""

    path: str
    asked: int
    granted: int
    supply: int
    cause: str
    filtered: dict[str, int] = {}
    """Rows that filters left out, by filter."""
    told: bool = True
    """False: its only part tells the same."""


class TargetOutcome(BaseModel):
    """What one target asked for and got. `fine`: rows are there, and every quota is met or its policy allows less."""

    target: str
    asked: int | None
    """None: of all rows there are, and never planned; planned, those there were."""
    granted: int | None = None
    """None: never planned."""
    rows: int | None = None
    """In the sealed corpus; None: never built."""
    shortfall: Literal["redistribute", "report", "fail"] | None = None
    short: list[NodeShort] = []
    unmapped: dict[str, int] = {}
    """Rows a source whose label leads to no subcategory."""
    labels: dict[str, dict[str, int]] = {}
    """Of these, rows a label, of the most frequent ones; "" where there is no label."""
    left_out: dict[str, dict[str, int]] = {}
    """Rows a source that the plan leaves out, by reason; `not_selected`: nothing excludes them, and no quota asks."""
    unfinished_plan: str | None = None
    """Version of a newer plan, in force, that no corpus was built from; all else here is of the corpus's own."""
    up_to_date: bool | None = None
    """Whether the corpus was built from what is committed and declared now; slices that are due are told of their
    source. None: there is none, or it cannot be told here."""
    fine: bool = False
    told: list[str] = []
    """One fact a line, the worst first; nothing where all is as it was asked for."""


def target_outcome(
    installation: Installation, target: str, present: PresentInputs | None = None
) -> TargetOutcome:
    """What the plan and the corpus in force say; `told` without a plan or corpus says only that there is none.

    `present`: looked at already, for several targets.
    """
    corpus = installation.catalog.corpus
    size = corpus.targets[target]
    outcome = TargetOutcome(target=target, asked=None if size == ALL_ROWS else size)
    link = installation.root.allocation(corpus.name, target)
    plan = current_version(link)
    sealed = current_version(installation.root.corpus(corpus.name, target))
    manifest = read_manifest(sealed, CorpusManifest) if sealed is not None else None
    if plan is None:
        outcome.told = [f"{target}: was never planned"]
        return outcome
    newer = None
    head = read_plan_head(plan)
    if manifest is not None and manifest.inputs_hash != head.inputs_hash:
        newer, outcome.unfinished_plan = plan, plan.name
        plan = link.parent / VERSIONS / manifest.allocation_version
    if (plan / GRANTS_FILE).is_file():
        _of_plan(outcome, plan, head if newer is None else read_plan_head(plan))
    if manifest is None:
        outcome.told = [f"{target}: was never built"]
        return outcome
    outcome.rows = manifest.rows
    met = (outcome.granted or 0) >= (outcome.asked or 0) and not outcome.short
    outcome.fine = bool(outcome.rows) and newer is None and (met or outcome.shortfall is not None)
    outcome.told = list(_told(outcome))
    stale = _stale(outcome, manifest, present or PresentInputs(installation), installation)
    if newer is not None:
        stale = [_told_of_both(outcome, newer, head)]
    outcome.told = [*stale, *outcome.told]
    return outcome


def _stale(
    outcome: TargetOutcome, sealed: CorpusManifest, present: PresentInputs, installation: Installation
) -> list[str]:
    """Whether the inputs are those of the corpus, filled in; a line where they are not."""
    if installation.settings.manifests_from != "disk":  # runs are tasks: what decides does not lie here
        return []
    try:
        changed = present.changed_since(outcome.target, sealed)
    except AllocationError as error:
        return [f"{outcome.target}: cannot be built again now: {error}"]
    outcome.up_to_date = changed is None
    if changed is None:
        return []
    told = f"{outcome.target}: was built from other inputs than there are now"
    what = f" (another since: {', '.join(changed)})" if changed else ""
    return [f"{told}{what}: vlm-assets build --target {outcome.target}"]


def _of_plan(outcome: TargetOutcome, plan: Path, head: PlanHead) -> None:
    """Fills in what a plan asked for and granted."""
    outcome.granted = head.granted_rows
    grants = Certificate.from_bytes((plan / GRANTS_FILE).read_bytes())
    outcome.asked, outcome.shortfall = grants.target_rows, grants.shortfall_mode
    once = {node.path for node in told_once(grants.nodes)}
    outcome.short = [
        _short(node, told=node.path in once)
        for node in grants.nodes
        if node.shortfall and node.level != "source"
    ]
    outcome.left_out = {one.source: found for one in grants.sources if (found := left_out_of(one))}
    reason = ExclusionReason.UNMAPPED_LABEL
    outcome.unmapped = {
        one.source: one.excluded[reason] for one in grants.sources if one.excluded.get(reason)
    }
    outcome.labels = {one.source: most_frequent(one.labels) for one in grants.sources if one.labels}


def _told_of_both(outcome: TargetOutcome, newer: Path, head: PlanHead) -> str:
    """That the corpus is not of the plan in force, with the figures of both."""
    grants = Certificate.from_bytes((newer / GRANTS_FILE).read_bytes())
    return (
        f"{outcome.target}: the corpus of {so_many(outcome.rows or 0, 'row')} is of an earlier plan, and so is what "
        f"is told of it; "
        f"the plan in force grants {head.granted_rows:,} of {grants.target_rows:,} and was never built: "
        f"vlm-assets build --target {outcome.target}"
    )


def _short(node: NodeGrant, *, told: bool) -> NodeShort:
    return NodeShort(
        path="/".join(node.path), asked=node.asked, granted=node.granted, supply=node.supply, cause=node.cause,
        told=told,
        filtered={
            reason.removeprefix(FILTER_PREFIX): rows
            for reason, rows in node.excluded.items()
            if reason.startswith(FILTER_PREFIX)
        },
    )  # fmt: skip


def _told_of(one: NodeShort) -> str:
    told = f"{one.path}: asked {one.asked:,}, got {one.granted:,} of {one.supply:,} there were: {one.cause}"
    filtered = ", ".join(f"{name} {rows:,}" for name, rows in one.filtered.items())
    return f"{told}; left out by filters: {filtered}" if filtered and one.supply else told


def _told(outcome: TargetOutcome) -> list[str]:
    name, granted, asked = outcome.target, outcome.granted or 0, outcome.asked or 0
    lines = []
    if not outcome.rows:
        taken = f": {so_many(granted, 'granted row')}, and all taken down" if granted else ""
        lines.append(f"{name}: the corpus has NO rows{taken}; asked for {asked:,}")
    elif granted < asked:
        lines.append(f"{name}: {so_many(granted, 'row')} of the {asked:,} asked for")
    elif outcome.short:
        moved = sum(one.asked - one.granted for one in outcome.short if "/" not in one.path)
        where = (
            f"{so_many(moved, 'row')} moved between categories" if moved else "rows moved within categories"
        )
        lines.append(f"{name}: all {so_many(asked, 'row')}, but not where they were asked for: {where}")
    short = [one for one in outcome.short if one.told]
    if short:
        lines += [f"  {_told_of(one)}" for one in short[:_MOST]]
        if len(short) > _MOST:
            lines.append(f"  and {len(short) - _MOST} more; see `vlm-assets plan --target {name}`")
    if lines and outcome.shortfall is None and outcome.rows:
        lines.append(f"  {_ALLOWS}")
    for source, rows in outcome.unmapped.items():
        have = "has" if rows == 1 else "have"
        lines.append(
            f"{name}: {so_many(rows, 'row')} of {source} {have} a label that leads to no subcategory"
        )
        if labels := outcome.labels.get(source):
            lines.append(f"  {_named(source, labels, rows)}")
    return lines


def _named(source: str, labels: dict[str, int], rows: int) -> str:
    """The most frequent of the labels that lead nowhere; of the rest, how many rows they have."""
    shown = dict(list(labels.items())[:_MOST])
    named = [
        f"{label[:_LONGEST]!r} {count:,}" if label else f"none {count:,}" for label, count in shown.items()
    ]
    rest = rows - sum(shown.values())
    more = f" and {so_many(rest, 'row')} with others" if rest else ""
    return f"labels of {source} without a subcategory: {', '.join(named)}{more}"
