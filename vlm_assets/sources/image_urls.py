"""`image_urls`: a file with URLs of images, and what else its columns say about them."""

from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from vlm_assets.captions.keys import TextFileKeys
from vlm_assets.captions.words import usual_texts
from vlm_assets.catalog.spec import SourceSpec
from vlm_assets.sources._tables import LabelledSpec, whole_or_split
from vlm_assets.sources.protocol import Obtained, Requests, Traits
from vlm_assets.transfer.files import FileHashes
from vlm_assets.words.contexts import FetchContext, ListContext
from vlm_assets.words.errors import Reject, SourceError
from vlm_assets.words.layout import nfc
from vlm_assets.words.records import Item, Listed, ListedSlice, Record


class ImageUrlsSpec(TextFileKeys, LabelledSpec):
    """Keys of a URL list."""

    has_classes: ClassVar[bool] = False
    DEFAULT_TOLERANCE: ClassVar[float] = 0.3

    reject_tolerance: float | None = Field(None, ge=0, le=1)
    """A slice with a larger share of rejects fails. Unset: 0.3, since of addresses a tenth is dead, more with
    age; of few records also up to 3 rejects that are at most a third."""
    urls: Path
    """.csv, .tsv, .parquet, .jsonl or .json with named columns, or .txt with one URL a line, packed or not; or a
    folder of such files."""
    url_column: str | None = None
    """Found by itself when only one column is named like a URL, or there is only one."""
    text_column: str | None = None
    """The text of an image."""
    messages_column: str | None = None
    """A conversation. Unset: texts, conversations, messages, where one plainly is."""
    sha256_column: str | None = None
    """Hashes that the bytes must have."""
    split_images: bool = False
    """Each URL of a cell is a sample: pictures that do not belong together."""
    rows_per_slice: int = Field(10_000, ge=1)
    """URLs of a bucket."""
    drift: Literal["quarantine", "accept"] = "quarantine"
    """What becomes of an address that gives another picture than before; `accept` takes it."""

    @model_validator(mode="after")
    def _whole_or_split(self) -> Self:
        whole_or_split(self)
        return self

    def quarantines_drift(self) -> bool:
        """Unless the catalogue accepts it: a URL names one picture."""
        return self.drift == "quarantine"


class ImageUrls:
    """An item is a distinct URL, or list of URLs in one cell, with all its rows; a slice is a bucket of items."""

    kind: ClassVar[str] = "image_urls"
    version: ClassVar[int] = 2
    spec_type: ClassVar[type[SourceSpec]] = ImageUrlsSpec
    traits: ClassVar[Traits] = Traits(
        requests=Requests.ONE_AN_ITEM,
        renders_pages=False,
        memory_mib=8_192,
        badges=frozenset(),
        obtained=Obtained.CRAWLED,
    )

    def list(self, spec: ImageUrlsSpec, context: ListContext) -> Listed:
        """Every distinct cell of URLs in the file; the identity of an item is what its rows declare.

        Raises:
            SourceError: missing, empty or malformed file, missing columns.
            ConfigError: the settings name no contact, and the URLs lead to the internet.
        """
        from vlm_assets.sources._url_list import (
            UrlList,
            check_beginnings,
            choose_columns,
            list_files,
            other_files,
        )
        from vlm_assets.sources._url_spill import spilled

        files = list_files(spec.urls)
        check_beginnings(files, spec.table_reading())
        revision = _revision(files, context)
        if revision == context.keeps_revision and not other_files(spec.urls, files):
            return Listed(revision, (), unchanged=True)
        label = label_rule(spec)
        declared = (
            spec.url_column,
            spec.text_column,
            spec.messages_column,
            spec.sha256_column,
            label if isinstance(label, str) else None,
        )
        urls = UrlList(spec.urls, spec.table_reading(), declared)
        talks = urls.talks(declared=spec.messages_column, others=declared, split=spec.split_images)
        columns = choose_columns(
            spec.urls, urls.columns,
            url=spec.url_column, text=spec.text_column, sha256_=spec.sha256_column, label=label,
            split=spec.split_images, messages=talks.column,
        )  # fmt: skip
        where = f"source {spec.name}: {spec.urls}"
        slices, buckets, rows, count, private = spilled(urls.rows(columns), spec, context, where)
        return Listed(
            revision=revision,
            slices=_of_one_revision(slices, spec, context, revision),
            buckets={"": buckets},
            left_out=urls.left_out,
            hints=[*_hints(spec, urls.columns), *talks.hints, *private],
            upstream=rows + len(urls.left_out),
            companions=rows - count,
        )

    def fetch(
        self, spec: ImageUrlsSpec, items: Sequence[Item], context: FetchContext
    ) -> Iterator[Record | Reject]:
        """The records of each item; a URL is asked for once however many rows name it."""
        from vlm_assets.sources._url_fetch import fetch_url_items

        return fetch_url_items(items, context, spec)


SOURCE = ImageUrls()


def _hints(spec: ImageUrlsSpec, names: Sequence[str]) -> list[str]:
    """A line where a column plainly is one of texts, and the catalogue does not say so."""
    usual = usual_texts(names)
    if spec.text_column is not None or not usual:
        return []
    return [f"column {usual[0]!r} goes into `extra`; say text_column: {usual[0]} if it is the text"]


def label_rule(spec: SourceSpec) -> str | int | None:
    """Column or folder number that `subcategory_from` selects."""
    rule = spec.subcategory_from
    return None if rule is None else rule.column or rule.folder


def _of_one_revision(
    slices: Iterator[ListedSlice], spec: ImageUrlsSpec, context: ListContext, before: str
) -> Iterator[ListedSlice]:
    """The slices of a list that nobody wrote to while it was read.

    Raises:
        SourceError: somebody did.
    """
    from vlm_assets.sources._url_list import list_files

    yield from slices
    if _revision(list_files(spec.urls), context) != before:
        raise SourceError(
            f"source {spec.name}: {spec.urls} changed while it was read; list it again when nobody writes there"
        )


def _revision(files: Sequence[Path], context: ListContext) -> str:
    """The hash of the file, or that over the names and hashes of several.

    Raises:
        SourceError: one cannot be read, or is written to.
    """
    try:
        with FileHashes(context.cache_dir / "sha256.db") as known:
            hashes = [known.sha256(file) for file in files]
    except OSError as error:
        raise SourceError(f"a URL list cannot be read: {error}") from error
    if len(files) == 1:
        return f"sha256:{hashes[0]}"
    told = "".join(f"{nfc(file.name)}\0{digest}\n" for file, digest in zip(files, hashes, strict=True))
    return f"sha256:{sha256(told.encode()).hexdigest()}"
