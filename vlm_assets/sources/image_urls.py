"""`image_urls`: a file with URLs of images, and what else its columns say about them."""

import math
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from vlm_assets.captions.keys import TextFileKeys
from vlm_assets.catalog.spec import SourceSpec
from vlm_assets.sources._tables import LabelledSpec
from vlm_assets.sources.protocol import Requests, Traits
from vlm_assets.words.contexts import FetchContext, ListContext
from vlm_assets.words.errors import Reject, RejectReason, SourceError
from vlm_assets.words.layout import nfc
from vlm_assets.words.records import Item, Listed, Record, RecordImage


class ImageUrlsSpec(TextFileKeys, LabelledSpec):
    """Keys of a URL list."""

    has_classes: ClassVar[bool] = False

    urls: Path
    """.csv, .tsv, .parquet, .jsonl or .json with named columns, or .txt with one URL a line, packed or not; or a
    folder of such files."""
    url_column: str | None = None
    """Found by itself when only one column is named like a URL, or there is only one."""
    text_column: str | None = None
    sha256_column: str | None = None
    rows_per_slice: int = Field(10_000, ge=1)
    drift: Literal["quarantine", "accept"] = "quarantine"
    """What becomes of an address that gives another picture than before; `accept` takes it."""

    def quarantines_drift(self) -> bool:
        """Unless the catalogue accepts it: a URL names one picture."""
        return self.drift == "quarantine"


class ImageUrls:
    """An item is a distinct URL with all its rows; a slice is a bucket of URLs."""

    kind: ClassVar[str] = "image_urls"
    version: ClassVar[int] = 2
    spec_type: ClassVar[type[SourceSpec]] = ImageUrlsSpec
    traits: ClassVar[Traits] = Traits(
        requests=Requests.ONE_AN_ITEM, renders_pages=False, memory_mib=8_192, badges=frozenset()
    )

    def list(self, spec: ImageUrlsSpec, context: ListContext) -> Listed:
        """Every distinct URL of the file; the identity of an item is what its rows declare.

        Raises:
            SourceError: missing, empty or malformed file, missing columns.
            ConfigError: the settings name no contact, and the URLs lead to the internet.
        """
        from vlm_assets.sources._url_list import UrlList, bucket_slices, choose_columns, count_urls
        from vlm_assets.transfer.contact import ContactCheck

        label = label_rule(spec)
        declared = (
            spec.url_column,
            spec.text_column,
            spec.sha256_column,
            label if isinstance(label, str) else None,
        )
        urls = UrlList(spec.urls, spec.table_reading(), declared)
        columns = choose_columns(
            spec.urls, urls.columns,
            url=spec.url_column, text=spec.text_column, sha256_=spec.sha256_column, label=label,
        )  # fmt: skip
        labels: set[str] = set()
        count, rows = count_urls(urls.rows(columns), ContactCheck(context.settings), labels)
        if count == 0:
            raise SourceError(f"source {spec.name}: {spec.urls} holds no URL")
        if spec.label_rule is not None:
            spec.label_rule.check(labels, f"source {spec.name}: {spec.urls}")
        buckets = spec.buckets or context.previous_buckets.get("") or math.ceil(count / spec.rows_per_slice)
        return Listed(
            revision=_revision(urls.files),
            slices=bucket_slices(urls.rows(columns), buckets, spec.rows_per_slice, context.cache_dir),
            buckets={"": buckets},
            left_out=urls.left_out,
            upstream=rows + len(urls.left_out),
            companions=rows - count,
        )

    def fetch(
        self, spec: ImageUrlsSpec, items: Sequence[Item], context: FetchContext
    ) -> Iterator[Record | Reject]:
        """The records of each URL, which is asked for once however many rows name it."""
        return fetch_url_items(items, context, spec)


SOURCE = ImageUrls()


def label_rule(spec: SourceSpec) -> str | int | None:
    """Column or folder number that `subcategory_from` selects."""
    rule = spec.subcategory_from
    return None if rule is None else rule.column or rule.folder


def fetch_url_items(
    items: Sequence[Item], context: FetchContext, spec: SourceSpec
) -> Iterator[Record | Reject]:
    """Records and rejects of items made by `_url_list`, in the order of `items`; for every kind that lists URLs.

    A URL with several distinct rows gives a record each, keyed `<url>#0`, `#1`; an exact repetition of a row is
    a rejected record with reason `duplicate_item`.
    """
    from vlm_assets.transfer.download import UrlItem, fetch_urls
    from vlm_assets.transfer.politeness import HostLimits

    wanted = _first_items(items, context.max_records)
    urls = [UrlItem(item.key, item.payload["url"], _declared(item)) for item in wanted]
    for item, result in zip(wanted, fetch_urls(urls, context, HostLimits.of(spec)), strict=True):
        if isinstance(result, Reject):
            yield result
        else:
            yield from _records(item, result.body)


def _first_items(items: Sequence[Item], max_records: int | None) -> Sequence[Item]:
    """So many items as give `max_records` records if nothing is rejected: a test asks for no more."""
    if max_records is None:
        return items
    records = 0
    for count, item in enumerate(items):
        if records >= max_records:
            return items[:count]
        records += len(item.payload["rows"])
    return items


def _declared(item: Item) -> str:
    """The sha256 to verify while downloading; "" where rows declare none, or different ones."""
    declared = {row[1] for row in item.payload["rows"] if row[1]}
    return declared.pop() if len(declared) == 1 else ""


def _records(item: Item, body: bytes | Path) -> Iterator[Record | Reject]:
    rows: Sequence[tuple[str | None, str, str | None, Mapping[str, Any] | None]] = item.payload["rows"]
    digest = _body_hash(body) if len({row[1] for row in rows if row[1]}) > 1 else ""
    for number, (text, declared, label, extra) in enumerate(rows):
        if digest and declared and declared != digest:
            detail = f"declared {declared[:12]}…, got {digest[:12]}…"
            yield Reject(item.key, RejectReason.CHECKSUM, detail, record=number)
            continue
        yield Record(
            item=item.key, record=number, key=f"{item.key}#{number}" if len(rows) > 1 else item.key,
            images=(RecordImage(body),), origin=item.key, text=text, label=label, extra=extra, vouched=bool(declared),
        )  # fmt: skip
    for number in range(len(rows), len(rows) + item.payload["repeated"]):
        yield Reject(item.key, RejectReason.DUPLICATE_ITEM, "the list repeats this row", record=number)


def _body_hash(body: bytes | Path) -> str:
    return sha256(body if isinstance(body, bytes) else body.read_bytes()).hexdigest()


def _revision(files: Sequence[Path]) -> str:
    """The hash of the file, or that over the names and hashes of several."""
    hashes = [_file_hash(file) for file in files]
    if len(files) == 1:
        return f"sha256:{hashes[0]}"
    told = "".join(f"{nfc(file.name)}\0{digest}\n" for file, digest in zip(files, hashes, strict=True))
    return f"sha256:{sha256(told.encode()).hexdigest()}"


def _file_hash(path: Path) -> str:
    import hashlib

    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
