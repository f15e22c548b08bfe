"""The quota tree with its sources as last level: supplies flow up, grants flow down."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from operator import itemgetter
from typing import Final, Literal

from vlm_assets.allocation.apportion import Child, apportion
from vlm_assets.catalog.spec import CorpusSpec, QuotaNode
from vlm_assets.words.errors import AllocationError
from vlm_assets.words.layout import nfc

Path = tuple[str, ...]
"""Names from the category down; a source is the last name of its path. The root is ()."""
_UNLIMITED: Final = 2**62
"""Above every target and bound. A limit that followed the target would bound the mins by it, and a larger target
could then take a seat away."""


@dataclass(frozen=True, slots=True)
class CellSupply:
    """What one source can give to one subcategory. `weight` None: its share follows its supply."""

    category: str
    subcategory: str
    source: str
    supply: int
    weight: Fraction | None = None

    @property
    def path(self) -> Path:
        """The cell's place in the tree."""
        return (self.category, *self.subcategory.split("/"), self.source)


@dataclass(frozen=True, slots=True)
class Node:
    """A node of the tree. `share` is of the parent's seats; None where a count is given (`low` = `high` = count).

    `high` is the configured upper bound only; what the supply allows is `supply`.
    """

    path: Path
    level: Literal["corpus", "category", "subcategory", "source"]
    share: Fraction | None
    low: int
    high: int | None
    supply: int
    children: tuple["Node", ...] = ()

    def walk(self) -> Iterator["Node"]:
        """This node and all below, parents first, siblings by name."""
        yield self
        for child in self.children:
            yield from child.walk()


def build_tree(corpus: CorpusSpec, cells: Sequence[CellSupply]) -> Node:
    """The tree over the quotas, with the cells at its leaves; siblings sorted by name.

    Raises:
        AllocationError: a cell outside the quotas, two cells of one path, or weights for some sources of a
            subcategory and not for others.
    """
    by_leaf: dict[Path, list[CellSupply]] = {}
    for cell in cells:
        by_leaf.setdefault(cell.path[:-1], []).append(cell)
    children = tuple(_quota_nodes(corpus.quotas, (), by_leaf))
    if by_leaf:
        raise AllocationError(f"no quota for {', '.join('/'.join(path) for path in sorted(by_leaf))}")
    return Node((), "corpus", Fraction(1), 0, None, sum(child.supply for child in children), children)


def _quota_nodes(
    quotas: Mapping[str, QuotaNode], parent: Path, by_leaf: dict[Path, list[CellSupply]]
) -> Iterator[Node]:
    for name, quota in sorted(((nfc(name), quota) for name, quota in quotas.items()), key=itemgetter(0)):
        path = (*parent, name)
        children = (
            tuple(_quota_nodes(quota.subcategories, path, by_leaf))
            if quota.subcategories
            else _source_nodes(by_leaf.pop(path, []))
        )
        yield Node(
            path=path,
            level="subcategory" if parent else "category",
            share=quota.share,
            low=quota.min if quota.count is None else quota.count,
            high=quota.max if quota.count is None else quota.count,
            supply=sum(child.supply for child in children),
            children=children,
        )


def _source_nodes(cells: Sequence[CellSupply]) -> tuple[Node, ...]:
    ordered = sorted(cells, key=lambda cell: cell.source)
    weighted = {cell.weight is not None for cell in ordered}
    if len(weighted) > 1 or len({cell.source for cell in ordered}) < len(ordered):
        raise AllocationError(
            f"{'/'.join(ordered[0].path[:-1])}: some of its sources have a weight and some have none, or one is "
            f"there twice: {', '.join(f'{cell.source} ({cell.weight})' for cell in ordered)}"
        )
    weights = [Fraction(cell.supply) if cell.weight is None else cell.weight for cell in ordered]
    total = sum(weights, Fraction(0))
    return tuple(
        Node(cell.path, "source", weight / total if total else Fraction(0), 0, None, cell.supply)
        for cell, weight in zip(ordered, weights, strict=True)
    )


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a node must and can take, with everything below it in account; 0 <= low <= cap."""

    low: int
    cap: int


def bounds_of(root: Node, *, supply_limit: int | None = None) -> dict[Path, Bounds]:
    """Effective bounds of every node: mins bubble up, bounded by what there is; so do caps.

    `supply_limit`: the supply that every source is taken to have, in place of its own. A child whose share is 0
    adds its `low` to its parent's cap, for it takes no more.
    """
    bounds: dict[Path, Bounds] = {}

    def visit(node: Node) -> Bounds:
        below = [(child, visit(child)) for child in node.children]
        bottom = all(child.level == "source" for child in node.children)
        if supply_limit is not None and bottom:
            # A subcategory too: with unlimited supply its sources' shares do not bound it, even all 0.
            room = supply_limit
        elif node.level == "source":
            room = node.supply
        else:
            room = sum(bound.cap if _grows(child) else bound.low for child, bound in below)
        cap = room if node.high is None else min(node.high, room)
        bounds[node.path] = Bounds(min(cap, max(node.low, sum(bound.low for _, bound in below))), cap)
        return bounds[node.path]

    visit(root)
    return bounds


def _grows(node: Node) -> bool:
    return node.share is None or node.share > 0


def grants_of(root: Node, seats: int, bounds: Mapping[Path, Bounds]) -> dict[Path, int]:
    """Seats of every node, from the root down: the root has min(seats, its cap)."""
    grants: dict[Path, int] = {}

    def visit(node: Node, given: int) -> None:
        grants[node.path] = given
        takers = [
            Child(
                name=child.path[-1],
                share=Fraction(0) if child.share is None else child.share,
                low=bounds[child.path].low,
                cap=bounds[child.path].cap,
            )
            for child in node.children
        ]
        for child, share in zip(node.children, apportion(given, takers), strict=True):
            visit(child, share)

    visit(root, min(seats, bounds[root.path].cap))
    return grants


def asked_of_all(root: Node, granted: Mapping[Path, int]) -> dict[Path, int]:
    """What every node asks for where a target takes all there is: what it got, and no less than its min or count."""
    return {node.path: max(granted[node.path], node.low) for node in root.walk()}


def asked_of(root: Node, seats: int) -> dict[Path, int]:
    """What every node would have with unlimited supply: shares, mins, maxes and counts alone decide."""
    return grants_of(root, seats, bounds_of(root, supply_limit=_UNLIMITED))


def clipped(root: Node, asked: Mapping[Path, int]) -> dict[Path, int]:
    """Grants under `shortfall: report`: each source has min(asked, supply), each other node what is below it.

    Seats that meet the end of a supply are given to nobody. Both arguments of the minimum are monotone in the
    target, so larger targets still hold smaller ones. Seats that meet a `max` go to the siblings, as they would
    with unlimited supply.
    """
    grants: dict[Path, int] = {}

    def visit(node: Node) -> int:
        if node.level == "source":
            grants[node.path] = min(asked[node.path], node.supply)
        else:
            grants[node.path] = sum(visit(child) for child in node.children)
        return grants[node.path]

    visit(root)
    return grants
