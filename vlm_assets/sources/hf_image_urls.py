"""`hf_image_urls`: a Hub dataset whose rows hold URLs of images; the images come as `image_urls` fetches them.

The data files are read when listing; an item is a distinct URL, or list of URLs in one cell, with all its rows, a
slice a bucket of items over all wanted configs and splits. Captions become `text`, other columns `extra`.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import Field, model_validator

from vlm_assets.captions.keys import TextFileKeys
from vlm_assets.captions.words import usual_texts
from vlm_assets.catalog.place_forms import PlaceForm
from vlm_assets.catalog.spec import SourceSpec
from vlm_assets.sources._hub_page import HUB_PAGE
from vlm_assets.sources._tables import LabelledSpec, whole_or_split
from vlm_assets.sources.protocol import Obtained, Requests, Traits
from vlm_assets.words.contexts import FetchContext, ListContext
from vlm_assets.words.errors import Reject, SourceError
from vlm_assets.words.layout import nfc
from vlm_assets.words.records import Item, Listed, Record

if TYPE_CHECKING:
    from vlm_assets.hub.local_tables import LocalTable
    from vlm_assets.sources._url_rows import Columns, PackedRow
    from vlm_assets.sources._url_talks import Talks


class HfImageUrlsSpec(TextFileKeys, LabelledSpec):
    """Keys of `hf_image_urls`."""

    DEFAULT_TOLERANCE: ClassVar[float] = 0.3

    PLACE: ClassVar[PlaceForm] = PlaceForm(
        page=HUB_PAGE,
        beside="revision",
        here="a list of URLs on this machine is read by: vlm-assets add image_urls",
    )
    kind: Literal["hf_image_urls"]
    reject_tolerance: float | None = Field(None, ge=0, le=1)
    """A slice with a larger share of rejects fails. Unset: 0.3, since of addresses a tenth is dead, more with
    age; of few records also up to 3 rejects that are at most a third."""
    repo: str = Field(pattern=r"^[\w.-]+/[\w.-]+$", description="owner/name on the Hub.")
    revision: str | None = Field(None, description="Branch, tag or commit; unset: the default branch.")
    configs: Literal["all"] | tuple[str, ...] = "all"
    """`all`, or a list."""
    splits: Literal["all"] | tuple[str, ...] = "all"
    """`all`, or a list."""
    url_column: str | None = Field(None, description="Found when only one is named like a URL.")
    text_column: str | None = Field(
        None, description="Unset: text, caption and the like, where there is one."
    )
    messages_column: str | None = Field(
        None, description="A conversation. Unset: texts, conversations, messages, where one plainly is."
    )
    sha256_column: str | None = None
    """Hashes that the bytes must have."""
    split_images: bool = Field(
        default=False, description="Each URL of a cell is a sample: pictures that do not belong together."
    )
    rows_per_slice: int = Field(10_000, ge=1)
    """URLs of a bucket."""
    drift: Literal["quarantine", "accept"] = Field(
        "quarantine", description="What becomes of an address that gives another picture than before."
    )

    @model_validator(mode="after")
    def _whole_or_split(self) -> Self:
        whole_or_split(self)
        return self

    def quarantines_drift(self) -> bool:
        """Unless the catalogue accepts it: a URL names one picture."""
        return self.drift == "quarantine"

    def upstream_url(self) -> str | None:
        """The dataset's page on the Hub."""
        return f"https://huggingface.co/datasets/{self.repo}"

    def at_revision(self, revision: str) -> Self:
        """At that commit."""
        return self.model_copy(update={"revision": revision})


class HfImageUrls:
    """Lists URLs of Hub datasets and fetches them."""

    kind: ClassVar[str] = "hf_image_urls"
    version: ClassVar[int] = 2
    spec_type: ClassVar[type[SourceSpec]] = HfImageUrlsSpec
    traits: ClassVar[Traits] = Traits(
        requests=Requests.ONE_AN_ITEM,
        renders_pages=False,
        memory_mib=8_192,
        badges=frozenset({"huggingface"}),
        obtained=Obtained.CRAWLED,
    )

    def list(self, spec: HfImageUrlsSpec, context: ListContext) -> Listed:
        """Every distinct cell of URLs in the data files at the pinned commit; see `Source.list`."""
        from vlm_assets.hub.layouts import list_repo
        from vlm_assets.hub.local_tables import local_tables
        from vlm_assets.sources._url_rows import is_url_name
        from vlm_assets.sources._url_spill import spilled

        layout = list_repo(spec, context)
        if layout.sha == context.keeps_revision:
            return Listed(layout.sha, (), unchanged=True)
        named = _named(spec)
        tables = local_tables(
            spec, context, layout, spec.table_reading(),
            lambda name: name in named or is_url_name(name), spec.label_rule,
        )  # fmt: skip
        columns, hints = _columns(spec, tables)
        where = f"source {spec.name}: {spec.repo}"
        slices, buckets, rows, count, private = spilled(_rows(spec, columns), spec, context, where)
        apart = layout.apart
        others = apart.companions + len(apart.left_out)
        return Listed(
            layout.sha, slices, {"": buckets}, left_out=apart.left_out, hints=[*apart.hints, *hints, *private],
            upstream=rows + others, companions=rows - count + apart.companions,
        )  # fmt: skip

    def fetch(
        self, spec: HfImageUrlsSpec, items: Sequence[Item], context: FetchContext
    ) -> Iterator[Record | Reject]:
        """The records of each item; see `Source.fetch`."""
        from vlm_assets.sources._url_fetch import fetch_url_items

        return fetch_url_items(items, context, spec)


def _named(spec: HfImageUrlsSpec) -> set[str | None]:
    """The columns that the catalogue names, but for that of labels."""
    return {spec.url_column, spec.text_column, spec.messages_column, spec.sha256_column}


def _columns(
    spec: HfImageUrlsSpec, tables: "Sequence[LocalTable]"
) -> "tuple[list[tuple[LocalTable, Columns]], Sequence[str]]":
    """Each file with its columns by name, and hints; files of one dataset may differ in what is not declared.

    Raises:
        SourceError: no rows, no clear URL column, no conversation where one is declared; lists the columns.
    """
    from vlm_assets.sources._url_list import choose_columns
    from vlm_assets.sources.image_urls import label_rule

    chosen: list[tuple[LocalTable, Columns]] = []
    hints: dict[str, None] = {}
    for table in tables:
        names = table.columns()
        if not names:
            continue
        text = spec.text_column or next(iter(usual_texts(names)), None)
        talks = _talks(spec, table, names)
        hints.update(dict.fromkeys(talks.hints))
        columns = choose_columns(
            table.where, names,
            url=spec.url_column, text=text, sha256_=spec.sha256_column, label=label_rule(spec),
            split=spec.split_images, messages=talks.column,
        )  # fmt: skip
        chosen.append((table, columns))
    if not chosen:
        raise SourceError(f"source {spec.name}: the data files of {spec.repo} hold no rows")
    return chosen, list(hints)


def _talks(spec: HfImageUrlsSpec, table: "LocalTable", names: Sequence[str]) -> "Talks":
    from vlm_assets.sources._url_talks import find_talks
    from vlm_assets.sources.image_urls import label_rule

    label = label_rule(spec)
    return find_talks(
        names, table.rows, table.where,
        declared=None if spec.messages_column is None else nfc(spec.messages_column),
        others=[*_named(spec), label if isinstance(label, str) else None],
        split=spec.split_images, kinds=table.kinds,
    )  # fmt: skip


def _rows(spec: HfImageUrlsSpec, tables: "Sequence[tuple[LocalTable, Columns]]") -> "Iterator[PackedRow]":
    """Rows of all files in their order.

    Where no text is declared, that of a row is the first usual column that has one.
    """
    from vlm_assets.sources._url_rows import packed_cells, packed_rows

    for table, columns in tables:
        chosen, names = columns.text, table.columns()
        usual = usual_texts(names)
        several = spec.text_column is None and len(usual) > 1
        if not several and (cells := table.cells()) is not None:
            yield from packed_cells(cells, names, columns, f"{table.where}: row")
            continue
        for row in table.rows():
            if spec.text_column is None and chosen is not None and not row.get(chosen):
                other = next((name for name in usual if row.get(name)), chosen)
                row |= {chosen: row[other], other: row.get(chosen)}  # a dict of its own
            yield from packed_rows(row, columns, table.where)


SOURCE = HfImageUrls()
