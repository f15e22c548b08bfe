"""The one keyed order of the platform: splitmix64 over 64-bit keys, as numbers and as numpy arrays.

No library's random stream takes part, so an order is the same on every platform and version. Constants and
finaliser: Steele, Lea, Flood, "Fast splittable pseudorandom number generators" (2014); Vigna's `splitmix64.c`.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint64]

GOLDEN_GAMMA: Final = 0x9E3779B97F4A7C15
_MULTIPLIERS: Final = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
_SHIFTS: Final = (30, 27, 31)
_MASK: Final = 2**64 - 1
_BLOCK: Final = 32_768
"""Words that are mixed at once."""


def mix64(word: int) -> int:
    """The splitmix64 finaliser: a bijection of 64-bit words."""
    word = (word ^ (word >> _SHIFTS[0])) * _MULTIPLIERS[0] & _MASK
    word = (word ^ (word >> _SHIFTS[1])) * _MULTIPLIERS[1] & _MASK
    return word ^ (word >> _SHIFTS[2])


def splitmix64(word: int) -> int:
    """First output of SplitMix64 with the state `word`: the finaliser of `word` + golden gamma."""
    return mix64((word + GOLDEN_GAMMA) & _MASK)


def mix64_array(words: Words) -> Words:
    """`mix64` of every element."""
    mixed = np.empty(words.shape, np.uint64)
    given, made = words.reshape(-1), mixed.reshape(-1)
    shifted = np.empty(min(_BLOCK, len(given)), np.uint64)
    for begin in range(0, len(given), _BLOCK):
        _mix_block(given[begin : begin + _BLOCK], made[begin : begin + _BLOCK], shifted)
    return mixed


def _mix_block(words: Words, mixed: Words, shifted: Words) -> None:
    """So many that they stay in the core's cache, and that no step takes fresh memory of all of them."""
    shifted = shifted[: len(words)]
    np.right_shift(words, np.uint64(_SHIFTS[0]), out=shifted)
    np.bitwise_xor(words, shifted, out=mixed)
    for multiplier, shift in zip(_MULTIPLIERS, _SHIFTS[1:], strict=True):
        mixed *= np.uint64(multiplier)
        np.right_shift(mixed, np.uint64(shift), out=shifted)
        mixed ^= shifted


def splitmix64_array(words: Words) -> Words:
    """`splitmix64` of every element."""
    return mix64_array(words + np.uint64(GOLDEN_GAMMA))


def ranks_of(first_words: Words, seed: int) -> Words:
    """Ranks of row keys under a seed, by their first 8 bytes, little endian; the lowest are sampled first."""
    return mix64_array(first_words ^ np.uint64(splitmix64(seed)))
