"""Seats to weighted children within bounds: Sainte-Laguë, exact, in bulk.

The rule, one seat at a time: while a child has fewer seats than its `low`, the seat goes among such children to
the largest low/(2·granted+1); afterwards to the largest share/(2·granted+1) among those with room. Ties go to
the smallest name. The bulk form gives every seat whose quotient reaches a threshold at once and hands out the
rest, fewer than there are children, one by one: the same result.
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import lcm


@dataclass(frozen=True, slots=True)
class Child:
    """One taker of seats. 0 <= low <= cap; a share of 0 takes its `low` only."""

    name: str
    share: Fraction
    low: int
    cap: int

    @property
    def room(self) -> int:
        """The most seats it can take."""
        return self.cap if self.share else self.low


def apportion(seats: int, children: Sequence[Child]) -> list[int]:
    """Seats per child, in the order of `children`: min(seats, all room) in sum.

    Monotone: with one seat more no child has fewer. The order of `children` does not matter.
    """
    lows = [child.low for child in children]
    names = [child.name for child in children]
    if seats <= sum(lows):
        return _fill(seats, [Fraction(low) for low in lows], [0] * len(lows), lows, names)
    return _fill(seats, [child.share for child in children], lows, [child.room for child in children], names)


def _fill(
    seats: int, weights: Sequence[Fraction], start: Sequence[int], caps: Sequence[int], names: Sequence[str]
) -> list[int]:
    """Goes on from `start` up to `caps` until `seats` are given in all, by weight/(2·granted+1)."""
    if seats >= sum(caps):
        return list(caps)
    scale = lcm(*(weight.denominator for weight in weights))
    whole = [int(weight * scale) for weight in weights]
    granted = _at_threshold(seats, whole, start, caps)
    # A heap of (-weight/(2g+1), name): Fractions compare exactly, equal ones by name.
    heap = [
        (Fraction(-weight, 2 * given + 1), names[index], index)
        for index, (weight, given) in enumerate(zip(whole, granted, strict=True))
        if given < caps[index]
    ]
    heapq.heapify(heap)
    for _ in range(seats - sum(granted)):
        _, name, index = heap[0]
        granted[index] += 1
        if granted[index] < caps[index]:
            heapq.heapreplace(heap, (Fraction(-whole[index], 2 * granted[index] + 1), name, index))
        else:
            heapq.heappop(heap)
    return granted


def _at_threshold(seats: int, weights: Sequence[int], start: Sequence[int], caps: Sequence[int]) -> list[int]:
    """All seats whose quotient reaches the lowest threshold of a grid at which they are not too many.

    The grid is total/step for step = 1, 2, …: a child has (weight·step + total) // (2·total) seats with a quotient
    that high. One step adds fewer seats than there are children, which bounds what is left.
    """
    total = sum(weights)

    def given(step: int) -> list[int]:
        return [
            min(max((weight * step + total) // (2 * total), low), cap) if weight else low
            for weight, low, cap in zip(weights, start, caps, strict=True)
        ]

    below, above = 0, 1
    while sum(given(above)) <= seats:
        below, above = above, 2 * above
    while above - below > 1:
        middle = (below + above) // 2
        if sum(given(middle)) <= seats:
            below = middle
        else:
            above = middle
    return given(below)
