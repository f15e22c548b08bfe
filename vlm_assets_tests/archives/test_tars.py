import io
import struct
import tarfile
from pathlib import Path

import pytest

from vlm_assets.archives.limits import ArchiveLimits, DamagedArchiveError, TruncatedArchiveError
from vlm_assets.words.errors import BombError
from vlm_assets_tests.archives.made import (
    LIMITS,
    PACKERS,
    found_in,
    header,
    records,
    special_tar,
    tar_bytes,
    told,
)

FILES = [("cat/a.jpg", b"A" * 1000), ("dog/b.jpg", b"B" * 512), ("c.jpg", b"")]
MORE = [("d.jpg", b"D" * 100)]


def packed(form: str, content: bytes) -> bytes:
    return PACKERS[form](content) if form else content


@pytest.mark.parametrize("form", ["", *PACKERS])
@pytest.mark.parametrize("between", [b"", b"\0" * 512, b"\0" * 20_480], ids=["", "block", "record"])
def test_tars_in_one_file_are_read_to_the_end(tmp_path: Path, form: str, between: bytes) -> None:
    content = packed(form, tar_bytes(FILES) + between + tar_bytes(MORE))
    assert told(found_in(tmp_path, content)) == [*FILES, *MORE]


@pytest.mark.parametrize("form", PACKERS)
def test_packed_tars_one_behind_the_other(tmp_path: Path, form: str) -> None:
    content = PACKERS[form](tar_bytes(FILES)) + PACKERS[form](tar_bytes(MORE))
    assert told(found_in(tmp_path, content)) == [*FILES, *MORE]
    assert told(found_in(tmp_path, content + b"\0" * 100 + b"a signature")) == [*FILES, *MORE]
    with pytest.raises(TruncatedArchiveError, match="truncated"):
        found_in(tmp_path, content[:-12])


def test_what_is_no_tar_behind_one_is_told(tmp_path: Path) -> None:
    found = found_in(tmp_path, tar_bytes(FILES) + b"x" * 700)
    assert told(found) == [*FILES, ("", "unknown_type")]
    assert found[-1].size_bytes == 700  # type: ignore[union-attr]
    assert told(found_in(tmp_path, tar_bytes(FILES) + b"x" * 70))[-1] == ("", "unknown_type")


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT], ids=["pax", "gnu"])
@pytest.mark.parametrize(
    "name",
    ["İstanbul/" + "ş" * 90 + ".jpg", "/".join(["folder"] * 60) + "/a.jpg", "a" * 99 + ".jpg"],
    ids=["turkish", "deep", "long"],
)
def test_long_names(tmp_path: Path, form: int, name: str) -> None:
    assert told(found_in(tmp_path, tar_bytes([(name, b"A"), *MORE], form=form))) == [(name, b"A"), *MORE]


@pytest.mark.parametrize("kind", [b"L", b"K", b"x", b"g"])
@pytest.mark.parametrize("size", [2**31, 8 * 2**30, 2**21])
def test_a_header_extension_that_claims_much_is_refused(tmp_path: Path, kind: bytes, size: int) -> None:
    for content in (header("././@LongLink", size, kind), tar_bytes(FILES)[:1536] + header("x", size, kind)):
        with pytest.raises(DamagedArchiveError, match=f"a header of {size} bytes"):
            found_in(tmp_path, content + b"a" * 2**21)


@pytest.mark.parametrize(
    ("kind", "told_as"),
    [(tarfile.SYMTYPE, "a symbolic link"), (tarfile.LNKTYPE, "a hard link"), (tarfile.CHRTYPE, "a device"),
     (tarfile.BLKTYPE, "a device"), (tarfile.FIFOTYPE, "a pipe")],
)  # fmt: skip
def test_links_and_devices_are_rejects(tmp_path: Path, kind: bytes, told_as: str) -> None:
    (member,) = records(found_in(tmp_path, special_tar(("a.jpg", kind, "/etc/passwd"))))
    assert (member.reason, member.detail, member.data) == ("unsafe_member", told_as, None)


def test_folders_are_no_members(tmp_path: Path) -> None:
    content = special_tar(("./", tarfile.DIRTYPE, ""), ("a", tarfile.DIRTYPE, ""), ("/", tarfile.DIRTYPE, ""))
    assert found_in(tmp_path, content) == []
    assert found_in(tmp_path, b"\0" * 10240) == []


def test_a_sparse_member_costs_itself(tmp_path: Path) -> None:
    sparse = bytearray(header("s.jpg", 512, b"S"))
    sparse[482] = 1  # another block of regions follows
    sparse[148:156] = b" " * 8
    sparse[148:156] = f"{sum(sparse):06o}\0 ".encode()
    content = bytes(sparse) + b"\0" * 512 + b"D" * 512 + tar_bytes(MORE)
    assert told(found_in(tmp_path, content)) == [("s.jpg", "unreadable"), *MORE]
    record = b"25 GNU.sparse.name=s.jpg\n"
    pax = header("x", len(record), b"x") + record.ljust(512, b"\0") + tar_bytes([("y", b"0"), *MORE])
    assert told(found_in(tmp_path, pax)) == [("s.jpg", "unreadable"), *MORE]


def test_a_header_with_a_wrong_checksum_costs_a_member(tmp_path: Path) -> None:
    content = bytearray(tar_bytes([*FILES, *MORE]))
    at = content.index(b"dog/b.jpg")
    content[at] = ord("f")
    assert told(found_in(tmp_path, bytes(content))) == [
        FILES[0],
        ("fog/b.jpg", "unreadable"),
        FILES[2],
        *MORE,
    ]
    content[at : at + 512] = b"\1" * 512
    with pytest.raises(DamagedArchiveError, match="no valid header"):
        found_in(tmp_path, bytes(content))


@pytest.mark.parametrize("form", ["", *PACKERS])
@pytest.mark.parametrize("left", [300, 512, 1024, 2000])
def test_a_cut_tar_is_an_error(tmp_path: Path, form: str, left: int) -> None:
    kind = TruncatedArchiveError if left >= 512 else DamagedArchiveError
    with pytest.raises(kind):
        found_in(tmp_path, packed(form, tar_bytes(FILES)[:left]))


def test_global_headers_hold_for_all_that_follow(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(
        fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT, pax_headers={"comment": "x" * 600}
    ) as archive:
        archive.addfile(tarfile.TarInfo("a.jpg"))
    assert told(found_in(tmp_path, buffer.getvalue())) == [("a.jpg", b"")]


@pytest.mark.parametrize("encoding", [None, "cp1254"])
def test_names_that_are_no_utf8(tmp_path: Path, encoding: str | None) -> None:
    raw = "Şişli.jpg".encode("cp1254")
    name = raw.decode(encoding or "cp437")
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT, encoding="cp1254") as archive:
        archive.addfile(tarfile.TarInfo("Şişli.jpg"))
    assert told(found_in(tmp_path, buffer.getvalue(), encoding=encoding)) == [(name, b"")]


def test_members_are_bounded(tmp_path: Path) -> None:
    big = [("big.jpg", bytes(LIMITS.member_bytes + 1)), *MORE, ("big.bin", bytes(LIMITS.member_bytes + 1))]
    for form in ("", "gz"):
        assert told(found_in(tmp_path, packed(form, tar_bytes(big)))) == [
            ("big.jpg", "too_many_bytes"), *MORE, ("big.bin", "unknown_type"),
        ]  # fmt: skip
    with pytest.raises(BombError, match="more than 2 members"):
        found_in(tmp_path, tar_bytes(FILES), ArchiveLimits(1000, members=2))


def test_a_size_beyond_the_file_is_an_error(tmp_path: Path) -> None:
    for size in (2**20, 2**62):
        with pytest.raises(TruncatedArchiveError):
            found_in(tmp_path, header("a.jpg", 100) + b"a" * 512 + header("b.bin", size) + b"a" * 1024)
    negative = bytearray(header("a.jpg", 0))
    negative[124:136] = b"\xff" + struct.pack(">iq", -1, -512)[1:]
    negative[148:156] = b" " * 8
    negative[148:156] = f"{sum(negative):06o}\0 ".encode()
    with pytest.raises(DamagedArchiveError):
        found_in(tmp_path, bytes(negative) + b"\0" * 1024)
