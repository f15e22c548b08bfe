"""Copies of papers elsewhere, after a takedown: written anew, removed, or told."""

from pathlib import Path

import pytest

from vlm_assets.papers.copies import PaperCopy, copy_report, put_copy, renew_copies
from vlm_assets.store.papers import Papers, ShownRow, write_papers_file
from vlm_assets.words.layout import DataRoot

ROW = ShownRow(id="street/root/a.jpeg", image_sha256=("a" * 64,))
OTHER = ShownRow(id="street/root/b.jpeg", image_sha256=("b" * 64,))
BY_URL = ShownRow(id="urls/0/x", image_sha256=(), rejected="https://x.org/cut.jpg")
PICTURED = ShownRow(id="urls/0/y", image_sha256=("c" * 64,), rejected="https://x.org/y.jpg")


@pytest.fixture
def root(tmp_path: Path) -> DataRoot:
    made = DataRoot(tmp_path / "data")
    folder = made.corpus("c", "t")
    folder.mkdir(parents=True)
    (folder / "report.html").write_bytes(b"old")
    (tmp_path / "desk").mkdir()
    return made


def papers(root: DataRoot, page: bytes | None, *shown: ShownRow) -> None:
    """The papers of the corpus as they are from now on."""
    folder = root.corpus("c", "t")
    write_papers_file(folder, Papers(complete=True, shown=shown))
    if page is None:
        (folder / "report.html").unlink()
    else:
        (folder / "report.html").write_bytes(page)


def copied(root: DataRoot, *shown: ShownRow) -> Path:
    papers(root, b"old", *shown)
    return copy_report(root, root.corpus("c", "t"), "c", "t", root.path.parent / "desk")


def records(root: DataRoot) -> list[Path]:
    return sorted((root.path / "exports/copies").glob("*.json"))


@pytest.mark.parametrize(
    ("shown", "after"),
    [
        pytest.param(ROW, b"new", id="it shows the row"),
        pytest.param(BY_URL, b"new", id="it names a reject at the address"),
        pytest.param(PICTURED, b"new", id="it has a picture of a reject"),
        pytest.param(OTHER, b"old", id="it shows others"),
    ],
)
def test_what_a_takedown_covers_is_written_anew(root, shown, after):
    out = copied(root, shown, OTHER)
    papers(root, b"new", OTHER)
    result = renew_copies(root, {ROW.id}, (), {"https://X.org/cut.jpg"})
    assert out == root.path.parent / "desk/report.html"
    assert (out.read_bytes(), result.outstanding) == (after, [])
    assert [str(out) in one for one in result.remarks] == [True] * (after == b"new")
    assert renew_copies(root, {ROW.id}, (), {"https://X.org/cut.jpg"}).remarks == []


def test_one_that_somebody_changed_is_theirs(root):
    out = copied(root, ROW)
    out.write_bytes(b"with a note")
    result = renew_copies(root, {ROW.id}, (), ())
    assert out.read_bytes() == b"with a note"
    assert "somebody changed it" in result.remarks[0]
    assert records(root) == []


def test_one_that_was_deleted_is_forgotten_and_one_out_of_reach_is_outstanding(root):
    out = copied(root, ROW)
    out.parent.rename(root.path.parent / "away")
    [told] = renew_copies(root, {ROW.id}, (), ()).outstanding
    assert str(records(root)[0]) in told
    out.parent.mkdir()
    assert renew_copies(root, {ROW.id}, (), ()).outstanding == []
    assert records(root) == []


def test_without_papers_the_copy_goes(root):
    out = copied(root, ROW)
    papers(root, None)
    assert "removed" in renew_copies(root, {ROW.id}, (), ()).remarks[0]
    assert not out.exists()
    assert records(root) == []


def test_a_contact_sheet_goes(root):
    out = root.path.parent / "desk/sheet.png"
    put_copy(root, PaperCopy(out=str(out), what="sheet", sha256=(), shown=(ROW,)), b"png")
    assert renew_copies(root, (), ROW.image_sha256, ()).remarks == [
        f"{out}: this sheet showed the rows, and is removed"
    ]
    assert not out.exists()


@pytest.mark.parametrize("there", [b"old", b"newer"])
def test_cut_while_it_is_replaced_it_is_found_by_what_it_may_show(root, monkeypatch, there):
    out = copied(root, ROW)

    def cut(path: Path, _data: bytes) -> None:
        path.write_bytes(there)
        raise KeyboardInterrupt

    papers(root, b"newer", OTHER)
    with monkeypatch.context() as patch:
        patch.setattr("vlm_assets.papers.copies._write_copy", cut)
        with pytest.raises(KeyboardInterrupt):
            copy_report(root, root.corpus("c", "t"), "c", "t", out)
    papers(root, b"clean")
    assert renew_copies(root, {ROW.id}, (), ()).outstanding == []
    assert out.read_bytes() == b"clean"


def test_a_record_that_cannot_be_read_is_outstanding(root):
    copied(root, ROW)
    records(root)[0].write_bytes(b"{")
    [told] = renew_copies(root, {ROW.id}, (), ()).outstanding
    assert str(records(root)[0]) in told
