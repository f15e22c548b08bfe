import io
import lzma
import stat
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from backports import zstd

from vlm_assets.archives.limits import (
    ArchiveLimits,
    Budget,
    DamagedArchiveError,
    TruncatedArchiveError,
)
from vlm_assets.archives.members import Found, Member
from vlm_assets.archives.names import is_archive_name, is_junk, is_opened, safe_name
from vlm_assets.archives.read import Reading, read_members
from vlm_assets.demo.services.pictures import tar_of, zip_of
from vlm_assets.words.errors import BombError, LeftOut, LeftOutReason, RejectReason, SourceError
from vlm_assets_tests.archives import made
from vlm_assets_tests.archives.made import LIMITS, PACKERS, PNG, cut, raw_zip, told, zip_bytes

PLAIN = [("cat/a.jpg", b"A" * 1000), ("dog/b.png", b"B" * 700), ("notes.txt", b"no record")]


def found_in(path: Path, content: bytes, limits: ArchiveLimits = LIMITS, **options: Any) -> list[Found]:
    path.write_bytes(content)
    return list(read_members(path, Reading(limits, spool_dir=path.parent, **options), where=path.name))


def members_of(path: Path, content: bytes, limits: ArchiveLimits = LIMITS) -> list[Member]:
    return [one for one in found_in(path, content, limits) if isinstance(one, Member)]


def outcome(members: list[Member]) -> list[tuple[str, bytes | RejectReason]]:
    return [(m.name, m.data if m.data is not None else m.reason or RejectReason.UNREADABLE) for m in members]


def zst(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return bytes(sink.getvalue())


FORMS: dict[str, Callable[[list[tuple[str, bytes]]], bytes]] = {
    "zip": zip_of, "tar": tar_of, "tar.gz": lambda f: tar_of(f, "w:gz"), "tar.bz2": lambda f: tar_of(f, "w:bz2"),
    "tar.xz": lambda f: tar_of(f, "w:xz"), "tar.zst": lambda f: zst(tar_of(f)),
    "tar.lz4": lambda f: made.PACKERS["lz4"](tar_of(f)),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_its_images_in_order(tmp_path: Path, form: str) -> None:
    found = members_of(tmp_path / f"x.{form}", FORMS[form](PLAIN))
    assert outcome(found) == [("cat/a.jpg", b"A" * 1000), ("dog/b.png", b"B" * 700)]
    assert [m.number for m in found] == [0, 1]
    assert is_archive_name(f"x.{form.upper()}")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("share", [0.3, 0.7, 0.97])
def test_a_truncated_archive_is_an_error(tmp_path: Path, form: str, share: float) -> None:
    files = [(f"{i}.jpg", bytes([i]) * 5000) for i in range(20)]
    content = FORMS[form](files)
    if form.startswith("tar") and share > 0.9:
        content = content[: 20 * 5632 - 512] if form == "tar" else content  # up to a member's padding
    with pytest.raises(SourceError):
        members_of(tmp_path / f"x.{form}", content[: int(len(content) * share)])


def test_a_tar_cut_between_members_or_with_a_bad_header_is_an_error(tmp_path: Path) -> None:
    content = tar_of([(f"{i}.jpg", b"x" * 512) for i in range(4)])
    for broken in (content[: 2 * 1024], content[:1024] + b"\x01" * 512 + content[1536:]):
        with pytest.raises(SourceError, match=r"truncated|damaged"):
            members_of(tmp_path / "x.tar", broken)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("../evil.jpg", "leaves its folder"), ("a/../../evil.jpg", "leaves its folder"),
        ("/etc/evil.jpg", "an absolute path"), ("C:\\evil.jpg", "an absolute path"),
        ("..\\evil.jpg", "leaves its folder"), ("a\nb.jpg", "control characters in the name"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("form", ["zip", "tar"])
def test_unsafe_names_are_rejects(tmp_path: Path, form: str, name: str, why: str) -> None:
    (member,) = members_of(tmp_path / "x", FORMS[form]([(name, b"x")]))
    assert (member.reason, member.detail, member.data) == (RejectReason.UNSAFE_MEMBER, why, None)
    assert not list(tmp_path.rglob("evil*"))


def test_links_and_devices_are_rejects(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE):
            info = tarfile.TarInfo(f"{kind.decode()}.jpg")
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
    assert [m.reason for m in members_of(tmp_path / "x", buffer.getvalue())] == [
        RejectReason.UNSAFE_MEMBER
    ] * 4
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed:
        link = zipfile.ZipInfo("link.jpg")
        link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
        packed.writestr(link, "/etc/passwd")
    assert [m.reason for m in members_of(tmp_path / "y", buffer.getvalue())] == [RejectReason.UNSAFE_MEMBER]


def test_droppings_and_folders_are_no_records(tmp_path: Path) -> None:
    names = ["__MACOSX/cat/._a.jpg", "cat/.DS_Store", "Thumbs.db", "cat/._a.jpg", "desktop.ini", "cat/"]
    found = found_in(
        tmp_path / "x", zip_of([*((n, b"x" if n[-1] != "/" else b"") for n in names), ("cat/a.jpg", b"A")])
    )
    assert [(one.key, one.reason) for one in found if isinstance(one, LeftOut)] == [
        (name, LeftOutReason.OS_JUNK) for name in names[:-1]
    ]
    assert outcome([one for one in found if isinstance(one, Member)]) == [("cat/a.jpg", b"A")]
    assert not is_junk("cat/a.jpg")


def bomb(size: int) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.jpg", b"\0" * size)
    return buffer.getvalue()


def test_bombs(tmp_path: Path) -> None:
    (member,) = members_of(tmp_path / "x", bomb(10_000_000))
    assert member.reason is RejectReason.TOO_MANY_BYTES
    lying = bytearray(bomb(10_000_000))
    for signature, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        at = lying.index(signature) + offset
        lying[at : at + 4] = (50).to_bytes(4, "little")  # says 50 bytes, unpacks to ten million
    (member,) = members_of(tmp_path / "x", bytes(lying))
    assert member.data is None
    with pytest.raises(SourceError, match="more than 10 members"):
        members_of(
            tmp_path / "x", zip_of([(f"{i}.jpg", b"") for i in range(20)]), ArchiveLimits(100, members=10)
        )
    with pytest.raises(SourceError, match="more than 10 members"):
        members_of(
            tmp_path / "x", tar_of([(f"{i}.jpg", b"") for i in range(20)]), ArchiveLimits(100, members=10)
        )
    with pytest.raises(SourceError, match="refused as a bomb"):
        Budget(ArchiveLimits(100), 2**30, "x.zip").unpack(300 * 2**30)


def test_encrypted_nested_double_and_damaged_members(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="Duplicate name"):
        content = bytearray(
            zip_of([("a.jpg", b"A" * 50), ("b.jpg", b"B" * 50), ("in.zip", b"PK"), ("a.jpg", b"C")])
        )
    at = content.index(b"A" * 50)
    content[at] ^= 0xFF
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        first = content.index(signature)
        content[content.index(signature, first + 4) + offset] |= 1
    assert outcome(members_of(tmp_path / "x", bytes(content))) == [
        ("a.jpg", RejectReason.CHECKSUM), ("b.jpg", RejectReason.ENCRYPTED), ("in.zip", RejectReason.UNREADABLE),
        ("a.jpg", RejectReason.DUPLICATE_ITEM),
    ]  # fmt: skip


def unflagged(name: bytes) -> bytes:
    """A zip whose one member's name is these bytes, not flagged as UTF-8."""
    content = zip_of([("x" * len(name) + ".jpg", b"A")])
    return content.replace(b"x" * len(name), name)


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (zip_of([("İstanbul/kuş.jpg", b"A")]), "İstanbul/kuş.jpg"),
        (zip_of([("cafe\u0301.jpg", b"A")]), "caf\u00e9.jpg"),
        (unflagged("çarşı".encode()), "çarşı.jpg"),
        (unflagged("ç".encode("cp437")), "ç.jpg"),
        (tar_of([("çarşı/kuş.jpg", b"A")]), "çarşı/kuş.jpg"),
        (zip_of([("dir\\a.jpg", b"A")]), "dir/a.jpg"),
    ],
    ids=["utf8", "nfd", "utf8-unflagged", "cp437", "tar", "backslash"],
)
def test_names_are_unicode_nfc(tmp_path: Path, content: bytes, name: str) -> None:
    assert outcome(members_of(tmp_path / "x", content)) == [(name, b"A")]


def test_names_that_are_no_unicode_can_be_encoded(tmp_path: Path) -> None:
    content = tar_of([("xx.jpg", b"A")]).replace(b"xx.jpg\0", b"\xfe\xe7.jpg"[:6] + b"\0")
    header = bytearray(content[:512])
    header[148:156] = b" " * 8
    header[148:156] = f"{sum(header):06o}\0 ".encode()
    (member,) = members_of(tmp_path / "x", bytes(header) + content[512:])
    assert member.name.encode()
    assert safe_name(member.name)[1] == ""


GZ, XZ = PACKERS["gz"], PACKERS["xz"]
INNER = [("cat/a.jpg", b"A"), ("b.jpg", b"B"), ("read.me", b"R")]


def below(name: str, extra: list[tuple[str, Any]] | None = None) -> list[tuple[str, Any]]:
    wanted = [("cat/a.jpg", b"A"), ("b.jpg", b"B"), ("read.me", "unknown_type")]
    return [(f"{name}/{member}", what) for member, what in [*wanted, *(extra or [])]]


@pytest.mark.parametrize(
    "inner",
    [("in.zip", zip_of(INNER)), ("in.tar", tar_of(INNER)), ("in.tar.gz", tar_of(INNER, "w:gz")),
     ("in.txz", tar_of(INNER, "w:xz")), ("in.gz", GZ(tar_of(INNER))), ("in.cbz", zip_of(INNER)),
     ("noext", zip_of(INNER)), ("noext", tar_of(INNER)), ("sfx.zip", b"#!/bin/sh\n" * 99 + zip_of(INNER))],
    ids=["zip", "tar", "tar.gz", "txz", "gz", "cbz", "noext-zip", "noext-tar", "sfx"],
)  # fmt: skip
@pytest.mark.parametrize("form", ["zip", "deflate", "tar", "tar.gz"])
def test_archives_inside_are_read(tmp_path: Path, form: str, inner: tuple[str, bytes]) -> None:
    files = [("0.jpg", b"0"), inner, ("z.jpg", b"Z")]
    content = zip_bytes(files, zipfile.ZIP_DEFLATED) if form == "deflate" else FORMS[form](files)
    found = made.found_in(tmp_path, content)
    assert told(found) == [("0.jpg", b"0"), *below(inner[0]), ("z.jpg", b"Z")]
    assert [member.number for member in made.records(found)] == [0, 1, 2, 3]


def test_archives_are_opened_to_a_depth(tmp_path: Path) -> None:
    content = zip_of([("deep.jpg", b"D"), ("more.gz", GZ(PNG))])
    for level in range(4, 0, -1):
        content = FORMS["tar.gz" if level % 2 else "zip"]([(f"{level}.zip", content), (f"{level}.jpg", b"x")])
    found = made.found_in(tmp_path, content)
    assert told(found) == [
        ("1.zip/2.zip/3.zip/4.zip", "nested_too_deep"), ("1.zip/2.zip/3.zip/4.jpg", b"x"),
        ("1.zip/2.zip/3.jpg", b"x"), ("1.zip/2.jpg", b"x"), ("1.jpg", b"x"),
    ]  # fmt: skip
    deeper = made.found_in(tmp_path, content, replace(LIMITS, depth=5))
    assert ("1.zip/2.zip/3.zip/4.zip/deep.jpg", b"D") in told(deeper)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("in.zip", b"no zip", "unreadable"), ("in.zip", zip_of(INNER)[:-30], "unreadable"), ("in.7z", b"", "empty"),
        ("in.tar.gz", GZ(b"no tar at all" * 99), "unreadable"), ("in.rar", b"Rar!\x1a\x07\x01\0", "unknown_type"),
        ("in.tar.gz", GZ(tar_of(INNER))[:-9], "unreadable"),
    ],
    ids=["junk", "cut-zip", "empty", "no-tar", "rar", "cut-tar"],
)  # fmt: skip
@pytest.mark.parametrize("form", ["zip", "tar.gz"])
def test_a_damaged_archive_inside_costs_itself(
    tmp_path: Path, form: str, name: str, content: bytes, reason: str
) -> None:
    found = told(made.found_in(tmp_path, FORMS[form]([(name, content), ("z.jpg", b"Z")])))
    assert found[-2:] == [(name, reason), ("z.jpg", b"Z")]


@pytest.mark.parametrize("form", ["zip", "tar.gz"])
@pytest.mark.parametrize(
    "parts",
    [
        dict(zip(("p.zip.001", "p.zip.002", "p.zip.003"), cut(zip_of(INNER), 50, 200), strict=True)),
        dict(zip(("p.tar.gz.aa", "p.tar.gz.ab"), cut(GZ(tar_of(INNER)), 60), strict=True)),
        dict(zip(("p.z01", "p.z02", "p.zip"), cut(zip_of(INNER), 50, 200), strict=True)),
        dict(
            zip(
                ("p.z01", "p.zip"),
                cut(raw_zip([(n.encode(), d) for n, d in INNER], disks=[70]), 70),
                strict=True,
            )
        ),
    ],
    ids=["001", "aa", "z01-bytes", "z01-spanned"],
)
def test_split_archives_inside_are_joined(tmp_path: Path, form: str, parts: dict[str, bytes]) -> None:
    files = [*parts.items(), ("z.jpg", b"Z")]
    for order in (files, files[::-1]):
        name = next(iter(parts)).replace("z01", "zip").removesuffix(".001").removesuffix(".aa")
        if order != files and "p.z02" in parts:
            continue  # the last piece comes first, and does not say that it is one
        assert told(made.found_in(tmp_path, FORMS[form](order))) == [("z.jpg", b"Z"), *below(name)]
    missing = told(made.found_in(tmp_path, FORMS[form](files[1:])))
    assert [key for key, reason in missing if reason == "split_archive_incomplete"] == sorted(
        list(parts)[1:]
    ) or ("p.z01" in parts)


@pytest.mark.parametrize(
    "parts",
    [
        cut(zip_of(INNER), 50, 200)[:2], cut(GZ(tar_of(INNER)), 60, 90)[:2], cut(tar_of(INNER), 512, 1024)[:2],
    ],
    ids=["zip", "tar.gz", "tar"],
)  # fmt: skip
def test_missing_last_parts_are_told(tmp_path: Path, parts: list[bytes]) -> None:
    with pytest.raises(TruncatedArchiveError):
        made.found_in(tmp_path, parts)
    name = "p.zip" if parts[0].startswith(b"PK") else "p.tar.gz"
    inside = zip_of(
        [*((f"{name}.{number:03d}", part) for number, part in enumerate(parts, 1)), ("z.jpg", b"Z")]
    )
    assert told(made.found_in(tmp_path, inside)) == [
        ("z.jpg", b"Z"), (f"{name}.001", "split_archive_incomplete"), (f"{name}.002", "split_archive_incomplete"),
    ]  # fmt: skip


def test_what_is_called_like_a_part_is_told(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="Duplicate name"):
        twice = zip_of([("x.zip.tr", b"T"), ("x.zip.de", b"D"), ("y.zip.01", b"1"), ("y.zip.01", b"2")])
    assert told(made.found_in(tmp_path, twice)) == [
        ("y.zip.01", "duplicate_item"), ("y.zip", "unreadable"), ("x.zip.de", "unknown_type"),
        ("x.zip.tr", "unknown_type"),
    ]  # fmt: skip


def test_what_is_a_record_and_what_is_left_out(tmp_path: Path) -> None:
    jpeg = b"\xff\xd8\xff\xe0" + b"j" * 50
    files = [
        ("a.jpg", b"not looked at"), ("0001", jpeg), ("b.jpg_large", jpeg), ("c.dat", PNG), ("d.mpo", jpeg),
        ("e.txt", b"words"), ("f.pdf", b"%PDF-1.7"), ("g", b""), (".h.jpg", jpeg), (".git/i.jpg", jpeg),
        ("j.jpg.gz", GZ(jpeg)), ("k.csv.gz", GZ(b"a,b")), ("l.gz", b"no gzip"), ("Thumbs.db", b"x"),
        ("big", jpeg + bytes(LIMITS.member_bytes)), ("./m.jpg", b"M"), ("n\\o.jpg", b"O"),
    ]  # fmt: skip
    found = made.found_in(tmp_path, zip_of(files))
    assert told(found) == [
        ("a.jpg", b"not looked at"), ("0001", jpeg), ("b.jpg_large", jpeg), ("c.dat", PNG), ("d.mpo", jpeg),
        ("e.txt", "unknown_type"), ("f.pdf", "unknown_type"), ("g", "unknown_type"), (".h.jpg", "hidden"),
        (".git/i.jpg", "hidden"), ("j.jpg.gz", jpeg), ("k.csv.gz", "unknown_type"), ("l.gz", "unknown_type"),
        ("Thumbs.db", "os_junk"), ("big", "too_many_bytes"), ("m.jpg", b"M"), ("n/o.jpg", b"O"),
    ]  # fmt: skip
    details = {one.key: one.detail for one in found if isinstance(one, LeftOut)}
    assert (details["e.txt"], details["f.pdf"]) == ("text", "PDF")


@pytest.mark.parametrize("form", made.PACKERS)
def test_a_packed_image_is_one(tmp_path: Path, form: str) -> None:
    """By the name that it has upstream: the file itself may lie in a cache."""
    path = tmp_path / "x"
    path.write_bytes(made.PACKERS[form](b"A" * 9))
    where = f"in/a.jpg.{form}"
    assert told(list(read_members(path, Reading(LIMITS), where=where))) == [("a.jpg", b"A" * 9)]
    path.write_bytes(path.read_bytes()[:-6])
    [cut] = read_members(path, Reading(LIMITS), where=where)
    assert told([cut])[0] in {("a.jpg", "unreadable"), ("a.jpg", "truncated")}
    path.write_bytes(made.PACKERS[form](tar_of(PLAIN)))
    assert [name for name, _ in told(list(read_members(path, Reading(LIMITS), where=where)))] == [
        f"a.jpg/{name}" for name, _ in PLAIN
    ]
    assert is_opened(where)


def test_an_archive_inside_shares_the_limits(tmp_path: Path) -> None:
    many = zip_of([(f"{number}.jpg", b"x") for number in range(6)])
    for files in ([("in.zip", many)], [("a.zip", many[:0]), ("b.tar", tar_of([("in.zip", many)]))]):
        with pytest.raises(BombError, match="more than 5 members"):
            made.found_in(tmp_path, zip_of(files), replace(LIMITS, members=5))


def test_names_are_numbers_apart_when_left_early(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    path.write_bytes(zip_bytes([("in.zip", zip_of(INNER)), ("z.jpg", b"Z")], zipfile.ZIP_DEFLATED))
    members = read_members(path, Reading(LIMITS, spool_dir=tmp_path / "spool"), where="x")
    assert next(members)
    members.close()  # type: ignore[attr-defined]  # a generator
    assert not list((tmp_path / "spool").iterdir())


def test_the_window_of_a_packed_stream_is_bounded(tmp_path: Path) -> None:
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 2**29}]
    content = lzma.compress(tar_of(INNER), filters=filters)
    with pytest.raises(DamagedArchiveError, match="xz data is damaged"):
        made.found_in(tmp_path, content)
    parameters = zstd.CompressionParameter
    options: Mapping[int, int] = {parameters.window_log: 30, parameters.enable_long_distance_matching: 1}
    packer = zstd.ZstdCompressor(options=options)
    with pytest.raises(DamagedArchiveError, match="zstd data is damaged"):
        made.found_in(tmp_path, packer.compress(tar_of(INNER)) + packer.flush())


def test_the_last_part_of_a_split_zip_may_be_damaged(tmp_path):
    """It is spooled to wait for the others; what does not hash to its CRC is a reject, and the archive goes on."""
    inner = bytearray(zip_bytes([("a.jpg", PNG)]))
    at = inner.rindex(b"PK\5\6")
    inner[at + 4] = 1  # this is disk 1 of several
    outer = zip_bytes([("in.zip", bytes(inner)), ("b.jpg", PNG)]).replace(
        bytes(inner), bytes(inner[:-1]) + b"!"
    )
    assert told(found_in(tmp_path / "x.zip", outer)) == [("in.zip", "checksum"), ("b.jpg", PNG)]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "it has no bytes"),
        (b"version https://git-lfs.github.com/spec/v1\n", "it is a Git LFS pointer; fetch the file itself"),
        (b"<!DOCTYPE html><html>", "it is an HTML page"),
        (b"\0\1\2", "no archive of a known format$"),
    ],
    ids=["empty", "pointer", "page", "anything"],
)
def test_what_is_called_an_archive_and_is_none_is_named(tmp_path: Path, content: bytes, told: str) -> None:
    with pytest.raises(DamagedArchiveError, match=told):
        made.found_in(tmp_path, content)
