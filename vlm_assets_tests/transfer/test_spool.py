import errno
import os
from pathlib import Path

import pytest

from vlm_assets.transfer.spool import INLINE_BYTES, Spool
from vlm_assets.words.errors import DiskFullError, LockHeldError, Reject, RejectReason

REJECT = Reject("gone", RejectReason.NOT_FOUND, "status 404")


def filled(folder: Path, *, ended: bool = False, forced: bool = False) -> Path:
    spool = Spool(folder, forced=forced)
    spool.add_body("a", "", b"A" * 1000)
    spool.add_reject(REJECT)
    spool.add_body("b", "ff", b"B" * 2000)
    if ended:
        spool.end()
    spool.close()
    return folder / "bodies.spool"


def test_what_was_spooled_is_there_again(tmp_path):
    filled(tmp_path)
    spool = Spool(tmp_path)
    assert spool.read(spool.bodies["a"]) == b"A" * 1000
    assert spool.read(spool.bodies["b"]) == b"B" * 2000
    assert spool.bodies["b"].declared == "ff"
    assert spool.rejects == {"gone": REJECT}
    spool.close()


@pytest.mark.parametrize("cut", range(1, 2200, 97))
def test_a_torn_end_costs_only_itself(tmp_path, cut):
    path = filled(tmp_path)
    path.write_bytes(path.read_bytes()[:-cut])
    spool = Spool(tmp_path)
    assert (
        set(spool.bodies) == ({"a"} if "gone" in spool.rejects or cut > 2100 else set()) or not spool.bodies
    )
    spool.add_body("c", "", b"C")
    spool.close()
    again = Spool(tmp_path)
    assert again.read(again.bodies["c"]) == b"C"
    assert "b" not in again.bodies
    again.close()


@pytest.mark.parametrize("where", [5, 100, 1200, 2000])
def test_a_changed_byte_ends_the_spool_before_it(tmp_path, where):
    path = filled(tmp_path)
    data = bytearray(path.read_bytes())
    data[-where] ^= 1
    path.write_bytes(data)
    spool = Spool(tmp_path)
    assert "b" not in spool.bodies
    assert spool.read(spool.bodies["a"]) == b"A" * 1000
    spool.close()


def test_foreign_bytes_are_no_spool(tmp_path):
    (tmp_path / "bodies.spool").write_bytes(b"\x00" * 5000)
    spool = Spool(tmp_path)
    assert not spool.bodies
    spool.add_body("a", "", b"A")
    spool.close()
    assert set(Spool(tmp_path).bodies) == {"a"}


def test_an_ended_fetch_keeps_bodies_and_asks_rejects_again(tmp_path):
    filled(tmp_path, ended=True)
    for _ in range(2):
        spool = Spool(tmp_path)
        assert (set(spool.bodies), spool.rejects) == ({"a", "b"}, {})
        spool.close()


@pytest.mark.parametrize(
    ("was_forced", "ended", "kept"),
    [(False, False, False), (False, True, False), (True, True, False), (True, False, True)],
)
def test_forcing_keeps_only_its_own_unfinished_progress(tmp_path, was_forced, ended, kept):
    filled(tmp_path, forced=was_forced, ended=ended)
    spool = Spool(tmp_path, forced=True)
    assert bool(spool.bodies) is kept
    spool.close()


def test_a_large_body_is_a_file_of_its_own(tmp_path):
    spool = Spool(tmp_path)
    part = tmp_path / "0.part"
    part.write_bytes(b"L" * (INLINE_BYTES + 1))
    stored = spool.add_file("large", "", part)
    path = spool.read(stored)
    assert not isinstance(path, bytes)
    assert path.stat().st_size == INLINE_BYTES + 1
    spool.close()
    again = Spool(tmp_path)
    assert again.read(again.bodies["large"]) == path
    again.close()
    path.unlink()
    last = Spool(tmp_path)
    assert not last.bodies
    last.close()


def test_one_process_at_a_time(tmp_path):
    spool = Spool(tmp_path)
    with pytest.raises(LockHeldError):
        Spool(tmp_path)
    spool.close()


def test_a_spool_that_could_not_be_begun_is_free_again(tmp_path, monkeypatch):
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwritev", full)
        with pytest.raises(DiskFullError, match="No space left"):
            Spool(tmp_path)
    Spool(tmp_path).close()
