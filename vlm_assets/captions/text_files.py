"""Text files as lines, in an encoding that is certain; nothing is ever replaced or guessed."""

import bz2
import codecs
import gzip
import io
import lzma
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, Any, Final, cast

from vlm_assets.words.errors import SourceError

Opener = Callable[[], IO[bytes]]
"""Opens a file at its start; called once a pass."""
Encoding = str | tuple[str, ...] | None
"""The key `encoding`: the one of all files, those tried in turn, or none: UTF-8 and what a byte order mark says."""

_BLOCK_BYTES: Final = 2**20
_LINE_CHARS: Final = 64 * 2**20
"""A line is held in memory as a whole, by some readers several times; a longer one is refused."""
_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # begins like that of UTF-16
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
DAMAGED: Final = (OSError, EOFError, zlib.error, lzma.LZMAError)
"""What reading a file raises, packed or not, when its bytes end early or are wrong."""


@dataclass(frozen=True, slots=True)
class TextFile:
    """A text file whose bytes were found to be text from end to end."""

    where: str
    """Names the file in messages."""
    open: Opener
    codec: str
    too_long: int | None = None
    """The first line of more than `_LINE_CHARS`."""

    def stream(self) -> io.TextIOWrapper:
        """The characters from the start, line ends as they are."""
        return io.TextIOWrapper(self.open(), encoding=self.codec, newline="")

    def lines(self) -> Iterator[str]:
        """Every line with its end: LF, CR LF or CR.

        Raises:
            SourceError: a line that is too long; the file has changed since it was looked through.
        """
        if self.too_long is not None:
            raise SourceError(f"{self.where}: line {self.too_long} is longer than {_LINE_CHARS} characters")
        try:
            with self.stream() as stream:
                yield from stream
        except (*DAMAGED, UnicodeError) as error:
            raise SourceError(f"{self.where}: has changed while it was read ({error})") from error


def text_file(where: str, opener: Opener, encoding: Encoding = None) -> TextFile:
    """The file with the encoding that it is in, looked through once from end to end.

    A byte order mark decides, whatever is declared. Files packed by gzip, bzip2, xz or zstd are read unpacked.

    Raises:
        SourceError: in none of the encodings that come into question; names the file, the line, and the key. Or the
            file cannot be read.
    """
    try:
        plain = _unpacked(opener)
        with plain() as stream:
            head = stream.read(4)
        marked = next((codec for mark, codec in _MARKS if head.startswith(mark)), None)
        if marked is None and isinstance(encoding, str):
            _refuse_certain_utf8(where, plain, encoding)
        declared = encoding or "utf-8"
        candidates = (marked,) if marked else (declared,) if isinstance(declared, str) else declared
        faults = []
        for codec in candidates:
            lengths = _Lengths()
            fault = _first_fault(plain, codec, lengths)
            if fault is None:
                return TextFile(where, plain, codec, lengths.too_long)
            faults.append(f"line {fault.line} {fault.told}")
    except DAMAGED as error:
        raise SourceError(f"{where}: cannot be read to its end ({error})") from error
    raise SourceError(f"{where}: {'; '.join(faults)}. {_advice(marked, encoding)}")


def check_beginning(where: str, opener: Opener, encoding: Encoding = None) -> None:
    """Returns where the first block may be text: asked before a file is read to its end for its hash.

    Raises:
        SourceError: it holds NUL characters, and nobody says that it may.
    """
    try:
        with _unpacked(opener)() as stream:
            head = stream.read(_BLOCK_BYTES)
    except DAMAGED as error:
        raise SourceError(f"{where}: cannot be read to its end ({error})") from error
    nul = head.find(b"\0")
    if encoding is not None or nul < 0 or any(head.startswith(mark) for mark, _ in _MARKS):
        return
    lines = _LineCount()
    lines.add(head[:nul].decode("latin-1"))
    raise SourceError(f"{where}: line {lines.line} {_HOLDS_NUL}. {_advice(None, encoding)}")


def read_text(where: str, opener: Opener, encoding: Encoding = None) -> str:
    """All characters of a file that is small.

    Raises:
        SourceError: as `text_file`.
    """
    return "".join(text_file(where, opener, encoding).lines())


def _advice(marked: str | None, encoding: Encoding) -> str:
    if marked:
        return "Its byte order mark says that it is; the file is damaged: save it again"
    if encoding:
        return f"That is what the key encoding says ({encoding!r}): correct it, or save the file as UTF-8"
    return (
        "Say what it is with the key encoding (cp1254 is Turkish Windows; [utf-8, cp1254] takes each file as the "
        "first that fits), or save it as UTF-8"
    )


_HOLDS_NUL: Final = "holds NUL characters (UTF-16 without a byte order mark?)"


@dataclass(frozen=True, slots=True)
class _Fault:
    line: int
    told: str


@dataclass(slots=True)
class _Lengths:
    """Finds a line of more than `_LINE_CHARS`, by the blocks of a text."""

    too_long: int | None = None
    _so_far: int = 0

    def add(self, text: str, line: int) -> None:
        """The next block; `line` is the one that it begins in."""
        if self.too_long is None and self._so_far > _LINE_CHARS:
            self.too_long = line
        end = max(text.rfind("\n"), text.rfind("\r"))
        self._so_far = self._so_far + len(text) if end < 0 else len(text) - end - 1


def _first_fault(opener: Opener, codec: str, lengths: _Lengths | None = None) -> _Fault | None:
    """The first line that is not text in this encoding; None where all is."""
    decoder = codecs.getincrementaldecoder(codec)("strict")
    lines = _LineCount()
    with opener() as stream:
        while True:
            block = stream.read(_BLOCK_BYTES)
            try:
                text = decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                lines.add(_decoded_before(error))
                return _Fault(lines.line, f"is not {_spoken(codec)}")
            if lengths is not None:
                lengths.add(text, lines.line)
            nul = text.find("\0")
            if nul >= 0:
                lines.add(text[:nul])
                return _Fault(lines.line, _HOLDS_NUL)
            lines.add(text)
            if not block:
                return None


def _decoded_before(error: UnicodeDecodeError) -> str:
    good = error.object[: error.start]
    wide = error.encoding.lower().startswith(("utf-16", "utf-32"))
    return good.decode(error.encoding if wide else "latin-1", "replace")


class _LineCount:
    """Number of the line that the next character stands in, whatever ends the lines."""

    def __init__(self) -> None:
        self.line = 1
        self._cut = False

    def add(self, text: str) -> None:
        if not text:
            return
        ends = text.count("\n") + text.count("\r") - text.count("\r\n")
        self.line += ends - (self._cut and text.startswith("\n"))
        self._cut = text.endswith("\r")


def _refuse_certain_utf8(where: str, opener: Opener, encoding: str) -> None:
    """Stops a declared one-byte encoding, which takes any bytes, from misreading a file that is plainly UTF-8.

    Raises:
        SourceError: it would.
    """
    if not _is_one_byte(encoding) or _first_fault(opener, "utf-8") or not _first_fault(opener, "ascii"):
        return
    raise SourceError(
        f"{where}: is UTF-8, while the key encoding says {encoding}; where files differ, write "
        f"encoding: [utf-8, {encoding}]"
    )


def _is_one_byte(encoding: str) -> bool:
    """Whether every byte is a character of its own, so that what decodes says nothing."""
    pairs = (bytes([byte, 0x41]).decode(encoding, "replace") for byte in range(128, 256))
    return len(b"\xc3\xa7".decode(encoding, "replace")) == 2 and all(len(pair) == 2 for pair in pairs)


def _spoken(codec: str) -> str:
    return "UTF-8" if codec.removesuffix("-sig").lower().replace("_", "-") in ("utf-8", "utf8") else codec


def _unpacked(opener: Opener) -> Opener:
    with opener() as stream:
        head = stream.read(6)
    unpack = next((unpack for magic, unpack in _PACKED.items() if head.startswith(magic)), None)
    if unpack is None:
        return opener
    return lambda: cast("IO[bytes]", io.BufferedReader(_Unpacking(opener(), unpack), _BLOCK_BYTES))


def _zstd(packed: IO[bytes]) -> IO[bytes]:
    import pyarrow as pa  # noqa: PLC0415 - for CSV alone

    return cast("IO[bytes]", pa.CompressedInputStream(packed, "zstd"))


def _lz4(packed: IO[bytes]) -> IO[bytes]:
    import lz4.frame  # noqa: PLC0415 - for lz4 alone

    return cast("IO[bytes]", lz4.frame.open(packed))


_PACKED: Final[dict[bytes, Callable[[IO[bytes]], IO[bytes]]]] = {
    b"\x1f\x8b": lambda packed: cast("IO[bytes]", gzip.GzipFile(fileobj=packed)),
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\x00": lzma.LZMAFile,
    b"\x28\xb5\x2f\xfd": _zstd,
    b"\x04\x22\x4d\x18": _lz4,
}


class _Unpacking(io.RawIOBase):
    """A packed stream read unpacked, which closes both; the libraries leave the outer one open."""

    def __init__(self, packed: IO[bytes], unpack: Callable[[IO[bytes]], IO[bytes]]) -> None:
        self._packed = packed
        self._plain = unpack(packed)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._plain.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._plain.close()
            self._packed.close()
        super().close()
