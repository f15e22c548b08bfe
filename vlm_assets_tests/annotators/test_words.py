"""What the annotators of words say."""

import errno
from typing import Any

import pytest

from vlm_assets.annotators.registry import annotator_names, annotator_of
from vlm_assets.annotators.work import annotating
from vlm_assets.words.errors import MachineError

SOUND = "Çarşıda yağmur başladı; ığdır'dan gelen öğrenciler şemsiyesizdi."


def values(name: str, text: str) -> dict[str, Any] | None:
    [found] = annotator_of(name).annotate([text])
    return None if found is None else dict(found)


@pytest.mark.parametrize(
    ("text", "characters", "words", "lines"),
    [("", 0, 0, 0), ("bir sokak", 9, 2, 1), ("bir\n\n iki üç \n", 14, 3, 2)],
    ids=["empty", "one line", "several"],
)
def test_length(text: str, characters: int, words: int, lines: int):
    assert values("length", text) == {"characters": characters, "words": words, "lines": lines}


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        (SOUND, 0, 0),
        ("A street in the rain, without any accent.", 0, 0),
        ("Það er rigning í bænum og þar býr ég.", 0, 0),
        (SOUND.encode().decode("cp1254", "ignore"), 0.1, 1),
        (SOUND.encode().decode("cp1252", "ignore"), 0.1, 1),
        (SOUND.encode().decode("latin-1"), 0.1, 1),
        (SOUND.encode("cp1254").decode("latin-1"), 0.1, 1),
        (SOUND.encode("cp1254").decode("utf-8", "replace"), 0.1, 1),
        (SOUND.encode("latin-1", "replace").decode("latin-1"), 0.05, 1),
    ],
    ids=[
        "Turkish", "English", "Icelandic", "UTF-8 as 1254", "UTF-8 as 1252", "UTF-8 as Latin-1", "1254 as Latin-1",
        "1254 as UTF-8", "lost to question marks",
    ],
)  # fmt: skip
def test_mojibake(text: str, low: float, high: float):
    found = values("charset", text)
    assert found is not None
    assert low <= found["mojibake"] <= high


@pytest.mark.parametrize(
    "text", ["https://example.org/a?id=1&b=2", "Neden?Bilmem. 1?2"], ids=["address", "sentence"]
)
def test_a_question_mark_is_not_a_lost_letter(text: str):
    assert values("charset", text) == {"mojibake": 0, "lost": 0}


def test_without_letters_there_is_nothing_to_be_damaged():
    assert values("charset", "12 – 34") == {"mojibake": None, "lost": 0}


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("Yağmurda iki kişi yürüyor", "tr"),
        ("Cocuklar okulun bahcesinde top oynuyorlar", "tr"),
        ("Mezkûr vapurun yarın sabah limanımıza\nmuvâsalatı kuvvetle memûldür.", "tr"),
        ("KIRMIZI ÇİZGİYİ GEÇMEYİNİZ", "tr"),
        ("Two people walking in the rain", "en"),
        ("x" * 200 + " " + "Das Museum ist außer dienstags täglich geöffnet. " * 100, "de"),
    ],
    ids=["Turkish", "without its letters", "Ottoman", "capitals", "English", "long"],
)
def test_language(text: str, code: str):
    found = values("language", text)
    assert found is not None
    assert found["code"] == code
    assert 0.3 < found["confidence"] <= 1


@pytest.mark.parametrize("text", ["", " 12:30\n — ", "🙂"], ids=["empty", "numbers", "picture"])
def test_words_without_letters_are_in_no_language(text: str):
    assert values("language", text) is None


@pytest.mark.parametrize("name", annotator_names())
def test_an_annotator_is_what_its_module_is_called(name: str):
    annotator = annotator_of(name)
    assert annotator.name == name
    assert annotator.version >= 1
    assert annotator.columns.names
    assert annotator.cost_s > 0


def test_a_machine_without_descriptors_is_no_fault_of_the_words(monkeypatch: pytest.MonkeyPatch):
    def fail(*_: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    handle = annotating(["length"])
    monkeypatch.setattr(annotator_of("length"), "annotate", fail)
    with pytest.raises(MachineError, match=r"length cannot go on .*Too many open files"):
        handle((["length"], ["a street"]), lambda _: None)
