"""A shard as a tar of samples: WebDataset's convention that files of one stem are one sample."""

import io
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, BinaryIO, Final

import orjson
import pyarrow as pa

_SUFFIXES: Final = {"JPEG": "jpg", "TIFF": "tif"}
"""Suffixes by format where they differ from its name; `webdataset` decodes by suffix."""


def write_tar(batches: Iterable[pa.RecordBatch], file: BinaryIO, prefix: str) -> int:
    """Writes each row as the files of one sample; returns how many rows. Same rows, same bytes.

    Of a row `KEY`: `KEY.jpg`, or `KEY.0.jpg`, `KEY.1.png` where there are several images; `KEY.txt` where there is a
    text; `KEY.json` with every column, where `images` lists the suffixes in order. `prefix` makes keys of different
    tars differ.
    """
    rows = 0
    with tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for batch in batches:
            for row in _rows(batch):
                for suffix, data in _members(row):
                    info = tarfile.TarInfo(f"{prefix}{rows:07d}.{suffix}")
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))
                rows += 1
    return rows


def _rows(batch: pa.RecordBatch) -> Iterator[dict[str, Any]]:
    """Rows as Python values, one at a time: a batch's images are copied one by one."""
    for number in range(batch.num_rows):
        yield batch.slice(number, 1).to_pylist()[0]


def _members(row: Mapping[str, Any]) -> Iterator[tuple[str, bytes]]:
    images = row["images"]
    suffixes = []
    for number, (image, fact) in enumerate(zip(images, row["image_facts"], strict=True)):
        form = _SUFFIXES.get(fact["format"], fact["format"].lower())
        suffixes.append(form if len(images) == 1 else f"{number}.{form}")
        yield suffixes[-1], image["bytes"]
    if row["text"] is not None:
        yield "txt", row["text"].encode()
    yield "json", orjson.dumps({**row, "images": suffixes}, option=orjson.OPT_SORT_KEYS)
