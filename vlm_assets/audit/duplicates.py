"""Which rows precedence drops as duplicates: exact ones by key, near ones by picture. Order-free."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vlm_assets.audit.corpus_rows import index_table, one_array
from vlm_assets.audit.evidence import FoundSlice, UnjudgedError
from vlm_assets.audit.near import near_pairs
from vlm_assets.audit.pages import texts_of_rows
from vlm_assets.audit.rules import Rules
from vlm_assets.audit.words import I64, U64, Bool
from vlm_assets.store.ahead import ahead
from vlm_assets.store.slices import INDEX_FILE

_FEW: Final = 50
_PART_BITS: Final = 4
_CHUNK: Final = 1_000_000


class Precedence:
    """Orders rows: the declared sources, the others by name, then id bytes."""

    def __init__(self, rules: Rules, slices: Sequence[FoundSlice], starts: I64) -> None:
        declared = {name: number for number, name in enumerate(rules.precedence)}

        def place(number: int) -> tuple[int, bytes, bytes]:
            claim = slices[number].claim
            return (
                declared.get(claim.source, len(declared)),
                claim.source.encode(),
                f"{claim.slice}/".encode(),
            )

        self._slices = slices
        self._starts = starts
        self._order = np.empty(len(slices), np.int64)
        self._order[sorted(range(len(slices)), key=place)] = np.arange(len(slices))

    def slice_order(self, places: I64) -> I64:
        """Order of the rows' slices: rows of different slices are ordered by it."""
        return self._order[np.searchsorted(self._starts, places, side="right") - 1]

    def numbers(self, places: I64, threads: int = 1) -> I64:
        """Distinct numbers that order these rows; reads their ids, of several slices at once."""
        owner = np.searchsorted(self._starts, places, side="right") - 1
        by_owner = np.argsort(owner, kind="stable")
        counts = np.bincount(owner, minlength=len(self._slices))
        ends = np.cumsum(counts)
        out = np.empty(len(places), np.int64)

        def order_slice(number: int) -> None:
            here = by_owner[ends[number] - counts[number] : ends[number]]
            ids = self._ids(number, places[here] - self._starts[number])
            ranked = np.empty(len(here), np.int64)
            ranked[pc.sort_indices(ids).to_numpy()] = np.arange(len(here))
            out[here] = (self._order[number] << 40) + ranked

        for _ in ahead(order_slice, np.flatnonzero(counts).tolist(), threads):
            pass
        return out

    def _ids(self, number: int, rows: I64) -> pa.Array:
        """Ids of these rows of a slice: of one in fifty or fewer, each is read for itself."""
        found = self._slices[number]
        if found.directory is None:
            raise UnjudgedError(f"{found.claim.name}: its content is gone")
        path = found.directory / INDEX_FILE
        if len(rows) * _FEW > found.claim.rows:
            return one_array(index_table(path, ("id",)), "id").cast(pa.binary()).take(pa.array(rows))
        try:
            return pa.array(texts_of_rows(path, "id", rows.tolist()), pa.binary())
        except (OSError, ValueError, pa.ArrowInvalid) as error:
            raise UnjudgedError(f"{path}: {error}") from error


@dataclass(frozen=True, slots=True)
class _Groups:
    """Of rows with repeated keys: those that surely go, and those of which only the lowest id of each group stays."""

    dropped: I64
    rivals: I64
    group: I64


def exact_duplicates(key: U64, among: Bool, order: Precedence, threads: int = 1) -> I64:
    """Those rows `among` all whose key another of them with higher precedence has.

    Keys are compared in parts by their first bits, several at once: a part fits the processor's caches.
    """
    part_of = np.empty(len(key), np.uint8)
    for begin in range(0, len(key), _CHUNK):
        here = slice(begin, begin + _CHUNK)
        part_of[here] = np.where(among[here], key[here, 0] >> np.uint64(64 - _PART_BITS), 2**_PART_BITS)
    parts = ahead(
        lambda part: _groups(key, np.flatnonzero(part_of == part), order), range(2**_PART_BITS), threads
    )
    dropped, rivals, groups, first = (
        [np.empty(0, np.int64)],
        [np.empty(0, np.int64)],
        [np.empty(0, np.int64)],
        0,
    )
    for one in parts:
        dropped.append(one.dropped)
        rivals.append(one.rivals)
        groups.append(first + one.group)
        first += len(one.group)
    rows, group = np.concatenate(rivals), np.concatenate(groups)
    best = np.lexsort((order.numbers(rows, threads), group))
    loses = best[1:][group[best[1:]] == group[best[:-1]]]
    return np.concatenate([*dropped, rows[loses]])


def with_other_words(key: U64, words: U64, dropped: I64, among: Bool) -> I64:
    """Those of the `dropped` rows whose words are not those of the row `among` all that stays for their key."""
    if not len(dropped):
        return dropped
    stays = among.copy()
    stays[dropped] = False
    keepers = np.flatnonzero(stays)
    keepers = keepers[np.isin(key[keepers, 0], key[dropped, 0])]
    names = np.concatenate((key[keepers], key[dropped]))
    _, group = np.unique(names, axis=0, return_inverse=True)
    group = group.reshape(-1)
    said = np.zeros(int(group.max()) + 1, np.uint64)
    said[group[: len(keepers)]] = words[keepers]
    differs = words[dropped] != said[group[len(keepers) :]]
    return np.asarray(dropped[differs])


def _groups(key: U64, places: I64, order: Precedence) -> _Groups:
    """Groups among these places; numbers of groups are below the number of rivals."""
    words = key[places, 0]
    by_word = np.argsort(words)
    words = words[by_word]
    same = np.zeros(len(words) + 1, bool)
    same[1:-1] = words[1:] == words[:-1]
    rows = places[by_word[same[1:] | same[:-1]]]
    if _splits(key[rows]):
        rows = rows[np.lexsort((key[rows, 1], key[rows, 0]))]
    if not len(rows):
        return _Groups(rows, rows, rows)
    starts = np.flatnonzero(np.append(True, (key[rows[1:]] != key[rows[:-1]]).any(axis=1)))
    group = np.repeat(np.arange(len(starts)), np.diff(np.append(starts, len(rows))))
    # Only rows of the leading slice can stay; where it has several of a group, the lowest id does.
    slices = order.slice_order(rows)
    leads = slices == np.minimum.reduceat(slices, starts)[group]
    several = np.bincount(group[leads], minlength=len(starts)) > 1
    rivals = leads & several[group]
    _, numbered = np.unique(group[rivals], return_inverse=True)
    return _Groups(rows[~leads], rows[rivals], numbered)


def _splits(keys: U64) -> bool:
    """Whether keys with the same first word, which stand together, have different second words."""
    same = keys[1:, 0] == keys[:-1, 0]
    return bool((same & (keys[1:, 1] != keys[:-1, 1])).any())


def any_repeated(words: U64) -> bool:
    """Whether a word is there more than once."""
    ordered = np.sort(words)
    return bool((ordered[1:] == ordered[:-1]).any())


def near_duplicates(dhash: U64, sha: U64, bits: I64, places: I64, order: Precedence) -> I64:
    """Those of `places` with a near picture of another image that has higher precedence.

    A pair is near within the smaller of the two rows' `bits`. Rows of one (dhash, bits) form a group; of each
    group only its first row, and its first row with another image than that, can drop others.
    """
    if not len(places):
        return places
    values, value_of = np.unique(dhash, return_inverse=True)
    left, right = near_pairs(values, values, int(bits.max()))
    lonely = np.bincount(value_of, minlength=len(values)) == 1
    busy = np.zeros(len(values), bool)
    busy[left[left != right]] = True
    wanted = np.flatnonzero(busy[value_of] | ~lonely[value_of])
    if not len(wanted):
        return np.empty(0, np.int64)
    precedence = order.numbers(places[wanted])
    _, image = np.unique(sha[wanted], axis=0, return_inverse=True)
    image = image.reshape(-1)
    groups, group_of = np.unique(value_of[wanted] * 64 + bits[wanted], return_inverse=True)
    first, second = _leaders(group_of, precedence, image, len(groups))
    dropped = np.zeros(len(wanted), bool)
    for a, b in _group_pairs(groups, values, left, right):
        rows, other = _members(group_of, a, b)
        for lead in (first, second):
            rival = lead[other]
            real = rival >= 0
            hit = real & (precedence[rival] < precedence[rows]) & (image[rival] != image[rows])
            dropped[rows[hit]] = True
    return places[wanted[dropped]]


def _leaders(group_of: I64, precedence: I64, image: I64, count: int) -> tuple[I64, I64]:
    """Of each group the row of highest precedence, and the next one with another image (-1: none)."""
    order = np.lexsort((precedence, group_of))
    ends = np.cumsum(np.bincount(group_of, minlength=count))
    starts = ends - np.bincount(group_of, minlength=count)
    first = order[starts]
    second = np.full(count, -1, np.int64)
    other = order[image[order] != image[first[group_of[order]]]]
    # Written backwards, so that the row of highest precedence is written last.
    second[group_of[other][::-1]] = other[::-1]
    return first, second


def _group_pairs(groups: I64, values: U64, left: I64, right: I64) -> list[tuple[I64, I64]]:
    """Pairs of groups (members of the first are compared with leaders of the second), in chunks."""
    group_value, group_bits = groups // 64, groups % 64
    begin = np.searchsorted(group_value, np.arange(len(values) + 1))
    i, j = left, right
    chunks = []
    for at in range(0, len(i), 1_000_000):
        a, b = _expand(begin, i[at : at + 1_000_000], j[at : at + 1_000_000])
        distance = np.bitwise_count(values[group_value[a]] ^ values[group_value[b]])
        near = distance <= np.minimum(group_bits[a], group_bits[b])
        chunks.append((a[near], b[near]))
    return chunks


def _expand(begin: I64, i: I64, j: I64) -> tuple[I64, I64]:
    """All (group of value i, group of value j) of pairs of values."""
    per_i, per_j = begin[i + 1] - begin[i], begin[j + 1] - begin[j]
    count = per_i * per_j
    pair = np.repeat(np.arange(len(i)), count)
    within = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    return begin[i][pair] + within // per_j[pair], begin[j][pair] + within % per_j[pair]


def _members(group_of: I64, a: I64, b: I64) -> tuple[I64, I64]:
    """(row, group) for every row of each group of `a`, with the group beside it in `b`."""
    order = np.argsort(group_of, kind="stable")
    count = int(group_of.max()) + 1
    ends = np.cumsum(np.bincount(group_of, minlength=count))
    sizes = np.bincount(group_of, minlength=count)
    starts = ends - sizes
    per = sizes[a]
    within = np.arange(per.sum()) - np.repeat(np.cumsum(per) - per, per)
    return order[np.repeat(starts[a], per) + within], np.repeat(b, per)
