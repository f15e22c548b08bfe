"""The head of an Arrow file that lies elsewhere: its columns and its first batch, read from the start on.

Reads a file in ranges, writes a stream of its own with no more than the first batch.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

import pyarrow as pa

from vlm_assets.captions.arrow_types import check_names
from vlm_assets.hub.readers import READER_FAULTS
from vlm_assets.words.errors import SourceError, machine_error, of_the_disk, of_the_machine

_MAGIC: Final = b"ARROW1"
_MAGIC_BYTES: Final = 8
_BATCH: Final = "record batch"
_END_OF_STREAM: Final = b"\xff\xff\xff\xff\x00\x00\x00\x00"


class TooLargeError(SourceError):
    """A part of a file is larger than what is asked for at listing."""


def write_head(file: BinaryIO, path: Path, where: str) -> "pa.Schema | None":
    """`path` is an Arrow stream of the file's columns and first batch; else, where that is too large, the columns.

    Raises:
        SourceError: it cannot be read so far.
        MachineError: this machine cannot keep it now.
    """
    try:
        messages = _messages(file)
        _check_end(file)
        first = next(messages, None)
        if first is None:
            raise ValueError("it has no schema")
        schema = pa.ipc.read_schema(first)
        check_names(schema)
        with path.open("wb") as out:
            out.write(first.serialize())
            try:
                for message in messages:
                    out.write(message.serialize())
                    if message.type == _BATCH:
                        break
            except TooLargeError:
                return schema
            out.write(_END_OF_STREAM)
    except READER_FAULTS as error:
        if isinstance(error, OSError) and (of_the_machine(error) or of_the_disk(error)):
            raise machine_error(f"{where}: its head cannot be kept", error) from error
        raise SourceError(f"{where}: cannot be read ({' '.join(str(error).split())[:150]})") from error
    return None


def _check_end(file: BinaryIO) -> None:
    """Returns where the file goes on to its mark of the end."""
    start = file.read(len(_MAGIC))
    size = file.seek(0, os.SEEK_END)
    file.seek(max(size - len(_END_OF_STREAM), 0))
    end = file.read(len(_END_OF_STREAM))
    if not end.endswith(_MAGIC) if start == _MAGIC else end != _END_OF_STREAM:
        raise ValueError("no end-of-stream mark: truncated")
    file.seek(0)


def _messages(file: BinaryIO) -> "Iterator[pa.ipc.Message]":
    source = pa.PythonFile(file, mode="r")
    source.seek(_MAGIC_BYTES if source.read(len(_MAGIC)) == _MAGIC else 0)
    yield from pa.ipc.MessageReader.open_stream(source)
