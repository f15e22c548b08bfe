"""Content codings that nobody asked for, undone: servers send them, name them wrongly, or name them for nothing.

`Accept-Encoding: identity` is what this package sends; RFC 9110 8.4 lists the names.
"""

import zlib
from collections.abc import Iterator, Mapping
from io import BytesIO
from typing import BinaryIO, Final

from vlm_assets.transfer.http import FaultError
from vlm_assets.transfer.politeness import Fault

_PIECE: Final = 256 * 1024
_CODINGS: Final[Mapping[str, str]] = {
    "gzip": "gzip", "x-gzip": "gzip", "deflate": "deflate", "br": "brotli", "zstd": "zstd",
}  # fmt: skip
_GZIP: Final = b"\x1f\x8b"
_MOST: Final = 3
"""Codings on top of each other that are undone; more are an attack."""


class OverCapError(Exception):
    """A decoded body is larger than the cap."""


class NotCodedError(Exception):
    """The bytes do not have the coding that the header names."""


def codings_of(headers: Mapping[str, str]) -> tuple[str, ...]:
    """What was done to a body, in order; names that are no coding (`none`, `utf-8`, a media type) are passed over."""
    named = headers.get("Content-Encoding", "")
    if not named:
        return ()
    known = (_CODINGS.get(name.strip().lower()) for name in named.split(","))
    return tuple(name for name in known if name is not None)[:_MOST]


def decoded(body: bytes, codings: tuple[str, ...], cap: int) -> bytes:
    """The body without its codings; as it is from where they turn out not to be there.

    Raises:
        OverCapError: more than `cap` bytes come out.
        FaultError: the body ends before its coding does.
    """
    for coding in reversed(codings):
        pieces, size = [], 0
        try:
            for piece in decoded_pieces(BytesIO(body), coding):
                size += len(piece)
                if size > cap:
                    raise OverCapError
                pieces.append(piece)
        except NotCodedError:
            break
        body = b"".join(pieces)
    return body


def decoded_pieces(source: BinaryIO, coding: str) -> Iterator[bytes]:
    """The decoded content of a file from its present place on, piece by piece.

    Raises:
        NotCodedError: the bytes do not have that coding.
        FaultError: they end before it does.
    """
    if coding == "gzip":
        return _inflated(source, 31)
    if coding == "deflate":
        head = source.read(2)
        source.seek(-len(head), 1)
        # RFC 9110 means zlib's form; some servers send the bare stream.
        wrapped = len(head) == 2 and head[0] & 15 == 8 and int.from_bytes(head, "big") % 31 == 0
        return _inflated(source, 15 if wrapped else -15)
    return _through_arrow(source, coding)


def _inflated(source: BinaryIO, window_bits: int) -> Iterator[bytes]:
    stream = zlib.decompressobj(window_bits)
    while data := source.read(_PIECE):
        while True:
            try:
                piece = stream.decompress(data, _PIECE)
            except zlib.error as error:
                raise NotCodedError(str(error)) from None
            yield piece
            data = stream.unconsumed_tail
            if stream.eof:
                data = stream.unused_data or source.read(_PIECE)
                if not data.startswith(_GZIP):
                    return  # whatever follows the stream is padding
                stream = zlib.decompressobj(window_bits)
            elif not data and len(piece) < _PIECE:
                break
    raise FaultError(Fault.CUT, "the compressed body ends too early")


def _through_arrow(source: BinaryIO, coding: str) -> Iterator[bytes]:
    import pyarrow as pa  # noqa: PLC0415 - for coded bodies alone

    try:
        with pa.CompressedInputStream(pa.PythonFile(source, "r"), coding) as stream:
            while piece := stream.read(_PIECE):
                yield piece
    except (OSError, pa.ArrowException) as error:
        raise NotCodedError(str(error)) from None
