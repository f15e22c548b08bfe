"""Zip and tar archives read member by member, trusting nothing they say. Nothing is ever extracted to disk.

What is a record: every member with an image suffix, and every member that is refused. What is not: folders, the
droppings of operating systems (`__MACOSX`, `._*`, `.DS_Store`, `Thumbs.db`, `desktop.ini`), and other files (texts,
tables, scripts); they are counted by nobody, for an archive is a source of images.
"""

import bz2
import gzip
import io
import lzma
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, Final, cast

from vlm_assets.words.errors import RejectReason, SourceError
from vlm_assets.words.layout import nfc

IMAGE_SUFFIXES: Final = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".jp2", ".j2k", ".avif",
     ".ppm", ".pgm", ".pbm", ".pnm", ".heic", ".heif", ".jxl"}
)  # fmt: skip
ARCHIVE_SUFFIXES: Final = (
    ".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".tzst",
)  # fmt: skip
_NESTED: Final = (*ARCHIVE_SUFFIXES, ".rar", ".7z", ".gz", ".bz2", ".xz", ".zst")
_DROPPINGS: Final = frozenset({".ds_store", "thumbs.db", "desktop.ini"})
_DRIVE: Final = re.compile(r"^[A-Za-z]:")
_UTF8_FLAG: Final = 0x800
_ENCRYPTED_FLAG: Final = 0x1
_UNIX: Final = 3
_tarfile = tarfile  # the base class names a parameter like the module


@dataclass(frozen=True, slots=True)
class ArchiveLimits:
    """Where an archive counts as a bomb: the member is refused, or the whole archive is an error."""

    member_bytes: int
    """A larger member is a reject."""
    members: int = 5_000_000
    """More members than this: an error."""
    ratio: int = 200
    """Unpacked bytes over archive bytes, beyond the first GiB: an error. Image formats do not pack that well."""

    def check_total(self, unpacked_bytes: int, archive_bytes: int, where: str) -> None:
        """Raises where the archive as a whole unpacks to too much.

        Raises:
            SourceError: it does.
        """
        if unpacked_bytes > 2**30 and unpacked_bytes > self.ratio * max(archive_bytes, 1):
            raise SourceError(
                f"{where}: unpacks to more than {self.ratio} times its {archive_bytes} bytes; refused as a bomb"
            )


@dataclass(frozen=True, slots=True)
class Member:
    """One record of an archive: its bytes, or why there are none."""

    name: str
    """NFC, with `/`. Of an unsafe member: what it calls itself."""
    number: int
    """Place among the archive's records, refused ones included."""
    data: bytes | None
    reason: RejectReason | None = None
    detail: str = ""


def is_image_name(name: str) -> bool:
    """Whether a file name has the suffix of an image format, allowed or not."""
    return PurePosixPath(name.lower()).suffix in IMAGE_SUFFIXES


def is_archive_name(name: str) -> bool:
    """Whether a file name is one that `read_members` opens."""
    return name.lower().endswith(ARCHIVE_SUFFIXES)


def is_dropping(name: str) -> bool:
    """Whether a path is something an operating system left behind."""
    parts = PurePosixPath(name).parts
    last = parts[-1] if parts else ""
    return "__MACOSX" in parts or last.startswith("._") or last.lower() in _DROPPINGS


def read_members(
    path: Path, limits: ArchiveLimits, *, where: str, wanted: Callable[[str], bool] = is_image_name
) -> Iterator[Member]:
    """Every record of an archive in its own order, one in memory at a time.

    The format is taken from the content. `wanted` names the members that are records besides the refused ones. A
    name that comes twice is a reject from the second on.

    Raises:
        SourceError: no archive, truncated, damaged, or a bomb: it cannot be enumerated to its end.
    """
    seen: set[str] = set()
    raw = (
        _zip_members(path, limits, where, wanted)
        if is_zip(path)
        else _tar_members(path, limits, where, wanted)
    )
    for number, (name, data, reason, detail) in enumerate(raw):
        if reason is None and name in seen:
            yield Member(name, number, None, RejectReason.DUPLICATE_ITEM, "the archive has this name twice")
            continue
        seen.add(name)
        yield Member(name, number, data, reason, detail)


def is_zip(path: Path) -> bool:
    """Whether a file starts like a zip archive (or is an empty one)."""
    with path.open("rb") as stream:
        return stream.read(4) in (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")


_Raw = tuple[str, bytes | None, RejectReason | None, str]


def safe_name(name: str) -> tuple[str, str]:
    """A member's path in NFC with `/`, and why it is unsafe ("" where it is not)."""
    plain = nfc(name.replace("\\", "/"))
    while plain.startswith("./"):
        plain = plain[2:]
    if plain.startswith("/") or _DRIVE.match(plain):
        return plain, "an absolute path"
    if ".." in PurePosixPath(plain).parts:
        return plain, "leaves its folder"
    if not plain or "\0" in plain or any(ord(c) < 32 for c in plain):
        return plain, "control characters in the name"
    return plain, ""


def zip_name(info: zipfile.ZipInfo) -> str:
    """The member's name: UTF-8 where its bytes are that, flagged or not, else cp437 (APPNOTE 4.4.4)."""
    if info.flag_bits & _UTF8_FLAG:
        return info.filename
    try:
        return info.filename.encode("cp437").decode("utf-8")
    except UnicodeError:
        return info.filename


def zip_refusal(info: zipfile.ZipInfo, limits: ArchiveLimits) -> tuple[RejectReason, str] | None:
    """Why a zip member is not to be read at all, from its directory entry; None where it may be."""
    _, unsafe = safe_name(zip_name(info))
    if unsafe:
        return RejectReason.UNSAFE_MEMBER, unsafe
    mode = info.external_attr >> 16
    if info.create_system == _UNIX and stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        return RejectReason.UNSAFE_MEMBER, "a link or a device"
    if info.flag_bits & _ENCRYPTED_FLAG:
        return RejectReason.ENCRYPTED, "behind a password"
    if info.file_size > limits.member_bytes:
        return RejectReason.TOO_MANY_BYTES, f"{info.file_size} bytes, the cap is {limits.member_bytes}"
    return None


def read_zip_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, limits: ArchiveLimits) -> _Raw:
    """One member of an open zip: its bytes, or the reason for none. Reads no more than the cap, whatever it says."""
    name, _ = safe_name(zip_name(info))
    refused = zip_refusal(info, limits)
    if refused is not None:
        return name, None, *refused
    try:
        with archive.open(info) as stream:
            data = stream.read(limits.member_bytes + 1)
    except zipfile.BadZipFile as error:
        reason = RejectReason.CHECKSUM if "CRC" in str(error) else RejectReason.UNREADABLE
        return name, None, reason, _short(error)
    except (
        NotImplementedError,
        RuntimeError,
        EOFError,
        OSError,
        zlib.error,
        lzma.LZMAError,
        ValueError,
    ) as error:
        return name, None, RejectReason.UNREADABLE, _short(error)
    if len(data) > limits.member_bytes:
        return name, None, RejectReason.TOO_MANY_BYTES, f"more than {limits.member_bytes} bytes"
    if len(data) != info.file_size:
        return name, None, RejectReason.UNREADABLE, f"{len(data)} bytes, {info.file_size} in the directory"
    return name, data, None, ""


def open_zip(source: Path | IO[bytes], where: str) -> zipfile.ZipFile:
    """An open zip.

    Raises:
        SourceError: truncated or damaged: it has no readable directory.
    """
    try:
        return zipfile.ZipFile(source)
    except (zipfile.BadZipFile, ValueError, OverflowError, NotImplementedError) as error:
        raise SourceError(f"{where}: not a complete zip archive ({_short(error)})") from error


def _zip_members(
    path: Path, limits: ArchiveLimits, where: str, wanted: Callable[[str], bool]
) -> Iterator[_Raw]:
    with open_zip(path, where) as archive:
        infos = archive.infolist()
        if len(infos) > limits.members:
            raise SourceError(f"{where}: {len(infos)} members, the cap is {limits.members}")
        limits.check_total(sum(info.file_size for info in infos), path.stat().st_size, where)
        for info in infos:
            name, unsafe = safe_name(zip_name(info))
            if (info.is_dir() and not unsafe) or is_dropping(name):
                continue
            if _is_nested(name):
                yield name, None, RejectReason.UNREADABLE, "an archive inside an archive"
            elif unsafe or wanted(name):
                yield read_zip_member(archive, info, limits)


def _tar_members(
    path: Path, limits: ArchiveLimits, where: str, wanted: Callable[[str], bool]
) -> Iterator[_Raw]:
    unpacked = count = 0
    archive_bytes = path.stat().st_size
    try:
        with (
            _decompressed(path) as stream,
            tarfile.open(fileobj=stream, mode="r|", tarinfo=_StrictInfo, errorlevel=1) as archive,
        ):
            for info in archive:
                cast("Any", archive).members.clear()  # it keeps every header it has seen
                count += 1
                unpacked += info.size
                if count > limits.members:
                    raise SourceError(f"{where}: more than {limits.members} members")
                limits.check_total(unpacked, archive_bytes, where)
                member = _tar_member(archive, info, limits, wanted)
                if member is not None:
                    yield member
            _drain(stream, limits, where)
    except (tarfile.TarError, EOFError, OSError, zlib.error, lzma.LZMAError, ValueError) as error:
        raise SourceError(f"{where}: the archive is truncated or damaged ({_short(error)})") from error


def _drain(stream: IO[bytes], limits: ArchiveLimits, where: str) -> None:
    """Reads on past the tar's end mark, so that the compression's own checksum is checked too."""
    left = limits.member_bytes
    while chunk := stream.read(2**20):
        left -= len(chunk)
        if left < 0:
            raise SourceError(f"{where}: data without end behind the archive's end mark")


def _tar_member(
    archive: tarfile.TarFile, info: tarfile.TarInfo, limits: ArchiveLimits, wanted: Callable[[str], bool]
) -> _Raw | None:
    name, unsafe = safe_name(_tar_name(info.name))
    if is_dropping(name) or (info.isdir() and not unsafe):
        return None
    if unsafe or not info.isreg():
        return name, None, RejectReason.UNSAFE_MEMBER, unsafe or "a link or a device"
    if _is_nested(name):
        return name, None, RejectReason.UNREADABLE, "an archive inside an archive"
    if not wanted(name):
        return None
    if info.size > limits.member_bytes:
        return name, None, RejectReason.TOO_MANY_BYTES, f"{info.size} bytes, the cap is {limits.member_bytes}"
    stream = archive.extractfile(info)
    data = stream.read() if stream is not None else b""
    if len(data) != info.size:
        raise EOFError(f"{name} ends after {len(data)} of {info.size} bytes")
    return name, data, None, ""


class _StrictInfo(tarfile.TarInfo):
    """Makes a bad header an error. `tarfile` takes one in the middle, or no end marker, for the end."""

    @classmethod
    def fromtarfile(cls, tarfile: tarfile.TarFile) -> "_StrictInfo":
        """The next member; only two zero blocks end an archive."""
        errors = cast("Any", _tarfile)
        try:
            return super().fromtarfile(tarfile)
        except errors.EOFHeaderError:
            raise
        except errors.HeaderError as error:
            raise _tarfile.ReadError(f"no valid header at byte {tarfile.offset}: {error}") from error


def _tar_name(name: str) -> str:
    """Names that are not UTF-8 come as lone surrogates; read those as Latin-1."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return name.encode("utf-8", "surrogateescape").decode("latin-1")
    return name


def _decompressed(path: Path) -> IO[bytes]:
    with path.open("rb") as stream:
        head = stream.read(6)
    if head.startswith(b"\x1f\x8b"):
        return cast("IO[bytes]", gzip.open(path))
    if head.startswith(b"BZh"):
        return cast("IO[bytes]", bz2.open(path))
    if head.startswith(b"\xfd7zXZ\x00"):
        return cast("IO[bytes]", lzma.open(path))
    if head.startswith(b"\x28\xb5\x2f\xfd"):
        import pyarrow as pa

        return cast("IO[bytes]", io.BufferedReader(pa.input_stream(str(path), compression="zstd")))
    return path.open("rb")


def _is_nested(name: str) -> bool:
    return name.lower().endswith(_NESTED)


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:150] or type(error).__name__
