"""The kernel asks before each call of a process that changes the disk: seccomp's user notifications (seccomp(2)).

So it does not matter who calls: Python, Arrow's threads, sqlite, a program that was started. No compiler is needed,
and no privilege. A filter goes over to every child; the listener hangs up when the last of them is gone.
"""

import ctypes
import fcntl
import os
import platform
import struct
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_PR_SET_NO_NEW_PRIVS: Final = 38
_SET_MODE_FILTER: Final = 1
_NEW_LISTENER: Final = 8
_RECEIVE: Final = 0xC0502100
_ANSWER: Final = 0xC0182101
_GO_ON: Final = 1
_AT_FDCWD: Final = -100
_PAGE: Final = 4096
_NOTIFICATION: Final = struct.Struct("=QIIiIQ6Q")
_REPLY: Final = struct.Struct("=QqiI")
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class _Where:
    """Which arguments of a call tell the path: a descriptor's, or the path's, maybe beside that of a folder."""

    numbers: tuple[int | None, int | None]
    """On x86_64 and aarch64."""
    descriptor: int = -1
    path: int = -1
    folder: int = -1


_CALLS: Final[Mapping[str, _Where]] = {
    "write": _Where((1, 64), descriptor=0),
    "writev": _Where((20, 66), descriptor=0),
    "pwrite64": _Where((18, 68), descriptor=0),
    "pwritev": _Where((296, 70), descriptor=0),
    "pwritev2": _Where((328, 287), descriptor=0),
    "sendfile": _Where((40, 71), descriptor=0),
    "copy_file_range": _Where((326, 285), descriptor=2),
    "fsync": _Where((74, 82), descriptor=0),
    "fdatasync": _Where((75, 83), descriptor=0),
    "ftruncate": _Where((77, 46), descriptor=0),
    "fallocate": _Where((285, 47), descriptor=0),
    "fchmod": _Where((91, 52), descriptor=0),
    "open": _Where((257, 56), path=1, folder=0),
    "truncate": _Where((76, 45), path=0),
    "rename": _Where((82, None), path=1),
    "renameat": _Where((264, 38), path=3, folder=2),
    "renameat2": _Where((316, 276), path=3, folder=2),
    "link": _Where((86, None), path=1),
    "linkat": _Where((265, 37), path=3, folder=2),
    "symlink": _Where((88, None), path=1),
    "symlinkat": _Where((266, 36), path=2, folder=1),
    "unlink": _Where((87, None), path=0),
    "unlinkat": _Where((263, 35), path=1, folder=0),
    "rmdir": _Where((84, None), path=0),
    "mkdir": _Where((83, None), path=0),
    "mkdirat": _Where((258, 34), path=1, folder=0),
    "chmod": _Where((90, None), path=0),
    "fchmodat": _Where((268, 53), path=1, folder=0),
}  # fmt: skip
_READS: Final[Mapping[str, _Where]] = {
    "read": _Where((0, 63), descriptor=0),
    "readv": _Where((19, 65), descriptor=0),
    "pread64": _Where((17, 67), descriptor=0),
    "preadv": _Where((295, 69), descriptor=0),
    "preadv2": _Where((327, 286), descriptor=0),
}
NEEDS_SPACE: Final = frozenset(
    {"write", "writev", "pwrite64", "pwritev", "pwritev2", "sendfile", "copy_file_range", "fallocate", "open",
     "link", "linkat", "symlink", "symlinkat", "mkdir", "mkdirat"}
)  # fmt: skip
"""What a full disk refuses."""
_HERE: Final = {"x86_64": 0, "aarch64": 1}.get(platform.machine(), -1)
_BY_NUMBER: Final = {} if _HERE < 0 else {
    number: (name, where)
    for name, where in {**_CALLS, **_READS}.items() if (number := where.numbers[_HERE]) is not None
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Call:
    """One call that waits for an answer."""

    id: int
    thread: int
    name: str
    path: str
    """Absolute; of a rename or link the new name. Empty where it is gone."""


def ask_before_each(*, reads: bool = False) -> int:
    """From now on calls of this process, and of what it starts, wait for an answer; the listener's descriptor.

    `reads`: not calls that change the disk, but those that read from it.

    Raises:
        OSError: this kernel, or what this process runs in, does not allow it.
    """
    if not _BY_NUMBER:
        raise OSError(0, f"no numbers of calls on {platform.machine()}")
    program = b"".join(_filter(_READS if reads else _CALLS))
    code = ctypes.create_string_buffer(program)
    header = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(program) // 8, ctypes.addressof(code)))
    _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    number = {0: 317, 1: 277}[_HERE]
    listener: int = _libc.syscall(number, _SET_MODE_FILTER, _NEW_LISTENER, header)
    if listener < 0:
        raise OSError(ctypes.get_errno(), f"seccomp: {os.strerror(ctypes.get_errno())}")
    return listener


def _filter(wanted_calls: Mapping[str, _Where]) -> list[bytes]:
    """Berkeley packet filter: standard streams and files that are not made pass, as does what is not in the table."""

    def step(code: int, value: int, yes: int = 0, no: int = 0) -> bytes:
        return struct.pack("HBBI", code, yes, no, value)

    load, equal, greater, has, give = 0x20, 0x15, 0x25, 0x45, 0x06
    asked = {number: name for number, (name, _) in _BY_NUMBER.items() if name in wanted_calls}
    streams = [number for number, name in asked.items() if name in {"write", "writev"}]
    opens = [number for number, name in asked.items() if name == "open"]
    others = [number for number in asked if number not in (*streams, *opens)]
    end = [
        step(load, 16), step(greater, 2, 2, 3),  # write: the descriptor
        step(load, 32), step(has, os.O_CREAT, 0, 1),  # open: the flags
        step(give, 0x7FC00000), step(give, 0x7FFF0000),
    ]  # fmt: skip
    wanted = [(number, 4) for number in others] + [(number, 0) for number in streams]
    wanted += [(number, 2) for number in opens]
    head = [step(load, 0)]
    for place, (number, target) in enumerate(wanted):
        head.append(step(equal, number, len(wanted) - place + target))
    head.append(step(0x05, 5))  # to the last
    return [*head, *end]


def next_call(listener: int) -> Call | None:
    """The call that waits; None where its process is gone. To be asked when the listener is readable."""
    content = bytearray(_NOTIFICATION.size)
    try:
        fcntl.ioctl(listener, _RECEIVE, content, True)  # noqa: FBT003 - ioctl's
    except FileNotFoundError:
        return None
    number, thread, _, called, _, _, *arguments = _NOTIFICATION.unpack(content)
    name, where = _BY_NUMBER[called]
    return Call(number, thread, name, _path(thread, where, arguments))


def answer(listener: int, call: Call, error: int = 0) -> None:
    """Lets the call be made, or fails it with an errno."""
    reply = bytearray(_REPLY.pack(call.id, 0, -error, 0 if error else _GO_ON))
    with suppress(FileNotFoundError):  # killed meanwhile
        fcntl.ioctl(listener, _ANSWER, reply, True)  # noqa: FBT003 - ioctl's


def _path(thread: int, where: _Where, arguments: list[int]) -> str:
    try:
        if where.descriptor >= 0:
            return str(Path(f"/proc/{thread}/fd/{arguments[where.descriptor]}").readlink())
        given = _text(thread, arguments[where.path])
        if given.startswith("/"):
            return os.path.normpath(given)
        folder = _AT_FDCWD if where.folder < 0 else ctypes.c_int(arguments[where.folder]).value
        beside = "cwd" if folder == _AT_FDCWD else f"fd/{folder}"
        return os.path.normpath(Path(f"/proc/{thread}/{beside}").readlink() / given)
    except OSError:
        return ""


def _text(thread: int, address: int) -> str:
    """What stands at an address of the process until the first zero byte."""
    memory = os.open(f"/proc/{thread}/mem", os.O_RDONLY)
    try:
        text = b""
        while b"\0" not in text:
            place = address + len(text)
            text += os.pread(memory, _PAGE - place % _PAGE, place)
        return os.fsdecode(text.partition(b"\0")[0])
    finally:
        os.close(memory)
