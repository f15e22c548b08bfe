import io
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from vlm_assets.archives.limits import ArchiveLimits, Budget
from vlm_assets.archives.members import Member
from vlm_assets.archives.names import is_archive_name, is_junk, safe_name
from vlm_assets.archives.read import Found, Reading, read_members
from vlm_assets.demo.services.pictures import tar_of, zip_of
from vlm_assets.words.errors import LeftOut, LeftOutReason, RejectReason, SourceError

LIMITS = ArchiveLimits(member_bytes=100_000)
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
