"""Thirteen words in a row, as the audit finds them: word by word, hashed for this process alone.

What a word is stands in DESIGN (*Benchmarks*): letters, marks and digits after NFKC, with I, İ, ı and i as one
letter, and case folding.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any, Final

import numpy as np
import pyarrow as pa

from vlm_assets.audit.words import I64, U64, Bool

LENGTH: Final = 13
_DOT_ABOVE: Final = "i\u0307"
_FACTOR: Final = np.uint64(0x9E3779B97F4A7C15)


def words_said(text: str) -> list[str]:
    """The words of a text, folded."""
    plain = (
        unicodedata.normalize("NFKC", text).replace("I", "i").replace("\u0130", "i").replace("\u0131", "i")
    )
    plain = unicodedata.normalize("NFKC", plain.casefold()).replace(_DOT_ABOVE, "i")
    found: list[str] = (_LETTERS if _marks().isdisjoint(plain) else _with_marks()).findall(plain)
    return found


_LETTERS: Final = re.compile(r"[^\W_]+")
"""Letters and digits as `re` knows them; ten times as fast as with marks, which few texts have."""


@cache
def _marks() -> frozenset[str]:
    return frozenset(chr(n) for n in range(0x300, 0x110000) if unicodedata.category(chr(n)).startswith("M"))


@cache
def _with_marks() -> re.Pattern[str]:
    return re.compile(f"(?:[^\\W_]|[{''.join(sorted(_marks()))}])+")


def grams_said(batch: pa.RecordBatch) -> tuple[U64, I64]:
    """Hashes of the grams that the rows of a batch of a data file say, and the row of each."""
    grams, speech = grams_in(_speeches(batch))
    return grams, speech // 2


def grams_in(speeches: Iterable[Iterable[str]]) -> tuple[U64, I64]:
    """Hashes of the grams of speeches, texts in a row each, and the number of the speech of each."""
    words: list[str] = []
    speech: list[int] = []
    for number, said in enumerate(speeches):
        found = [word for text in said for word in words_said(text)]
        if len(found) >= LENGTH:
            words += found
            speech += [number] * len(found)
    if not words:
        return np.empty(0, np.uint64), np.empty(0, np.int64)
    # Of strings, `hash` is another in each process; these numbers leave none.
    numbers = np.fromiter(map(hash, words), np.int64, len(words)).view(np.uint64)
    owner = np.array(speech, np.int64)
    count = len(words) - LENGTH + 1
    gram = numbers[:count].copy()
    for place in range(1, LENGTH):
        gram = (gram ^ gram >> np.uint64(32)) * _FACTOR + numbers[place : place + count]
    whole: Bool = owner[:count] == owner[LENGTH - 1 :]
    return gram[whole], owner[:count][whole]


def _speeches(batch: pa.RecordBatch) -> Iterator[Iterable[str]]:
    """Row after row: its text, then all that its conversation says."""
    messages = batch.column("messages").to_pylist()
    for text, turns in zip(batch.column("text").to_pylist(), messages, strict=True):
        yield [text] if text else []
        yield _turns(turns or [])


def _turns(turns: list[dict[str, Any]]) -> list[str]:
    return [part["text"] for turn in turns for part in turn["content"] or () if part["text"]]


def held(grams: U64, ordered: U64) -> Bool:
    """Which of the grams are among some that are sorted."""
    if not len(ordered):
        return np.zeros(len(grams), bool)
    left = np.searchsorted(ordered, grams, side="left")
    return np.asarray(left < np.searchsorted(ordered, grams, side="right"))
