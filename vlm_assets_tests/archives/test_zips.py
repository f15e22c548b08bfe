import errno
import io
import stat
import zipfile
import zlib
from pathlib import Path
from typing import BinaryIO

import inflate64
import pytest
from backports import zstd

from vlm_assets.archives import seven_zip_child, zips
from vlm_assets.archives.limits import (
    ArchiveLimits,
    Budget,
    DamagedArchiveError,
    MissingPartsError,
    TruncatedArchiveError,
)
from vlm_assets.archives.zips import ZipArchive
from vlm_assets.words.errors import BombError, MachineError, StoreError, of_the_disk
from vlm_assets_tests.archives.made import (
    LIMITS,
    cut,
    found_in,
    raw_zip,
    records,
    seven_zip_bytes,
    told,
    zip_bytes,
)

DATA = bytes(range(256)) * 40
CP857 = "şehir/ığdır.jpg".encode("cp857")


def deflated64(data: bytes) -> bytes:
    packer = inflate64.Deflater()
    return bytes(packer.deflate(data) + packer.flush())


@pytest.mark.parametrize(
    "content",
    [
        zip_bytes([("a.jpg", DATA)], zipfile.ZIP_DEFLATED), zip_bytes([("a.jpg", DATA)], zipfile.ZIP_BZIP2),
        zip_bytes([("a.jpg", DATA)], zipfile.ZIP_LZMA),
        raw_zip([(b"a.jpg", DATA)], method=9, packed=[deflated64(DATA)]),
        raw_zip([(b"a.jpg", DATA)], method=93, packed=[zstd.compress(DATA)]),
    ],
    ids=["deflate", "bzip2", "lzma", "deflate64", "zstd"],
)  # fmt: skip
def test_every_method_is_unpacked(tmp_path: Path, content: bytes) -> None:
    assert told(found_in(tmp_path, content)) == [("a.jpg", DATA)]
    at = content.index(b"a.jpg") + 40
    broken = content[:at] + bytes([content[at] ^ 0x55]) + content[at + 1 :]
    (member,) = records(found_in(tmp_path, broken))
    assert member.data is None
    assert member.reason in ("checksum", "unreadable")


def test_an_unknown_method_costs_the_member(tmp_path: Path) -> None:
    content = raw_zip([(b"a.jpg", DATA), (b"notes.txt", DATA)], method=97)
    assert told(found_in(tmp_path, content)) == [("a.jpg", "unreadable"), ("notes.txt", "unknown_type")]


@pytest.mark.parametrize(
    ("raw", "flags", "encoding", "name"),
    [
        (CP857, 0, "cp857", "şehir/ığdır.jpg"),
        (CP857, 0, None, CP857.decode("cp437")),
        ("Şişli/ağaç.jpg".encode("cp1254"), 0, "cp1254", "Şişli/ağaç.jpg"),
        ("çarşı.jpg".encode(), 0, "cp857", "çarşı.jpg"),
        (CP857, 0x800, "cp857", "şehir/ığdır.jpg"),
        (b"\xe7\xd5.jpg", 0, "cp857", b"\xe7\xd5.jpg".decode("cp437")),
    ],
    ids=["cp857", "nobody-says", "cp1254", "utf8-unflagged", "falsely-flagged", "not-in-the-encoding"],
)  # fmt: skip
def test_names(tmp_path: Path, raw: bytes, flags: int, encoding: str | None, name: str) -> None:
    content = raw_zip([(raw, b"A"), (b"b.jpg", b"B")], flags=flags)
    assert told(found_in(tmp_path, content, encoding=encoding)) == [(name, b"A"), ("b.jpg", b"B")]


def test_a_unicode_path_field_is_believed_where_it_is_of_this_name(tmp_path: Path) -> None:
    told_name = "İğde.jpg".encode()
    field = b"\x01" + zlib.crc32(b"xx.jpg").to_bytes(4, "little") + told_name
    extra = b"\x75\x70" + len(field).to_bytes(2, "little") + field
    assert told(found_in(tmp_path, raw_zip([(b"xx.jpg", b"A")], extra=extra))) == [("İğde.jpg", b"A")]
    assert told(found_in(tmp_path, raw_zip([(b"yy.jpg", b"A")], extra=extra))) == [("yy.jpg", b"A")]


@pytest.mark.parametrize(
    "extra", [b"\x01", b"\x01\0\xff\xff", b"\x01\0\x02\0zz"], ids=["cut", "long", "short"]
)
def test_a_broken_extra_field_costs_nothing(tmp_path: Path, extra: bytes) -> None:
    assert told(found_in(tmp_path, raw_zip([(b"a.jpg", b"A")], extra=extra))) == [("a.jpg", b"A")]


@pytest.mark.parametrize(
    "around",
    [
        (b"#!/bin/sh\nexit 0\n" * 9, b""),
        (b"MZ" + b"\0" * 70_000, b""),
        (b"", b"\0" * 1000),
        (b"x", b"signature"),
    ],
    ids=["script", "program", "zeros-behind", "both"],
)
def test_what_stands_around_a_zip_costs_nothing(tmp_path: Path, around: tuple[bytes, bytes]) -> None:
    content = around[0] + zip_bytes([("a.jpg", b"A"), ("b.jpg", b"B")]) + around[1]
    assert told(found_in(tmp_path, content)) == [("a.jpg", b"A"), ("b.jpg", b"B")]


@pytest.mark.parametrize(
    "name", [b"", b"/", b".", b"./", b"..", b"\0.jpg", b"a\x1b[31m.jpg", b"x" * 5000 + b".jpg"]
)
def test_one_bad_name_costs_a_member(tmp_path: Path, name: bytes) -> None:
    content = raw_zip([(b"a.jpg", b"A"), (name, b"N"), (b"b.jpg", b"B")])
    assert told(found_in(tmp_path, content))[::2] == [("a.jpg", b"A"), ("b.jpg", b"B")]
    bad = records(found_in(tmp_path, content))[1]
    assert (bad.reason, bad.number) == ("unsafe_member", 1)
    assert bad.name.isprintable()


def test_links_and_folders(tmp_path: Path) -> None:
    assert told(found_in(tmp_path, raw_zip([(b"a.jpg", b"/etc/passwd")], mode=stat.S_IFLNK | 0o777))) == [
        ("a.jpg", "unsafe_member")
    ]
    assert found_in(tmp_path, raw_zip([(b"a", b"")], mode=stat.S_IFDIR | 0o755)) == []
    assert told(found_in(tmp_path, raw_zip([(b"a/", b"bytes")]))) == [("a/", "unknown_type")]


def test_a_member_that_is_not_there_costs_itself(tmp_path: Path) -> None:
    content = bytearray(zip_bytes([("a.jpg", b"A"), ("b.jpg", b"B")]))
    content[:4] = b"PK\x03\x05"
    content[:0] = b"x"  # found by its end
    assert told(found_in(tmp_path, bytes(content))) == [("a.jpg", "unreadable"), ("b.jpg", b"B")]


def test_a_damaged_directory_is_an_error(tmp_path: Path) -> None:
    content = zip_bytes([("a.jpg", b"A"), ("b.jpg", b"B")])
    second = content.rindex(b"PK\x01\x02")
    with pytest.raises(DamagedArchiveError, match="damaged at its entry 1"):
        found_in(tmp_path, content[:second] + b"PK\x01\x03" + content[second + 4 :])
    with pytest.raises(TruncatedArchiveError, match="no directory at its end"):
        found_in(tmp_path, content[:-30])


def test_zip64(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 1)
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 50)
    files = [(f"{number}.jpg", bytes([number]) * 100) for number in range(9)]
    content = zip_bytes(files)
    assert b"PK\x06\x06" in content
    assert told(found_in(tmp_path, content)) == files
    assert told(found_in(tmp_path, b"prefix" + content)) == files
    assert told(found_in(tmp_path, cut(content, 300))) == files


@pytest.mark.parametrize("count", [1, 3])
def test_parts_are_one_archive(tmp_path: Path, count: int) -> None:
    files = [(f"{number}.jpg".encode(), bytes([number]) * 500) for number in range(9)]
    edges = [1300 * (number + 1) for number in range(count)]
    wanted = [(name.decode(), data) for name, data in files]
    assert told(found_in(tmp_path, cut(raw_zip(files), *edges))) == wanted  # cut bytewise
    spanned = raw_zip(files, disks=edges)
    assert told(found_in(tmp_path, cut(spanned, *edges))) == wanted
    for parts in (cut(spanned, *edges)[1:], cut(raw_zip(files), *edges)[:-1]):
        if parts:
            with pytest.raises((TruncatedArchiveError, DamagedArchiveError)):
                found_in(tmp_path, parts)


def test_entries_that_share_bytes_are_a_bomb(tmp_path: Path) -> None:
    data = bytes(2**23)
    stored = raw_zip([(b"00000.jpg", data)])[: 39 + len(data)]
    content = raw_zip([(b"%05d.jpg" % number, b"") for number in range(130)])
    entries = bytearray(content[content.index(b"PK\x01\x02") : -22])
    told_of_data = zlib.crc32(data).to_bytes(4, "little") + len(data).to_bytes(4, "little") * 2
    for start in range(0, len(entries), 55):
        entries[start + 16 : start + 28] = told_of_data
        entries[start + 42 : start + 46] = b"\0\0\0\0"
    end = bytearray(content[-22:])
    end[16:20] = len(stored).to_bytes(4, "little")
    with pytest.raises(BombError, match="more than 100 times"):
        found_in(tmp_path, stored + bytes(entries + end), ArchiveLimits(2**27, ratio=100))


def test_encrypted_members_are_told(tmp_path: Path) -> None:
    content = raw_zip([(b"a.jpg", b"A"), (b"notes.txt", b"B"), (b"in.zip", b"C")], flags=1)
    assert told(found_in(tmp_path, content)) == [
        ("a.jpg", "encrypted"), ("notes.txt", "unknown_type"), ("in.zip", "encrypted"),
    ]  # fmt: skip


def test_a_size_that_lies_is_found_out(tmp_path: Path) -> None:
    assert told(found_in(tmp_path, raw_zip([(b"a.jpg", b"A" * 900)], size=1000))) == [("a.jpg", "unreadable")]
    assert told(found_in(tmp_path, raw_zip([(b"a.jpg", b"A" * 900)], size=10))) == [("a.jpg", "unreadable")]
    big = raw_zip([(b"a.jpg", b"A")], size=LIMITS.member_bytes + 1)
    assert told(found_in(tmp_path, big)) == [("a.jpg", "too_many_bytes")]


def test_a_last_part_alone_says_what_is_missing(tmp_path: Path) -> None:
    last = cut(raw_zip([(b"a.jpg", DATA), (b"b.jpg", DATA)], disks=[9000]), 9000)[1]
    with pytest.raises(MissingPartsError, match="1 of 2 parts of a split zip"):
        found_in(tmp_path, last)
    for outer in (
        zip_bytes([("p.zip", last), ("z.jpg", b"Z")]),
        zip_bytes([("p.zip", last)], zipfile.ZIP_DEFLATED),
    ):
        assert told(found_in(tmp_path, outer))[-1] == ("p.zip", "split_archive_incomplete")
    whole = zip_bytes([("in.zip", zip_bytes([("p.zip", last), ("z.jpg", b"Z")]))])
    assert told(found_in(tmp_path, whole)) == [
        ("in.zip/z.jpg", b"Z"),
        ("in.zip/p.zip", "split_archive_incomplete"),
    ]


class _BrokenDisk(io.BytesIO):
    """A file whose disk fails from some moment on."""

    reads_left = 2**30

    def read(self, size: int | None = -1, /) -> bytes:
        self.reads_left -= 1
        if self.reads_left < 0:
            raise OSError(errno.EIO, "Input/output error")
        return super().read(size)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
def test_what_the_disk_says_is_no_fault_of_the_member(method: int) -> None:
    """It passes: as a reject of the member it would stay for good."""
    file = _BrokenDisk(zip_bytes([("a.jpg", DATA)], method))
    [entry] = ZipArchive(file, Budget(LIMITS, len(file.getvalue()), "x.zip")).entries()
    file.reads_left = 1  # the member's own header
    with pytest.raises(StoreError if method else OSError, match=r"Input/output error"):
        entry.open().read(len(DATA))


def test_a_machine_without_memory_is_no_fault_of_the_member(monkeypatch: pytest.MonkeyPatch) -> None:
    class Decoder:
        eof = False

        def decompress(self, *_: object) -> bytes:
            raise MemoryError

    monkeypatch.setattr(zips, "new_decoder", lambda *_: Decoder())
    file = io.BytesIO(zip_bytes([("a.jpg", DATA)], zipfile.ZIP_DEFLATED))
    [entry] = ZipArchive(file, Budget(LIMITS, len(file.getvalue()), "x.zip")).entries()
    with pytest.raises(MachineError, match=r"x\.zip: cannot be unpacked \(MemoryError"):
        entry.open().read(len(DATA))


def test_the_disk_below_a_7z_archive_is_told_apart_from_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    assert of_the_disk(OSError(errno.EIO, "x"))
    assert not of_the_disk(OSError("Invalid data stream"))
    assert not of_the_disk(OSError(errno.EINVAL, "a seek to nowhere"))

    file = _BrokenDisk(seven_zip_bytes([("a.jpg", DATA)]))
    real = seven_zip_child._members

    def members(archive: object, answers: BinaryIO) -> None:
        file.reads_left = 0
        real(archive, answers)

    monkeypatch.setattr(seven_zip_child, "JoinedFile", lambda _: file)
    monkeypatch.setattr(seven_zip_child, "_members", members)
    answers = io.BytesIO()
    seven_zip_child._serve([b"x.7z"], answers)
    assert b'["fault", "disk"' in answers.getvalue()
