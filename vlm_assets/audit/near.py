"""Pairs of 64-bit picture hashes within a few bits of each other: exact, by agreement in bands of bits.

Two hashes that differ in at most k bits agree in at least r of any k + r bands (the pigeonhole principle). For
every choice of r bands, hashes that agree in those are compared.
"""

from collections.abc import Iterator
from itertools import combinations
from math import comb
from typing import Final

import numpy as np

from vlm_assets.audit.words import I64, U64, Bool

_FLAT: Final = (5, 59)
_DIRECT: Final = 4_000_000
"""Up to so many pairs are compared without bands."""
_CHUNK: Final = 4_000_000


def telling(dhash: U64) -> Bool:
    """Hashes that say something about likeness: not of flat images."""
    ones = np.bitwise_count(dhash)
    return np.asarray((ones >= _FLAT[0]) & (ones <= _FLAT[1]))


def near_pairs(left: U64, right: U64, bits: int) -> tuple[I64, I64]:
    """All (i, j) with `left[i]` within `bits` of `right[j]`, each once. Both arrays without repeats."""
    if len(left) * len(right) <= _DIRECT:
        at = np.nonzero(np.bitwise_count(left[:, None] ^ right[None, :]) <= bits)
        return at[0].astype(np.int64), at[1].astype(np.int64)
    if bits == 0:
        common, i, j = np.intersect1d(left, right, assume_unique=True, return_indices=True)
        del common
        return i.astype(np.int64), j.astype(np.int64)
    found = [pairs for mask in _masks(bits, len(right)) for pairs in _agreeing(left, right, mask, bits)]
    both = np.unique(np.concatenate([np.empty((0, 2), np.int64), *found]), axis=0)
    return both[:, 0], both[:, 1]


def _masks(bits: int, size: int) -> Iterator[np.uint64]:
    """Bits in which pairs agree; as many bands as give the fewest comparisons for `size` hashes."""

    def cost(agree: int) -> float:
        width = 64 * agree / (bits + agree)
        return comb(bits + agree, agree) * (size * 20 + size**2 / 2**width)

    agree = min(range(1, 6), key=cost)
    bands = bits + agree
    edges = [64 * number // bands for number in range(bands + 1)]
    # Neighbouring bits of a picture hash mostly agree: a band takes every n-th bit.
    scattered = [27 * bit % 64 for bit in range(64)]
    parts = [sum(1 << bit for bit in scattered[edges[n] : edges[n + 1]]) for n in range(bands)]
    for chosen in combinations(parts, agree):
        yield np.uint64(sum(chosen))


def _agreeing(left: U64, right: U64, mask: np.uint64, bits: int) -> Iterator[I64]:
    keys = right & mask
    order = np.argsort(keys)
    keys = keys[order]
    first = np.searchsorted(keys, left & mask, side="left")
    last = np.searchsorted(keys, left & mask, side="right")
    waiting = np.flatnonzero(first < last)
    at = first[waiting]
    while len(waiting):
        for begin in range(0, len(waiting), _CHUNK):
            part = slice(begin, begin + _CHUNK)
            i, j = waiting[part], order[at[part]]
            near = np.bitwise_count(left[i] ^ right[j]) <= bits
            if near.any():
                yield np.stack((i[near], j[near]), axis=1)
        at = at + 1
        goes_on = at < last[waiting]
        waiting, at = waiting[goes_on], at[goes_on]
