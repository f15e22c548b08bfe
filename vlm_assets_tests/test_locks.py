import errno
import multiprocessing
import os
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from vlm_assets.locks import Slots, hold_lock, is_free, lock, locked, open_file, unlock
from vlm_assets.words.errors import DiskFullError, LockHeldError, StoreError


@pytest.fixture
def pair(tmp_path):
    """Two descriptors of one file, as two processes would have them."""
    pair = open_file(tmp_path / "new" / "x"), open_file(tmp_path / "new" / "x")
    yield pair
    for one in pair:
        os.close(one)


@pytest.mark.parametrize(
    ("byte", "mine", "other", "theirs", "got"),
    [
        pytest.param(0, "exclusive", 0, "exclusive", False, id="one-holder"),
        pytest.param(0, "exclusive", 0, "shared", False, id="no-reader-beside-a-writer"),
        pytest.param(0, "shared", 0, "exclusive", False, id="no-writer-beside-a-reader"),
        pytest.param(0, "shared", 0, "shared", True, id="readers-together"),
        pytest.param(0, "exclusive", 1, "exclusive", True, id="another-byte"),
        pytest.param(1 << 40, "exclusive", 1 << 40, "exclusive", False, id="far-behind-the-end"),
    ],
)
def test_a_byte_is_locked_between_descriptors(pair, byte, mine, other, theirs, got):
    one, two = pair
    assert lock(one, byte, shared=mine == "shared")
    assert is_free(one, byte)
    assert is_free(two, other) == (byte != other)
    assert lock(two, other, shared=theirs == "shared") is got
    unlock(one, byte)
    assert lock(two, other)


def test_the_lock_goes_with_its_descriptor_alone(tmp_path):
    with locked(tmp_path / "x") as one:
        os.close(open_file(tmp_path / "x"))  # with the locks of POSIX, this would free it
        two = open_file(tmp_path / "x")
        assert not lock(two)
        assert os.fstat(one).st_size == 0
    assert lock(two)
    os.close(two)


def test_slots_are_counted_over_all_holders(tmp_path):
    one, two = Slots(tmp_path / "s"), Slots(tmp_path / "s")
    assert [one.take(2), one.take(2), one.take(2), two.take(2), two.take(3)] == [1, 0, None, None, 2]
    one.give_back(1)
    assert two.take(2) == 1
    one.close()
    assert [one.take(3), one.take(3)] == [0, None]
    one.close()
    two.close()


def test_one_of_several_locks_is_taken_or_all_holders_named(tmp_path, monkeypatch):
    monkeypatch.setattr("vlm_assets.locks._POLL_S", 0.001)
    paths = [tmp_path / "a", tmp_path / "b"]
    with (
        hold_lock(paths[0], "first"),
        hold_lock(paths, "second"),
        pytest.raises(LockHeldError) as raised,
        hold_lock(paths, "third", taken="both are taken. ", wait_s=0.02),
    ):
        pass
    assert str(raised.value).startswith("both are taken. a: held by pid")
    assert "(first). b: held by pid" in str(raised.value)


@pytest.mark.parametrize(("unsaid_s", "lines"), [(0.0, 1), (3600.0, 0)], ids=["lasts", "a moment"])
def test_a_wait_that_lasts_is_said_once(tmp_path, monkeypatch, caplog, unsaid_s, lines):
    monkeypatch.setattr("vlm_assets.locks._POLL_S", 0.001)
    monkeypatch.setattr("vlm_assets.locks._UNSAID_S", unsaid_s)
    with (
        hold_lock(tmp_path / "x", "first"),
        pytest.raises(LockHeldError) as raised,
        hold_lock(tmp_path / "x", "second", wait_s=0.02),
    ):
        pass
    assert [record.getMessage() for record in caplog.records] == [f"Waiting: {raised.value}"] * lines


def _hold(path: Path, told: Connection) -> None:
    with hold_lock(path, "a test"):
        told.send("held")
        told.recv()  # nothing is ever sent


def test_a_lock_names_its_holder_and_dies_with_it(tmp_path):
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_hold, args=(tmp_path / "x.lock", theirs))
    process.start()
    assert ours.recv() == "held"
    with (
        pytest.raises(LockHeldError, match=rf"held by pid {process.pid} on \S+ since .* \(a test\)"),
        hold_lock(tmp_path / "x.lock", "me"),
    ):
        pass
    os.kill(process.pid or 0, 9)
    process.join()
    with hold_lock(tmp_path / "x.lock", "me"):
        pass


@pytest.mark.parametrize(
    ("code", "kind"),
    [(errno.EIO, StoreError), (errno.ENOSPC, DiskFullError), (errno.EACCES, PermissionError)],
)
@pytest.mark.parametrize("call", ["open", "pwrite"])
def test_a_lock_whose_file_cannot_be_opened_or_written_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, code: int, kind: type[Exception]
):
    def refused(file: object, *_: object) -> int:
        raise OSError(code, os.strerror(code), *([str(file)] if call == "open" else []))

    monkeypatch.setattr(f"vlm_assets.locks.os.{call}", refused)
    with pytest.raises(kind, match=r"x\.lock") as told, hold_lock(tmp_path / "x.lock", "me"):
        pass
    assert type(told.value) is kind
