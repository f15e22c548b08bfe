"""Runs of words as 64-bit hashes: what two texts share, whatever their case, spacing and marks between the words.

A text is *folded*: NFKC, the four letters I, İ, ı and i made one (İstanbul, ISTANBUL and istanbul are one word in
Turkish and in English, whoever set it in capitals), then case folding. A *word* is a run of letters, marks and
digits; all else parts words. A *gram* is `GRAM_WORDS` words in a row. Text in scripts without spaces has few words.

Hashes: of a word a polynomial over its letters modulo 2^64, of a gram one over its words, each letter, word and gram
through splitmix64's finaliser. Two of 2^32 different grams meet by chance once; a row is then excluded wrongly.
"""

import unicodedata
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vlm_assets.words.keys import Words, mix64_array, splitmix64_array

GRAM_WORDS: Final = 13
"""As GPT-3's authors looked for their test sets in the training text (Brown et al. 2020, appendix C)."""
_LETTER_BASE: Final = np.uint64(0xD6E8FEB86659FD93)
_WORD_BASE: Final = np.uint64(0xA0761D6478BD642F)
_CODE_POINTS: Final = 0x110000
_CHUNK: Final = 60_000
"""Letters looked at together, at about 60 bytes each: so they stay in the processor's cache."""
_PARTS_TEXTS: Final = "\0"

Numbers = NDArray[np.int64]


def folded(text: str) -> str:
    """The text in the one form that words are compared in; other letters than I and i keep their marks."""
    if text.isascii():
        return text.lower()
    text = unicodedata.normalize("NFKC", text)
    for other in "Iİı":
        text = text.replace(other, "i")
    return unicodedata.normalize("NFKC", text.casefold()).replace("i\u0307", "i")


class GramReader:
    """Hashes of all grams of many texts, in order, a bounded number of letters at a time.

    Texts belong to *stretches*, each without a gap: grams run on from a text to the next of its stretch.
    """

    def __init__(self) -> None:
        self._words = np.empty(0, np.uint64)
        self._stretches = np.empty(0, np.int64)

    def read(self, texts: Sequence[str], stretches: Sequence[int]) -> Iterator[tuple[Words, Numbers]]:
        """Hashes of grams, and the stretch of each."""
        for some, owners in _chunks(texts, stretches):
            words, owner = _words_of(some, np.array(owners, np.int64))
            words = np.concatenate((self._words, words))
            owner = np.concatenate((self._stretches, owner))
            self._words, self._stretches = words[-GRAM_WORDS + 1 :], owner[-GRAM_WORDS + 1 :]
            yield _grams_of(words, owner)


def _chunks(texts: Sequence[str], stretches: Sequence[int]) -> Iterator[tuple[list[str], list[int]]]:
    """Texts by so many letters; longer ones are cut between words."""
    some: list[str] = []
    owners: list[int] = []
    letters = 0
    for text, stretch in zip(texts, stretches, strict=True):
        for part in _cut(text):
            some.append(part)
            owners.append(stretch)
            letters += len(part)
            if letters >= _CHUNK:
                yield some, owners
                some, owners, letters = [], [], 0
    if some:
        yield some, owners


def _cut(text: str) -> Iterator[str]:
    begin = 0
    while len(text) - begin > _CHUNK:
        end = text.rfind(" ", begin + 1, begin + _CHUNK)
        end = text.find(" ", begin + _CHUNK) if end < 0 else end
        if end < 0:
            break
        yield text[begin:end]
        begin = end
    yield text[begin:] if begin else text


def _words_of(texts: Sequence[str], owners: Numbers) -> tuple[Words, Numbers]:
    """Hashes of the words of texts, and the owner of each."""
    joined = _PARTS_TEXTS.join(texts)
    if joined.count(_PARTS_TEXTS) != len(texts) - 1:
        joined = _PARTS_TEXTS.join(text.replace(_PARTS_TEXTS, " ") for text in texts)
    points = np.frombuffer(folded(joined).encode("utf-32-le", "surrogatepass"), np.uint32)
    in_word = _letters()[points]
    places = np.flatnonzero(in_word)
    if not len(places):
        return np.empty(0, np.uint64), np.empty(0, np.int64)
    opens = np.ones(len(places), bool)
    opens[1:] = places[1:] != places[:-1] + 1
    starts = np.flatnonzero(opens)
    lengths = np.diff(np.append(starts, len(places)))
    within = np.arange(len(places)) - np.repeat(starts, lengths)
    letters = _mixed()[points[places]]
    letters *= _powers(_LETTER_BASE, int(lengths.max()))[within]
    words = mix64_array(np.add.reduceat(letters, starts))
    parted = np.flatnonzero(points == ord(_PARTS_TEXTS))
    return words, owners[np.searchsorted(parted, places[starts])]


def _grams_of(words: Words, owner: Numbers) -> tuple[Words, Numbers]:
    count = len(words) - GRAM_WORDS + 1
    if count <= 0:
        return np.empty(0, np.uint64), np.empty(0, np.int64)
    whole = owner[:count] == owner[GRAM_WORDS - 1 :]
    hashes = np.zeros(count, np.uint64)
    for place, power in enumerate(_powers(_WORD_BASE, GRAM_WORDS)):
        hashes += words[place : place + count] * power
    return mix64_array(hashes[whole]), owner[:count][whole]


def _powers(base: np.uint64, count: int) -> Words:
    powers = np.full(count, base, np.uint64)
    powers[0] = 1
    found: Words = np.cumprod(powers, dtype=np.uint64)
    return found


@cache
def _letters() -> NDArray[np.bool_]:
    """By code point: letters, marks and digits."""
    kinds = (unicodedata.category(chr(point))[0] in "LMN" for point in range(_CODE_POINTS))
    return np.fromiter(kinds, bool, _CODE_POINTS)


@cache
def _mixed() -> Words:
    """By code point: its number through splitmix64."""
    return splitmix64_array(np.arange(_CODE_POINTS, dtype=np.uint64))


class GramSet:
    """A set of gram hashes that is asked for millions: most that are not in it are told by one look at a table."""

    def __init__(self, grams: Words) -> None:
        """`grams`: sorted, without repeats."""
        self._grams = grams
        bits = min(max(len(grams).bit_length() + 5, 10), 26)
        self._shift = np.uint64(64 - bits)
        self._table = np.zeros(2**bits, bool)
        self._table[grams >> self._shift] = True

    def __len__(self) -> int:
        return len(self._grams)

    def places_of(self, hashes: Words) -> Numbers:
        """Those places of `hashes` whose hash is in the set."""
        maybe = np.flatnonzero(self._table[hashes >> self._shift])
        return maybe[among(hashes[maybe], self._grams)]


def among(values: Words, ordered: Words) -> NDArray[np.bool_]:
    """Whether each value is one of `ordered`, which is sorted."""
    if not len(ordered):
        return np.zeros(len(values), bool)
    at = np.minimum(np.searchsorted(ordered, values), len(ordered) - 1)
    found: NDArray[np.bool_] = ordered[at] == values
    return found
