"""Faults of the disk as errors of ours, with the path, whoever met them: the one place where that is decided."""

import errno
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

from vlm_assets.words.errors import DiskFullError, StoreError, write_error

Params = ParamSpec("Params")
Result = TypeVar("Result")

_OF_THE_DISK: Final = frozenset(
    {
        errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EACCES, errno.EPERM, errno.EROFS, errno.EMFILE, errno.ENFILE,
        errno.ENODEV, errno.ENXIO, errno.ESTALE, errno.EFBIG, errno.EMLINK, errno.ENAMETOOLONG, errno.EXDEV,
        errno.EEXIST, errno.ENOTEMPTY,  # what could not be removed before
    }
)  # fmt: skip


@contextmanager
def naming(path: str | os.PathLike[str]) -> Iterator[None]:
    """What the disk says inside of an open file, which knows no name, says it of this path."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = os.fspath(path)
        raise


@contextmanager
def naming_database(path: str | os.PathLike[str]) -> Iterator[None]:
    """What sqlite says is said of this file: its own errors have no name.

    Raises:
        DiskFullError: the volume is full.
        StoreError: anything else.
    """
    try:
        yield
    except sqlite3.DatabaseError as error:
        full = "full" in str(error) or ("unable to open" in str(error) and _is_full(Path(path).parent))
        raise (DiskFullError if full else StoreError)(f"{os.fspath(path)}: {error}") from error


def _is_full(folder: Path) -> bool:
    """Whether a file has no room there: sqlite says of its journal only that it cannot be opened."""
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".room."):
            return False
    except OSError as error:
        return error.errno in {errno.ENOSPC, errno.EDQUOT}


def remove_tree(path: Path) -> None:
    """Deletes a folder that nobody commits. Errors name the whole path: `rmtree` tells names below a descriptor."""
    try:
        shutil.rmtree(path)
    except OSError as error:
        error.filename = str(path / str(error.filename or ""))
        raise


def named_disk_errors(step: Callable[Params, Result]) -> Callable[Params, Result]:
    """The step, which raises `DiskFullError` or `StoreError` where it raised what the disk said, raw.

    For the entrances of the core: a file that is written has its own place for that; renames, links, folders and
    small databases are too many. What the disk has said is never taken for content, and everything that is
    committed stays valid.
    """

    @wraps(step)
    def named(*args: Params.args, **kwargs: Params.kwargs) -> Result:
        try:
            with naming_database(f"{step.__name__}: a database under the data root"):
                return step(*args, **kwargs)
        except OSError as error:
            if error.errno not in _OF_THE_DISK:
                raise
            # Of two names the second is the one that could not be made: a link's first is what it points at.
            where = error.filename2 or error.filename or f"{step.__name__}: a file"
            raise write_error(where, error) from error

    return named
