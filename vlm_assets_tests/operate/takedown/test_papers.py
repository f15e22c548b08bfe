"""What is taken down stands in no paper: of the corpus, and of what was left out of it."""

from hashlib import sha256

import pytest

from vlm_assets.allocation.step import allocate
from vlm_assets.corpus.build import build_corpus
from vlm_assets.exports.run import sealed_corpus
from vlm_assets.operate.lineage import show_row
from vlm_assets.operate.sheets import sheet_of_corpus, sheet_of_rows
from vlm_assets.operate.takedown import TakedownOrder, corpora, papers, take_down
from vlm_assets.operate.verify import verify
from vlm_assets.papers.write import copy_page, write_papers
from vlm_assets.store.papers import PAPER_FILES, SHOWN_FILE, read_papers, remove_papers, shown_rows
from vlm_assets.store.tombstones import read_tombstones
from vlm_assets.words.errors import TakenDownError
from vlm_assets_tests.audit.breaking import TARGET, copy_of, failed, good_once
from vlm_assets_tests.workplace import STREET, fill, ingest, install, picture

SHOWN = "scans/0001-of-0003/copy3.jpg"
LEFT_OUT = "wild/sun/sun/tiny.jpg"  # min_side


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    return good_once(tmp_path_factory)


def places(installation, what):
    """Papers, by name of the version and file, in which this stands."""
    every = sorted(installation.root.path.glob("corpora/good/.versions/*/*"))
    papers_there = [path for path in every if path.name in (*PAPER_FILES, SHOWN_FILE)]
    return [f"{path.parent.name}/{path.name}" for path in papers_there if what in path.read_bytes()]


@pytest.mark.parametrize(
    ("row", "image"),
    [
        pytest.param(SHOWN, picture(3), id="of the corpus"),
        pytest.param(LEFT_OUT, picture(400, size=(24, 24)), id="left out of it"),
    ],
)
def test_a_takedown_reaches_every_paper(good, tmp_path, row, image):
    installation = copy_of(good, tmp_path).installation
    digest = sha256(image).hexdigest()
    assert any(one.endswith("papers.json") for one in places(installation, digest.encode()))
    receipt = take_down(installation, TakedownOrder(sha256=digest))
    assert receipt.exit_code == 0
    assert places(installation, digest.encode()) == places(installation, row.encode()) == []
    folder = installation.root.corpus("good", TARGET)
    assert {name for name in PAPER_FILES if (folder / name).is_file()} == set(PAPER_FILES)
    assert verify(installation).problems == []
    assert failed(installation) == {"staleness"}
    assert receipt.papers_cleaned


def test_papers_of_a_corpus_that_nobody_can_write_anew_go(good, tmp_path):
    installation = copy_of(good, tmp_path).installation
    pinned = installation.root.corpus("good", TARGET).resolve()
    (pinned.parent.parent / ".pins").mkdir()
    (pinned.parent.parent / ".pins" / pinned.name).touch()
    receipt = take_down(installation, TakedownOrder(id=SHOWN))
    assert receipt.exit_code == 1
    assert not [name for name in (*PAPER_FILES, SHOWN_FILE) if (pinned / name).exists()]
    assert f"corpora/good/{pinned.name}" in receipt.papers_cleaned


def test_copies_of_papers_follow_and_pictures_of_rejects_go_with_any_takedown(tmp_path):
    """The takedown covers neither the reject nor what stands on the sheet of another row."""
    folder, cut = fill(tmp_path / "in", 3), picture(5, size=(640, 480))[:4000]
    (folder / "cut.jpg").write_bytes(cut)
    installation = install(
        tmp_path, {**STREET, "path": folder, "reject_tolerance": 0.9}, corpus={"shortfall": "report"}
    )
    ingest(installation)
    build_corpus(allocate(installation, "10").path, installation.root)
    report = write_papers(installation, "10").report
    page = copy_page(installation, "10", tmp_path)
    both, other = tmp_path / "both.png", tmp_path / "other.png"
    sheet_of_corpus(installation, "10", both)
    sheet_of_rows(installation, show_row(installation, "street/root/0001.jpeg"), other)
    assert sha256(cut).hexdigest() in (report.parent / SHOWN_FILE).read_text()
    assert b'alt="truncated"' in page.read_bytes()
    receipt = take_down(installation, TakedownOrder(id="street/root/0002.jpeg"))
    assert receipt.exit_code == 0
    assert receipt.caches_cleaned == ("street",)
    clean = (installation.root.corpus("small", "10") / "report.html").read_bytes()
    assert page.read_bytes() == clean
    assert b"cut.jpg" in clean
    assert b'alt="truncated"' not in clean
    assert (both.exists(), other.exists()) == (False, True)


def test_cut_while_the_papers_are_written_they_are_written_again(good, tmp_path, monkeypatch):
    installation = copy_of(good, tmp_path).installation
    order = TakedownOrder(id=LEFT_OUT)
    with monkeypatch.context() as patch:
        patch.setattr(papers, "write_papers", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            take_down(installation, order)
    assert places(installation, LEFT_OUT.encode())
    with pytest.raises(TakenDownError, match="tiny"):  # nobody pushes or exports it meanwhile
        sealed_corpus(installation, TARGET, read_tombstones(installation.root))
    assert "papers" in failed(installation)
    assert take_down(installation, order).exit_code == 0
    assert places(installation, LEFT_OUT.encode()) == []


@pytest.mark.parametrize("had", [pytest.param(True, id="some"), pytest.param(False, id="none")])
def test_a_rewritten_corpus_has_papers_where_it_had_some(good, tmp_path, monkeypatch, had):
    """Also where the run that rewrote it was cut before them."""
    installation = copy_of(good, tmp_path).installation
    links = [installation.root.corpus("good", target) for target in (TARGET, "t12")]
    for link in links if not had else ():
        remove_papers(link.resolve())
    order = TakedownOrder(id=SHOWN)
    with monkeypatch.context() as patch:
        patch.setattr(corpora, "write_papers", lambda *_: 1 / 0)
        if had:
            with pytest.raises(ZeroDivisionError):
                take_down(installation, order)
    receipt = take_down(installation, order)
    assert receipt.complete
    assert [(link / "report.html").is_file() for link in links] == [had, had]


def test_what_papers_show_is_on_record_before_they_do(good, tmp_path, monkeypatch):
    """Killed between any two files, the rows of old and new papers are on record."""
    installation = copy_of(good, tmp_path).installation
    folder = installation.root.corpus("good", TARGET)
    before = read_papers(folder)
    assert before is not None

    def cut(path, _data):
        raise KeyboardInterrupt(path)

    with monkeypatch.context() as patch:
        patch.setattr("vlm_assets.papers.write.replace_file", cut)
        patch.setattr("vlm_assets.papers.shown.A_GROUP", 1)
        with pytest.raises(KeyboardInterrupt):
            write_papers(installation, TARGET)
    cut_off = read_papers(folder)
    assert cut_off is not None
    assert not cut_off.complete
    assert set(before.shown) <= set(cut_off.shown)
    assert shown_rows(folder, {before.shown[0].id}, ()) == [before.shown[0].id]
