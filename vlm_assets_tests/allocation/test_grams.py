"""Words and runs of words: what is the same, and what is not."""

import unicodedata

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlm_assets.allocation import grams as grams_module
from vlm_assets.allocation.grams import GRAM_WORDS, GramReader, GramSet, folded
from vlm_assets.audit.grams import grams_said, words_said
from vlm_assets.words.schema import SAMPLE_SCHEMA

TWELVE = "bir iki üç dört beş altı yedi sekiz dokuz on onbir oniki"


def grams(*texts: str, stretches: list[int] | None = None) -> list[tuple[int, int]]:
    read = GramReader().read(texts, stretches or list(range(len(texts))))
    return [(int(one), int(owner)) for some, owners in read for one, owner in zip(some, owners, strict=True)]


def hashes(text: str) -> list[int]:
    return [one for one, _ in grams(text)]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("ISPARTA", "ısparta", True),
        ("ISPARTA", "Isparta", True),
        ("İSTANBUL", "istanbul", True),
        ("İSTANBUL", "i\u0307stanbul", True),
        ("I\u0307stanbul", "istanbul", True),
        ("TITLE", "title", True),
        ("ŞEHİR", "şehir", True),
        ("s\u0327ehir", "şehir", True),
        ("şehir", "sehir", False),
        ("kâğıt", "KÂĞIT", True),
        ("kâğıt", "kağıt", False),
        ("STRASSE", "straße", True),
        ("ﬁkir", "fikir", True),
        ("１９２３", "1923", True),
        ("Ankara'da", "ankara da", True),
        ("alt_yazı", "alt yazı", True),
        ("altyazı", "alt yazı", False),
        ("किताब", "किताब", True),
        ("किताब", "क त ब", False),
        ("a\0b", "a b", True),
        ("a-b, c\n", "A B C", True),
        ("ab c", "a bc", False),
    ],
)
def test_what_counts_as_the_same_word(one, other, same):
    assert (hashes(f"{TWELVE} {one}") == hashes(f"{TWELVE} {other}")) == same
    assert (words_said(one) == words_said(other)) == same


def test_folding_twice_is_folding_once():
    for point in [*range(0x250), 0x1E9E, 0xFB01, 0x3A3, 0x345]:
        text = chr(point)
        assert folded(folded(text)) == folded(text)
        assert "".join(words_said(text)) == "".join(
            c for c in folded(text) if unicodedata.category(c)[0] in "LMN"
        )


@pytest.mark.parametrize(
    ("texts", "stretches", "found"),
    [
        ([TWELVE], [0], []),
        ([f"{TWELVE} x"], [4], [4]),
        ([f"{TWELVE} x y"], [0], [0, 0]),
        ([TWELVE, "x"], [0, 0], [0]),
        ([TWELVE, "x"], [0, 1], []),
        ([TWELVE, "", "x y"], [0, 0, 0], [0, 0]),
        (["", f"{TWELVE} x", "", f"x {TWELVE}"], [0, 1, 2, 7], [1, 7]),
        ([], [], []),
        (["", "..."], [0, 1], []),
    ],
    ids=[
        "twelve",
        "thirteen",
        "fourteen",
        "run on",
        "parted",
        "empty between",
        "several",
        "none",
        "no words",
    ],
)
def test_a_gram_is_thirteen_words_of_one_stretch(texts, stretches, found):
    assert [owner for _, owner in grams(*texts, stretches=stretches)] == found


@pytest.mark.parametrize("letters", [1, 7, 40, 100])
def test_where_a_text_is_cut_changes_nothing(monkeypatch, letters):
    texts = [f"{TWELVE} {number} {TWELVE}" for number in range(5)]
    whole = grams(*texts, stretches=[0, 0, 1, 2, 2])
    monkeypatch.setattr(grams_module, "_CHUNK", letters)
    assert grams(*texts, stretches=[0, 0, 1, 2, 2]) == whole


ALPHABET = "aAiIıİ\u0307bß1_ .'\n\0şŞ\u0327ﬁकि"


@given(st.lists(st.text(ALPHABET, min_size=20, max_size=90), min_size=1, max_size=6))
@settings(max_examples=60, deadline=None)
def test_the_audit_finds_the_same_grams(texts):
    schema = pa.schema([SAMPLE_SCHEMA.field("text"), SAMPLE_SCHEMA.field("messages")])
    batch = pa.RecordBatch.from_pylist([{"text": one, "messages": None} for one in texts], schema=schema)
    ours = grams(*texts)
    theirs, rows = grams_said(batch)
    assert rows.tolist() == [owner for _, owner in ours]
    # Other hashes, and the same ones equal.
    same = [
        np.unique(np.array(some), return_inverse=True)[1]
        for some in ([one for one, _ in ours], theirs.tolist())
    ]
    first = [{int(code): number for number, code in reversed(list(enumerate(codes)))} for codes in same]
    assert [first[0][int(c)] for c in same[0]] == [first[1][int(c)] for c in same[1]]


def test_a_set_tells_what_is_in_it():
    rng = np.random.default_rng(5)
    every = np.unique(rng.integers(0, 2**64, 5_000, dtype=np.uint64))
    some = every[::3]
    held = GramSet(some)
    assert len(held) == len(some)
    assert np.array_equal(every[held.places_of(every)], some)
    assert not len(GramSet(some[:0]).places_of(every))


def test_grams_of_many_texts_do_not_meet():
    text = " ".join(f"w{number}" for number in range(20_000))
    found = hashes(text)
    assert len(set(found)) == len(found) == 20_000 - GRAM_WORDS + 1
