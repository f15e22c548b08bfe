"""Lists of URLs in files: columns found, rows read in chunks, rows of one URL brought together as an item."""

import itertools
import math
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import orjson

from vlm_assets.words.errors import SourceError
from vlm_assets.words.layout import bucket_name, key_hash, nfc
from vlm_assets.words.records import Item, ListedSlice

FORMATS: Final = (".csv", ".tsv", ".parquet", ".jsonl", ".txt")
_CHUNK_ROWS: Final = 50_000
_PARTS: Final = 64
_BUFFER_BYTES: Final = 128 * 2**20
_URL_NAMES: Final = frozenset(
    {"url", "uri", "link", "src", "href", "imageurl", "imageuri", "imagelink", "imagesrc", "imgurl", "imgsrc"}
    | {"photourl", "pictureurl", "fileurl", "downloadurl", "contenturl"}
)
RawRow = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Columns:
    """Which column of a list means what. `label`: a column, or the number of a folder in the URL's path."""

    url: str
    text: str | None = None
    sha256: str | None = None
    label: str | int | None = None


@dataclass(frozen=True, slots=True)
class UrlRow:
    """One row of a list. `url` is NFC, stripped, without fragment; "" where the cell is empty."""

    url: str
    text: str | None
    sha256: str
    label: str | None
    extra: Mapping[str, Any] | None


def column_names(path: Path) -> list[str]:
    """Names of the columns, NFC, in the order of the file; `url` alone for a .txt.

    Raises:
        SourceError: missing, empty, without a header, or of an unknown format.
    """
    if path.suffix.lower() not in FORMATS:
        raise SourceError(f"{path}: unknown format; a URL list is one of {', '.join(FORMATS)}")
    if not path.is_file():
        raise SourceError(f"{path}: no such file")
    if path.stat().st_size == 0:
        raise SourceError(f"{path}: the file is empty")
    match path.suffix.lower():
        case ".txt":
            return ["url"]
        case ".parquet":
            import pyarrow.parquet as pq

            return [nfc(name) for name in _guarded(path, lambda: pq.read_schema(path).names)]
        case ".jsonl":
            names: dict[str, None] = {}
            for row in itertools.islice(_json_rows(path), 1000):
                names.update(dict.fromkeys(row))
            return list(names)
    names_read = next(_table_chunks(path, rows=1), None)
    columns = [] if names_read is None else [str(name) for name in names_read.columns]
    if any("://" in name for name in columns):
        raise SourceError(f"{path}: the first line is a URL, a header with column names belongs there")
    return columns


def choose_columns(
    path: Path,
    names: Sequence[str],
    *,
    url: str | None = None,
    text: str | None = None,
    sha256_: str | None = None,
    label: str | int | None = None,
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
        candidates = [name for name in names if _bare(name) in _URL_NAMES]
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
    )


def _bare(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "").replace(" ", "")


def read_rows(path: Path, columns: Columns) -> Iterator[UrlRow]:
    """All rows of a list, in its order; blank lines are no rows.

    Raises:
        SourceError: undecodable text or a malformed row, with its line.
    """
    match path.suffix.lower():
        case ".txt":
            raw: Iterator[RawRow] = ({"url": line} for line in _lines(path))
        case ".parquet":
            raw = _parquet_rows(path)
        case ".jsonl":
            raw = _json_rows(path)
        case _:
            raw = _table_rows(path)
    return (url_row(row, columns) for row in raw)


def url_row(row: RawRow, columns: Columns) -> UrlRow:
    """One raw row as a URL row; columns that have no part of their own go into `extra`."""
    url = _clean_url(row.get(columns.url))
    if isinstance(columns.label, int):
        label: str | None = _folder(url, columns.label)
    else:
        label = None if columns.label is None else _text(row.get(columns.label))
    own = {columns.url, columns.text, columns.sha256}
    extra = {name: value for name, value in row.items() if name not in own}
    return UrlRow(
        url,
        None if columns.text is None else _text(row.get(columns.text)),
        "" if columns.sha256 is None else (_text(row.get(columns.sha256)) or "").strip().lower(),
        label,
        extra or None,
    )


def _clean_url(value: Any) -> str:
    text = nfc(value if isinstance(value, str) else "" if value is None else str(value))
    # The fragment is never sent, and an item's key must not end like one of several records (`#0`).
    return text.strip().strip("\ufeff").partition("#")[0].strip()


def _text(value: Any) -> str | None:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    return nfc(value if isinstance(value, str) else str(value)) or None


def _folder(url: str, number: int) -> str:
    """The n-th folder of the URL's path; "" where it has none."""
    folders = url.partition("://")[2].partition("?")[0].split("/")[1:-1]
    return folders[number - 1] if number <= len(folders) else ""


def distinct_urls(rows: Iterable[UrlRow], check: Callable[[str], None] = lambda url: None) -> int:  # noqa: ARG005 - does nothing
    """How many items rows make, in 8 bytes a row; `check` sees every URL and may raise."""
    import numpy as np

    hashes = array("Q")
    for row in rows:
        check(row.url)
        hashes.append(key_hash(_key_of(row)))
    return int(np.unique(np.frombuffer(hashes, dtype=np.uint64)).size) if hashes else 0


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
            parts.add(index * parts.count // buckets, (index, key, row.url, _packed(row)))
        for number in range(parts.count):
            by_bucket: defaultdict[int, defaultdict[tuple[str, str], list[bytes]]] = defaultdict(
                lambda: defaultdict(list)
            )
            for index, key, url, packed in parts.read(number):
                by_bucket[index][key, url].append(packed)
            for index in sorted(by_bucket):
                items = [_item(key, url, found) for (key, url), found in sorted(by_bucket[index].items())]
                yield ListedSlice(bucket_name(index, buckets), items, items_per_slice=rows_per_slice)


class _Parts:
    """Rows by part, in memory until they are many, then in one file a part."""

    def __init__(self, folder: Path, count: int) -> None:
        self.count = count
        self._folder = folder
        self._rows: list[list[bytes]] = [[] for _ in range(count)]
        self._size_bytes = 0

    def add(self, part: int, row: tuple[int, str, str, bytes]) -> None:
        line = orjson.dumps((row[0], row[1], row[2], row[3].decode()))
        self._rows[part].append(line)
        self._size_bytes += len(line)
        if self._size_bytes > _BUFFER_BYTES:
            for number, lines in enumerate(self._rows):
                with (self._folder / str(number)).open("ab") as file:
                    file.writelines(line + b"\n" for line in lines)
                lines.clear()
            self._size_bytes = 0

    def read(self, part: int) -> Iterator[tuple[int, str, str, bytes]]:
        path = self._folder / str(part)
        spilled = path.open("rb") if path.exists() else None
        try:
            for line in itertools.chain(spilled or (), self._rows[part]):
                index, key, url, packed = orjson.loads(line)
                yield index, key, url, packed.encode()
        finally:
            if spilled is not None:
                spilled.close()


def _key_of(row: UrlRow) -> str:
    """The item's key: its URL, or for a row without one a name made of its other columns."""
    return row.url or f"missing-url-{sha256(_packed(row)).hexdigest()[:16]}"


def _packed(row: UrlRow) -> bytes:
    return orjson.dumps(
        (row.text, row.sha256, row.label, row.extra), default=_plain_value, option=orjson.OPT_SORT_KEYS
    )


def _item(key: str, url: str, packed: list[bytes]) -> Item:
    """One item of all rows of a URL: distinct ones in an order of their own, exact repetitions counted."""
    distinct = sorted(set(packed))
    repeated = len(packed) - len(distinct)
    digest = sha256(b"\n".join(distinct) + b"\n%d" % repeated).hexdigest()
    return Item(
        key, digest, {"url": url, "rows": [orjson.loads(row) for row in distinct], "repeated": repeated}
    )


def _plain_value(value: Any) -> Any:
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return value.hex()
    return str(value)


def _table_chunks(path: Path, *, rows: int | None = None) -> Iterator[Any]:
    """Frames of text cells, read by pandas.

    Raises:
        SourceError: undecodable or ragged lines.
    """
    import pandas as pd

    separator = "\t" if path.suffix.lower() == ".tsv" else ","
    try:
        with pd.read_csv(
            path, sep=separator, dtype=str, keep_default_na=False, na_filter=False,
            encoding="utf-8-sig", chunksize=rows or _CHUNK_ROWS,
        ) as reader:  # fmt: skip
            for frame in reader:
                if not isinstance(frame.index, pd.RangeIndex):
                    raise SourceError(f"{path}: rows have more cells than the header has columns")
                frame.columns = [nfc(str(name).strip()) for name in frame.columns]
                yield frame
                if rows is not None:
                    return
    except UnicodeDecodeError as error:
        raise _undecodable(path, error) from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise SourceError(f"{path}: {str(error).strip()}") from None


def _table_rows(path: Path) -> Iterator[RawRow]:
    for frame in _table_chunks(path):
        names = list(frame.columns)
        for values in zip(*(frame[name].tolist() for name in names), strict=True):
            cells = [value if isinstance(value, str) and value else None for value in values]
            if any(cells):
                yield dict(zip(names, cells, strict=True))


def _parquet_rows(path: Path) -> Iterator[RawRow]:
    import pyarrow.parquet as pq

    with _guarded(path, lambda: pq.ParquetFile(path)) as file:
        names = [nfc(name) for name in file.schema_arrow.names]
        batches = file.iter_batches(batch_size=_CHUNK_ROWS // 10)
        while (batch := _guarded(path, lambda: next(batches, None))) is not None:
            for values in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                yield dict(zip(names, values, strict=True))


def _guarded(path: Path, read: Callable[[], Any]) -> Any:
    import pyarrow as pa

    try:
        return read()
    except (pa.ArrowInvalid, OSError) as error:
        raise SourceError(f"{path}: not readable as parquet: {error}") from error


def _json_rows(path: Path) -> Iterator[RawRow]:
    for number, line in enumerate(_raw_lines(path), start=1):
        if not line.strip():
            continue
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise SourceError(f"{path}: line {number} is not JSON: {error}") from None
        if not isinstance(row, dict):
            raise SourceError(f"{path}: line {number}: expected an object, got {type(row).__name__}")
        yield {nfc(name): value for name, value in row.items()}


def _lines(path: Path) -> Iterator[str]:
    for number, line in enumerate(_raw_lines(path), start=1):
        try:
            text = line.decode().strip()
        except UnicodeDecodeError:
            raise SourceError(f"{path}: line {number} is not UTF-8; save the file as UTF-8") from None
        if text:
            yield text


def _raw_lines(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        first = True
        for line in file:
            yield line.removeprefix(b"\xef\xbb\xbf") if first else line
            first = False


def _undecodable(path: Path, error: UnicodeDecodeError) -> SourceError:
    for number, line in enumerate(_raw_lines(path), start=1):
        try:
            line.decode()
        except UnicodeDecodeError:
            return SourceError(f"{path}: line {number} is not UTF-8; save the file as UTF-8")
    return SourceError(f"{path}: not UTF-8: {error}")
