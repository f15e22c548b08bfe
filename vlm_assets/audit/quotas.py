"""Are the grants the optimum of the divisor method: judged by its inequality between siblings, not by doing it.

Seats go one at a time to the child with the largest weight/(2·granted+1) that has room (Sainte-Laguë; M. Balinski,
H. P. Young, "Fair Representation", 1982). A split is that optimum exactly when no child's last seat has a smaller
quotient than another child's next one. While mins are unmet the mins are the weights, afterwards the shares.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from vlm_assets.audit.rules import Rules
from vlm_assets.words.counts import so_many

Path = tuple[str, ...]
Cell = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Taker:
    """A child among its siblings: 0 <= low <= cap."""

    name: str
    share: Fraction
    low: int
    cap: int

    @property
    def room(self) -> int:
        """The most seats it takes: a share of 0 takes its low only."""
        return self.cap if self.share else self.low


@dataclass(frozen=True, slots=True)
class Branch:
    """A node of the quota tree with everything below; sources are the leaves."""

    path: Path
    share: Fraction
    minimum: int
    maximum: int | None
    supply: int
    granted: int
    children: tuple["Branch", ...]
    is_source: bool = False

    def below(self) -> Iterator["Branch"]:
        """This node and all below it."""
        yield self
        for child in self.children:
            yield from child.below()


def tree_of(rules: Rules, supply: Mapping[Cell, int], granted: Mapping[Cell, int]) -> Branch:
    """The quota tree with counted supply and grants of each (category, subcategory, source)."""
    children = tuple(_branch((name,), node, rules, supply, granted) for name, node in rules.quotas.items())
    return Branch(
        (), Fraction(1), 0, None, sum(c.supply for c in children), sum(c.granted for c in children), children
    )


def _branch(
    path: Path,
    node: Mapping[str, Any],
    rules: Rules,
    supply: Mapping[Cell, int],
    granted: Mapping[Cell, int],
) -> Branch:
    if node["subcategories"]:
        children = tuple(
            _branch((*path, name), child, rules, supply, granted)
            for name, child in node["subcategories"].items()
        )
    else:
        children = _sources(path, rules, supply, granted)
    fixed = node["count"]
    return Branch(
        path=path,
        share=Fraction(0) if node["share"] is None else Fraction(node["share"]),
        minimum=node["min"] if fixed is None else fixed,
        maximum=node["max"] if fixed is None else fixed,
        supply=sum(child.supply for child in children),
        granted=sum(child.granted for child in children),
        children=children,
    )


def _sources(
    path: Path, rules: Rules, supply: Mapping[Cell, int], granted: Mapping[Cell, int]
) -> tuple[Branch, ...]:
    category, leaf = path[0], "/".join(path[1:])
    names = sorted({cell[2] for cell in (*supply, *granted) if cell[:2] == (category, leaf)})
    return tuple(
        Branch(
            path=(*path, name),
            share=_weight(rules, name, supply.get((category, leaf, name), 0)),
            minimum=0,
            maximum=None,
            supply=supply.get((category, leaf, name), 0),
            granted=granted.get((category, leaf, name), 0),
            children=(),
            is_source=True,
        )
        for name in names
    )


def _weight(rules: Rules, source: str, supply: int) -> Fraction:
    given = rules.weight(source) if source in rules.sources else None
    return Fraction(supply) if given is None else given


def limits(branch: Branch, *, boundless: int | None = None) -> dict[Path, tuple[int, int]]:
    """(low, cap) of every node: mins bubble up, bounded by what there is; so do caps.

    `boundless`: what every subcategory could have if its supply had no end.
    """
    found: dict[Path, tuple[int, int]] = {}

    def visit(node: Branch) -> tuple[int, int]:
        below = [(child, visit(child)) for child in node.children]
        bottom = all(child.is_source for child in node.children)
        if boundless is not None and bottom:
            room = boundless
        elif node.is_source:
            room = node.supply
        else:
            room = sum(cap if child.share or _fixed(child) else low for child, (low, cap) in below)
        cap = room if node.maximum is None else min(room, node.maximum)
        low = min(cap, max(node.minimum, sum(low for _, (low, _) in below)))
        found[node.path] = (low, cap)
        return low, cap

    visit(branch)
    return found


def _fixed(node: Branch) -> bool:
    """A node with a count: its low is its cap, so either bound will do."""
    return not node.share and node.minimum == node.maximum and node.minimum > 0


def unfair(seats: int, takers: Sequence[Taker], grants: Sequence[int]) -> list[str]:
    """In words, why these grants of `seats` are not the optimum; empty where they are."""
    told = [
        f"{taker.name}: {grant} granted, it can have {taker.low if not taker.share else 0}..{taker.room}"
        for taker, grant in zip(takers, grants, strict=True)
        if not 0 <= grant <= taker.room
    ]
    expected = min(seats, sum(taker.room for taker in takers))
    if sum(grants) != expected:
        told.append(f"{sum(grants)} granted in all, expected {expected}")
    lows = sum(taker.low for taker in takers)
    if seats <= lows:
        phase = [(t.name, Fraction(t.low), g, 0, t.low) for t, g in zip(takers, grants, strict=True)]
    else:
        phase = [(t.name, t.share, g, t.low, t.room) for t, g in zip(takers, grants, strict=True)]
        told += [f"{name}: {g} granted, its min is {low}" for name, _, g, low, _ in phase if g < low]
    last = [(weight / (2 * g - 1), name) for name, weight, g, low, _ in phase if g > low]
    following = [(weight / (2 * g + 1), name) for name, weight, g, _, room in phase if g < room]
    if last and following:
        # Of equal quotients the smaller name comes first.
        quotient, poorest = min(last, key=lambda one: (one[0], _reversed(one[1])))
        better, richest = max(following, key=lambda one: (one[0], _reversed(one[1])))
        if poorest != richest and (better > quotient or (better == quotient and richest < poorest)):
            told.append(
                f"{poorest} has its last seat at quotient {float(quotient):.6g}, {richest} should have had it at "
                f"{float(better):.6g}"
            )
    return told


def _reversed(name: str) -> tuple[int, ...]:
    """Orders names backwards: the largest first."""
    return (*(-ord(c) for c in name), 1)


def takers_of(node: Branch, bounds: Mapping[Path, tuple[int, int]]) -> list[Taker]:
    """The children of a node as takers of its seats."""
    return [Taker(child.path[-1], child.share, *bounds[child.path]) for child in node.children]


def split(seats: int, takers: Sequence[Taker]) -> list[int]:
    """Grants of `seats`, for nodes whose grants cannot be seen (what was asked for).

    Starts where all quotients above a threshold are taken, then gives and takes back seat by seat.
    """
    lows = [taker.low for taker in takers]
    if seats <= sum(lows):
        return _settle(seats, [Fraction(low) for low in lows], [0] * len(lows), lows, takers)
    return _settle(seats, [t.share for t in takers], lows, [t.room for t in takers], takers)


def _settle(
    seats: int,
    weights: Sequence[Fraction],
    floors: Sequence[int],
    caps: Sequence[int],
    takers: Sequence[Taker],
) -> list[int]:
    seats = min(seats, sum(caps))
    total = sum(weights, Fraction(0))
    least, most = Fraction(0), Fraction(2 * seats + 2)

    def at(step: Fraction) -> list[int]:
        """Seats whose quotient is at least total / (2 step)."""
        return [
            min(max(int(weight / total * step + Fraction(1, 2)), floor), cap) if weight else floor
            for weight, floor, cap in zip(weights, floors, caps, strict=True)
        ]

    if not total:
        return list(floors)
    while sum(at(most)) < seats and most < 2**80:
        most *= 2
    for _ in range(100):
        middle = (least + most) / 2
        if sum(at(middle)) > seats:
            most = middle
        else:
            least = middle
        if most - least < Fraction(1, 4):
            break
    grants = at(least)
    names = [taker.name for taker in takers]
    while sum(grants) < seats:
        open_ones = [i for i, g in enumerate(grants) if g < caps[i]]
        best = max(open_ones, key=lambda i: (weights[i] / (2 * grants[i] + 1), _reversed(names[i])))
        grants[best] += 1
    return grants


def asked(tree: Branch, seats: int) -> dict[Path, int]:
    """What each node would have had with supply without end."""
    bounds = limits(tree, boundless=seats)
    found: dict[Path, int] = {}

    def visit(node: Branch, given: int) -> None:
        found[node.path] = given
        for child, part in zip(node.children, split(given, takers_of(node, bounds)), strict=True):
            visit(child, part)

    # Sources have no bound of their own here: their room is the seats.
    open_bounds = {node.path: (0, seats) for node in tree.below() if node.is_source}
    bounds |= open_bounds
    visit(tree, min(seats, bounds[()][1]))
    return found


def judge(tree: Branch, seats: int | None, shortfall: str | None) -> list[str]:
    """Every node at which the grants are not what quotas, supply and the way of shortfall give.

    `seats` None: all that the bounds let in, whatever the way of shortfall.
    """
    if seats is not None and shortfall == "report":
        wanted = asked(tree, seats)
        return [
            f"{'/'.join(node.path)}: {node.granted} granted, asked {wanted[node.path]}, supply {node.supply}"
            for node in tree.below()
            if node.is_source and node.granted != min(wanted[node.path], node.supply)
        ]
    bounds = limits(tree)
    told = []
    most = bounds[()][1]
    if tree.granted != (most if seats is None else min(seats, most)):
        aim = "all" if seats is None else f"{seats:,}"
        told.append(f"the corpus: {so_many(tree.granted, 'row')} granted, {aim} asked, {most:,} could be had")
    for node in tree.below():
        if node.children:
            faults = unfair(node.granted, takers_of(node, bounds), [child.granted for child in node.children])
            told += [f"{'/'.join(node.path) or 'categories'}: {fault}" for fault in faults]
    return told
