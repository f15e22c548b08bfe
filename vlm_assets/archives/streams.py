"""Forward byte streams: a compressed one unpacked in bounded memory, and files that are parts of other files.

The decompressors of the standard library and `backports.zstd` behind one loop: their file objects differ in what
they do at a cut, at padding, and at a second stream behind the first.
"""

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, Final, Protocol

from vlm_assets.archives.limits import Budget, DamagedArchiveError, TruncatedArchiveError, short
from vlm_assets.words.errors import machine_error
from vlm_assets.words.seekable import SeekableFile

CHUNK_BYTES: Final = 2**17
"""Of what is read at once."""
UNPACKED_BYTES: Final = 2**20
"""Of what a decoder gives at once, at most: several times what it gets, so that a call is seldom cut short."""
_PADDING: Final = b"\0"


class Stream(Protocol):
    """Bytes to be read once, from front to back."""

    def read(self, size: int, /) -> bytes:
        """`size` bytes, fewer only at the end."""
        ...


class ChunkStream:
    """A `Stream` over an iterator of chunks."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = memoryview(b"")

    def read(self, size: int, /) -> bytes:
        """`size` bytes, fewer only at the end. A whole chunk is handed on without a copy."""
        parts: list[memoryview | bytes] = []
        while size > 0:
            if not self._rest:
                chunk = next(self._chunks, None)
                if chunk is None:
                    break
                self._rest = memoryview(chunk)
            part = self._rest[:size]
            self._rest = self._rest[len(part) :]
            size -= len(part)
            parts.append(part)
        return bytes(parts[0]) if len(parts) == 1 else b"".join(parts)


class Peeked:
    """A `Stream` whose first bytes were looked at."""

    def __init__(self, head: bytes, rest: Stream) -> None:
        self._head = head
        self._rest = rest

    def read(self, size: int, /) -> bytes:
        """`size` bytes, fewer only at the end."""
        head, self._head = self._head[:size], self._head[size:]
        return head + self._rest.read(size - len(head)) if len(head) < size else head


class FileSlice(SeekableFile):
    """Bytes `start`..`start + size_bytes` of an open file as a file. Others may move the file's position."""

    def __init__(self, file: BinaryIO, start: int, size_bytes: int) -> None:
        super().__init__(size_bytes)
        self._file = file
        self._start = start

    def read_at(self, start: int, end: int) -> bytes:
        """From the open file."""
        self._file.seek(self._start + start)
        return self._file.read(end - start)


_MAGIC: Final = (
    (b"\x1f\x8b", "gzip"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\x04\x22\x4d\x18", "lz4"),
    *(
        (bytes([first]) + b"\x2a\x4d\x18", "zstd") for first in range(0x50, 0x60)
    ),  # skippable frames come first too
)
_MAGIC_BYTES: Final = 6


def compression_of(head: bytes) -> str | None:
    """The compression that the first bytes announce: `gzip`, `bzip2`, `xz`, `zstd`, `lz4`."""
    return next((name for magic, name in _MAGIC if head.startswith(magic)), None)


def decompressed(stream: Stream, form: str, budget: Budget) -> ChunkStream:
    """What a compressed stream unpacks to, all its members or frames one after the other.

    Zero bytes and a foreign tail behind the last one are not read, as `gzip` and `tar` have it.

    Raises:
        TruncatedArchiveError: while reading: it is cut.
        DamagedArchiveError: while reading: it is damaged, or needs too large a window.
        BombError: while reading.
    """
    return ChunkStream(_unpacked(stream, form, budget))


def _unpacked(stream: Stream, form: str, budget: Budget) -> Iterator[bytes]:
    data = stream.read(CHUNK_BYTES)
    while compression_of(data) == form:
        decoder = new_decoder(form, budget.limits.window_bytes)
        while not decoder.eof:
            try:
                out = decoder.decompress(data, UNPACKED_BYTES)
            except _damage() as error:
                raise DamagedArchiveError(
                    f"{budget.where}: the {form} data is damaged ({short(error)})"
                ) from error
            except MemoryError as error:
                raise machine_error(f"{budget.where}: cannot be unpacked", error) from error
            budget.unpack(len(out))
            if out:
                yield out
            data = decoder.pending()
            if decoder.hungry() and not decoder.eof:
                more = stream.read(CHUNK_BYTES)
                if not more and not out:
                    raise TruncatedArchiveError(f"{budget.where}: the {form} data is truncated")
                data += more
        data = decoder.unused_data or stream.read(CHUNK_BYTES)
        while data and not data.strip(_PADDING):
            data = stream.read(CHUNK_BYTES)
        data = data.lstrip(_PADDING)
        if len(data) < _MAGIC_BYTES:
            data += stream.read(CHUNK_BYTES)


class Decoder(Protocol):
    """One decompressor object, whatever the library."""

    @property
    def eof(self) -> bool:
        """Whether its stream is at its end."""
        ...

    @property
    def unused_data(self) -> bytes:
        """What stood behind the end."""
        ...

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        """Unpacks; at most `max_length` bytes."""
        ...

    def pending(self) -> bytes:
        """Input that it gave back, to be handed over again."""
        ...

    def hungry(self) -> bool:
        """Whether it needs more input to go on."""
        ...


class _Zlib:
    """`zlib` gives back the input that it did not need."""

    def __init__(self, wbits: int) -> None:
        self._object = zlib.decompressobj(wbits)

    @property
    def eof(self) -> bool:
        return self._object.eof

    @property
    def unused_data(self) -> bytes:
        return self._object.unused_data

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        return self._object.decompress(data, max_length)

    def pending(self) -> bytes:
        return self._object.unconsumed_tail

    def hungry(self) -> bool:
        return not self._object.unconsumed_tail


class _Buffering:
    """bz2, lzma, zstd and lz4 keep the input that they did not need."""

    def __init__(self, kept: Any) -> None:
        self._object = kept

    @property
    def eof(self) -> bool:
        return bool(self._object.eof)

    @property
    def unused_data(self) -> bytes:
        return bytes(self._object.unused_data or b"")

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        return bytes(self._object.decompress(data, max_length))

    def pending(self) -> bytes:
        return b""

    def hungry(self) -> bool:
        return bool(self._object.needs_input)


def new_decoder(form: str, window_bytes: int) -> Decoder:
    """A decompressor for one stream: `gzip`, `deflate` (raw), `bzip2`, `xz`, `zstd`, `lz4`. Its window is bounded."""
    makers: dict[str, Callable[[], Decoder]] = {
        "gzip": lambda: _Zlib(31),
        "deflate": lambda: _Zlib(-15),
        "bzip2": lambda: _Buffering(bz2.BZ2Decompressor()),
        "xz": lambda: _Buffering(lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=window_bytes)),
        "zstd": lambda: _Buffering(_zstd(window_bytes)),
        "lz4": lambda: _Buffering(_lz4()),
    }
    return makers[form]()


def buffering(kept: Any) -> Decoder:
    """A `Decoder` over an object of bz2, lzma or zstd."""
    return _Buffering(kept)


def _lz4() -> Any:
    """Its window is 64 KiB and its blocks 4 MiB at most (LZ4 Frame Format 1.6.4)."""
    import lz4.frame  # noqa: PLC0415 - for lz4 alone

    return lz4.frame.LZ4FrameDecompressor()


def _zstd(window_bytes: int) -> Any:
    from backports import zstd  # noqa: PLC0415 - for zst alone

    largest = window_bytes.bit_length() - 1
    return zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: largest})


def _damage() -> tuple[type[Exception], ...]:
    """What the libraries raise on damaged data; lz4 has no error of its own."""
    return zlib.error, lzma.LZMAError, OSError, EOFError, ValueError, RuntimeError, zstd_error()


def zstd_error() -> type[Exception]:
    """The error of the zstd library."""
    from backports import zstd  # noqa: PLC0415 - for zst alone

    return zstd.ZstdError
