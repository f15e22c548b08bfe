"""`grants.json`: what every node of the tree asked for, could have, lost to which reason, and was given."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal

from pydantic import BaseModel, ConfigDict

from vlm_assets.allocation.labels import most_frequent
from vlm_assets.allocation.tree import Bounds, Node, Path
from vlm_assets.words.counts import so_many
from vlm_assets.words.errors import AllocationError
from vlm_assets.words.manifest import Manifest


class NodeGrant(BaseModel):
    """One node of the quota tree. A node of level `source` is a cell: that source in that subcategory."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: tuple[str, ...]
    level: Literal["category", "subcategory", "source"]
    share: str | None
    """Exact fraction of the parent's seats (`7/10`); of a source: its weight or supply among its siblings'.
    None where a count is given."""
    quota: str
    """Exact rational: the share of the parent's quota, siblings' counts off before; the count itself where given."""
    asked: int
    """Seats with unlimited supply: shares, mins, maxes, counts and the target alone decide."""
    min: int
    """As in the catalogue (or what `count` sets)."""
    max: int | None
    effective_min: int
    """With the mins below, and bounded by supply."""
    capacity: int
    """The most that the node can take: supply and maxes of itself and below."""
    rows: int
    """Admitted rows whose label leads here; at a category also rows of its sources that lead nowhere."""
    excluded: dict[str, int]
    """Of these by reason (see `reasons_of`); reasons without rows are left out."""
    missing: dict[str, int] = {}
    """By filter: rows that lack a value it needs and that no earlier reason excludes; it keeps or drops them."""
    supply: int
    """rows - excluded."""
    granted: int
    shortfall: int
    """asked - granted where positive."""
    cause: str
    """In words; "" where granted what was asked and more than nothing."""


class SourceTotal(BaseModel):
    """admitted = selected + excluded + not_selected."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str
    admitted: int
    selected: int
    excluded: dict[str, int]
    not_selected: int
    cause: str
    """Why nothing was selected; "" where something was."""
    labels: dict[str, int] = {}
    """Rows that `unmapped_label` excludes by label, of the most frequent ones; "" is that of none."""


class BenchmarkFacts(BaseModel):
    """What one benchmark had to hold rows against."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    """Of the benchmark, or what stands for the lists of `decontaminate`."""
    images: int
    pictures: int
    """dhashes of images that are not flat."""
    grams: int
    """Different runs of words."""


class Contamination(BaseModel):
    """Rows of a source that match a benchmark. A row counts in each way, and for each benchmark, that it matches.

    Counted are rows that no reason before `decontaminate` excludes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str
    benchmark: str
    exact: int
    """With an image of the benchmark."""
    near: int
    """With an image like one, and none of it."""
    text: int
    """With words in common."""
    rows: int
    """In any of these ways: none of them is in the corpus."""
    examples: tuple[str, ...]
    """Ids of a few."""


class Certificate(Manifest):
    """`grants.json`. Parents stand before children, siblings by name."""

    schema_version: int = 1
    type: Literal["grants"] = "grants"
    corpus: str
    target: str
    target_rows: int
    granted_rows: int
    capacity: int
    """The most rows that this supply allows under the bounds."""
    shortfall_mode: Literal["redistribute", "report", "fail"] | None
    inputs_hash: str
    nodes: tuple[NodeGrant, ...]
    sources: tuple[SourceTotal, ...]
    benchmarks: tuple[BenchmarkFacts, ...] = ()
    """What rows were held against, by name; the lists first."""
    contamination: tuple[Contamination, ...] = ()
    """Sources and benchmarks that have rows in common, by name."""


@dataclass(frozen=True, slots=True)
class Figures:
    """Grants of every node and what led to them, by path."""

    asked: Mapping[Path, int]
    bounds: Mapping[Path, Bounds]
    granted: Mapping[Path, int]
    rows: Mapping[Path, int]
    excluded: Mapping[Path, Mapping[str, int]]
    missing: Mapping[Path, Mapping[str, int]] = field(default_factory=dict)


def node_grants(root: Node, figures: Figures) -> tuple[NodeGrant, ...]:
    """Every node but the root."""
    quotas = exact_quotas(root, figures.granted[()] if not root.children else figures.asked[()])
    parents = {child.path: node for node in root.walk() for child in node.children}
    return tuple(
        _node_grant(node, parents[node.path], quotas[node.path], figures)
        for node in root.walk()
        if node.level != "corpus"
    )


def _node_grant(node: Node, parent: Node, quota: Fraction, figures: Figures) -> NodeGrant:
    if node.level == "corpus":
        raise AllocationError("the root of the tree is not a quota")
    path = node.path
    return NodeGrant(
        path=path,
        level=node.level,
        share=None if node.share is None else str(node.share),
        quota=str(quota),
        asked=figures.asked[path],
        min=node.low,
        max=node.high,
        effective_min=figures.bounds[path].low,
        capacity=figures.bounds[path].cap,
        rows=figures.rows.get(path, 0),
        excluded={name: rows for name, rows in figures.excluded.get(path, {}).items() if rows},
        missing=dict(figures.missing.get(path, {})),
        supply=node.supply,
        granted=figures.granted[path],
        shortfall=max(0, figures.asked[path] - figures.granted[path]),
        cause=cause_of(node, parent, figures),
    )


def exact_quotas(root: Node, seats: int) -> dict[Path, Fraction]:
    """Each node's share of its parent's quota as an exact rational, before any rounding or bound."""
    quotas: dict[Path, Fraction] = {root.path: Fraction(seats)}
    for node in root.walk():
        counts = sum(child.low for child in node.children if child.share is None)
        shared = max(Fraction(0), quotas[node.path] - counts)
        for child in node.children:
            quotas[child.path] = Fraction(child.low) if child.share is None else child.share * shared
    return quotas


def cause_of(node: Node, parent: Node, figures: Figures) -> str:
    """Why a node has less than it asked for, or nothing; "" where neither."""
    asked, granted = figures.asked[node.path], figures.granted[node.path]
    if granted and granted >= asked:
        return ""
    if not figures.rows.get(node.path, 0):
        return "no committed rows"
    if not node.supply:
        reasons = figures.excluded.get(node.path, {})
        told = ", ".join(f"{name} {rows}" for name, rows in reasons.items() if rows)
        return f"all rows excluded ({told})"
    if node.share == 0 and granted >= figures.bounds[node.path].low:
        return "share 0"
    if granted >= node.supply:
        return "supply"
    if granted >= figures.bounds[node.path].cap:
        return "max" if node.high is not None and granted >= node.high else "supply and max below"
    if figures.granted[parent.path] == 0:
        return f"nothing granted to {parent.path[-1] if parent.path else 'the corpus'}"
    if granted >= asked:
        return "target too small for a seat"
    return "supply below"


def source_totals(
    sources: Sequence[str],
    admitted: Mapping[str, int],
    excluded: Mapping[str, Mapping[str, int]],
    selected: Mapping[str, int],
    nodes: Sequence[NodeGrant],
    *,
    labels: Mapping[str, Mapping[str, int]] | None = None,
) -> tuple[SourceTotal, ...]:
    """One line a source; the three ways out add up to what was admitted. `labels` that lead nowhere, by source.

    Raises:
        AllocationError: they do not.
    """
    causes: dict[str, list[str]] = {}
    for node in nodes:
        if node.level == "source" and node.cause and node.cause not in causes.setdefault(node.path[-1], []):
            causes[node.path[-1]].append(node.cause)
    totals = []
    for source in sources:
        out = sum(excluded.get(source, {}).values())
        rest = admitted.get(source, 0) - selected.get(source, 0) - out
        granted = sum(node.granted for node in nodes if node.level == "source" and node.path[-1] == source)
        if rest < 0 or granted != selected.get(source, 0):
            raise AllocationError(
                f"{source}: {so_many(admitted.get(source, 0), 'row')} admitted, {selected.get(source, 0)} "
                f"selected of "
                f"{granted} granted, {out} excluded: these do not add up"
            )
        told = "; ".join(causes.get(source, [])) or "no row leads to a quota"
        totals.append(
            SourceTotal(
                source=source,
                admitted=admitted.get(source, 0),
                selected=selected.get(source, 0),
                excluded={name: rows for name, rows in excluded.get(source, {}).items() if rows},
                not_selected=rest,
                cause="" if selected.get(source, 0) else told,
                labels=most_frequent((labels or {}).get(source, {})),
            )
        )
    return tuple(totals)


def told_once(nodes: Sequence[NodeGrant]) -> list[NodeGrant]:
    """Categories and subcategories with a shortfall, without those that one below tells with the same figures."""
    short = [node for node in nodes if node.shortfall and node.level != "source"]
    below = {(node.path[:-1], node.asked, node.granted) for node in short}
    return [node for node in short if (node.path, node.asked, node.granted) not in below]


def shortfall_table(nodes: Sequence[NodeGrant]) -> str:
    """The nodes with a shortfall, one a line."""
    return "\n".join(
        f"  {'/'.join(node.path)}: asked {node.asked}, granted {node.granted}, short {node.shortfall}: {node.cause}"
        for node in nodes
        if node.shortfall
    )
