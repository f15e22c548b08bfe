"""Which 64-bit picture hashes lie within a Hamming distance of an earlier one: exact, without all pairs.

Pigeonhole: cut the bits into distance + k blocks; two hashes within the distance agree in at least k of them.
So for every choice of k blocks, the hashes are sorted by those bits, and only hashes in one bucket are compared
(multi-index hashing; Norouzi, Punjani, Fleet 2012, with pairs and triples of blocks, because single blocks of
20 million hashes leave thousands of hashes in a bucket). Which k is cheapest is estimated on a sample. Buckets
that come out too large anyway, for pictures are unlike random bits, are cut again by the bits that are left.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from math import comb
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vlm_assets.words.keys import Words

Mask = NDArray[np.bool_]
Indices = NDArray[np.int64]

WORD_BITS: Final = 64
_STRIDE: Final = 27
"""Neighbouring bits of a dhash mostly agree; bit i moves to 27·i mod 64, so that a block takes bits from all over."""
_SAMPLE: Final = 200_000
_LARGE_BUCKET: Final = 1_000_000
"""Pairs left in a bucket from which on it is cut again."""
_PEEK: Final = 32
"""Candidates that are compared before."""
_DEPTH: Final = 2
_SORT_COST: Final = 100
"""Nanoseconds an entry and table; below: a pair, a step, a table. Measured on 20 M hashes, one core."""
_PAIR_COST: Final = 8
_STEP_COST: Final = 40_000
_TABLE_COST: Final = 200_000
_MAX_BLOCKS: Final = 6
_CHUNK: Final = 50_000
"""Queries compared at a time: what fits into the processor's cache (twice as fast as millions)."""


@dataclass(slots=True)
class Entries:
    """Hashes in order of precedence. A candidate can hit later ones; a query wants to know whether it is hit."""

    value: Words
    candidate: Mask
    query: Mask


def near_hits(entries: Entries, distance: int) -> Mask:
    """Marks each query that lies within `distance` bits of an earlier candidate.

    Memory: about 100 bytes an entry.
    """
    state = _State(
        value=_spread(entries.value),
        candidate=entries.candidate,
        waiting=entries.query.copy(),
        distance=distance,
    )
    everything = np.flatnonzero(entries.candidate | entries.query)
    _search(state, everything, None, list(range(WORD_BITS)))
    return entries.query & ~state.waiting


def _spread(values: Words) -> Words:
    spread = np.zeros_like(values)
    for bit in range(WORD_BITS):
        moved = _STRIDE * bit % WORD_BITS
        spread |= ((values >> np.uint64(bit)) & np.uint64(1)) << np.uint64(moved)
    return spread


@dataclass(slots=True)
class _State:
    value: Words
    candidate: Mask
    waiting: Mask
    """Queries not hit so far."""
    distance: int


def _search(state: _State, members: Indices, group: Indices | None, bits: list[int], depth: int = 0) -> None:
    """Compares the members (ascending) of each group, which differ in `bits` only."""
    if not len(members):
        return
    blocks = _cheapest(state, members, group, bits)
    for chosen in combinations(_cut(bits, state.distance + blocks), blocks):
        alive = state.waiting[members] | state.candidate[members]
        if not alive.all():
            members = members[alive]
            group = None if group is None else group[alive]
        taken = sorted(bit for block in chosen for bit in block)
        left = sorted(set(bits) - set(taken))
        ordered, starts = _buckets(state.value, members, group, taken)
        splits = blocks > 0 and depth < _DEPTH and len(left) > state.distance
        large = _compare(state, ordered, starts, split=splits)
        if large is not None:
            _search(state, *large, left, depth + 1)


def _cut(bits: Sequence[int], blocks: int) -> list[Sequence[int]]:
    """The bits in `blocks` contiguous parts of nearly equal size."""
    edges = [len(bits) * number // blocks for number in range(blocks + 1)] if blocks else [0]
    return [bits[begin:end] for begin, end in pairwise(edges)]


def _runs(bits: Sequence[int]) -> Iterator[tuple[int, int]]:
    """(first bit, length) of the runs of neighbouring bits."""
    begin = 0
    for place in range(1, len(bits) + 1):
        if place == len(bits) or bits[place] != bits[place - 1] + 1:
            yield bits[begin], place - begin
            begin = place


def _extract(values: Words, bits: Sequence[int], limit: int) -> tuple[Words, int]:
    """The first `limit` of the given bits of each value, side by side, and how many there are."""
    key = np.zeros(len(values), dtype=np.uint64)
    width = 0
    for first, length in _runs(bits[:limit]):
        part = (values >> np.uint64(first)) & np.uint64(2**length - 1)
        key |= part << np.uint64(width)
        width += length
    return key, width


def _keys(values: Words, group: Indices | None, bits: Sequence[int], room: int) -> Words:
    """Bucket keys of at most `room` bits: group and bits. Bits that do not fit only make buckets larger."""
    group_bits = 0 if group is None or not len(group) else int(group.max()).bit_length()
    key, width = _extract(values, bits, max(0, room - group_bits))
    if group is not None and group_bits:
        key |= group.astype(np.uint64) << np.uint64(width)
    return key


def _buckets(
    values: Words, members: Indices, group: Indices | None, bits: Sequence[int]
) -> tuple[Indices, Indices]:
    """Members bucket by bucket, ascending in each, and the first place of the bucket of each place."""
    place_bits = max(1, (len(members) - 1).bit_length())
    packed = _keys(values[members], group, bits, WORD_BITS - place_bits)
    packed <<= np.uint64(place_bits)
    packed |= np.arange(len(members), dtype=np.uint64)
    packed.sort()  # key and place in one word: a value sort, three times as fast as argsort
    places = (packed & np.uint64(2**place_bits - 1)).astype(np.int64)
    packed >>= np.uint64(place_bits)
    opens = np.ones(len(members), dtype=bool)
    opens[1:] = packed[1:] != packed[:-1]
    del packed
    starts = np.maximum.accumulate(np.where(opens, np.arange(len(members)), 0))
    return members[places], starts


def _compare(
    state: _State, ordered: Indices, starts: Indices, *, split: bool
) -> tuple[Indices, Indices] | None:
    """Compares each waiting query with the candidates before it in its bucket, first to last.

    With `split`, buckets with many pairs are left after the first few candidates (which hit most of a dense
    cluster) and returned: their members (ascending) and groups.
    """
    is_candidate = state.candidate[ordered]
    before: Indices = np.cumsum(is_candidate) - is_candidate
    candidates = ordered[is_candidate]
    values = state.value[candidates]
    at = np.flatnonzero(state.waiting[ordered] & (before > before[starts]))
    first = before[starts[at]]
    _scan(state, ordered[at], (first, np.minimum(before[at], first + _PEEK)), candidates, values)
    goes_on = state.waiting[ordered[at]] & (before[at] > first + _PEEK)
    at, first = at[goes_on], first[goes_on] + _PEEK
    large = None
    if split and len(at):
        pairs = np.zeros(len(ordered), dtype=np.int64)
        np.add.at(pairs, starts[at], before[at] - first)
        crowded = pairs > _LARGE_BUCKET
        if crowded.any():
            large = _members_of(ordered, starts, crowded)
            at, first = at[~crowded[starts[at]]], first[~crowded[starts[at]]]
    _scan(state, ordered[at], (first, before[at]), candidates, values)
    return large


def _members_of(ordered: Indices, starts: Indices, chosen: Mask) -> tuple[Indices, Indices]:
    """Members, ascending, of the buckets that begin at the chosen places, and a number for the bucket of each."""
    places = np.flatnonzero(chosen[starts])
    group = np.cumsum(np.diff(starts[places], prepend=-1) != 0) - 1
    order = np.argsort(ordered[places])
    return ordered[places][order], group[order]


def _scan(
    state: _State, queries: Indices, spans: tuple[Indices, Indices], candidates: Indices, values: Words
) -> None:
    """Each query against the candidates of its span, until it is hit."""
    first, last = spans
    for begin in range(0, len(queries), _CHUNK):
        part = slice(begin, begin + _CHUNK)
        _scan_chunk(state, queries[part], first[part], last[part], (candidates, values))


def _scan_chunk(
    state: _State, queries: Indices, at: Indices, last: Indices, candidates: tuple[Indices, Words]
) -> None:
    """One step of all spans at a time: the n-th candidate of each, for n = 0, 1, …"""
    wanted = state.value[queries]
    while len(queries):
        hit = np.bitwise_count(wanted ^ candidates[1][at]) <= state.distance
        state.waiting[queries[hit]] = False
        at = at + 1
        goes_on = ~hit & (at < last)
        queries, at, last, wanted = queries[goes_on], at[goes_on], last[goes_on], wanted[goes_on]


def _cheapest(state: _State, members: Indices, group: Indices | None, bits: Sequence[int]) -> int:
    """How many blocks to agree in: the number with the least estimated time. 0 compares whole groups."""
    step = max(1, len(members) // _SAMPLE)
    sample = members[::step]
    values, groups = state.value[sample], None if group is None else group[::step]
    scale = (len(members) // len(sample)) ** 2
    best, best_cost = 0, -1
    for blocks in range(_MAX_BLOCKS + 1):
        if state.distance + blocks > len(bits):
            break
        tables = comb(state.distance + blocks, blocks)
        cut = _cut(bits, state.distance + blocks)
        tried = [cut[:blocks], cut[len(cut) - blocks :]] if blocks else [[]]
        pairs, longest = 0, 0
        for chosen in tried:
            keys = np.sort(_keys(values, groups, sorted(bit for block in chosen for bit in block), WORD_BITS))
            sizes = np.diff(np.flatnonzero(np.concatenate(([True], keys[1:] != keys[:-1], [True]))))
            # Beyond the sample's resolution: what random bits would give.
            width = sum(len(block) for block in chosen)
            observed = int((sizes * (sizes - 1)).sum()) // 2 * scale
            pairs += max(observed, len(members) ** 2 >> (width + 1)) // len(tried)
            longest = max(longest, int(sizes.max()) * step)
        cost = tables * (_TABLE_COST + len(members) * _SORT_COST + pairs * _PAIR_COST + longest * _STEP_COST)
        if cost < best_cost or best_cost < 0:
            best, best_cost = blocks, cost
    return best
