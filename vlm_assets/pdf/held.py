"""A document in memory that programs open by a name, as they would the file: no read of theirs can fail.

A read that fails inside a renderer looks like damage to it: it fills what is missing with white, and says nothing.
"""

import ctypes
import mmap
import os
import shutil
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_OPEN_FILES: Final = Path("/proc/self/fd")
MAX_HELD_BYTES: Final = 128 * 2**20
"""Each worker holds one. Larger documents are read where they lie."""


@dataclass(slots=True, weakref_slot=True, eq=False)
class HeldFile:
    """`path` is what to open, in this process and in what it starts with `descriptors`; `name` what to tell of it.

    The memory is freed with it.
    """

    path: Path
    name: str
    version: tuple[int, ...]
    """Of the file, when it was opened."""
    descriptors: tuple[int, ...] = ()

    @classmethod
    def of(cls, path: Path) -> "HeldFile":
        """The bytes of a file as they are now.

        Raises:
            OSError: it cannot be read to its end, or there is no memory for it.
        """
        with path.open("rb") as file:
            found = os.fstat(file.fileno())
            if found.st_size > MAX_HELD_BYTES:
                return cls(path, path.name, _version(found))
            descriptor = os.memfd_create("document", os.MFD_CLOEXEC)
            try:
                with os.fdopen(descriptor, "wb", closefd=False) as copy:
                    shutil.copyfileobj(file, copy, 2**20)
            except BaseException:
                os.close(descriptor)
                raise
        held = cls(_OPEN_FILES / str(descriptor), path.name, _version(found), (descriptor,))
        weakref.finalize(held, os.close, descriptor)
        return held

    def is_still(self, path: Path) -> bool:
        """Whether the file there is the one that was opened, unchanged since; False where there is none."""
        try:
            return _version(path.stat()) == self.version
        except FileNotFoundError:
            return False

    def mapped(self) -> "ctypes.Array[ctypes.c_ubyte] | None":
        """The same bytes, for a library that asks where a name leads; None where they lie in the file alone.

        Raises:
            MemoryError: there is no room for them.
        """
        if not self.descriptors:
            return None
        try:
            view = mmap.mmap(self.descriptors[0], 0, access=mmap.ACCESS_COPY)
        except OSError as error:
            raise MemoryError("no room for the document") from error
        return (ctypes.c_ubyte * len(view)).from_buffer(view)

    def told(self, text: str) -> str:
        """What a library says of it, by its name."""
        return text.replace(str(self.path), self.name)


def _version(found: os.stat_result) -> tuple[int, ...]:
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
