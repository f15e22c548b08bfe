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

from vlm_assets.images.facts import FORMATS, ImageFault, ProbePolicy
from vlm_assets.images.plugins import missing_plugins
from vlm_assets.images.probe import ImageProber
from vlm_assets.operate.takedown.rows import image_tables, imageless_tables
from vlm_assets.store.renames import read_renames, under_all_names
from vlm_assets.store.tombstones import Tombstone
from vlm_assets.words.counts import so_many
from vlm_assets.words.errors import StoreError
from vlm_assets.words.layout import DataRoot, nfc
from vlm_assets.words.plain_files import read_plain

LIKE_BITS: Final = 4
_WEB: Final = ("http://", "https://")
_FLAT: Final = (5, 59)
"""A dhash with fewer or more bits set is of a flat image and says nothing about likeness."""


class TakedownOrder(BaseModel):
    """What an operator asks for: exactly one of `url`, `sha256`, `id`, `like`.

    `like` is an image file: the image itself and its near duplicates, within `like_bits` of its dhash. By url, id
    and likeness every equal image in every source is covered too, unless `only_row`. A record of several images
    needs `image` or `all_images` then, for one of them may be a logo that stands in thousands.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str | None = None
    sha256: str | None = Field(None, pattern=r"^[0-9a-f]{64}$")
    id: str | None = None
    like: Path | None = None
    like_bits: int = Field(LIKE_BITS, ge=0, le=16)
    only_row: bool = False
    image: int | None = Field(None, ge=1)
    """Of a record of several images, the one (from 1) that is meant; the record goes as a whole."""
    all_images: bool = False
    """Of a record of several images, all: equal images in other places go with them."""
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
    ids = under_all_names(ids, read_renames(root))
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
    """The picture of a file that somebody sent, looked at as those of sources are: rare formats in a child."""
    allowed = frozenset(form for form in FORMATS if not missing_plugins([form]))
    policy = ProbePolicy(allowed)
    try:
        data = read_plain(path, policy.max_bytes)
    except (OSError, ValueError) as error:
        told = getattr(error, "strerror", None) or error
        raise StoreError(f"{path}: cannot be read as an image: {told}") from error
    with ImageProber(policy) as prober:
        found = prober.probe(data)
    if isinstance(found, ImageFault) or found.dhash is None:
        told = f"{found.reason}: {found.detail}" if isinstance(found, ImageFault) else "nothing is decoded"
        fix = "where its bytes are those of the rows, --sha256 takes them down"
        raise StoreError(f"{path}: cannot be read as an image: {told}; {fix}")
    return _Picture(sha256(data).hexdigest(), found.dhash)


def _direct_hits(
    root: DataRoot, order: TakedownOrder, picture: _Picture | None
) -> tuple[set[str], set[str], set[str]]:
    """(ids, image hashes, URLs) of the records that the order itself names."""
    ids: set[str] = set()
    hashes: set[str] = set()
    urls: set[str] = set()
    for table in image_tables(root):
        found = table.filter(_meant(table, order, picture))
        if order.url is not None or order.id is not None:
            meant = _images_meant(root, found, order)
            hashes.update(meant)
        else:
            hashes.update(found.column("sha256").to_pylist())
        ids.update(found.column("id").to_pylist())
        urls.update(_web(found))
    if order.url is not None or order.id is not None:
        for table in imageless_tables(root):
            named = table.filter(_named(table, order))
            ids.update(named.column("id").to_pylist())
            urls.update(one for one in named.column("origin").to_pylist() if one.startswith(_WEB))
    return ids, hashes, urls


def _named(records: pa.Table, order: TakedownOrder) -> pa.ChunkedArray | pa.Array:
    """Which records the order names by their id or their own address."""
    if order.id is not None:
        return pc.equal(records.column("id"), order.id)
    asked = pa.array([order.url, nfc(order.url or "")])
    origin = records.column("origin")
    document = pc.replace_substring_regex(origin, r"#page=\d+$", "")
    # A record's own address means all its images, a document's all its pages.
    return pc.or_(pc.is_in(origin, value_set=asked), pc.is_in(document, value_set=asked))


def _meant(table: pa.Table, order: TakedownOrder, picture: _Picture | None) -> pa.ChunkedArray | pa.Array:
    """Which images the order names."""
    if order.url is not None:
        asked = pa.array([order.url, nfc(order.url)])
        own = pc.fill_null(pc.is_in(table.column("image_origin"), value_set=asked), fill_value=False)
        return pc.or_(own, _named(table, order))
    if order.id is not None:
        return _named(table, order)
    if order.sha256 is not None:
        return pc.equal(table.column("sha256"), order.sha256)
    if picture is not None:
        return pa.array(_near(table, picture, order.like_bits))
    return pa.array(np.zeros(table.num_rows, dtype=bool))


def _images_meant(root: DataRoot, found: pa.Table, order: TakedownOrder) -> list[str]:
    """The hashes of the images that are meant, among all of the records found.

    Raises:
        StoreError: a record has several, and the order does not say which; lists them and where else they stand.
    """
    if order.only_row or order.all_images:
        return list(found.column("sha256").to_pylist())
    several = found.filter(
        pc.and_(pc.greater(found.column("count"), 1), pc.is_null(found.column("image_origin")))
    )
    single = found.filter(
        pc.or_(pc.equal(found.column("count"), 1), pc.is_valid(found.column("image_origin")))
    )
    hashes = list(single.column("sha256").to_pylist())
    if not several.num_rows:
        return hashes
    if order.image is None:
        raise StoreError(_which(root, several))
    chosen = several.filter(pc.equal(several.column("number"), order.image - 1))
    if not chosen.num_rows:
        most = pc.max(several.column("count")).as_py()
        raise StoreError(f"--image {order.image}: the record has images 1 to {most}")
    return hashes + list(chosen.column("sha256").to_pylist())


def _which(root: DataRoot, several: pa.Table) -> str:
    """Words for a record of several images: each, and how many records have it."""
    shas = several.column("sha256").to_pylist()
    counts = records_per_image(root, frozenset(shas))
    lines = [
        f"  image {number + 1}: {sha}, in {so_many(counts[sha], 'record')}"
        for number, sha in zip(several.column("number").to_pylist(), shas, strict=True)
    ]
    return (
        f"{several.column('id')[0].as_py()} is a record of several images; say which is meant with --image N, "
        "--all-images, or --only-row for this record alone:\n" + "\n".join(lines)
    )


def records_per_image(root: DataRoot, hashes: frozenset[str]) -> dict[str, int]:
    """How many records, over all versions on disk, have each of these images."""
    ids: dict[str, set[str]] = {sha: set() for sha in sorted(hashes)}
    wanted = pa.array(sorted(hashes), pa.string())
    for table in image_tables(root):
        found = table.filter(pc.is_in(table.column("sha256"), value_set=wanted))
        for sha, one in zip(found.column("sha256").to_pylist(), found.column("id").to_pylist(), strict=True):
            ids[sha].add(one)
    return {sha: len(found) for sha, found in ids.items()}


def _near(table: pa.Table, picture: _Picture, bits: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
    column = table.column("dhash").combine_chunks()
    valid = column.is_valid().to_numpy(zero_copy_only=False)
    values = column.fill_null(0).to_numpy(zero_copy_only=False).astype(np.uint64)
    ones = np.bitwise_count(values)
    near = np.bitwise_count(values ^ np.uint64(picture.dhash)) <= bits
    telling = (
        valid & (ones >= _FLAT[0]) & (ones <= _FLAT[1]) & (_FLAT[0] <= picture.dhash.bit_count() <= _FLAT[1])
    )
    same = pc.equal(table.column("sha256"), picture.sha256).combine_chunks().to_numpy(zero_copy_only=False)
    return np.asarray((near & telling) | same.astype(bool))


def _rows_with(root: DataRoot, hashes: set[str]) -> tuple[set[str], set[str]]:
    """(ids, URLs) of all rows with one of these images."""
    ids: set[str] = set()
    urls: set[str] = set()
    wanted = pa.array(sorted(hashes), pa.string())
    for table in image_tables(root):
        found = table.filter(pc.is_in(table.column("sha256"), value_set=wanted))
        ids.update(found.column("id").to_pylist())
        urls.update(_web(found))
    return ids, urls


def _web(images: pa.Table) -> list[str]:
    """Addresses that these images came from."""
    origins = pc.coalesce(images.column("image_origin"), images.column("origin")).to_pylist()
    return [origin for origin in origins if origin.startswith(_WEB)]
