"""Rows of URL lists brought together by URL and cut into slices, whatever their number: they wait on disk.

10,000,000 rows take about 500 MiB of memory: 16 bytes a row, and the rows of one part; on disk they lie packed.
"""

import math
import shutil
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol
from weakref import finalize

import orjson

from vlm_assets.hub.columns import LabelRule
from vlm_assets.sources._url_rows import MISSING_URL, PackedRow
from vlm_assets.transfer.contact import ContactCheck
from vlm_assets.transfer.private_hosts import PrivateHosts
from vlm_assets.words.contexts import ListContext
from vlm_assets.words.errors import SourceError, write_error
from vlm_assets.words.item_columns import ItemColumns
from vlm_assets.words.layout import bucket_name
from vlm_assets.words.moving import moved
from vlm_assets.words.records import ListedSlice

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_BUFFER_BYTES: Final = 64 * 2**20
_PART_BYTES: Final = 64 * 2**20
_MAX_PARTS: Final = 512
_LABELS: Final = 10_000
_LENGTH_BYTES: Final = 4
_ONE_URL: Final = bytes(_LENGTH_BYTES)
"""The length of the URLs beside the key where there are none."""


class UrlSpill:
    """The rows of a list on disk, until they have been given as slices."""

    def __init__(self, folder: Path) -> None:
        """Rows wait in a folder of their own below `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = Path(mkdtemp(dir=folder, prefix="listing-"))
        # Also where nobody asks for the slices: a listing that fails before it gets to them.
        self._remove = finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        self._hashes = array("Q")
        self._lengths = array("I")
        self._chunks: list[int] = []
        """Rows in each file of rows, in their order."""
        self.labels: set[str] = set()
        """Of the rows, the first 10,000."""

    def close(self) -> None:
        """Removes what lies on disk."""
        self._remove()

    def fill(self, rows: Iterable[PackedRow], check: Callable[[str], None]) -> None:
        """Takes in rows; `check` sees every URL and may raise.

        Raises:
            DiskFullError: the volume is full: a row takes about 80 bytes.
        """
        waiting: list[bytes] = []
        size_bytes = 0
        for key, packed, label, urls in rows:
            raw = key.encode()
            if urls is None:
                check(key)
                record = len(raw).to_bytes(_LENGTH_BYTES, "little") + raw + _ONE_URL + packed
            else:
                for url in urls:
                    check(url)
                told = orjson.dumps(urls)
                sizes = (
                    len(raw).to_bytes(_LENGTH_BYTES, "little"),
                    len(told).to_bytes(_LENGTH_BYTES, "little"),
                )
                record = b"".join((sizes[0], raw, sizes[1], told, packed))
            self._hashes.append(int.from_bytes(sha256(raw).digest()[:8], "big"))
            self._lengths.append(len(record))
            waiting.append(record)
            size_bytes += len(record)
            if label is not None and label not in self.labels and len(self.labels) < _LABELS and label:
                self.labels.add(label)
            if size_bytes > _BUFFER_BYTES:
                self._write(waiting)
                waiting, size_bytes = [], 0
        self._write(waiting)

    def _write(self, records: Sequence[bytes]) -> None:
        moved(len(records))
        """Puts rows into a file of their own, which goes when they are brought together by slice."""
        if not records:
            return
        path = self._folder / f"rows-{len(self._chunks)}"
        try:
            path.write_bytes(_packed(b"".join(records)))
        except OSError as error:
            raise write_error(self._folder, error) from error
        self._chunks.append(len(records))

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return len(self._hashes)

    def count_items(self) -> int:
        """How many items they make: distinct keys."""
        import numpy as np

        ordered = np.sort(np.frombuffer(self._hashes, dtype=np.uint64))
        return int(np.count_nonzero(ordered[1:] != ordered[:-1])) + bool(self.rows)

    def slices(self, buckets: int, rows_per_slice: int) -> Iterator[ListedSlice]:
        """The items as one slice a bucket, in the order of buckets; empty ones are left out.

        Items stand in canonical order. May be asked for once; closes itself at the end.
        """
        import numpy as np

        try:
            hashes = np.frombuffer(self._hashes, dtype=np.uint64)
            lengths = np.frombuffer(self._lengths, dtype=np.uint32)
            index = (hashes % np.uint64(buckets)).astype(np.int64)
            parts = max(1, min(buckets, _MAX_PARTS, int(lengths.sum()) // _PART_BYTES))
            part_of = (index * parts // buckets).astype(np.uint16)
            try:
                pieces = self._distribute(part_of, lengths, parts)
            except OSError as error:
                raise write_error(self._folder, error) from error
            for part in range(parts):
                rows = np.flatnonzero(part_of == part)
                if len(rows):
                    data = self._part_bytes(part, pieces[part])
                    yield from _part(data, hashes[rows], index[rows], lengths[rows], buckets, rows_per_slice)
        finally:
            self.close()

    def _distribute(
        self, part_of: "NDArray[np.uint16]", lengths: "NDArray[np.uint32]", parts: int
    ) -> list[list[tuple[int, int]]]:
        """Copies the rows into a file a part, in their order.

        Returns how each file is made up: packed and unpacked size of its pieces.
        """
        import numpy as np

        pieces: list[list[tuple[int, int]]] = [[] for _ in range(parts)]
        start = 0
        for number, count in enumerate(self._chunks):
            ends = np.cumsum(lengths[start : start + count], dtype=np.int64)
            begins = np.concatenate(([0], ends[:-1]))
            path = self._folder / f"rows-{number}"
            data = _unpacked(path.read_bytes(), int(ends[-1]))
            path.unlink()
            order = np.argsort(part_of[start : start + count], kind="stable")
            cuts = np.searchsorted(part_of[start : start + count][order], np.arange(parts + 1))
            for part in range(parts):
                chosen = order[cuts[part] : cuts[part + 1]]
                if not len(chosen):
                    continue
                places = zip(begins[chosen].tolist(), ends[chosen].tolist(), strict=True)
                piece = b"".join([data[begin:end] for begin, end in places])
                packed = _packed(piece)
                with (self._folder / str(part)).open("ab") as file:
                    file.write(packed)
                pieces[part].append((len(packed), len(piece)))
            start += count
        return pieces

    def _part_bytes(self, part: int, pieces: Sequence[tuple[int, int]]) -> bytes:
        """The rows of a part, whose file goes."""
        path = self._folder / str(part)
        with path.open("rb") as file:
            data = b"".join([_unpacked(file.read(packed), size) for packed, size in pieces])
        path.unlink()
        return data


def _packed(data: bytes) -> bytes:
    """What lies on disk of rows: a third of them, for a tenth of the time that listing takes."""
    import pyarrow as pa

    return bytes(pa.compress(data, codec="lz4_raw", asbytes=True))


def _unpacked(packed: bytes, size_bytes: int) -> memoryview:
    import pyarrow as pa

    return memoryview(pa.decompress(packed, size_bytes, codec="lz4_raw"))


def _part(
    data: bytes,
    hashes: "NDArray[np.uint64]",
    index: "NDArray[np.int64]",
    lengths: "NDArray[np.uint32]",
    buckets: int,
    rows_per_slice: int,
) -> Iterator[ListedSlice]:
    """The slices whose rows are in a part."""
    import numpy as np

    order = np.lexsort((hashes, index))
    ends = np.cumsum(lengths, dtype=np.int64)
    begins = (ends - lengths)[order].tolist()
    ends_in_order = ends[order].tolist()
    cuts = [0, *(np.flatnonzero(np.diff(index[order])) + 1).tolist(), len(order)]
    for first, last in pairwise(cuts):
        places = zip(begins[first:last], ends_in_order[first:last], strict=True)
        items, requests = _items(
            [data[begin:end] for begin, end in places], hashes[order[first:last]].tolist()
        )
        name = bucket_name(int(index[order[first]]), buckets)
        yield ListedSlice(name, items, items_per_slice=rows_per_slice, requests=requests)


def _items(records: Sequence[bytes], hashes: Sequence[int]) -> tuple[ItemColumns, int]:
    """One item of all rows of the same URLs, in the order of key hashes; and how many URLs that are."""
    columns = ItemColumns([], [], [], [])
    place, count, asked = 0, len(records), 0
    while place < count:
        end = place + 1
        while end < count and hashes[end] == hashes[place]:
            end += 1
        if end == place + 1:
            raw, urls, packed = _cut(records[place])
            asked += _enter(columns, raw, urls, [packed])
        else:
            by_key: dict[tuple[bytes, bytes], list[bytes]] = {}
            for record in records[place:end]:
                raw, urls, packed = _cut(record)
                by_key.setdefault((raw, urls), []).append(packed)
            for raw, urls in sorted(by_key):
                asked += _enter(columns, raw, urls, by_key[raw, urls])
        place = end
    return columns, asked


def _enter(columns: ItemColumns, raw: bytes, urls: bytes, packed: list[bytes]) -> int:
    """Adds an item: distinct rows in an order of their own, exact repetitions counted. `urls`: JSON, if several.

    Returns how many URLs it has.
    """
    distinct = packed if len(packed) == 1 else sorted(set(packed))
    repeated = len(packed) - len(distinct)
    key = raw.decode()
    url = "" if key.startswith(MISSING_URL) else key
    address = b'"urls":%b' % urls if urls else b'"url":%b' % orjson.dumps(url)
    columns.keys.append(key)
    columns.identities.append(sha256(b"%b\n%d" % (b"\n".join(distinct), repeated)).hexdigest())
    payload = b'{%b,"rows":[%b],"repeated":%d}' % (address, b",".join(distinct), repeated)
    columns.payloads.append(payload.decode())
    columns.sizes.append(None)
    return len(set(orjson.loads(urls))) if urls else bool(url)


def _cut(record: bytes) -> tuple[bytes, bytes, bytes]:
    """A record's key, URLs and row."""
    end = _LENGTH_BYTES + int.from_bytes(record[:_LENGTH_BYTES], "little")
    begin = end + _LENGTH_BYTES
    told = begin + int.from_bytes(record[end:begin], "little")
    return record[_LENGTH_BYTES:end], record[begin:told], record[told:]


class UrlSpec(Protocol):
    """The keys of a source of URLs that cutting it into slices needs."""

    @property
    def buckets(self) -> int | None: ...  # a key, described there

    @property
    def rows_per_slice(self) -> int: ...

    @property
    def label_rule(self) -> LabelRule | None: ...


class Spilled(NamedTuple):
    """A list that waits on disk, as `spilled` gives it."""

    slices: Iterator[ListedSlice]
    buckets: int
    rows: int
    items: int
    hints: list[str]


def spilled(rows: Iterable[PackedRow], spec: UrlSpec, context: ListContext, where: str) -> Spilled:
    """The slices of a list, in the order of their names; how many buckets, rows and items there are; hints.

    Raises:
        SourceError: no rows, or none of their labels is in the map.
        ConfigError: the settings name no contact, and the URLs lead to the internet.
    """
    spill = UrlSpill(context.cache_dir)
    try:
        contact, private = ContactCheck(context.settings), PrivateHosts(context.settings)

        def check(url: str) -> None:
            contact(url)
            private(url)

        spill.fill(rows, check)
        _check(spill, spec, where)
        count = spill.count_items()
    except BaseException:
        spill.close()
        raise
    buckets = spec.buckets or context.previous_buckets.get("") or math.ceil(count / spec.rows_per_slice)
    return Spilled(spill.slices(buckets, spec.rows_per_slice), buckets, spill.rows, count, private.hints)


def _check(spill: UrlSpill, spec: UrlSpec, where: str) -> None:
    if not spill.rows:
        raise SourceError(f"{where} holds no URL")
    if spec.label_rule is not None:
        spec.label_rule.check(spill.labels, where)
