"""Examples of what was left out: the first, with their reasons; in papers none that a takedown may cover."""

from pathlib import Path

import pytest

from vlm_assets.store.left_out import LEFT_OUT_FILE, examples_of, inside_examples, write_slice_left_out
from vlm_assets.words.errors import LeftOut, LeftOutReason

FRAMES = [LeftOut(f"https://a.org/1.gif#frame={n}", LeftOutReason.FRAME) for n in range(2, 90)]
LATER = LeftOut("2.jpg", LeftOutReason.NOT_LOCKED)
JUNK = LeftOut("Thumbs.db", LeftOutReason.OS_JUNK)
UNKNOWN = LeftOut("a.bin", LeftOutReason.UNKNOWN_TYPE, "no image")


@pytest.mark.parametrize(
    ("left_out", "for_papers", "told"),
    [
        pytest.param([], False, [], id="nothing"),
        pytest.param(
            [JUNK, UNKNOWN], False, ["Thumbs.db: os_junk", "a.bin: unknown_type (no image)"], id="both"
        ),
        pytest.param([LATER, *FRAMES], True, [], id="no name of a record in a paper"),
        pytest.param([*FRAMES, LATER, JUNK], True, ["Thumbs.db: os_junk"], id="what follows them"),
        pytest.param([JUNK] * 9, True, ["Thumbs.db: os_junk"] * 5, id="the first five"),
    ],
)
def test_the_first_that_were_left_out(
    tmp_path: Path, left_out: list[LeftOut], *, for_papers: bool, told: list[str]
) -> None:
    write_slice_left_out(tmp_path / LEFT_OUT_FILE, [("item", left_out)])
    assert examples_of(tmp_path / LEFT_OUT_FILE, for_papers=for_papers) == told
    assert inside_examples([tmp_path / "gone", tmp_path, tmp_path], for_papers=for_papers) == (told * 2)[:5]
