"""`hf_dataset`: a dataset repository on the Hugging Face Hub, read from verified copies of its data files.

A slice is a config × split; one whose files exceed `slice_bytes` (or whose loose images exceed `files_per_slice`)
is cut into buckets of files by name, so a data file more changes one slice. Rows that the README's or the file's
features call ClassLabel carry the class's name in `extra`. Nothing in a row names the revision: a commit that leaves
a file alone leaves its rows alone.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, Self

from pydantic import Field

from vlm_assets.captions.keys import CAPTION_KEYS, CaptionKeys, CaptionText
from vlm_assets.captions.trees import METADATA, SIDECAR
from vlm_assets.catalog.place_forms import PlaceForm
from vlm_assets.catalog.spec import Size, SourceSpec
from vlm_assets.hub.groups import buckets_for_bytes, slices_of_group
from vlm_assets.sources._hub_page import HUB_PAGE
from vlm_assets.sources._tables import TABLE_KEYS, TableSpec
from vlm_assets.sources.protocol import Obtained, Requests, Traits
from vlm_assets.words.caption_rows import beside_archives, sum_counts
from vlm_assets.words.contexts import FetchContext, ListContext
from vlm_assets.words.errors import SourceError
from vlm_assets.words.records import Event, Item, Listed, ListedSlice

if TYPE_CHECKING:
    from vlm_assets.hub.layouts import RepoLayout


_LABELS: Final = 10_000
"""So many labels of loose images are looked at."""


class HfDatasetSpec(CaptionKeys, TableSpec):
    """Keys of `hf_dataset`. `text` is for loose images and those in archives."""

    BYTES_KEYS: ClassVar[tuple[str, ...]] = ("repo", *TABLE_KEYS, *CAPTION_KEYS)

    PLACE: ClassVar[PlaceForm] = PlaceForm(
        page=HUB_PAGE, beside="revision", here="a dataset on this machine is read by: vlm-assets add hf_disk"
    )
    kind: Literal["hf_dataset"]
    repo: str = Field(pattern=r"^[\w.-]+/[\w.-]+$", description="owner/name on the Hub.")
    revision: str | None = Field(None, description="Branch, tag or commit; unset: the default branch.")
    configs: Literal["all"] | tuple[str, ...] = "all"
    """`all`, or a list."""
    splits: Literal["all"] | tuple[str, ...] = "all"
    """`all`, or a list."""
    text: CaptionText = METADATA
    """`none`, `sidecar`, `metadata`, or the file name of the tables that name loose images."""
    slice_bytes: Size = Field(4_000_000_000, description="A larger split is cut into buckets of data files.")
    files_per_slice: int = Field(10_000, ge=1, description="Loose images a slice.")

    def upstream_url(self) -> str | None:
        """The dataset's page on the Hub."""
        return f"https://huggingface.co/datasets/{self.repo}"

    def at_revision(self, revision: str) -> Self:
        """At that commit."""
        return self.model_copy(update={"revision": revision})


class HfDataset:
    """Lists and fetches Hub datasets."""

    kind: ClassVar[str] = "hf_dataset"
    version: ClassVar[int] = 3
    spec_type: ClassVar[type[SourceSpec]] = HfDatasetSpec
    traits: ClassVar[Traits] = Traits(
        requests=Requests.ONE_AN_ITEM,
        renders_pages=False,
        memory_mib=8_192,
        badges=frozenset({"huggingface"}),
        obtained=Obtained.PUBLIC,
    )

    def list(self, spec: HfDatasetSpec, context: ListContext) -> Listed:
        """Slices of every wanted config × split at the pinned commit; see `Source.list`."""
        from vlm_assets.hub.layouts import list_repo, tables_of_archives

        layout = list_repo(
            spec, context, spec.caption_rule(), wanted=spec.wanted, reading=spec.table_reading()
        )
        _check_loose(spec, layout)
        buckets: dict[str, int] = {}
        slices: list[ListedSlice] = []
        for split, items in layout.splits:
            loose = split.format == "imagefolder"
            by_number = -(-len(items) // spec.files_per_slice)
            slices += slices_of_group(
                f"{split.config}--{split.split}",
                items,
                by_number if loose else buckets_for_bytes(items, spec.slice_bytes),
                fixed=spec.buckets,
                previous=context.previous_buckets,
                buckets=buckets,
                container=not loose,
                items_per_slice=spec.files_per_slice if loose else 1,
            )
        formats = {f"{one.config}/{one.split}": one.format for one, _ in layout.splits}
        features = {one.config: dict(one.features) for one, _ in layout.splits if one.features}
        attributes: dict[str, Any] = {"repo": spec.repo, "formats": formats, "features": features}
        archives = beside_archives(tables_of_archives(item for _, items in layout.splits for item in items))
        if counts := sum_counts([*layout.captions.values(), archives]):
            attributes["captions"] = counts
        captions_unused = counts.get("name_nothing", counts.get("sidecars_unused"))
        return Listed(
            layout.sha, slices, buckets, attributes, layout.apart.left_out, layout.apart.hints,
            upstream=layout.upstream, companions=layout.apart.companions, captions_unused=captions_unused,
        )  # fmt: skip

    def fetch(self, spec: HfDatasetSpec, items: Sequence[Item], context: FetchContext) -> Iterator[Event]:
        """Records of the slice's data files, or its loose images; see `Source.fetch`."""
        from vlm_assets.hub.layouts import fetch_items

        yield from fetch_items(spec, items, context)


def _check_loose(spec: HfDatasetSpec, layout: "RepoLayout") -> None:
    """Returns where loose images can have the words and labels that the catalogue names.

    Raises:
        SourceError: no table holds the words; no such column of labels; none of the labels is in the map.
    """
    loose = [item for split, items in layout.splits if split.format == "imagefolder" for item in items]
    if not loose or len(loose) < sum(len(items) for _, items in layout.splits):
        return
    where = f"source {spec.name}: {spec.repo}"
    for key, column in (("text_column", spec.text_column), ("messages_column", spec.messages_column)):
        if column is not None and spec.text != SIDECAR and not layout.captions:
            raise SourceError(f"{where}: no column {column!r} ({key}): no table speaks of its images")
    rule = spec.subcategory_from
    if rule is None or spec.label_rule is None or spec.text == SIDECAR:
        return
    if rule.folder is not None:
        folders = (item.key.split("/")[:-1] for item in loose)
        spec.label_rule.check({one[rule.folder - 1] for one in folders if len(one) >= rule.folder}, where)
        return
    columns: dict[str, None] = {}
    labels: set[str] = set()
    for item in loose:
        for said in item.payload.get("captions") or [{}]:
            values = {**_folder_label(item.key), **(said.get("extra") or {})}
            columns.update(dict.fromkeys(values))
            if values.get(rule.column or "") is not None and len(labels) < _LABELS:
                labels.add(str(values[rule.column or ""]))
    if rule.column not in columns:
        there = ", ".join(sorted(columns)) or "none"
        raise SourceError(f"{where}: no column {rule.column!r} (subcategory_from.column); there are: {there}")
    spec.label_rule.check(labels, where)


def _folder_label(key: str) -> dict[str, str]:
    """The label that a loose image has where no row names one."""
    folders = key.split("/")[:-1]
    return {"label": folders[-1]} if folders else {}


SOURCE = HfDataset()
