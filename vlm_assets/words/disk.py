"""Faults of the disk as errors of ours, with the path, whoever met them: the one place where that is decided."""

import errno
import sqlite3
from collections.abc import Callable
from functools import wraps
from typing import Final, ParamSpec, TypeVar

from vlm_assets.words.errors import DiskFullError, StoreError, write_error

Params = ParamSpec("Params")
Result = TypeVar("Result")

_OF_THE_DISK: Final = frozenset(
    {
        errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EACCES, errno.EPERM, errno.EROFS, errno.EMFILE, errno.ENFILE,
        errno.ENODEV, errno.ENXIO, errno.ESTALE, errno.EFBIG, errno.EMLINK, errno.ENAMETOOLONG, errno.EXDEV,
    }
)  # fmt: skip


def named_disk_errors(step: Callable[Params, Result]) -> Callable[Params, Result]:
    """The step, which raises `DiskFullError` or `StoreError` where it raised what the disk said, raw.

    For the entrances of the core: a file that is written has its own place for that; renames, links, folders and
    small databases are too many. What the disk has said is never taken for content, and everything that is
    committed stays valid.
    """

    @wraps(step)
    def named(*args: Params.args, **kwargs: Params.kwargs) -> Result:
        try:
            return step(*args, **kwargs)
        except OSError as error:
            if error.errno not in _OF_THE_DISK:
                raise
            raise write_error(error.filename or f"{step.__name__}: a file", error) from error
        except sqlite3.DatabaseError as error:
            kind = DiskFullError if "full" in str(error) else StoreError
            raise kind(f"{step.__name__}: a database under the data root: {error}") from error

    return named
