import contextlib
import io
from pathlib import Path

import py7zr
import pytest

from vlm_assets.archives import seven_zip
from vlm_assets.archives.limits import (
    ArchiveLimits,
    Budget,
    DamagedArchiveError,
    TruncatedArchiveError,
)
from vlm_assets.words.errors import BombError
from vlm_assets_tests.archives.made import PNG, cut, found_in, records, seven_zip_bytes, told, zip_bytes

FILES = [
    ("cat/a.jpg", b"A" * 50_000),
    ("köpek/b.jpg", bytes(range(256)) * 100),
    ("noext", PNG),
    ("notes.txt", b"n"),
]
WANTED = [*FILES[:3], ("notes.txt", "unknown_type")]


@pytest.mark.parametrize(
    "filters",
    [None, [{"id": py7zr.FILTER_COPY}], [{"id": py7zr.FILTER_PPMD, "order": 6, "mem": 24}],
     [{"id": py7zr.FILTER_ZSTD, "level": 3}], [{"id": py7zr.FILTER_X86}, {"id": py7zr.FILTER_LZMA2, "preset": 1}]],
    ids=["lzma2", "copy", "ppmd", "zstd", "bcj"],
)  # fmt: skip
def test_members_come_in_order(tmp_path: Path, filters: list[dict[str, int]] | None) -> None:
    content = seven_zip_bytes(FILES, filters=filters)
    assert told(found_in(tmp_path, content)) == WANTED
    assert told(found_in(tmp_path, cut(content, 100, len(content) // 2))) == WANTED


def test_in_another_archive(tmp_path: Path) -> None:
    content = zip_bytes([("in.7z", seven_zip_bytes(FILES)), ("z.jpg", b"Z")])
    assert told(found_in(tmp_path, content)) == [
        *((f"in.7z/{name}", data) for name, data in WANTED),
        ("z.jpg", b"Z"),
    ]


def test_folders_empty_files_and_bad_names(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with py7zr.SevenZipFile(buffer, "w") as archive:
        archive.writestr(b"", "empty.jpg")
        archive.writestr(b"A", "a.jpg")
        archive.writestr(b"M", "__MACOSX/._a.jpg")
    assert told(found_in(tmp_path, buffer.getvalue())) == [
        ("empty.jpg", b""), ("a.jpg", b"A"), ("__MACOSX/._a.jpg", "os_junk"),
    ]  # fmt: skip


def test_a_password_is_told(tmp_path: Path) -> None:
    assert told(found_in(tmp_path, seven_zip_bytes(FILES, password="x"))) == [
        ("cat/a.jpg", "encrypted"), ("köpek/b.jpg", "encrypted"),
        ("noext", "unknown_type"), ("notes.txt", "unknown_type"),
    ]  # fmt: skip
    hidden = seven_zip_bytes(FILES, password="x", header_encryption=True)
    (member,) = records(found_in(tmp_path, hidden))
    assert (member.name, member.reason) == ("x000", "encrypted")
    inside = found_in(tmp_path, zip_bytes([("in.7z", hidden), ("z.jpg", b"Z")]))
    assert told(inside) == [("in.7z", "encrypted"), ("z.jpg", b"Z")]


def test_damage_is_told(tmp_path: Path) -> None:
    content = seven_zip_bytes(FILES, filters=[{"id": py7zr.FILTER_COPY}])
    at = content.index(b"A" * 100) + 50
    broken = content[:at] + b"x" + content[at + 1 :]
    assert told(found_in(tmp_path, broken)) == [("cat/a.jpg", "checksum"), *WANTED[1:]]
    with pytest.raises(DamagedArchiveError, match="cannot be read"):
        found_in(tmp_path, content[:-20])
    with pytest.raises(TruncatedArchiveError, match="truncated"):
        found_in(tmp_path, cut(content, 1000, len(content) - 20)[:2])
    lzma2 = bytearray(seven_zip_bytes(FILES))
    lzma2[40:60] = b"\xff" * 20
    assert {member.reason for member in records(found_in(tmp_path, bytes(lzma2)))} == {"unreadable"}


def test_the_memory_of_the_reader_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = seven_zip_bytes(FILES, filters=[{"id": py7zr.FILTER_PPMD, "order": 6, "mem": 29}])
    monkeypatch.setattr(seven_zip, "MEMORY_BYTES", 400 * 2**20)
    with pytest.raises(DamagedArchiveError, match="needs too much memory"):
        found_in(tmp_path, content)


def test_a_bomb_is_refused_and_a_reader_that_dies_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = seven_zip_bytes([(f"{number}.jpg", b"x") for number in range(5)])
    with pytest.raises(BombError, match="more than 3 members"):
        found_in(tmp_path, many, ArchiveLimits(1000, members=3))
    monkeypatch.setattr(seven_zip, "MEMORY_BYTES", 2**20)
    with pytest.raises(DamagedArchiveError, match="the 7z reader died"):
        found_in(tmp_path, many)


def test_leaving_early_ends_the_reader(tmp_path: Path) -> None:
    path = tmp_path / "x.7z"
    path.write_bytes(seven_zip_bytes([("a.jpg", bytes(10_000_000)), ("b.jpg", b"B")]))
    reader = seven_zip.SevenZipReader([path], Budget(ArchiveLimits(2**27), 2**20, "x"))
    with contextlib.closing(reader.entries()) as entries:  # type: ignore[type-var]  # a generator
        assert next(entries).name == "a.jpg"
    assert reader._process is not None
    assert reader._process.returncode is not None
