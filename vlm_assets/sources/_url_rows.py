"""Rows of URL lists: their URL, and what is said about it, packed so that many can wait."""

import math
from ast import literal_eval
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from string import printable
from typing import Any, Final
from unicodedata import is_normalized
from urllib.parse import quote

import orjson

from vlm_assets.captions.json_values import json_value, whole_characters
from vlm_assets.captions.turns import says_nothing
from vlm_assets.captions.words import as_text
from vlm_assets.words.layout import nfc

MISSING_URL: Final = "missing-url-"
"""Begins the key of a row without a URL; the rest is made of its other columns."""
_URL_NAMES: Final = frozenset(
    {"url", "uri", "link", "src", "href", "imageurl", "imageuri", "imagelink", "imagesrc", "imgurl", "imgsrc"}
    | {"photourl", "pictureurl", "fileurl", "downloadurl", "contenturl"}
)
RawRow = Mapping[str, Any]
PackedRow = tuple[str, bytes, str | None, Sequence[str] | None]
"""A row: its item's key, JSON of [text, sha256, label, other columns], its label, its URLs where they are several.

A conversation is a fifth, [column, value]; rows without one have four, as before there were any.
"""


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
    messages: str | None = None


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
    messages: tuple[str, Any] | None = None
    """A conversation's column and its value as JSON."""


def is_url_name(name: str) -> bool:
    """Whether a column is named like one of URLs."""
    return name.lower().replace("_", "").replace("-", "").replace(" ", "") in _URL_NAMES


def packed_cells(
    rows: Iterable[tuple[int, Sequence[Any]]], names: Sequence[str], columns: Columns, where: str
) -> Iterator[PackedRow]:
    """Rows of cells, in the order of `names`, as `packed_rows` packs them; quick where they are plain.

    Raises:
        SourceError: as `packed_rows`; names `where` and the number of the row.
    """
    of_url, of_text = names.index(columns.url), _place(names, columns.text)
    of_label = _place(names, columns.label if isinstance(columns.label, str) else None)
    plain = columns.sha256 is None and columns.messages is None and not isinstance(columns.label, int)
    own = {columns.url, columns.text}
    extras = [(name, place) for place, name in enumerate(names) if name not in own]
    dumps, options = orjson.dumps, orjson.OPT_SORT_KEYS
    for number, cells in rows:
        url = cells[of_url]
        text = None if of_text is None else cells[of_text]
        label = None if of_label is None else cells[of_label]
        if not (
            plain
            and url.__class__ is str
            and url
            and url.isascii()
            and url[0] != "["
            and "#" not in url
            and url == url.strip()
            and (text is None or text.__class__ is str)
            and (label is None or label.__class__ is str)
        ):
            yield from packed_rows(dict(zip(names, cells, strict=True)), columns, f"{where} {number}")
            continue
        said = (
            nfc(text) if text else None,
            "",
            nfc(label) or None if label else None,
            {name: cells[place] for name, place in extras} or None,
        )
        try:
            packed = dumps(said, default=_plain_value, option=options)
        except TypeError:  # integers over 64 bits, halves of surrogate pairs
            yield from packed_rows(dict(zip(names, cells, strict=True)), columns, f"{where} {number}")
        else:
            yield url, packed, said[2], None


def _place(names: Sequence[str], name: str | None) -> int | None:
    return None if name is None else names.index(name)


def packed_rows(row: RawRow, columns: Columns, where: str) -> Iterator[PackedRow]:
    """A raw row as one of a list, or where the columns are split as one a URL; none is lost without a URL.

    Its item's key is its URL, of several the first and a hash over all, or a name made of its other columns.

    Raises:
        SourceError: objects where the text should be.
    """
    for one in _url_rows(row, columns, where):
        packed = _packed(one)
        if len(one.urls) > 1:
            told = sha256("\n".join(one.urls).encode()).hexdigest()[:16]
            yield f"{one.urls[0]}#urls={told}", packed, one.label, one.urls
        else:
            key = one.urls[0] or f"{MISSING_URL}{sha256(packed).hexdigest()[:16]}"
            yield key, packed, one.label, None


def _url_rows(row: RawRow, columns: Columns, where: str) -> Iterator[UrlRow]:
    """A raw row as a URL row, whole; as one a URL where the columns are to be split. None is lost without a URL."""
    urls = list(_urls_in(row.get(columns.url))) or [None]
    hashes = () if columns.sha256 is None else _hashes(row.get(columns.sha256))
    if not columns.split:
        yield _url_row(row, urls, hashes, columns, where)
        return
    paired = len(hashes) == len(urls)
    for number, url in enumerate(urls):
        yield _url_row(row, [url], hashes[number : number + 1] if paired else hashes, columns, where)


def _urls_in(cell: Any) -> Iterator[Any]:
    """What a cell names: itself, the elements of a list, written out or not, the URL of an object that has one."""
    if isinstance(cell, str) and cell.lstrip().startswith("["):
        cell = _written_list(cell)
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


def _written_list(text: str) -> Any:
    """The list of texts that a text is as JSON, or as Python prints it; another text as it is."""
    for read in (orjson.loads, literal_eval):
        try:
            found = read(text.strip())
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
        if isinstance(found, list) and found and all(isinstance(one, str) and "://" in one for one in found):
            return found
    return text


def _url_row(
    row: RawRow, urls: Sequence[Any], hashes: tuple[str, ...], columns: Columns, where: str
) -> UrlRow:
    """What the row says of these URLs; columns that have no part of their own go into `extra`."""
    written = [_clean_url(url) for url in urls]
    if isinstance(columns.label, int):
        label: str | None = _folder(nfc(written[0]), columns.label)
    else:
        label = None if columns.label is None else _text(row.get(columns.label))
    own = {columns.url, columns.text, columns.sha256, columns.messages}
    extra = {name: value for name, value in row.items() if name not in own}
    talk = None if columns.messages is None else _kept_talk(row.get(columns.messages))
    return UrlRow(
        tuple(map(_as_written, written)),
        None if columns.text is None else _words(row.get(columns.text), f"{where}: column {columns.text!r}"),
        hashes,
        label,
        extra or None,
        None if columns.messages is None or talk is None else (columns.messages, talk),
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


def _kept_talk(value: Any) -> Any:
    """A cell's conversation as JSON, normalised when the images are there; None where the cell is empty."""
    if says_nothing(value):
        return None
    if isinstance(value, bytes):
        try:
            value = value.decode()
        except UnicodeDecodeError:
            return json_value(value)
    return json_value(value)


def _words(value: Any, place: str) -> str | None:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    text = value if isinstance(value, str) else as_text(value, place)
    return nfc(text) or None if text is not None else None


def _folder(url: str, number: int) -> str:
    """The n-th folder of the URL's path; "" where it has none."""
    folders = url.partition("://")[2].partition("?")[0].split("/")[1:-1]
    return folders[number - 1] if number <= len(folders) else ""


def _packed(row: UrlRow) -> bytes:
    alone = len(row.urls) == 1 and len(row.sha256) < 2
    declared = "".join(row.sha256) if alone else row.sha256
    plain = (row.text, declared, row.label, row.extra)
    said = plain if row.messages is None else (*plain, row.messages)
    try:
        return orjson.dumps(said, default=_plain_value, option=orjson.OPT_SORT_KEYS)
    except TypeError:
        return orjson.dumps(whole_characters(json_value(said)), option=orjson.OPT_SORT_KEYS)


def _plain_value(value: Any) -> Any:
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return value.hex()
    return str(value)
