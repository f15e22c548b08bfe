"""The disk says no, once, at a step of a slice or corpus: an error with its path, nothing committed, no litter."""

import errno
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from vlm_assets.allocation.step import allocate
from vlm_assets.corpus.build import build_corpus
from vlm_assets.ingest.listing import refresh_listing
from vlm_assets.ingest.slice import build_slice
from vlm_assets.installation.opening import Installation
from vlm_assets.store.listings import read_listing
from vlm_assets.transfer.files import FileHashes
from vlm_assets.words.disk import named_disk_errors, naming_database
from vlm_assets.words.errors import DiskFullError, OperationError, StoreError
from vlm_assets_tests.workplace import STREET, fill, install

SPACE, BROKEN = errno.ENOSPC, errno.EIO


@dataclass
class Fault:
    """Raises at the n-th call under a folder."""

    code: int
    at: int
    below: Path
    calls: int = 0

    def __call__(self, path: object) -> None:
        if isinstance(path, (str, os.PathLike)) and self.below in Path(path).absolute().parents:
            self.calls += 1
            if self.calls == self.at:
                raise OSError(self.code, os.strerror(self.code), os.fspath(path))


@contextmanager
def failing(monkeypatch: pytest.MonkeyPatch, where: Any, name: str, fault: Fault) -> Iterator[None]:
    real = getattr(where, name)

    def call(first: Any, *args: Any, **kwargs: Any) -> Any:
        fault(first)
        return real(first, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(where, name, call)
        yield


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("disk")
    fill(base / "in", 12)
    install(base, {**STREET, "path": base / "in"})
    return base


def line(installation: Installation) -> str:
    """Listing, slice, plan and corpus; the root hash."""
    spec = installation.catalog.source("street")
    refresh_listing(installation, spec)
    listing = read_listing(installation.root, "street")
    assert listing is not None
    for key in listing.slices:
        build_slice(installation, spec, listing, key)
    return build_corpus(allocate(installation, "10").path, installation.root).root_hash


def litter(root: Path) -> list[str]:
    return [str(path) for path in root.rglob(".*") if path.name.endswith((".tmp", ".link"))]


@pytest.mark.parametrize(
    ("where", "name"),
    [
        pytest.param(Path, "mkdir", id="folder"),
        pytest.param(Path, "rename", id="rename"),
        pytest.param(Path, "replace", id="replace"),
        pytest.param(Path, "symlink_to", id="link"),
        pytest.param(Path, "chmod", id="mode"),
        pytest.param(os, "link", id="hard-link"),
    ],
)
def test_each_fault_is_named_and_the_next_run_ends_the_same(
    made: Path, monkeypatch: pytest.MonkeyPatch, where: Any, name: str
):
    told: list[tuple[int, OperationError]] = []
    roots: set[str] = set()
    for at, code in ((1, SPACE), (3, BROKEN), (8, SPACE)):
        shutil.rmtree(made / "data")
        installation = install(made, {**STREET, "path": made / "in"})
        fault = Fault(code, at, installation.root.path)
        with failing(monkeypatch, where, name, fault):
            try:
                line(installation)
            except OperationError as error:
                told.append((code, error))
        roots.add(line(installation))
        assert litter(installation.root.path) == []
    assert len(roots) == 1
    assert told or name == "link"
    assert all(isinstance(error, DiskFullError) == (code == SPACE) for code, error in told)
    assert all(str(made / "data") in str(error) for _, error in told)


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (OSError(errno.ENOSPC, "No space left", "/x/y"), DiskFullError),
        (OSError(errno.EDQUOT, "Quota exceeded", "/x/y"), DiskFullError),
        (OSError(errno.EIO, "I/O error", "/x/y"), StoreError),
        (OSError(errno.EACCES, "Permission denied", "/x/y"), StoreError),
        (OSError(errno.EROFS, "Read-only", "/x/y"), StoreError),
        (OSError(errno.EMFILE, "Too many open files", "/x/y"), StoreError),
        (OSError(errno.EEXIST, "File exists", "/x/y"), StoreError),
        (sqlite3.OperationalError("database or disk is full"), DiskFullError),
        (sqlite3.OperationalError("disk I/O error"), StoreError),
    ],
)
def test_what_the_disk_says_becomes_an_error_of_ours(raised: Exception, kind: type[StoreError]):
    @named_disk_errors
    def step() -> None:
        raise raised

    with pytest.raises(kind, match="/x/y" if isinstance(raised, OSError) else "step") as told:
        step()
    assert type(told.value) is kind


@pytest.mark.parametrize(
    "raised", [FileNotFoundError(2, "none", "x"), ConnectionResetError(104, "reset"), ValueError()]
)
def test_what_others_say_stays(raised: Exception):
    @named_disk_errors
    def step() -> None:
        raise raised

    with pytest.raises(type(raised)):
        step()


def test_a_database_of_hashes_that_cannot_be_written_is_named(made: Path, monkeypatch: pytest.MonkeyPatch):
    class Full:
        def execute(self, *_: object) -> Any:
            raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr("vlm_assets.transfer.files._open", lambda _: Full())
    monkeypatch.setattr(FileHashes, "close", lambda _: None)
    installation = install(made, {**STREET, "path": made / "in"})
    with pytest.raises(DiskFullError, match=r"/cache/.*\.db: database or disk is full"):
        refresh_listing(installation, installation.catalog.source("street"), force=True)


def test_a_cache_whose_folder_cannot_be_made_is_no_list_that_cannot_be_read(
    made: Path, monkeypatch: pytest.MonkeyPatch
):
    """An error of a source would say that upstream is at fault."""
    installation = install(made, {**STREET, "path": made / "in"})
    shutil.rmtree(made / "data" / "cache", ignore_errors=True)
    with (
        failing(monkeypatch, Path, "mkdir", Fault(BROKEN, 1, made / "data" / "cache")),
        pytest.raises(StoreError, match=r"/cache/street"),
    ):
        refresh_listing(installation, installation.catalog.source("street"), force=True)


@pytest.mark.parametrize("said", ["unable to open database file", "disk I/O error"])
@pytest.mark.parametrize(
    ("code", "kind"),
    [(SPACE, DiskFullError), (errno.EDQUOT, DiskFullError), (BROKEN, StoreError), (None, StoreError)],
    ids=["full", "quota", "broken", "room"],
)
def test_a_database_that_sqlite_cannot_use_is_told_by_what_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int | None, kind: type[StoreError], said: str
):
    def failed(*_: object, **__: object) -> None:
        assert code is not None
        raise OSError(code, os.strerror(code))

    if code is not None:
        monkeypatch.setattr("tempfile.NamedTemporaryFile", failed)
    with (
        pytest.raises(StoreError, match=rf"/a\.db: {said}") as told,
        naming_database(tmp_path / "a.db"),
    ):
        raise sqlite3.OperationalError(said)
    assert type(told.value) is kind
    assert list(tmp_path.iterdir()) == []
