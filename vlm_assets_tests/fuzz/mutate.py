"""Changes to bytes that keep a format's frame whole, so that what lies behind its checks is reached too."""

import random
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Final

Change = Callable[[bytearray, random.Random], None]

MOST_BYTES: Final = 300_000
"""A mutant is cut here: time goes into many, not into large ones."""
_NUMBERS: Final = (0, 1, 2, 127, 128, 255, 256, 32767, 65535, 65536, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1,
                   2**64 - 1)  # fmt: skip
_WORDS: Final = (
    b"-1",
    b"0",
    b"1e999",
    b"NaN",
    b"9" * 40,
    b"null",
    b"true",
    b"[]",
    b"{}",
    b"[" * 2000,
    b'{"a":' * 600,
    b"\xff\xfe",
    b"\x00",
    b"../" * 20,
    b"\xed\xa0\x80",
    b"\r",
    b'"',
    b",",
    b"&a [*a]",
    b"!!python/object:os",
    b"\xc4\xb0",
    b"\x1f\x8b",
)


def mutated(data: bytes, changes: tuple[Change, ...], rng: random.Random, others: tuple[bytes, ...]) -> bytes:
    """One to four changes, most of them such as know the format."""
    made = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        if not made:
            break
        if changes and rng.random() < 0.6:
            rng.choice(changes)(made, rng)
        elif rng.random() < 0.1 and others:
            _splice(made, rng.choice(others), rng)
        else:
            rng.choice(PLAIN)(made, rng)
    return bytes(made[:MOST_BYTES])


def _place(data: bytearray, rng: random.Random) -> int:
    """Anywhere, and as often near one of the ends, where formats keep what they say of themselves."""
    near = rng.randrange(min(len(data), 200))
    return rng.choice((rng.randrange(len(data)), near, len(data) - 1 - near))


def byte(data: bytearray, rng: random.Random) -> None:
    data[_place(data, rng)] = rng.randrange(256)


def bit(data: bytearray, rng: random.Random) -> None:
    data[_place(data, rng)] ^= 1 << rng.randrange(8)


def number(data: bytearray, rng: random.Random) -> None:
    size, order = rng.choice((1, 2, 4, 8)), rng.choice(("little", "big"))
    value = rng.choice(_NUMBERS) % 256**size
    at = _place(data, rng)
    data[at : at + size] = value.to_bytes(size, "little" if order == "little" else "big")


def cut(data: bytearray, rng: random.Random) -> None:
    at = _place(data, rng)
    del data[at : at + rng.choice((1, 2, 9, 100, len(data)))]


def double(data: bytearray, rng: random.Random) -> None:
    at = _place(data, rng)
    data[at:at] = data[at : at + rng.choice((1, 8, 64, 1000))] * rng.choice((1, 1, 2, 50))


def word(data: bytearray, rng: random.Random) -> None:
    at = _place(data, rng)
    data[at : at + rng.choice((0, 0, 1, 4))] = rng.choice(_WORDS)


def digits(data: bytearray, rng: random.Random) -> None:
    """Another number where one is written in words."""
    _replace(
        data, rb"\d+", [b"0", b"-1", b"7", b"65536", b"4294967295", b"99999999999999999999", b"1" * 300], rng
    )


PLAIN: Final[tuple[Change, ...]] = (byte, byte, bit, number, number, cut, double, word, digits)


def _splice(data: bytearray, other: bytes, rng: random.Random) -> None:
    start, end = sorted((rng.randrange(len(other)), rng.randrange(len(other))))
    at = _place(data, rng)
    data[at : at + rng.choice((0, end - start))] = other[start:end]


def _replace(data: bytearray, pattern: bytes, choices: list[bytes], rng: random.Random) -> None:
    found = list(re.finditer(pattern, data))
    if found:
        one = rng.choice(found)
        data[one.start() : one.end()] = rng.choice(choices)


def zip_field(data: bytearray, rng: random.Random) -> None:
    """A field of a local header, a directory entry, or one of the two ends."""
    sizes = {
        b"PK\3\4": (30, 4),
        b"PK\1\2": (46, 4),
        b"PK\5\6": (22, 4),
        b"PK\6\6": (56, 4),
        b"PK\6\7": (20, 4),
    }
    places = [
        one.start() for one in re.finditer(rb"PK(?:\x03\x04|\x01\x02|\x05\x06|\x06\x06|\x06\x07)", data)
    ]
    if places:
        at = rng.choice(places)
        length, first = sizes[bytes(data[at : at + 4])]
        size = rng.choice((1, 2, 4))
        field = at + rng.randrange(first, length, 2)
        data[field : field + size] = (rng.choice(_NUMBERS) % 256**size).to_bytes(size, "little")


def tar_field(data: bytearray, rng: random.Random) -> None:
    """A field of a header, whose sum is made right again."""
    heads = [at for at in range(0, len(data) - 511, 512) if data[at + 257 : at + 262] == b"ustar"]
    if not heads:
        return
    at = rng.choice(heads)
    start, size = rng.choice(
        ((0, 100), (100, 8), (124, 12), (124, 12), (156, 1), (156, 1), (157, 100), (345, 155))
    )
    values = {
        1: (b"0", b"1", b"2", b"5", b"L", b"K", b"x", b"g", b"S", b"V", b"\xff"),
        12: (b"77777777777\0", b"-0000000001\0", b"\x80" + b"\xff" * 11, b"00000000000\0", b"00000004000\0"),
    }.get(size, (b"../../etc/passwd", b"\xff" * size, b"", b"a/" * 50, b"x.jpg", b"/abs.png"))
    data[at + start : at + start + size] = rng.choice(values)[:size].ljust(size, b"\0")
    data[at + 148 : at + 156] = b" " * 8
    data[at + 148 : at + 156] = b"%06o\0 " % (sum(data[at : at + 512]) % 2**18)


def png_chunk(data: bytearray, rng: random.Random) -> None:
    """A chunk changed, doubled or put in, whose sum is right."""
    chunks = list(_png_chunks(data))
    if not chunks:
        return
    at, length = rng.choice(chunks)
    how = rng.random()
    if how < 0.6 and length:
        field = at + 8 + rng.randrange(min(length, 30))
        data[field] = rng.choice((0, 1, 3, 255, rng.randrange(256)))
    elif how < 0.8:
        data[at + 4 : at + 8] = rng.choice(
            (b"IHDR", b"PLTE", b"IDAT", b"tRNS", b"acTL", b"fcTL", b"eXIf", b"iCCP")
        )
    else:
        packed = zlib.compress(bytes(rng.choice((10, 100_000, 5_000_000))))
        body = rng.choice(
            (b"a\0\0" + packed, b"Raw profile type exif\0\0" + packed, b"MM\0*\0\0\0\x08\xff\xff")
        )
        kind = rng.choice((b"zTXt", b"iCCP", b"iTXt", b"eXIf", b"tEXt"))
        data[at:at] = struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        return
    body = bytes(data[at + 4 : at + 8 + length])
    data[at + 8 + length : at + 12 + length] = struct.pack(">I", zlib.crc32(body))


def _png_chunks(data: bytearray) -> Iterator[tuple[int, int]]:
    at = 8
    while data.startswith(b"\x89PNG") and at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        if at + 12 + length > len(data):
            return
        yield at, length
        at += 12 + length


def jpeg_segment(data: bytearray, rng: random.Random) -> None:
    """A byte within a segment's head or first fields."""
    places = [one.start() for one in re.finditer(rb"\xff[\xc0-\xfe]", data)]
    if places:
        at = rng.choice(places[:30]) + rng.randrange(1, 20)
        if at < len(data):
            data[at] = rng.choice((0, 1, 255, rng.randrange(256)))


def pdf_reference(data: bytearray, rng: random.Random) -> None:
    """A reference led to another object: circles, wrong kinds, what is not there."""
    targets = [b"%d 0 R" % number for number in (0, 1, 2, 3, 4, 5, 6, 8, 10, 99999)]
    _replace(data, rb"\d+ 0 R", [*targets, b"null", b"[ 1 0 R 1 0 R ]", b"<< /A 1 0 R >>"], rng)


def pdf_name(data: bytearray, rng: random.Random) -> None:
    """A name replaced by another that stands in the file or might."""
    known = [
        b"/DCTDecode",
        b"/FlateDecode",
        b"/JPXDecode",
        b"/CCITTFaxDecode",
        b"/LZWDecode",
        b"/JBIG2Decode",
        b"/Form",
        b"/Image",
        b"/Pages",
        b"/Page",
        b"/Indexed",
        b"/ICCBased",
        b"/Separation",
        b"/Pattern",
        b"/SMask",
        b"/Kids",
        b"/Parent",
        b"/Contents",
        b"/Resources",
        b"/Length",
        b"/Encrypt",
        b"/Type3",
        b"/ObjStm",
    ]
    _replace(data, rb"/[A-Za-z][A-Za-z0-9]*", known, rng)


def pdf_object(data: bytearray, rng: random.Random) -> None:
    """An object's body put in the place of another's."""
    found = list(re.finditer(rb"\d+ 0 obj.*?endobj", data, re.DOTALL))
    if len(found) > 1:
        one, other = rng.sample(found, 2)
        body = other.group().split(b"obj", 1)[1]
        data[one.start() : one.end()] = one.group().split(b"obj", 1)[0] + b"obj" + body


def footer(data: bytearray, rng: random.Random) -> None:
    """A byte of what an Arrow or Parquet file keeps at its end."""
    at = len(data) - 1 - rng.randrange(min(len(data), 4000))
    data[at] = rng.choice((0, 1, 2, 8, 12, 15, 127, 128, 255, rng.randrange(256)))


def line(data: bytearray, rng: random.Random) -> None:
    """Lines of text swapped, doubled, left out or indented."""
    lines = bytes(data).splitlines(keepends=True)
    at = rng.randrange(len(lines))
    how = rng.randrange(5)
    if how == 0:
        lines[at:at] = [lines[rng.randrange(len(lines))]] * rng.choice((1, 1, 40))
    elif how == 1:
        del lines[at]
    elif how == 2:
        lines[at] = b"  " * rng.randint(1, 3) + lines[at]
    elif how == 3:
        lines[at] = lines[at].lstrip()
    else:
        rng.shuffle(lines)
    data[:] = b"".join(lines)


def scalar(data: bytearray, rng: random.Random) -> None:
    """A value of YAML or JSON text replaced by one of another type."""
    values = [
        b"null",
        b"true",
        b"-1",
        b"1e400",
        b'""',
        b"[]",
        b"{}",
        b"[[]]",
        b'{"a": {"b": 1}}',
        b"0x7fffffffffffffff",
        b"1.5",
        b"'../..'",
        b'"\\ud800"',
        b'"\\u0000"',
        b'"' + b"x" * 3000 + b'"',
        b"2026-01-01",
        b"~",
        b".nan",
        b"&x [*x]",
        b"? a",
        b"!!binary QQ==",
        b"[" * 500 + b"]" * 500,
    ]
    _replace(data, rb'(?<=[:\[,] )(?:"[^"]*"|[^\s,\[\]{}]+)|(?<=[:\[,])(?:"[^"]*"|\d+)', values, rng)
