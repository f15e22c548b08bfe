"""Files that somebody names, read within bounds: a pipe never opens, a device never ends, a sparse file fills memory.

What a name leads to is looked at before it is read. A refusal is an `OSError` with its reason, as of any file that
cannot be read.
"""

import errno
import os
from hashlib import file_digest
from io import BufferedReader
from pathlib import Path
from stat import S_ISREG
from typing import Final

_OF_MIB: Final = 20


def open_plain(path: Path) -> BufferedReader:
    """A regular file, opened for reading; nothing else is waited for.

    Raises:
        OSError: it is none, or cannot be opened; names it.
    """
    _check_plain(path, path.stat().st_mode)  # before it is opened: of some devices that does something
    file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    try:
        _check_plain(path, os.fstat(file.fileno()).st_mode)
    except OSError:
        file.close()
        raise
    return file


def read_plain(path: Path, most_bytes: int) -> bytes:
    """All of a regular file of at most so many bytes.

    Raises:
        OSError: it is none, is larger, or cannot be read; names it.
    """
    with open_plain(path) as file:
        # Files of /proc say that they are empty, and what grows is larger than it said.
        fits = os.fstat(file.fileno()).st_size <= most_bytes
        data = file.read(most_bytes + 1) if fits else b""
    if not fits or len(data) > most_bytes:
        raise OSError(errno.EFBIG, f"larger than {_spoken(most_bytes)}", str(path))
    return data


def sha256_of(path: Path) -> str:
    """Of a regular file of any size, in hex.

    Raises:
        OSError: it is none, or cannot be read; names it.
    """
    with open_plain(path) as file:
        return file_digest(file, "sha256").hexdigest()


def _check_plain(path: Path, mode: int) -> None:
    if not S_ISREG(mode):
        raise OSError(errno.EINVAL, "no regular file", str(path))


def _spoken(size_bytes: int) -> str:
    return f"{size_bytes >> _OF_MIB} MiB" if size_bytes >> _OF_MIB else f"{size_bytes:,} bytes"
