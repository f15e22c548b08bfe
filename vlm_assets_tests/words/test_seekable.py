"""Files whose bytes lie elsewhere: read and sought in as any file is."""

import io
import random
import zipfile

import pytest

from vlm_assets.words.seekable import SeekableFile


class _Blocks(SeekableFile):
    """Gives the rest of a block of seven bytes at most."""

    def __init__(self, data: bytes) -> None:
        super().__init__(len(data))
        self._data = data

    def read_at(self, start: int, end: int) -> bytes:
        return self._data[start : min(end, start - start % 7 + 7)]


@pytest.mark.parametrize("wrap", [lambda file: file, io.BufferedReader], ids=["raw", "buffered"])
def test_it_reads_and_seeks_as_bytes_io_does(wrap) -> None:
    rng = random.Random(3)
    data = rng.randbytes(100)
    file, peer = wrap(_Blocks(data)), io.BytesIO(data)
    for _ in range(300):
        whence = rng.choice([io.SEEK_SET, io.SEEK_CUR, io.SEEK_END])
        base = {io.SEEK_SET: 0, io.SEEK_CUR: peer.tell(), io.SEEK_END: 100}[whence]
        offset = rng.randrange(-base, 130 - base)
        assert file.seek(offset, whence) == peer.seek(offset, whence) == file.tell()
        got = file.read(rng.randrange(1, 40))
        assert got == peer.read(len(got))
        assert got or peer.read(1) == b""


def test_what_is_too_short_is_no_zip() -> None:
    """By the error of a place before the beginning, as with a real file."""
    with pytest.raises(OSError, match="before the beginning"):
        _Blocks(b"PK").seek(-22, io.SEEK_END)
    with pytest.raises(zipfile.BadZipFile):
        zipfile.ZipFile(io.BufferedReader(_Blocks(b"PK")))
