"""Tars byte for byte as `tarfile` writes them, however they are put together."""

import io
import tarfile

import pyarrow as pa
import pytest

from vlm_assets.exports import webdataset
from vlm_assets.exports.webdataset import write_tar
from vlm_assets.words.schema import FACTS_TYPE, SAMPLE_SCHEMA

FACT = dict.fromkeys(FACTS_TYPE.value_type.names)
LONG = "r" + "01" * 60 + "-"


def row(number: int, sizes: tuple[int, ...], text: str | None) -> dict[str, object]:
    """Images of so many bytes."""
    forms = ("JPEG", "PNG", "TIFF", "WEBP")
    return {
        **dict.fromkeys(SAMPLE_SCHEMA.names),
        "images": [{"bytes": bytes([number % 251]) * size, "path": None} for size in sizes],
        "text": text,
        "id": f"s/{number}",
        "image_facts": [{**FACT, "format": forms[n % 4], "size_bytes": size} for n, size in enumerate(sizes)],
    }


ROWS = [
    row(0, (1,), None), row(1, (512,), "ğİş"), row(2, (511, 513, 0, 70_000, 9), ""), row(3, (100_000,), "x" * 512),
]  # fmt: skip


def by_tarfile(data: bytes) -> bytes:
    """The same members, written by the library."""
    out = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(data)) as tar,
        tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as again,
    ):
        for member in tar:
            info = tarfile.TarInfo(member.name)
            info.size = member.size
            again.addfile(info, tar.extractfile(member))
    return out.getvalue()


@pytest.mark.parametrize("prefix", ["r-", LONG], ids=["short", "longer than a header's name"])
@pytest.mark.parametrize("batch_rows", [1, 3, 100])
@pytest.mark.parametrize("held", [1, 2**20], ids=["written at once", "collected"])
def test_bytes_are_those_of_tarfile(monkeypatch, prefix, batch_rows, held):
    monkeypatch.setattr(webdataset, "_WRITTEN_BYTES", held)
    batches = pa.Table.from_pylist(ROWS * 5, SAMPLE_SCHEMA).to_batches(max_chunksize=batch_rows)
    out = io.BytesIO()
    assert write_tar(batches, out, prefix) == 20
    assert out.getvalue() == by_tarfile(out.getvalue())
    names = tarfile.open(fileobj=io.BytesIO(out.getvalue())).getnames()  # noqa: SIM115 - of memory
    assert names[:5] == [f"{prefix}0000000.jpg", f"{prefix}0000000.json"] + [
        f"{prefix}0000001.{suffix}" for suffix in ("jpg", "txt", "json")
    ]
    assert names[-1] == f"{prefix}0000019.json"


NUMBERS = [0, 7, 9_999_999, 10_000_000, 123_456_789]
SIZES = [0, 1, 8**11 - 1, 8**11, 2**40]


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("size", SIZES)
def test_a_header_is_that_of_tarfile(number, size):
    headers = webdataset._Headers("r01-")
    headers.of(3, "jpg", 5)
    info = tarfile.TarInfo(f"r01-{number:07d}.jpg")
    info.size = size
    assert headers.of(number, "jpg", size) == info.tobuf(tarfile.GNU_FORMAT)
