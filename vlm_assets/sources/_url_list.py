"""Lists of URLs in files: columns found, rows read in chunks, rows of the same URLs brought together as an item."""

import itertools
import math
from array import array
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from string import printable
from tempfile import TemporaryDirectory
from typing import Any, Final
from unicodedata import is_normalized
from urllib.parse import quote

import orjson

from vlm_assets.archives.names import is_hidden, is_junk
from vlm_assets.captions.tables import LoadedTable, Table, TableReading, is_table_name, unpacked_suffix
from vlm_assets.captions.text_files import TextFile, text_file
from vlm_assets.captions.words import as_text
from vlm_assets.words.errors import LeftOut, LeftOutReason, SourceError
from vlm_assets.words.layout import bucket_name, key_hash, nfc
from vlm_assets.words.records import Item, ListedSlice

FORMATS: Final = (".csv", ".tsv", ".parquet", ".jsonl", ".json", ".txt")
_PARTS: Final = 64
_LABELS: Final = 10_000
_BUFFER_BYTES: Final = 128 * 2**20
_URL_NAMES: Final = frozenset(
    {"url", "uri", "link", "src", "href", "imageurl", "imageuri", "imagelink", "imagesrc", "imgurl", "imgsrc"}
    | {"photourl", "pictureurl", "fileurl", "downloadurl", "contenturl"}
)
RawRow = Mapping[str, Any]
AS_FOUND: Final = TableReading()


@dataclass(frozen=True, slots=True)
class Columns:
    """Which column of a list means what. `label`: a column, or the number of a folder in the URL's path.

    `split`: each URL of a cell is a row of its own.
    """

    url: str
    text: str | None = None
    sha256: str | None = None
    label: str | int | None = None
    split: bool = False


@dataclass(frozen=True, slots=True)
class UrlRow:
    """One row of a list: a record. Its URLs are NFC, stripped, without fragment; one of "" where the cell is empty.

    `sha256` holds what the row declares: one hash, or one for each URL of a cell that has several.
    """

    urls: tuple[str, ...]
    text: str | None
    sha256: tuple[str, ...]
    label: str | None
    extra: Mapping[str, Any] | None


class UrlList:
    """The files of a list, whose columns are the same: a file, packed or not, or all lists in a folder."""

    def __init__(
        self, path: Path, reading: TableReading = AS_FOUND, known_columns: Iterable[str | None] = ()
    ) -> None:
        """Finds encoding, separator and columns; `known_columns` are those that the catalogue names.

        Raises:
            SourceError: missing, empty, undecodable, without a header, of an unknown format; columns that differ
                between files.
        """
        known = {nfc(name) for name in known_columns if name is not None}
        self.path = path
        self.files = list_files(path)
        self.left_out = _left_out(path, self.files)
        self._tables = [_opened(file, reading, known) for file in self.files]
        for file, table in zip(self.files[1:], self._tables[1:], strict=True):
            if sorted(table.columns) != sorted(self.columns):
                raise SourceError(
                    f"{file}: its columns are {', '.join(table.columns)}, those of {self.files[0].name} "
                    f"{', '.join(self.columns)}; files of one list have the same"
                )

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns, NFC, in the order of the first file; `url` alone for a .txt."""
        return self._tables[0].columns

    def rows(self, columns: Columns) -> Iterator[UrlRow]:
        """All rows, file by file in the order of their names; blank lines are no rows.

        Raises:
            SourceError: a malformed row, with its line.
        """
        for table in self._tables:
            for row in table.rows():
                yield from url_rows(row.values, columns)


def choose_columns(
    path: Path | str,
    names: Sequence[str],
    *,
    url: str | None = None,
    text: str | None = None,
    sha256_: str | None = None,
    label: str | int | None = None,
    split: bool = False,
) -> Columns:
    """The columns as declared, the URL column found by itself when there is exactly one candidate.

    Raises:
        SourceError: a declared column is not there, or the URL column is not plain; lists the columns.
    """
    wanted = {"url_column": url, "text_column": text, "sha256_column": sha256_}
    wanted["subcategory_from.column"] = label if isinstance(label, str) else None
    for key, name in wanted.items():
        if name is not None and nfc(name) not in names:
            raise SourceError(f"{path}: {key}: no column {name!r}; there are: {', '.join(names)}")
    if url is None:
        candidates = [name for name in names if is_url_name(name)]
        if not candidates and len(names) == 1:
            candidates = list(names)
        if len(candidates) != 1:
            found = (
                f"{len(candidates)} columns could hold URLs"
                if candidates
                else "no column is named like a URL"
            )
            raise SourceError(f"{path}: {found}; name one as url_column. There are: {', '.join(names)}")
        url = candidates[0]
    return Columns(
        nfc(url),
        None if text is None else nfc(text),
        None if sha256_ is None else nfc(sha256_),
        nfc(label) if isinstance(label, str) else label,
        split,
    )


def is_url_name(name: str) -> bool:
    """Whether a column is named like one of URLs."""
    return name.lower().replace("_", "").replace("-", "").replace(" ", "") in _URL_NAMES


def url_rows(row: RawRow, columns: Columns) -> Iterator[UrlRow]:
    """A raw row as a URL row, whole; as one a URL where the columns are to be split. None is lost without a URL."""
    urls = list(_urls_in(row.get(columns.url))) or [None]
    hashes = () if columns.sha256 is None else _hashes(row.get(columns.sha256))
    if not columns.split:
        yield _url_row(row, urls, hashes, columns)
        return
    paired = len(hashes) == len(urls)
    for number, url in enumerate(urls):
        yield _url_row(row, [url], hashes[number : number + 1] if paired else hashes, columns)


def _urls_in(cell: Any) -> Iterator[Any]:
    """What a cell names: itself, the elements of a list, the URL of an object that has one."""
    if isinstance(cell, (list, tuple)):
        for one in cell:
            yield from _urls_in(one)
    elif isinstance(cell, Mapping):
        urls = [value for name, value in cell.items() if is_url_name(str(name))]
        yield from (
            _urls_in(urls[0]) if len(urls) == 1 else [orjson.dumps(cell, default=_plain_value).decode()]
        )
    elif cell is not None:
        yield cell


def _url_row(row: RawRow, urls: Sequence[Any], hashes: tuple[str, ...], columns: Columns) -> UrlRow:
    """What the row says of these URLs; columns that have no part of their own go into `extra`."""
    written = [_clean_url(url) for url in urls]
    if isinstance(columns.label, int):
        label: str | None = _folder(nfc(written[0]), columns.label)
    else:
        label = None if columns.label is None else _text(row.get(columns.label))
    own = {columns.url, columns.text, columns.sha256}
    extra = {name: value for name, value in row.items() if name not in own}
    return UrlRow(
        tuple(map(_as_written, written)),
        None if columns.text is None else _words(row.get(columns.text), columns.text),
        hashes,
        label,
        extra or None,
    )


def _hashes(cell: Any) -> tuple[str, ...]:
    """The hashes that a cell declares; none where it is empty."""
    cells = cell if isinstance(cell, (list, tuple)) else [cell]
    hashes = tuple((_text(one) or "").strip().lower() for one in cells)
    return hashes if any(hashes) else ()


def _as_written(url: str) -> str:
    """A URL in NFC that asks for what was written: the server's own name may have another form.

    Percent-encoded where NFC would change it, so that both forms of a name are two items.
    """
    if is_normalized("NFC", url):
        return url
    scheme, colon, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    return nfc(f"{scheme}{colon}{host}") + quote(f"{slash}{path}", safe=printable)


def _clean_url(value: Any) -> str:
    plain = _plain_value(value) if isinstance(value, bytes) else value
    text = plain if isinstance(plain, str) else "" if plain is None else str(plain)
    # The fragment is never sent, and an item's key must not end like one of several records (`#0`).
    return text.strip().strip("\ufeff").partition("#")[0].strip()


def _text(value: Any) -> str | None:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    plain = _plain_value(value) if isinstance(value, bytes) else value
    return nfc(plain if isinstance(plain, str) else str(plain)) or None


def _words(value: Any, column: str) -> str | None:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    text = value if isinstance(value, str) else as_text(value, f"column {column!r}")
    return nfc(text) or None if text is not None else None


def _folder(url: str, number: int) -> str:
    """The n-th folder of the URL's path; "" where it has none."""
    folders = url.partition("://")[2].partition("?")[0].split("/")[1:-1]
    return folders[number - 1] if number <= len(folders) else ""


def count_urls(
    rows: Iterable[UrlRow],
    check: Callable[[str], None] = lambda url: None,  # noqa: ARG005 - does nothing
    labels: set[str] | None = None,
) -> tuple[int, int]:
    """How many items rows make, and how many rows there are; 8 bytes a row.

    `check` sees every URL and may raise; `labels` takes in those of the rows, the first 10,000.
    """
    import numpy as np

    hashes = array("Q")
    for row in rows:
        for url in row.urls:
            check(url)
        if labels is not None and row.label and len(labels) < _LABELS:
            labels.add(row.label)
        hashes.append(key_hash(_key_of(row)))
    items = int(np.unique(np.frombuffer(hashes, dtype=np.uint64)).size) if hashes else 0
    return items, len(hashes)


def bucket_slices(
    rows: Iterable[UrlRow], buckets: int, rows_per_slice: int, spill_dir: Path
) -> Iterator[ListedSlice]:
    """The items of the rows as one slice a bucket, in the order of buckets; empty buckets are left out.

    Rows wait in memory up to 128 MiB and then in files under `spill_dir`, so a list may be of any length.
    """
    spill_dir.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=spill_dir, prefix="listing-") as folder:
        parts = _Parts(Path(folder), min(buckets, _PARTS))
        for row in rows:
            key = _key_of(row)
            index = key_hash(key) % buckets
            parts.add(index * parts.count // buckets, (index, key, row.urls, _packed(row)))
        for number in range(parts.count):
            by_bucket: defaultdict[int, defaultdict[tuple[str, tuple[str, ...]], list[bytes]]] = defaultdict(
                lambda: defaultdict(list)
            )
            for index, key, urls, packed in parts.read(number):
                by_bucket[index][key, tuple(urls)].append(packed)
            for index in sorted(by_bucket):
                items = [_item(key, urls, found) for (key, urls), found in sorted(by_bucket[index].items())]
                yield ListedSlice(bucket_name(index, buckets), items, items_per_slice=rows_per_slice)


class _Parts:
    """Rows by part, in memory until they are many, then in one file a part."""

    def __init__(self, folder: Path, count: int) -> None:
        self.count = count
        self._folder = folder
        self._rows: list[list[bytes]] = [[] for _ in range(count)]
        self._size_bytes = 0

    def add(self, part: int, row: tuple[int, str, Sequence[str], bytes]) -> None:
        line = orjson.dumps((row[0], row[1], row[2], row[3].decode()))
        self._rows[part].append(line)
        self._size_bytes += len(line)
        if self._size_bytes > _BUFFER_BYTES:
            for number, lines in enumerate(self._rows):
                with (self._folder / str(number)).open("ab") as file:
                    file.writelines(line + b"\n" for line in lines)
                lines.clear()
            self._size_bytes = 0

    def read(self, part: int) -> Iterator[tuple[int, str, Sequence[str], bytes]]:
        path = self._folder / str(part)
        spilled = path.open("rb") if path.exists() else None
        try:
            for line in itertools.chain(spilled or (), self._rows[part]):
                index, key, urls, packed = orjson.loads(line)
                yield index, key, urls, packed.encode()
        finally:
            if spilled is not None:
                spilled.close()


def _key_of(row: UrlRow) -> str:
    """The item's key: its URL, of several the first and a hash over all, or a name made of its other columns."""
    if len(row.urls) > 1:
        return f"{row.urls[0]}#urls={sha256(chr(10).join(row.urls).encode()).hexdigest()[:16]}"
    return row.urls[0] or f"missing-url-{sha256(_packed(row)).hexdigest()[:16]}"


def _packed(row: UrlRow) -> bytes:
    alone = len(row.urls) == 1 and len(row.sha256) < 2
    declared = "".join(row.sha256) if alone else row.sha256
    return orjson.dumps(
        (row.text, declared, row.label, row.extra), default=_plain_value, option=orjson.OPT_SORT_KEYS
    )


def _item(key: str, urls: Sequence[str], packed: list[bytes]) -> Item:
    """One item of all rows of the same URLs: distinct ones in an order of their own, exact repetitions counted."""
    distinct = sorted(set(packed))
    repeated = len(packed) - len(distinct)
    digest = sha256(b"\n".join(distinct) + b"\n%d" % repeated).hexdigest()
    address = {"url": urls[0]} if len(urls) == 1 else {"urls": list(urls)}
    return Item(
        key, digest, {**address, "rows": [orjson.loads(row) for row in distinct], "repeated": repeated}
    )


def _plain_value(value: Any) -> Any:
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return value.hex()
    return str(value)


def list_files(path: Path) -> list[Path]:
    """The files of a list, sorted.

    Raises:
        SourceError: none, or one that is empty or of an unknown format.
    """
    if path.is_dir():
        found = sorted(
            file for file in path.iterdir() if is_table_name(file.name) and not file.name.startswith(".")
        )
        if not found:
            raise SourceError(f"{path}: no URL list in this folder; a list is one of {', '.join(FORMATS)}")
    else:
        found = [path]
    for file in found:
        if not is_table_name(file.name):
            raise SourceError(f"{file}: unknown format; a URL list is one of {', '.join(FORMATS)}")
        if not file.is_file():
            raise SourceError(f"{file}: no such file")
        if file.stat().st_size == 0:
            raise SourceError(f"{file}: the file is empty")
    return found


def _left_out(path: Path, files: Sequence[Path]) -> list[LeftOut]:
    """What else a folder of lists holds."""
    if not path.is_dir():
        return []
    others = [one for one in sorted(path.iterdir()) if one.is_file() and one not in set(files)]
    return [LeftOut(nfc(one.name), _reason(one.name), "", one.stat().st_size) for one in others]


def _reason(name: str) -> LeftOutReason:
    if is_junk(name):
        return LeftOutReason.OS_JUNK
    return LeftOutReason.HIDDEN if is_hidden(name) else LeftOutReason.UNKNOWN_TYPE


def _opened(path: Path, reading: TableReading, known: Collection[str]) -> LoadedTable:
    table = Table(
        path.name,
        str(path),
        lambda: path.open("rb"),
        reading,
        lambda name: name in known or is_url_name(name),
    )
    if unpacked_suffix(path.name) == ".txt":
        text = text_file(str(path), table.open, reading.encoding)
        return LoadedTable(table, ("url",), lambda: _lines(text), "line")
    loaded = table.load()
    if any("://" in name for name in loaded.columns):
        raise SourceError(f"{path}: the first line is a URL, a header with column names belongs there")
    return loaded


def _lines(text: TextFile) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(text.lines(), 1):
        if url := line.strip():
            if "\t" in url:
                raise SourceError(
                    f"{text.where}: line {number} holds a tab; a .txt is one URL a line, name a table .tsv"
                )
            yield number, {"url": url}
