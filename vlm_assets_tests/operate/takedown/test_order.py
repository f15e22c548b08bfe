import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pydantic import ValidationError

from vlm_assets.images.facts import ImageFacts, ProbePolicy
from vlm_assets.images.probe import ImageProber
from vlm_assets.operate.takedown import order
from vlm_assets.operate.takedown.order import TakedownOrder, tombstone_of
from vlm_assets.words.errors import StoreError
from vlm_assets.words.layout import sample_id
from vlm_assets_tests.builders import commit_slice, sample
from vlm_assets_tests.workplace import STREET, fill, install, picture

ISSUE = "https://a.org/1930.pdf"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    base = tmp_path_factory.mktemp("papers")
    root = install(base, {**STREET, "path": fill(base / "in", 1)}).root
    origins = [
        f"{ISSUE}#page=1",
        f"{ISSUE}#page=2",
        f"{ISSUE}#page=12",
        "https://a.org/1931.pdf#page=1",
        ISSUE,
    ]
    rows = [
        sample("street", "s", f"k{n}", image=picture(n), origin=origin) for n, origin in enumerate(origins)
    ]
    commit_slice(root, "street", "s", rows)
    return root


@pytest.mark.parametrize(
    ("url", "taken"),
    [
        pytest.param(ISSUE, "0124", id="an-issue-and-all-its-pages"),
        pytest.param(f"{ISSUE}#page=1", "0", id="one-page"),
        pytest.param("https://a.org/1931.pdf", "3", id="another-issue"),
        pytest.param("https://a.org/19", "", id="a-shorter-name"),
    ],
)
def test_an_address_means_what_came_from_it(root, url, taken):
    found = tombstone_of(root, TakedownOrder(url=url))
    assert found.ids == tuple(sample_id("street", "s", f"k{n}#0") for n in taken)


TELLING, ELSEWHERE, FLAT = 0x00FF00FF00FF00FF, 0xFF00FF00FF00FF00, 0b11


@pytest.mark.parametrize(
    ("meant", "dhash", "sha256", "taken"),
    [
        (TELLING, TELLING, "x", "taken"),
        (TELLING, TELLING ^ 0b111, "x", "taken"),
        (TELLING, TELLING ^ 0b1111, "x", "left"),
        (TELLING, ELSEWHERE, "x", "left"),
        (TELLING, ELSEWHERE, "same", "taken"),
        (TELLING, None, "x", "left"),
        (TELLING, None, "same", "taken"),
        (FLAT, FLAT, "x", "left"),
        (FLAT, FLAT, "same", "taken"),
    ],
    ids=["equal", "near", "not-quite", "another", "same-bytes", "no-hash", "no-hash-same-bytes", "flat",
         "flat-same-bytes"],
)  # fmt: skip
def test_an_image_means_those_like_it_and_no_other(meant: int, dhash: int | None, sha256: str, taken: str):
    table = pa.table({"dhash": pa.array([dhash], pa.uint64()), "sha256": [sha256]})
    assert order._near(table, order._Picture("same", meant), 3).tolist() == [taken == "taken"]


@pytest.mark.parametrize("size", [(64, 48), (1_600, 300), (320, 1_200)], ids=["small", "wide", "tall"])
def test_an_image_is_hashed_as_the_samples_were(tmp_path, size):
    data = picture(3, size=size)
    (tmp_path / "found.jpg").write_bytes(data)
    with ImageProber(ProbePolicy(frozenset({"JPEG"}))) as prober:
        facts = prober.probe(data)
    assert isinstance(facts, ImageFacts)
    assert order._picture(tmp_path / "found.jpg").dhash == facts.dhash


@pytest.mark.parametrize(
    "asked", [{"like_bits": 0}, {"like_bits": 16}, {"image": 1}], ids=["no-bit", "most-bits", "first-image"]
)
def test_the_least_and_the_most_that_may_be_asked(asked: dict[str, Any]):
    assert TakedownOrder(sha256="0" * 64, **asked).model_dump(include=set(asked)) == asked


@pytest.mark.parametrize(
    "asked",
    [
        {"like_bits": -1},
        {"like_bits": 17},
        {"image": 0},
        {"image": -1},
        {"sha256": "0" * 63},
        {"sha256": "G" * 64},
    ],
    ids=["fewer-than-no-bits", "too-many-bits", "image-0", "image-before-0", "short-hash", "no-hash"],
)
def test_an_order_that_means_nothing_is_refused(asked: dict[str, Any]):
    """`--image 0` would mean the last image of the record, or every one."""
    [name] = asked
    with pytest.raises(ValidationError, match=name):
        TakedownOrder(**{"sha256": "0" * 64, **asked})


def _png(path: Path, size: tuple[int, int]) -> None:
    head = struct.pack(">IIBBBBB", *size, 8, 0, 0, 0, 0)
    blocks = [(b"IHDR", head), (b"IDAT", zlib.compress(b"\0")), (b"IEND", b"")]
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
            for name, data in blocks
        )
    )


def _sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(3 * 2**30)


ODD_FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "device": (lambda path: path.symlink_to("/dev/zero"), "no regular file"),
    "pipe": (os.mkfifo, "no regular file"),
    "folder": (Path.mkdir, "no regular file"),
    "sparse": (_sparse, "larger than 256 MiB"),
    "gone": (lambda path: path, "No such file"),
    "empty": (Path.touch, "empty"),
    "text": (lambda path: path.write_text("x"), "not_an_image"),
    "bomb": (lambda path: _png(path, (60_000, 60_000)), "pixels"),
    "short-png": (lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\xffIHDR"), ""),
    "short-tiff": (lambda path: path.write_bytes(b"II*\0\x08\0\0\0\x01\0"), ""),
    "short-icon": (lambda path: path.write_bytes(b"\0\0\1\0\1\0\1"), ""),
    "short-jpeg": (lambda path: path.write_bytes(b"\xff\xd8\xff\xe0\0"), ""),
    "short-bmp": (lambda path: path.write_bytes(b"BM" + bytes(20)), ""),
}


@pytest.mark.parametrize(("make", "told"), ODD_FILES.values(), ids=ODD_FILES)
def test_a_file_that_is_no_image_is_named(tmp_path, make, told):
    path = tmp_path / "sent.png"
    make(path)
    with pytest.raises(StoreError, match=rf"sent\.png: cannot be read as an image: .*{told}"):
        order._picture(path)
