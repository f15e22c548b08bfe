"""What an operator asks to take down, and the record that comes of it."""

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field

from vlm_assets.operate.takedown.rows import slice_tables
from vlm_assets.store.tombstones import Tombstone
from vlm_assets.words.errors import StoreError
from vlm_assets.words.layout import DataRoot, nfc

LIKE_BITS: Final = 4
_FLAT: Final = (5, 59)
"""A dhash with fewer or more bits set is of a flat image and says nothing about likeness."""


class TakedownOrder(BaseModel):
    """What an operator asks for: exactly one of `url`, `sha256`, `id`, `like`.

    `like` is an image file: the image itself and its near duplicates, within `like_bits` of its dhash. By url, id
    and likeness every equal image in every source is covered too, unless `only_row`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str | None = None
    sha256: str | None = Field(None, pattern=r"^[0-9a-f]{64}$")
    id: str | None = None
    like: Path | None = None
    like_bits: int = Field(LIKE_BITS, ge=0, le=16)
    only_row: bool = False
    reason: str = ""


def tombstone_of(root: DataRoot, order: TakedownOrder) -> Tombstone:
    """The takedown with everything on disk that it covers, and what an earlier one of the same order covered."""
    given = [
        (key, value) for key in ("url", "sha256", "id", "like") if (value := getattr(order, key)) is not None
    ]
    if len(given) != 1:
        raise StoreError("a takedown names exactly one of --url, --sha256, --id, --like")
    key, value = given[0]
    picture = _picture(value) if key == "like" else None
    asked = f"like:{picture.sha256}" if picture is not None else f"{key}:{value}"
    ids, hashes, urls = _direct_hits(root, order, picture)
    if key == "id" and not ids:
        raise StoreError(
            f"no row has the id {value!r}; ids look like <source>/<slice>/<key>. See `vlm-assets show`"
        )
    if order.sha256:
        hashes.add(order.sha256)
    if picture is not None:
        hashes.add(picture.sha256)
    if order.url:
        urls.add(order.url)
    if not order.only_row:
        more_ids, more_urls = _rows_with(root, hashes)
        ids |= more_ids
        urls |= more_urls
    for earlier in _recorded(root):
        if earlier.asked == asked and earlier.only_row == order.only_row:
            ids |= set(earlier.ids)
            hashes |= set(earlier.image_sha256)
            urls |= set(earlier.urls)
    return Tombstone(
        asked=asked,
        only_row=order.only_row,
        reason=order.reason,
        urls=tuple(sorted(urls)),
        image_sha256=tuple(sorted(hashes)),
        ids=tuple(sorted(ids)),
    )


def _recorded(root: DataRoot) -> Iterator[Tombstone]:
    for path in sorted(root.tombstones.glob("*.json")):
        yield Tombstone.from_bytes(path.read_bytes())


@dataclass(frozen=True, slots=True)
class _Picture:
    sha256: str
    dhash: int


def _picture(path: Path) -> _Picture:
    from PIL import Image, UnidentifiedImageError

    from vlm_assets.images.dhash import dhash

    try:
        data = path.read_bytes()
        with Image.open(path) as image:
            if image.format == "JPEG":
                image.draft(None, (image.width // 8, image.height // 8))  # as the probe hashes them
            return _Picture(sha256(data).hexdigest(), dhash(image))
    except (OSError, UnidentifiedImageError) as error:
        raise StoreError(f"{path}: cannot be read as an image: {error}") from error


def _direct_hits(
    root: DataRoot, order: TakedownOrder, picture: _Picture | None
) -> tuple[set[str], set[str], set[str]]:
    """(ids, image hashes, URLs) of the rows that the order itself names."""
    ids: set[str] = set()
    hashes: set[str] = set()
    urls: set[str] = set()
    for table in slice_tables(root):
        if order.url is not None:
            mask = pc.is_in(table.column("origin"), value_set=pa.array([order.url, nfc(order.url)]))
        elif order.id is not None:
            mask = pc.equal(table.column("id"), order.id)
        elif order.sha256 is not None:
            mask = pc.equal(table.column("image_sha256"), order.sha256)
        elif picture is not None:
            mask = pa.array(_near(table, picture, order.like_bits))
        else:
            continue
        found = table.filter(mask)
        ids.update(found.column("id").to_pylist())
        hashes.update(found.column("image_sha256").to_pylist())
        urls.update(_web(found.column("origin").to_pylist()))
    return ids, hashes, urls


def _near(table: pa.Table, picture: _Picture, bits: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
    column = table.column("dhash").combine_chunks()
    valid = column.is_valid().to_numpy(zero_copy_only=False)
    values = column.fill_null(0).to_numpy(zero_copy_only=False).astype(np.uint64)
    ones = np.bitwise_count(values)
    near = np.bitwise_count(values ^ np.uint64(picture.dhash)) <= bits
    telling = (
        valid & (ones >= _FLAT[0]) & (ones <= _FLAT[1]) & (_FLAT[0] <= picture.dhash.bit_count() <= _FLAT[1])
    )
    same = (
        pc.equal(table.column("image_sha256"), picture.sha256).combine_chunks().to_numpy(zero_copy_only=False)
    )
    return np.asarray((near & telling) | same.astype(bool))


def _rows_with(root: DataRoot, hashes: set[str]) -> tuple[set[str], set[str]]:
    """(ids, URLs) of all rows with one of these images."""
    ids: set[str] = set()
    urls: set[str] = set()
    wanted = pa.array(sorted(hashes), pa.string())
    for table in slice_tables(root):
        found = table.filter(pc.is_in(table.column("image_sha256"), value_set=wanted))
        ids.update(found.column("id").to_pylist())
        urls.update(_web(found.column("origin").to_pylist()))
    return ids, urls


def _web(origins: list[str]) -> list[str]:
    return [origin for origin in origins if origin.startswith(("http://", "https://"))]
