"""How near and far end talk: requests through a pipe and shared memory, answers as frames through a pipe.

A request may have gigabytes, and a worker may be stopped: so no more goes through the pipe to it than one holds, and
sending never waits. Buffers of a request (`pickle.PickleBuffer`) are copied once on each side.
"""

import os
import pickle
import struct
from collections.abc import Callable
from enum import IntEnum
from typing import IO, Any, Final, Literal

import orjson

Codec = Literal["pickle", "json"]
FRAME: Final = struct.Struct("<BQ")
_PIPED_BYTES: Final = 2_048
"""A pipe holds at least a page of 4 KiB, and is empty when a worker waits for a request."""


class Frame(IntEnum):
    """What a frame holds. Frames of the near end's own come from no handler."""

    READY = 0
    """Nothing: the worker takes requests."""
    MESSAGE = 1
    ANSWER = 2
    RAISED = 3
    """An error of this package as pickle, or a traceback as text, by the codec; ends the request."""


def put_request(shared: int, request: Any) -> bytes:
    """Writes what is large of a request into the shared memory; gives what is to be sent: a line, and the rest."""
    buffers: list[pickle.PickleBuffer] = []
    head = pickle.dumps(request, protocol=5, buffer_callback=buffers.append)
    parts = [buffer.raw() for buffer in buffers]
    piped = head if len(head) <= _PIPED_BYTES else b""
    if not piped:
        parts.insert(0, memoryview(head))
    os.ftruncate(shared, 0)  # gives the last request's pages back
    offset = 0
    for part in parts:
        rest = part
        while rest:
            written = os.pwrite(shared, rest, offset)
            rest, offset = rest[written:], offset + written
    return b" ".join([b"%d" % len(piped), *(b"%d" % part.nbytes for part in parts)]) + b"\n" + piped


def take_request(shared: int, line: bytes, rest: IO[bytes]) -> Any:
    """The request that a line tells of; `rest` is what follows the line."""
    piped, *sizes = map(int, line.split())
    buffers = _read_parts(shared, sizes)
    head = rest.read(piped) if piped else buffers.pop(0)
    return pickle.loads(head, buffers=buffers)  # noqa: S301 - of the process that started this one


def _read_parts(shared: int, sizes: list[int]) -> list[bytes]:
    parts, offset = [], 0
    for size in sizes:
        part = os.pread(shared, size, offset)
        while len(part) < size:  # a read gives 2 GiB at most
            part += os.pread(shared, size - len(part), offset + len(part))
        parts.append(part)
        offset += size
    return parts


ENCODE: Final[dict[Codec, Callable[[Any], bytes]]] = {"pickle": pickle.dumps, "json": orjson.dumps}
DECODE: Final[dict[Codec, Callable[[bytes], Any]]] = {"pickle": pickle.loads, "json": orjson.loads}
