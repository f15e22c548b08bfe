"""`kaggle`: images in a Kaggle dataset's archive, which is downloaded once and read member by member.

The listing reads the archive's directory by Range requests. A member's identity is its CRC-32 and size, all that a
zip tells: a new version re-fetches the slices whose members changed. `include` and `exclude` are globs over paths in
the archive, which go on inside the archives in it. Items are images, archives, members that must be refused, and
those whose suffix tells nothing: their bytes decide when they are fetched. Parquet and Arrow files are looked into.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Final, Literal, Self

from pydantic import Field

from vlm_assets.archives.contents import peek, read_member
from vlm_assets.archives.encodings import name_hint
from vlm_assets.archives.forms import is_archive_head
from vlm_assets.archives.limits import (
    ArchiveLimits,
    Budget,
    DamagedArchiveError,
    MemberFaultError,
    MissingPartsError,
)
from vlm_assets.archives.names import suffix_of
from vlm_assets.archives.split import last_parts_missing
from vlm_assets.archives.zips import ZipArchive
from vlm_assets.captions.samples import caption_events
from vlm_assets.catalog.place_forms import PlaceForm
from vlm_assets.catalog.spec import SourceSpec
from vlm_assets.hub.groups import slices_of_group
from vlm_assets.sources._archives import (
    PathGlobs,
    archive_slices,
    member_events,
    tables_beside,
)
from vlm_assets.sources._data_files import ROWS
from vlm_assets.sources._hints import unread_hints
from vlm_assets.sources._kaggle_archive import (
    Directory,
    KaggleKeys,
    archive_of,
    directory_of,
    kept_directory,
    member_bytes,
    member_stream,
)
from vlm_assets.sources._kaggle_members import sort_out, speakers_of
from vlm_assets.sources._kaggle_rows import row_items, rows_of
from vlm_assets.sources._listed_captions import Sorted, beside_of, with_captions
from vlm_assets.sources.protocol import Obtained, Requests, Traits
from vlm_assets.words.contexts import FetchContext, ListContext
from vlm_assets.words.errors import LeftOut, Reject, RejectReason, SourceError
from vlm_assets.words.records import Event, Item, Listed, ListedSlice, Record, RecordImage

if TYPE_CHECKING:
    from vlm_assets.archives.members import Entry, Found
    from vlm_assets.archives.read import Reading

_ROOT_SLICE: Final = "root"


class KaggleSpec(KaggleKeys):
    """Keys of `kaggle`. `encoding` is that of names in the archive too, where nobody declares it."""

    BYTES_KEYS: ClassVar[tuple[str, ...]] = ("encoding",)

    PLACE: ClassVar[PlaceForm] = PlaceForm(
        page=re.compile(
            r"(?:https?://)?(?:www\.)?kaggle\.com/datasets/([\w-]+/[\w-]+(?:/versions/[1-9]\d*)?)()(?:[/?#].*)?"
        )
    )
    kind: Literal["kaggle"]
    handle: str = Field(
        pattern=r"^[\w-]+/[\w-]+(/versions/[1-9]\d*)?$", description="owner/dataset[/versions/N]."
    )
    include: tuple[str, ...] = ("*",)
    """Globs over the path in the dataset."""
    exclude: tuple[str, ...] = ()
    """Globs that take files out again."""
    files_per_slice: int = Field(10_000, ge=1)
    """Loose files of a bucket."""

    def upstream_url(self) -> str | None:
        """The dataset's page on Kaggle."""
        return f"https://www.kaggle.com/datasets/{self.handle}"

    @property
    def globs(self) -> PathGlobs:
        """`include` and `exclude`."""
        return PathGlobs(self.include, self.exclude)

    def at_revision(self, revision: str) -> Self:
        """At that version, `versions/N`."""
        return self.model_copy(update={"handle": "/".join([*self.handle.split("/")[:2], revision])})


class KaggleSource:
    """A slice is a top folder of the archive; a bucket of one where it holds more than `files_per_slice`.

    An archive or data file inside is a slice of its own; more than `ARCHIVE_SLICES` share buckets.
    """

    kind: ClassVar[str] = "kaggle"
    version: ClassVar[int] = 2
    spec_type: ClassVar[type[SourceSpec]] = KaggleSpec
    traits: ClassVar[Traits] = Traits(
        requests=Requests.ONE_A_SOURCE,
        renders_pages=False,
        memory_mib=8_192,
        badges=frozenset(),
        obtained=Obtained.PUBLIC,
    )

    def list(self, spec: KaggleSpec, context: ListContext) -> Listed:
        """The images in the archive at the pinned version; see `Source.list`."""
        from vlm_assets.transfer.kaggle import Kaggle, KaggleDataset
        from vlm_assets.transfer.sync_guest import SyncGuest

        with SyncGuest(context.settings, spec, context.locks_dir) as guest:
            kaggle = Kaggle(guest)
            dataset = kaggle.resolve(KaggleDataset.parse(spec.handle))
            directory = directory_of(spec, kaggle, dataset, context)
        where = f"source {spec.name}: {dataset}"
        items, archives, left_out, data = sort_out(directory.members, spec.globs)
        _check_ratio(context, directory, [*items, *archives], where)
        rows, no_rows = row_items(data, spec, dataset, context, directory.archive_bytes)
        left_out += no_rows
        if not items and not archives and not rows:
            there = ", ".join(one.name for one in directory.members[:10])
            told = "; ".join([f"there are: {there}", *unread_hints(left_out)])
            raise SourceError(
                f"{where}: none of its members ({len(directory.members):,}) is an image, an archive or a data file "
                f"with images that include and exclude let through; {told}"
            )
        rule = spec.caption_rule()
        said = with_captions(
            rule,
            Sorted(items, archives, left_out),
            speakers_of(directory.members, rule, spec.globs),
            partial(member_bytes, spec, dataset, context),
            images=[item.key for item in items if not item.payload.keys() & {"unsafe", "duplicate"}],
            where=where,
            spool_dir=context.cache_dir,
        )  # fmt: skip
        items, archives = said.sorted.items, said.sorted.archives
        by_folder: defaultdict[str, list[Item]] = defaultdict(list)
        for item in items:
            folder, slash, _ = item.key.partition("/")
            by_folder[folder if slash and not item.payload.get("unsafe") else _ROOT_SLICE].append(item)
        buckets: dict[str, int] = {}
        slices: list[ListedSlice] = []
        for folder, members in sorted(by_folder.items()):
            planned = -(-len(members) // spec.files_per_slice)
            slices += slices_of_group(
                folder, members, planned, fixed=spec.buckets, previous=context.previous_buckets, buckets=buckets,
                container=False, items_per_slice=min(spec.files_per_slice, 10_000),
            )  # fmt: skip
        slices += archive_slices(
            [*archives, *rows], {one.name for one in slices}, context.previous_buckets, buckets
        )
        hint = name_hint(one.name for one in directory.members if one.guessed)
        return Listed(
            f"versions/{dataset.version}", slices, buckets, {"captions": said.counts} if said.counts else {},
            said.sorted.left_out, [*([hint] if hint else []), *said.hints],
            upstream=len(directory.members),
            companions=said.companions + sum(len(one.payload["parts"]) - 1 for one in archives),
            captions_unused=said.captions_unused,
            word_keys=said.word_keys,
        )  # fmt: skip

    def fetch(self, spec: KaggleSpec, items: Sequence[Item], context: FetchContext) -> Iterator[Event]:
        """The slice's members out of the archive, which slices share in the source's cache; see `Source.fetch`."""
        from vlm_assets.archives.read import Reading
        from vlm_assets.transfer.kaggle import KaggleDataset

        dataset = KaggleDataset.parse("/".join([*spec.handle.split("/")[:2], context.revision]))
        path = archive_of(spec, dataset, context)
        where = f"source {spec.name}: {dataset}"
        limits = ArchiveLimits(context.settings.max_image_bytes)
        budget = Budget(limits, path.stat().st_size, where)
        reading = Reading(limits, encoding=spec.encoding, spool_dir=context.spool_dir)
        with path.open("rb") as file:
            archive = ZipArchive(file, budget, encoding=spec.encoding)
            entries = _entries_of(items, archive)
            if entries is None:
                kept_directory(spec, dataset, context.cache_dir).unlink(missing_ok=True)
                raise SourceError(f"{where} is not the archive that was listed; list again")
            for item in items:
                origin = f"kaggle://{dataset.owner}/{dataset.name}/{item.key}"
                if ROWS in item.payload:
                    yield from rows_of(item, entries[item.payload["index"]], origin, context)
                elif "parts" in item.payload:
                    yield from _inside(item, entries, reading, budget, origin, spec)
                elif _is_archive(item, entries):
                    whole = replace(item, payload={"parts": [item.payload]})
                    yield from _kept_apart(item, _inside(whole, entries, reading, budget, origin, spec))
                else:
                    yield from _loose(item, entries, limits, origin, spec)
                context.progress(1, item.size_bytes or 0)


def _kept_apart(item: Item, members: Iterator[Event]) -> Iterator[Event]:
    """Members of an archive among loose images: where it cannot be read to its end, it costs these nothing."""
    record = 0
    try:
        for event in members:
            record += isinstance(event, Record | Reject)
            yield event
    except DamagedArchiveError as error:
        yield Reject(item.key, RejectReason.UNREADABLE, str(error)[:300], record)


def _is_archive(item: Item, entries: "Mapping[int, Entry]") -> bool:
    """Whether a member without any suffix turns out to be an archive."""
    if not item.payload.get("by_content") or item.payload.get("duplicate") or suffix_of(item.key):
        return False
    try:
        return is_archive_head(peek(entries[item.payload["index"]])[1])
    except MemberFaultError:  # reading it tells
        return False


def _entries_of(items: Sequence[Item], archive: "ZipArchive") -> "dict[int, Entry] | None":
    """The items' entries by their place in the directory; None where it is not the directory that was listed."""
    expected = {
        part["index"]: part["crc_size"]
        for item in items
        for part in (*item.payload.get("parts", [item.payload]), *dict(beside_of(item)).values())
    }
    found = {
        entry.index: archive.entry(entry)
        for entry in archive.directory()
        if expected.get(entry.index) == [entry.crc, entry.size_bytes]
    }
    return found if len(found) == len(expected) else None


def _loose(
    item: Item, entries: "Mapping[int, Entry]", limits: "ArchiveLimits", origin: str, spec: KaggleSpec
) -> Iterator[Event]:
    """A member of the archive, once a caption."""
    payload = item.payload
    if payload.get("duplicate"):
        yield Reject(item.key, RejectReason.DUPLICATE_ITEM, "the archive has this name twice", 0)
        return
    entry = entries[payload["index"]]
    member = read_member(entry, item.key, limits, by_content=bool(payload.get("by_content")))
    if isinstance(member, LeftOut) or member.data is None:
        if isinstance(member, LeftOut):
            yield member
        else:
            yield Reject(item.key, member.reason or RejectReason.UNREADABLE, member.detail, 0)
        return
    captions = payload.get("captions", ())
    if sidecars := payload.get("sidecars"):
        files = [
            (name, f"{origin} and {name}", partial(member_stream, entries[part["index"]], name, limits))
            for name, part in sidecars.items()
        ]
        captions = [spec.caption_rule().sidecar_words(files).as_json()]
    image = RecordImage(member.data)

    def open_image(key: str) -> RecordImage:
        if key == item.key:
            return image
        data = member_stream(entries[payload["beside"][key]["index"]], key, limits).read()
        return RecordImage(data, origin=origin.removesuffix(item.key) + key)

    yield from caption_events(item.key, item.key, origin, image, captions, open_image=open_image)


def _inside(
    item: Item,
    entries: "Mapping[int, Entry]",
    reading: "Reading",
    budget: "Budget",
    origin: str,
    spec: KaggleSpec,
) -> Iterator[Event]:
    """Members of an archive inside."""
    from vlm_assets.archives.captions import member_captions
    from vlm_assets.archives.read import read_inside

    parts = [entries[part["index"]] for part in item.payload["parts"]]
    tables = {
        key: partial(member_stream, entries[part["index"]], key, reading.limits)
        for key, part in item.payload.get("tables", {}).items()
    }

    def walk(how: "Reading") -> "Iterator[Found]":
        return read_inside(parts, item.key, how, replace(budget))

    beside = tables_beside(tables, item)
    rule = spec.caption_rule()
    try:
        with member_captions(rule, item.key, walk, reading, where=origin, beside=beside) as captions:
            members = read_inside(parts, item.key, reading, budget)
            yield from member_events(
                members, item, origin, captions=captions, globs=spec.globs, prefix=f"{item.key}/"
            )
    except MissingPartsError as error:
        there = [(part.name, part.size_bytes) for part in parts]
        yield from last_parts_missing(item.key, there, error, tables)


def _check_ratio(context: ListContext, directory: Directory, items: Sequence[Item], where: str) -> None:
    """Returns where the items do not unpack to too much for the archive's size.

    Raises:
        BombError: they do.
    """
    budget = Budget(ArchiveLimits(context.settings.max_image_bytes), directory.archive_bytes, where)
    budget.unpack(sum(item.size_bytes or 0 for item in items))


SOURCE = KaggleSource()
