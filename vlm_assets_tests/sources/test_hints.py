"""What is told of files that a kind does not read."""

import pytest

from vlm_assets.sources._hints import unread_hints
from vlm_assets.words.errors import LeftOut, LeftOutReason

IMAGES = {"a.jpg", "in/b.PNG"}


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        (["x.parquet", "in/y.arrow"], ["2 data files not read by this kind, the first is x.parquet; hf_disk"]),
        (["x.pdf"], ["1 PDF not read by this kind, the first is x.pdf; pdf_folder"]),
        (["x.heic"], ["1 image not read by this kind, the first is x.heic; client_folder"]),
        (["x.tar.gz"], ["1 archive not read by this kind, the first is x.tar.gz; client_folder"]),
        (["x.part1.rar"], ["1 archive not read by this kind, the first is x.part1.rar; nothing here does"]),
        (["x.xlsx"], ["1 spreadsheet not read by this kind, the first is x.xlsx; save one as CSV"]),
        (["a.txt", "in/b.json", "notes.txt"], ["2 files with the names of images, the first is a.txt"]),
        (["a.jpg.txt"], ["1 file with the names of images, the first is a.jpg.txt"]),
        (
            ["in/metadata.csv", "labels.csv", "x.json"],
            ["tables beside the images may hold their captions: say text: labels.csv or metadata or x.json"],
        ),
        (["notes.txt", "x.npy", "a.md", "x/state.json", "00000_stats.json"], []),
    ],
    ids=lambda one: one[0] if one else "nothing",
)  # fmt: skip
def test_a_line_for_each_sort_says_what_to_do(keys, told):
    hints = unread_hints([LeftOut(key, LeftOutReason.UNKNOWN_TYPE) for key in keys], IMAGES)
    assert len(hints) == len(told)
    assert all(hint.startswith(start) for hint, start in zip(hints, told, strict=True))


def test_what_was_asked_for_is_not_hinted_at():
    unread = [LeftOut(key, LeftOutReason.UNKNOWN_TYPE) for key in ("a.txt", "labels.csv")]
    assert unread_hints(unread) == []
    assert unread_hints([LeftOut("cache-1.arrow", LeftOutReason.UNKNOWN_TYPE)], reads="data files") == []
    assert (
        unread_hints([LeftOut("x.pdf", LeftOutReason.EXCLUDED), LeftOut("y.zip", LeftOutReason.HIDDEN)]) == []
    )
