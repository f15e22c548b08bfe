"""What hostile archives cost in memory, measured in a process of its own: below a GiB each."""

import gzip
import lzma
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, cast

import py7zr
import pytest
from backports import zstd

from vlm_assets_tests.archives.made import header, tar_bytes

MIB = 2**20
ZEROS = b"\0" * MIB


def long_header(path: Path) -> None:
    with path.open("wb") as file:
        file.write(header("././@PaxHeader", 2**31, b"x"))
        file.truncate(2**31 + 4096)


def zeros_into(stream: IO[bytes]) -> None:
    stream.write(header("a.bin", 3 * 2**30))
    for _ in range(1200):
        stream.write(ZEROS)


def gzip_of_zeros(path: Path) -> None:
    with gzip.open(path, "wb", 1) as stream:
        zeros_into(cast("IO[bytes]", stream))


def xz_of_zeros(path: Path) -> None:
    with lzma.open(path, "wb", preset=0) as stream:
        zeros_into(stream)


def zstd_of_zeros(path: Path) -> None:
    with zstd.open(path, "wb") as stream:
        zeros_into(cast("IO[bytes]", stream))


def one_stem(path: Path) -> None:
    with path.open("wb") as file:
        for number in range(40):
            file.write(header(f"x.{number}.jpg", 64 * MIB))
            file.seek(64 * MIB, 1)
        file.write(bytes(1024))


def one_stem_of_many(path: Path) -> None:
    empty = b"".join(header(f"x.{number:07d}.txt", 0) for number in range(1000))
    with path.open("wb") as file:
        for _ in range(700):
            file.write(empty)
        file.write(bytes(1024))


def zip_of_zeros(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(6):
            with archive.open(f"{number}.jpg", "w") as stream:
                for _ in range(200):
                    stream.write(ZEROS)


def large_dictionary(path: Path) -> None:
    with py7zr.SevenZipFile(path, "w", filters=[{"id": py7zr.FILTER_PPMD, "order": 6, "mem": 30}]) as archive:
        archive.writestr(b"A" * 1000, "a.jpg")


def nested_tars(path: Path) -> None:
    inner = tar_bytes([("a.jpg", bytes(1000))]) + ZEROS
    for _ in range(8):
        inner = lzma.compress(tar_bytes([("in.tar.xz", inner)]))
    path.write_bytes(inner)


CASES: dict[str, tuple[str, Callable[[Path], None], str]] = {
    "tar-header-of-2-GiB": ("archive", long_header, "DamagedArchiveError"),
    "gzip-that-expands": ("archive", gzip_of_zeros, "BombError unknown_type"),
    "xz-that-expands": ("archive", xz_of_zeros, "BombError unknown_type"),
    "zstd-that-expands": ("archive", zstd_of_zeros, "BombError unknown_type"),
    "names-that-share-a-stem": ("webdataset", one_stem, "too_many_bytes"),
    "700,000-names-of-one-stem": ("webdataset", one_stem_of_many, "too_many_bytes"),
    "zip-that-expands": ("archive", zip_of_zeros, "BombError record"),
    "7z-that-wants-a-GiB": ("archive", large_dictionary, "DamagedArchiveError"),
    "tars-in-tars": ("archive", nested_tars, "empty nested_too_deep"),
}


_QUICK = {"tar-header-of-2-GiB", "zstd-that-expands", "7z-that-wants-a-GiB", "tars-in-tars"}


@pytest.mark.parametrize(
    "name", [name if name in _QUICK else pytest.param(name, marks=pytest.mark.slow) for name in CASES]
)
def test_memory_stays_below_a_gib(tmp_path: Path, name: str) -> None:
    kind, make, outcome = CASES[name]
    path = tmp_path / "hostile"
    make(path)
    command = [sys.executable, "-m", "vlm_assets_tests.archives.peak", kind, str(path)]
    answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    path.unlink()
    print(f"{name}: {answer[0]} MiB, {' '.join(answer[1:])}")
    assert " ".join(answer[1:]) == outcome
    assert int(answer[0]) < 1024
