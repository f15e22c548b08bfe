"""Data files that are on record as lying elsewhere: here or away or missing, whatever cut the way there."""

from collections.abc import Callable
from pathlib import Path

import pytest

from vlm_assets.store import away as module
from vlm_assets.store.arrow_files import write_bytes
from vlm_assets.store.away import (
    away,
    away_in,
    came_back,
    files_like,
    lend_by,
    note_away,
    readable,
    send_away,
)
from vlm_assets.words.errors import DataAwayError
from vlm_assets.words.manifest import FileEntry

REMOTE = "s3://bucket/prefix"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "data-00000.arrow"


@pytest.fixture
def entry(file: Path) -> FileEntry:
    return write_bytes(file, b"rows")


@pytest.fixture(autouse=True)
def _no_lender(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LENDERS", {})


def test_a_file_is_here_or_away_or_missing(file: Path, entry: FileEntry):
    assert (away(file), away_in(file.parent)) == (None, {})
    assert send_away({file: entry}, REMOTE) == 4
    found = away(file)
    assert found is not None
    assert (found.remote, found.entry) == (REMOTE, entry)
    assert dict(away_in(file.parent)) == {file.name: found}
    assert files_like(file.parent, "data-*.arrow") == [file]
    assert files_like(file.parent, "index*.arrow") == []
    assert send_away({file: entry}, REMOTE) == 0
    write_bytes(file, b"rows")
    assert (away(file), away_in(file.parent)) == (None, {})
    came_back([file])
    file.unlink()
    assert (away(file), away_in(file.parent)) == (None, {})


def test_cut_before_the_file_went_it_is_here(file: Path, entry: FileEntry, monkeypatch: pytest.MonkeyPatch):
    def killed(path: Path, **_: object) -> None:
        raise InterruptedError(path)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", lambda path, **_: killed(path) if path == file else None)
        with pytest.raises(InterruptedError):
            send_away({file: entry}, REMOTE)
    with readable(file) as here:
        assert here == file
    send_away({file: entry}, REMOTE)
    assert away(file) is not None


def test_a_copy_is_lent_and_goes_with_its_reader(file: Path, entry: FileEntry, tmp_path: Path):
    lent = tmp_path / "elsewhere" / "copy"

    def lender(path: Path, wanted: FileEntry, size_bytes: int | None) -> Path:
        assert (path, wanted, size_bytes) == (file, entry, None)
        lent.parent.mkdir(exist_ok=True)
        lent.write_bytes(b"rows")
        return lent

    lend_by(tmp_path, lender)
    send_away({file: entry}, REMOTE)
    with readable(file) as here:
        opened = here.open("rb")
    with opened:
        assert opened.read() == b"rows"
    assert not lent.exists()
    assert away(file) is not None


def _damage(file: Path, entry: FileEntry) -> None:
    note_away(file, entry, REMOTE)
    note = file.with_name(f".{file.name}.away")
    note.unlink()
    note.write_bytes(b"{")
    file.unlink()


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (lambda file, entry: send_away({file: entry}, REMOTE), "set VLM_REMOTE, or bring it back"),
        (_damage, "damaged; restore the version"),
    ],
    ids=["nobody lends", "the note is damaged"],
)
def test_what_nobody_lends_is_told(
    file: Path, entry: FileEntry, harm: Callable[[Path, FileEntry], object], told: str
):
    harm(file, entry)
    with pytest.raises(DataAwayError, match=told), readable(file):
        pass


def test_a_missing_file_is_no_file_that_is_away(file: Path):
    with readable(file) as here:
        assert here == file
    assert files_like(file.parent, "data-*.arrow") == []
