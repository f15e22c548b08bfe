"""Archives made for tests: what the standard library writes, and what it would not."""

import bz2
import gzip
import io
import lzma
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import lz4.frame
import py7zr
from backports import zstd

from vlm_assets.archives.limits import ArchiveLimits
from vlm_assets.archives.members import Found, Member
from vlm_assets.archives.read import Reading, read_members
from vlm_assets.words.errors import LeftOut

LIMITS = ArchiveLimits(member_bytes=100_000)
PNG = b"\x89PNG\r\n\x1a\n" + b"not looked at any further"

Files = Sequence[tuple[str, bytes]]


def zip_bytes(files: Files, method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in files:
            archive.writestr(name, data)
    return buffer.getvalue()


def tar_bytes(files: Files, mode: str = "w", form: int = tarfile.PAX_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode, format=form) as archive:  # type: ignore[call-overload]
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def special_tar(*infos: tuple[str, bytes, str]) -> bytes:
    """A tar of members without bytes: name, type, what a link leads to."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, kind, target in infos:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            archive.addfile(info)
    return buffer.getvalue()


def header(name: str, size: int, kind: bytes = b"0") -> bytes:
    """A tar header that claims a size, without the bytes."""
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return info.tobuf(tarfile.GNU_FORMAT)


def seven_zip_bytes(files: Files, **options: Any) -> bytes:
    buffer = io.BytesIO()
    with py7zr.SevenZipFile(buffer, "w", **options) as archive:
        for name, data in files:
            archive.writestr(data, name)
    return buffer.getvalue()


def raw_zip(
    files: Sequence[tuple[bytes, bytes]], *, flags: int = 0, method: int = 0, packed: Sequence[bytes] | None = None,
    extra: bytes = b"", disks: Sequence[int] = (), mode: int = 0, prefix: bytes = b"", size: int | None = None,
) -> bytes:  # fmt: skip
    """A zip whose names are these bytes. `disks`: where each part but the first begins, for a spanned one."""
    body, directory = io.BytesIO(), io.BytesIO()
    starts = [0, *disks]

    def disk_of(offset: int) -> int:
        return max(number for number, start in enumerate(starts) if start <= offset)

    for number, (name, data) in enumerate(files):
        stored = packed[number] if packed is not None else data
        told = len(data) if size is None else size
        offset = body.tell()
        disk = disk_of(offset)
        body.write(struct.pack(
            "<4s5H3L2H", b"PK\x03\x04", 20, flags, method, 0, 33, zlib.crc32(data), len(stored), told, len(name), 0
        ) + name + stored)  # fmt: skip
        directory.write(struct.pack(
            "<4s6H3L5H2L", b"PK\x01\x02", 3 << 8, 20, flags, method, 0, 33, zlib.crc32(data), len(stored), told,
            len(name), len(extra), 0, disk, 0, mode << 16, offset - starts[disk],
        ) + name + extra)  # fmt: skip
    at = body.tell()
    disk, entries = disk_of(at), directory.getvalue()
    end = struct.pack(
        "<4s4H2LH", b"PK\x05\x06", disk, disk, len(files), len(files), len(entries), at - starts[disk], 0
    )
    return prefix + body.getvalue() + entries + end


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress, "zst": zstd.compress,
    "lz4": lz4.frame.compress,
}  # fmt: skip


def cut(content: bytes, *at: int) -> list[bytes]:
    """Pieces of a file."""
    edges = [0, *at, len(content)]
    return [content[start:stop] for start, stop in pairwise(edges)]


def found_in(
    folder: Path, content: bytes | Sequence[bytes], limits: ArchiveLimits = LIMITS, **options: Any
) -> list[Found]:
    """Everything that an archive gives; several contents are its parts. Nothing is left of the spool."""
    parts = [content] if isinstance(content, bytes) else content
    paths = [folder / f"x{number:03d}" for number in range(len(parts))]
    for path, part in zip(paths, parts, strict=True):
        path.write_bytes(part)
    spool = folder / "spool"
    found = list(read_members(paths, Reading(limits, spool_dir=spool, **options), where="x"))
    assert not spool.exists() or not list(spool.iterdir())
    return found


def told(found: Sequence[Found]) -> list[tuple[str, Any]]:
    """Names with the bytes of records, the reason of the others."""
    return [
        (one.key, str(one.reason)) if isinstance(one, LeftOut)
        else (one.name, one.data if one.data is not None else str(one.reason))
        for one in found
    ]  # fmt: skip


def records(found: Sequence[Found]) -> list[Member]:
    return [one for one in found if isinstance(one, Member)]
