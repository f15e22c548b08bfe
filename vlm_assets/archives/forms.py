"""Which format an archive is in, by its content; whether all parts of a split one are there."""

import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Final

from vlm_assets.archives.joined import open_joined, part_starts
from vlm_assets.archives.limits import Budget, DamagedArchiveError, MissingPartsError, TruncatedArchiveError
from vlm_assets.archives.members import Entry
from vlm_assets.archives.names import Encodings
from vlm_assets.archives.streams import Peeked, Stream, compression_of, decompressed
from vlm_assets.archives.tars import BLOCK, TarReader, looks_like_tar
from vlm_assets.archives.zip_directory import has_directory, read_directory

ZIP: Final = "zip"
SEVEN_ZIP: Final = "7z"
TAR: Final = "tar"
_MAGIC: Final = (
    (b"PK\x03\x04", ZIP), (b"PK\x05\x06", ZIP), (b"PK\x07\x08", ZIP), (b"PK00PK", ZIP),
    (b"7z\xbc\xaf\x27\x1c", SEVEN_ZIP),
)  # fmt: skip
_START_7Z: Final = struct.Struct("<6s2BLQQL")


def form_of(head: bytes) -> str | None:
    """The format that a file's first block announces: of an archive, or of a compression around one."""
    for magic, form in _MAGIC:
        if head.startswith(magic):
            return form
    packed = compression_of(head)
    if packed is not None:
        return packed
    is_empty_tar = len(head) >= BLOCK and not head.strip(b"\0")
    return TAR if is_empty_tar or looks_like_tar(head) else None


def is_archive_head(head: bytes | None) -> bool:
    """Whether a file's first bytes are those of an archive. Of what is packed as a whole they do not tell.

    Zeros are none, though a tar without members has no other bytes.
    """
    return head is not None and bool(head.strip(b"\0")) and form_of(head) in {ZIP, SEVEN_ZIP, TAR}


def form_of_file(file: BinaryIO) -> str | None:
    """The format of an open file, from its start; a zip also by its end, for something may stand in front of it."""
    file.seek(0)
    form = form_of(file.read(BLOCK))
    if form is None and has_directory(file):
        form = ZIP
    file.seek(0)
    return form


def open_tar(
    file: Stream,
    form: str,
    budget: Budget,
    *,
    encoding: Encodings = None,
    positioned: BinaryIO | None = None,
) -> TarReader:
    """A tar, packed or plain.

    Raises:
        DamagedArchiveError: what was packed is no tar.
    """
    if form == TAR:
        return TarReader(file, budget, encoding=encoding, file=positioned)
    stream = decompressed(file, form, budget)
    head = stream.read(BLOCK)
    if form_of(head) != TAR:
        raise DamagedArchiveError(f"{budget.where}: what the {form} data holds is no tar")
    return TarReader(Peeked(head, stream), budget, encoding=encoding)


def check_whole(parts: Sequence[Path], budget: Budget) -> None:
    """Returns where the parts of a split archive make a whole one. A packed tar is unpacked for that.

    Raises:
        MissingPartsError: the last parts are missing.
        DamagedArchiveError: they make no archive.
        BombError: it unpacks to too much.
    """
    try:
        _read_through(parts, budget)
    except TruncatedArchiveError as error:
        raise MissingPartsError(str(error)) from error


def _read_through(parts: Sequence[Path], budget: Budget) -> None:
    with open_joined(parts) as file:
        form = form_of_file(file)
        if form is None:
            raise DamagedArchiveError(f"{budget.where}: the parts joined are no archive of a known format")
        if form == SEVEN_ZIP:
            _check_seven_zip(file, budget.where)
            return
        members: Iterator[object]
        if form == ZIP:
            members = read_directory(file, budget.where, part_starts(parts))
        else:
            members = _entries(file, form, budget)
        for _ in members:
            pass


def _entries(file: BinaryIO, form: str, budget: Budget) -> Iterator[Entry]:
    reader = open_tar(file, form, budget, positioned=file if form == TAR else None)
    return reader.entries()


def _check_seven_zip(file: BinaryIO, where: str) -> None:
    """By the start header, which says where the end one is (7zFormat.txt, SignatureHeader)."""
    start = file.read(_START_7Z.size)
    size = file.seek(0, 2)
    if len(start) == _START_7Z.size:
        _, _, _, _, offset, length, _ = _START_7Z.unpack(start)
        if _START_7Z.size + offset + length <= size:
            return
    raise TruncatedArchiveError(f"{where}: the 7z archive is truncated ({size} bytes)")
