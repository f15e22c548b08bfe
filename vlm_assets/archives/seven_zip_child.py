"""The far end of a 7z reader: a process of its own, so that no archive can crash or fill the one that asks.

`py7zr` unpacks; its headers are parsed into memory and its decoders in C allocate what the archive asks for, so the
address space is bounded. Started by `seven_zip` as a fresh interpreter; answers on standard output in frames: four
bytes of length and so many bytes, JSON (one list) for a member or its end, raw bytes for its data.
"""

import json
import os
import resource
import sys
import zlib
from typing import Any, BinaryIO, Final, cast

from vlm_assets.archives.joined import JoinedFile
from vlm_assets.words.errors import of_the_disk

FRAME_BYTES: Final = 2**18
ENCRYPTED: Final = "encrypted"
UNREADABLE: Final = "unreadable"
CHECKSUM: Final = "checksum"
DAMAGED: Final = "damaged"
DISK: Final = "disk"
"""The archive cannot be read at all now: no fault of a member's."""


def main(arguments: list[str]) -> None:
    """Writes every member of an archive. `arguments`: bound of the address space, then the archive's parts."""
    answers = os.fdopen(os.dup(1), "wb", buffering=2**19)
    os.dup2(2, 1)  # a library that prints must not be taken for an answer
    memory_bytes = int(arguments[0])
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        _serve([os.fsencode(one) for one in arguments[1:]], answers)
    except BrokenPipeError:  # nobody asks any longer
        os._exit(0)


def _serve(parts: list[bytes], answers: BinaryIO) -> None:
    import py7zr  # noqa: PLC0415 - within the bound of memory

    file = JoinedFile([os.fsdecode(part) for part in parts])
    try:
        archive = py7zr.SevenZipFile(cast("BinaryIO", file))
    except py7zr.PasswordRequired:
        _tell(answers, ["fault", ENCRYPTED, "the names of its members are behind a password"])
    except MemoryError:
        _tell(answers, ["fault", DAMAGED, "its header needs too much memory"])
    except Exception as error:  # noqa: BLE001  # the library raises whatever a damaged header makes it stumble over
        _tell(answers, ["fault", DISK if of_the_disk(error) else DAMAGED, _short(error)])
    else:
        _members(archive, answers)
        _tell(answers, ["end"])
    answers.flush()


def _members(archive: Any, answers: BinaryIO) -> None:
    """All members in the archive's order; those of one folder (solid block) come out of one decoder."""
    starts = _folder_starts(archive)
    folder: Any = None
    broken: list[str] | None = None
    for file in getattr(archive, "files", ()):
        is_link = bool(file.is_symlink or file.is_junction or file.is_socket)
        size = 0 if file.emptystream else int(file.uncompressed)
        _tell(answers, ["member", str(file.filename), size, bool(file.is_directory), is_link])
        fault: list[str] | None = None
        if not file.emptystream:
            if file.folder is not folder:
                folder, broken = file.folder, None
                archive.fp.seek(starts[id(folder)])
            if broken is None:
                fault = _member(archive, file, answers)
                broken = None if fault is not None and fault[0] == CHECKSUM else fault
            fault = fault or broken
        _tell(answers, ["whole"] if fault is None else ["fault", *fault])


def _folder_starts(archive: Any) -> dict[int, int]:
    """Where the packed bytes of each folder begin, by the folder's `id`."""
    streams: Any = getattr(getattr(archive, "header", None), "main_streams", None)
    starts: dict[int, int] = {}
    packed = 0
    for folder in streams.unpackinfo.folders if streams else ():
        starts[id(folder)] = archive.afterheader + streams.packinfo.packpositions[packed]
        packed += len(folder.packed_indices)
    return starts


def _member(archive: Any, file: Any, answers: BinaryIO) -> list[str] | None:
    """Sends a member's bytes; why they end early, or None."""
    import py7zr  # noqa: PLC0415 - within the bound of memory

    left, crc = int(file.uncompressed), 0
    try:
        decoder = file.folder.get_decompressor(file.compressed)
        while left > 0:
            at = archive.fp.tell()
            data = decoder.decompress(archive.fp, min(left, FRAME_BYTES))
            if not data and archive.fp.tell() == at:
                return [UNREADABLE, f"ends {left} bytes early"]
            left -= len(data)
            crc = zlib.crc32(data, crc)
            _frame(answers, b"D", data)
    except py7zr.PasswordRequired:
        return [ENCRYPTED, "behind a password"]
    except MemoryError:
        return [UNREADABLE, "needs too much memory to unpack"]
    except BrokenPipeError:
        raise
    except Exception as error:  # noqa: BLE001  # as above
        return [DISK if of_the_disk(error) else UNREADABLE, _short(error)]
    if file.crc32 is not None and crc != file.crc32:
        return [CHECKSUM, f"CRC-32 {crc:08x}, {file.crc32:08x} in the header"]
    return None


def _tell(answers: BinaryIO, message: list[Any]) -> None:
    _frame(answers, b"J", json.dumps(message).encode())


def _frame(answers: BinaryIO, kind: bytes, data: bytes) -> None:
    answers.write(kind + len(data).to_bytes(4, "little"))
    answers.write(data)


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:150] or type(error).__name__


if __name__ == "__main__":
    main(sys.argv[1:])
