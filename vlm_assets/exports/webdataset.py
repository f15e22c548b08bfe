"""A shard as a tar of samples: WebDataset's convention that files of one stem are one sample."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from tarfile import BLOCKSIZE, GNU_FORMAT, NUL, RECORDSIZE, TarInfo
from typing import Any, BinaryIO, Final

import orjson
import pyarrow as pa

from vlm_assets.exports.images import encoded_images
from vlm_assets.exports.values import python_values
from vlm_assets.words.schema import COLUMN_NAMES

_SUFFIXES: Final = {"JPEG": "jpg", "TIFF": "tif"}
"""Suffixes by format where they differ from its name; `webdataset` decodes by suffix."""
_WRITTEN_BYTES: Final = 2**20
"""Collected before they go to the file: it is asked once for many small members."""
_ROWS: Final = 1_000
_DIGITS: Final = 7
"""Of a row's number in its key."""
_SIZE: Final = slice(124, 135)
_CHECKSUM: Final = slice(148, 154)
"""Fields of a header, in octal digits (POSIX ustar)."""


def write_tar(batches: Iterable[pa.RecordBatch], file: BinaryIO, prefix: str) -> int:
    """Writes each row as the files of one sample; returns how many rows. Same rows, same bytes.

    Of a row `KEY`: `KEY.jpg`, or `KEY.0.jpg`, `KEY.1.png` where there are several images; `KEY.txt` where there is a
    text; `KEY.json` with every column, where `images` lists the suffixes in order. `prefix` makes keys of different
    tars differ.

    Raises:
        StoreError: a row lacks an image that it says it has.
    """
    rows = size = held = 0
    headers = _Headers(prefix)
    waiting: list[bytes | memoryview] = []
    for batch in _pieces(batches):
        for members in _samples(batch):
            for suffix, data in members:
                parts = (headers.of(rows, suffix, len(data)), data, NUL * (-len(data) % BLOCKSIZE))
                waiting += parts
                held += sum(map(len, parts))
            rows += 1
            if held >= _WRITTEN_BYTES:
                file.write(b"".join(waiting))
                waiting.clear()
                size, held = size + held, 0
        file.write(b"".join(waiting))  # images lie in the batch's memory
        waiting.clear()
        size, held = size + held, 0
    end = size + 2 * BLOCKSIZE
    file.write(NUL * (2 * BLOCKSIZE + -end % RECORDSIZE))
    return rows


def _pieces(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Of no more rows than may be Python values at once."""
    for batch in batches:
        for start in range(0, batch.num_rows, _ROWS):
            yield batch.slice(start, _ROWS)


class _Headers:
    """Headers of members, as `tarfile` makes them: those of one suffix differ in number, size and checksum alone."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._place = slice(len(prefix.encode()), len(prefix.encode()) + _DIGITS)
        self._of: dict[str, tuple[bytes, int]] = {}
        """By suffix: the header of an empty member of row 0, and its checksum without number and size."""

    def of(self, number: int, suffix: str, size: int) -> bytes:
        """The header of one member."""
        digits, octal = b"%07d" % number, b"%011o" % size
        known = self._of.get(suffix) or self._learnt(suffix)
        if len(digits) != _DIGITS or len(octal) != _SIZE.stop - _SIZE.start or len(known[0]) != BLOCKSIZE:
            return self._by_tarfile(number, suffix, size)
        header = bytearray(known[0])
        header[self._place], header[_SIZE] = digits, octal
        header[_CHECKSUM] = b"%06o" % (known[1] + sum(digits) + sum(octal))
        return bytes(header)

    def _learnt(self, suffix: str) -> tuple[bytes, int]:
        header = self._by_tarfile(0, suffix, 0)
        zeros = sum(b"0" * (_DIGITS + _SIZE.stop - _SIZE.start))
        self._of[suffix] = header, int(header[_CHECKSUM], 8) - zeros
        return self._of[suffix]

    def _by_tarfile(self, number: int, suffix: str, size: int) -> bytes:
        """Several blocks where the name is too long for one."""
        info = TarInfo(f"{self._prefix}{number:0{_DIGITS}d}.{suffix}")
        info.size = size
        return info.tobuf(GNU_FORMAT)


def _samples(batch: pa.RecordBatch) -> Iterator[Iterator[tuple[str, bytes | memoryview]]]:
    """The members of each row; images in the batch's own memory, the other columns as Python values."""
    names = [name for name in COLUMN_NAMES if name != "images"]
    columns = [python_values(batch.column(name)) for name in names]
    starts, images = encoded_images(batch.column("images"))
    for values, (start, end) in zip(zip(*columns, strict=True), pairwise(starts), strict=True):
        yield _members(dict(zip(names, values, strict=True)), images[start:end])


def _members(
    row: Mapping[str, Any], images: Sequence[memoryview]
) -> Iterator[tuple[str, bytes | memoryview]]:
    suffixes = []
    for number, (image, fact) in enumerate(zip(images, row["image_facts"], strict=True)):
        form = _SUFFIXES.get(fact["format"], fact["format"].lower())
        suffixes.append(form if len(images) == 1 else f"{number}.{form}")
        yield suffixes[-1], image
    if row["text"] is not None:
        yield "txt", row["text"].encode()
    yield "json", orjson.dumps({**row, "images": suffixes}, option=orjson.OPT_SORT_KEYS)
