"""What a corpus holds, counted from its index files in one pass: groups, formats, domains, sizes, chosen rows.

Reads a column at a time, shard by shard; memory goes with the largest shard. No data file is opened.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from vlm_assets.corpus.manifest import CorpusManifest, index_name
from vlm_assets.papers.bins import Histogram, image_histograms, row_histograms
from vlm_assets.store.taken_down import read_index
from vlm_assets.words.moving import each_moving
from vlm_assets.words.schema import NO_WORDS

GROUPED: Final = ("source", "category", "subcategory", "licence")
_COLUMNS: Final = (
    *GROUPED, "image_count", "image_bytes", "origin", "image_facts", "digest", "text_sha256", "messages_sha256",
)  # fmt: skip
_HOST: Final = r"^[Hh][Tt][Tt][Pp][Ss]?://(?:[^/?#]*@)?(?P<host>\[[^\]]*\]|[^/?#:@]+)"
_TURNED: Final = 5
"""EXIF orientations from this on show an image with its sides swapped."""
Group = tuple[str, str]
"""Category and subcategory."""


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A row of the corpus: ordered by the first bytes of its digest, which say nothing else."""

    rank: int
    bits: str
    row: int


@dataclass(slots=True)
class Contents:
    """Counts over all shards."""

    groups: list[dict[str, Any]] = field(default_factory=list)
    """Rows, images and image bytes of every (source, category, subcategory, licence), sorted."""
    formats: dict[str, dict[str, int]] = field(default_factory=dict)
    """Images and bytes by format, most images first."""
    domains: dict[str, dict[str, int]] = field(default_factory=dict)
    """Images and bytes by host of the URL that they came from, most bytes first."""
    words: Counter[str] = field(default_factory=Counter)
    """Rows with `text`, with `messages`, and with `neither`."""
    histograms: dict[str, Histogram] = field(
        default_factory=lambda: {**image_histograms(), **row_histograms()}
    )
    chosen: dict[Group, list[Place]] = field(default_factory=dict)
    """Of every subcategory the rows of lowest digest."""


def count_contents(version: Path, manifest: CorpusManifest, *, chosen: int) -> Contents:
    """Counts a sealed corpus; chooses up to `chosen` rows of each subcategory, the same for the same rows.

    Raises:
        StoreError: an index file is missing or damaged.
    """
    found = Contents()
    groups, formats, domains = [], [], []
    for bits in each_moving("papers: counting shards", sorted(manifest.shards), len(manifest.shards)):
        table = read_index(version / index_name(bits), _COLUMNS)
        groups.append(_grouped(table))
        images = _images(table)
        formats.append(_sums(images, "format"))
        domains.append(_sums(images, "host"))
        _measure(found.histograms, table, images)
        _choose(found.chosen, bits, table, chosen)
        found.words.update(_with_words(table))
    found.groups = _group_lines(groups)
    found.formats = _named_sums(formats, "format", "images")
    found.domains = _named_sums(domains, "host", "image_bytes")
    found.domains.pop("", None)
    return found


def sums_by(groups: Iterable[Mapping[str, Any]], key: str) -> dict[str, dict[str, int]]:
    """Rows and image bytes by one column of `Contents.groups`, most rows first."""
    rows: Counter[str] = Counter()
    size: Counter[str] = Counter()
    for one in groups:
        rows[str(one[key])] += one["rows"]
        size[str(one[key])] += one["image_bytes"]
    return {name: {"rows": count, "image_bytes": size[name]} for name, count in rows.most_common()}


def _grouped(table: pa.Table) -> pa.Table:
    sums = [("image_count", "sum"), ("image_bytes", "sum"), ("image_count", "count")]
    return table.select([*GROUPED, "image_count", "image_bytes"]).group_by(list(GROUPED)).aggregate(sums)


def _group_lines(tables: Sequence[pa.Table]) -> list[dict[str, Any]]:
    names = ["image_count_sum", "image_bytes_sum", "image_count_count"]
    whole = pa.concat_tables(tables).group_by(list(GROUPED)).aggregate([(name, "sum") for name in names])
    lines = [
        {
            **{key: one[key] for key in GROUPED},
            "images": one["image_count_sum_sum"],
            "image_bytes": one["image_bytes_sum_sum"],
            "rows": one["image_count_count_sum"],
        }
        for one in whole.to_pylist()
    ]
    return sorted(lines, key=lambda one: tuple(str(one[key]) for key in GROUPED))


def _images(table: pa.Table) -> pa.Table:
    """A line an image: format, size, sides as shown, host of its origin ("" where that is no URL)."""
    lists = pa.concat_arrays(
        table.column("image_facts").chunks or [pa.array([], table.schema.field("image_facts").type)]
    )
    facts = lists.flatten()
    owners = pc.list_parent_indices(lists)
    origin = pc.coalesce(facts.field("origin"), table.column("origin").combine_chunks().take(owners))
    host = pc.struct_field(pc.extract_regex(origin, _HOST), "host")
    return pa.table(
        {
            "format": facts.field("format"),
            "size_bytes": facts.field("size_bytes"),
            "width_px": facts.field("width_px"),
            "height_px": facts.field("height_px"),
            "orientation": facts.field("orientation"),
            "host": pc.utf8_rtrim(pc.utf8_lower(pc.fill_null(host, "")), "."),
        }
    )


def _sums(images: pa.Table, key: str) -> pa.Table:
    return (
        images.select([key, "size_bytes"])
        .group_by(key)
        .aggregate([("size_bytes", "sum"), ("size_bytes", "count")])
    )


def _named_sums(tables: Sequence[pa.Table], key: str, first: str) -> dict[str, dict[str, int]]:
    whole = pa.concat_tables(tables).group_by(key)
    lines = whole.aggregate([("size_bytes_sum", "sum"), ("size_bytes_count", "sum")]).to_pylist()
    sums = {
        str(one[key]): {"images": one["size_bytes_count_sum"], "image_bytes": one["size_bytes_sum_sum"]}
        for one in lines
    }
    return dict(sorted(sums.items(), key=lambda one: (-one[1][first], one[0])))


def _numbers(column: pa.ChunkedArray) -> NDArray[Any]:
    values: NDArray[Any] = pc.fill_null(column, 0).to_numpy()
    return values


def _with_words(table: pa.Table) -> dict[str, int]:
    said = [
        pc.not_equal(table.column(name), pa.scalar(NO_WORDS, pa.binary(32)))
        for name in ("text_sha256", "messages_sha256")
    ]
    text, messages = (int(pc.sum(one).as_py() or 0) for one in said)
    either = int(pc.sum(pc.or_(*said)).as_py() or 0)
    return {"text": text, "messages": messages, "neither": table.num_rows - either}


def _measure(histograms: Mapping[str, Histogram], table: pa.Table, images: pa.Table) -> None:
    width, height = _numbers(images.column("width_px")), _numbers(images.column("height_px"))
    turned = _numbers(images.column("orientation")) >= _TURNED
    width, height = np.where(turned, height, width), np.where(turned, width, height)
    histograms["shorter_side"].add(np.minimum(width, height))
    histograms["longer_side"].add(np.maximum(width, height))
    histograms["aspect"].add(width / np.maximum(height, 1))
    histograms["bytes"].add(_numbers(images.column("size_bytes")))
    histograms["images"].add(_numbers(table.column("image_count")))


def _choose(chosen: dict[Group, list[Place]], bits: str, table: pa.Table, count: int) -> None:
    """Takes the rows of lowest digest of this shard in, and keeps the lowest of each subcategory."""
    if not table.num_rows or not count:
        return
    digest = pa.concat_arrays(table.column("digest").chunks)
    first = np.frombuffer(digest.buffers()[1], ">u8", 4 * len(digest), 32 * digest.offset).reshape(-1, 4)[
        :, 0
    ]
    named = pc.binary_join_element_wise(table.column("category"), table.column("subcategory"), "\0")
    codes = pa.concat_arrays(named.chunks).dictionary_encode()
    code = codes.indices.to_numpy(zero_copy_only=False)
    order = np.lexsort((first, code))
    starts = np.searchsorted(code[order], np.arange(len(codes.dictionary)))
    for name, begin, end in zip(codes.dictionary.to_pylist(), starts, [*starts[1:], len(order)], strict=True):
        category, _, subcategory = name.partition("\0")
        rows = order[begin : min(end, begin + count)]
        found = [Place(int(first[row]), bits, int(row)) for row in rows]
        chosen[category, subcategory] = sorted([*chosen.get((category, subcategory), []), *found])[:count]
