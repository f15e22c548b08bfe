"""JPEGs left to Poppler, which tells of their damage: what comes out is what a look at each beforehand gives."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from vlm_assets.pdf import decide, draw
from vlm_assets.pdf.damage import Damage, damage_of
from vlm_assets.pdf.render import PopplerRun, render_poppler
from vlm_assets.words.errors import RejectReason
from vlm_assets_tests.pdf.answers import answers_of
from vlm_assets_tests.pdf.builders import add_page, build, image_object, jpeg, picture

CONTENT = "q 150 0 0 200 30 80 cm /Im0 Do Q 0 0 216 60 re f"
"""Something else shows too: a page that is all white is looked at again anyhow."""
EOI = b"\xff\xd9"
WAYS: dict[str, dict[str, Any]] = {
    "sequential": {},
    "progressive": {"progressive": True},
}


def _middle(data: bytes) -> int:
    return data.index(b"\xff\xda") + (len(data) - data.index(b"\xff\xda")) // 2


CHANGES: dict[str, Callable[[bytes], bytes]] = {
    "whole": lambda data: data,
    "padded": lambda data: data + b"\n\0",
    "no mark": lambda data: data[:-2],
    "cut": lambda data: data[: _middle(data)],
    "cut and closed": lambda data: data[: _middle(data)] + EOI,
    "cut in the first rows, closed": lambda data: data[: data.index(b"\xff\xda") + 60] + EOI,
    "zeros from the middle on": lambda data: data[: _middle(data)] + bytes(len(data) // 2) + EOI,
    "a stretch is missing": lambda data: data[: _middle(data)] + data[_middle(data) + 3000 :],
    "a damaged table": lambda data: data.replace(b"\xff\xc4\x00\x1f\x00", b"\xff\xc4\x00\x1f\x09", 1),
    "a scan of unknown parts": lambda data: data.replace(b"\xff\xda\x00\x08\x01", b"\xff\xda\x00\x08\x09", 1),
    "headers alone": lambda data: data[: data.index(b"\xff\xda")] + EOI,
    "nothing": lambda _: b"",
}


DAMAGED = {
    "cut", "cut and closed", "cut in the first rows, closed", "zeros from the middle on", "a stretch is missing",
    "headers alone", "nothing",
}  # fmt: skip


pytestmark = pytest.mark.usefixtures("unbounded")


def outcomes(folder: Path, path: Path) -> list[Any]:
    """What became of each page: its fault, or its bytes and flags."""
    found = [answer for answer in answers_of(folder, path, embedded="never") if "page" in answer]
    found.sort(key=lambda answer: answer["page"])
    return [answer.get("fault") or (answer["digest"], answer["flags"], answer["method"]) for answer in found]


def pages_of(path: Path, datas: dict[str, bytes], image: Image.Image) -> Path:
    def make(pdf: Any) -> None:
        for data in datas.values():
            add_page(pdf, CONTENT, images={"Im0": image_object(pdf, data, image)})

    return build(path, make)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize(("way", "mode"), [("sequential", "L"), ("progressive", "RGB")])
def test_a_page_comes_out_as_if_its_picture_had_been_decoded_before(
    way: str, mode: str, change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = picture("RGB").resize((300, 400)).convert(mode)
    data = CHANGES[change](jpeg(image, **WAYS[way]))
    path = pages_of(tmp_path / "a.pdf", {"1": data}, image)
    found = outcomes(tmp_path, path)
    monkeypatch.setattr(decide, "told_by_poppler", lambda *_: False)
    assert found == outcomes(tmp_path, path)
    if way == "sequential":
        assert (found[0][0] is RejectReason.TRUNCATED) is (change in DAMAGED)


def test_a_picture_is_decoded_only_where_poppler_tells_of_something(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one run of Poppler all pages are looked at again where one is damaged; in a run without, none."""
    looked: list[object] = []

    def look(*given: Any) -> Damage | None:
        looked.append(given)
        return damage_of(*given)

    monkeypatch.setattr(decide, "damage_of", look)
    image = picture("L")
    whole, cut = jpeg(image), CHANGES["cut and closed"](jpeg(image))
    assert len(outcomes(tmp_path, pages_of(tmp_path / "a.pdf", {"1": whole, "2": whole}, image))) == 2
    assert looked == []
    found = outcomes(tmp_path, pages_of(tmp_path / "b.pdf", {"1": whole, "2": cut}, image))
    assert len(looked) == 2
    assert [one[0] is RejectReason.TRUNCATED for one in found] == [False, True]


ENDS = {
    "it draws nothing": (1, ""),
    "it ends badly": (3, ""),
    "it says anything": (0, "Syntax Warning: x"),
}


@pytest.mark.parametrize(("status", "told"), ENDS.values(), ids=ENDS)
def test_a_damaged_picture_is_refused_however_poppler_ends(
    status: int, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = picture("L")
    path = pages_of(tmp_path / "a.pdf", {"1": CHANGES["cut and closed"](jpeg(image))}, image)

    def ending(*given: Any, **named: Any) -> PopplerRun:
        return PopplerRun({} if status == 1 else render_poppler(*given, **named).files, status, told)

    monkeypatch.setattr(draw, "render_poppler", ending)
    assert outcomes(tmp_path, path)[0][0] is RejectReason.TRUNCATED
    assert list((tmp_path / "pages").rglob("*.jpg")) == []
