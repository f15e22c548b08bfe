"""`kaggle`: images in a Kaggle dataset's archive, which is downloaded once and read member by member.

The listing reads the archive's directory by Range requests. A member's identity is its CRC-32 and size, all that a
zip tells: a new version re-fetches the slices whose members changed. `include` and `exclude` are globs over paths in
the archive, which go on inside the archives in it. Items are images, archives, members that must be refused, and
those whose suffix tells nothing: their bytes decide when they are fetched.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass, replace
from functools import partial
from io import BufferedReader, BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar, Final, Literal, Self

import orjson
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
from vlm_assets.captions.keys import CaptionKeys
from vlm_assets.captions.samples import caption_events
from vlm_assets.catalog.spec import SourceSpec
from vlm_assets.hub.groups import slices_of_group
from vlm_assets.sources._archives import (
    PathGlobs,
    archive_slices,
    member_events,
    tables_beside,
)
from vlm_assets.sources._hints import unread_hints
from vlm_assets.sources._kaggle_members import KaggleMember, read_members_of, sort_out, speakers_of
from vlm_assets.sources._listed_captions import Sorted, beside_of, with_captions
from vlm_assets.sources.protocol import Obtained, Requests, Traits
from vlm_assets.words.contexts import FetchContext, ListContext
from vlm_assets.words.errors import LeftOut, Reject, RejectReason, SourceError
from vlm_assets.words.records import Event, Item, Listed, ListedSlice, Record, RecordImage

if TYPE_CHECKING:
    from vlm_assets.archives.members import Entry, Found
    from vlm_assets.archives.read import Reading
    from vlm_assets.transfer.kaggle import KaggleDataset

_ROOT_SLICE: Final = "root"
_fresh: set[Path] = set()
"""Archives that this process has downloaded by force: slices of one run share them."""


class KaggleSpec(CaptionKeys, SourceSpec):
    """Keys of `kaggle`. `encoding` is that of names in the archive too, where nobody declares it."""

    BYTES_KEYS: ClassVar[tuple[str, ...]] = ("encoding",)

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

    An archive inside is a slice of its own; more than `ARCHIVE_SLICES` share buckets.
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
            directory = _directory(spec, kaggle, dataset, context)
        where = f"source {spec.name}: {dataset}"
        items, archives, left_out = sort_out(directory.members, spec.globs)
        _check_ratio(context, directory, [*items, *archives], where)
        if not items and not archives:
            there = ", ".join(one.name for one in directory.members[:10])
            told = "; ".join([f"there are: {there}", *unread_hints(left_out)])
            raise SourceError(
                f"{where}: none of its members ({len(directory.members):,}) is an image or an archive that "
                f"include and exclude let through; {told}"
            )
        rule = spec.caption_rule()
        said = with_captions(
            rule,
            Sorted(items, archives, left_out),
            speakers_of(directory.members, rule, spec.globs),
            partial(_table, spec, dataset, context),
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
        slices += archive_slices(archives, {one.name for one in slices}, context.previous_buckets, buckets)
        hint = name_hint(one.name for one in directory.members if one.guessed)
        return Listed(
            f"versions/{dataset.version}", slices, buckets, {"captions": said.counts} if said.counts else {},
            said.sorted.left_out, [*([hint] if hint else []), *said.hints],
            upstream=len(directory.members),
            companions=said.companions + sum(len(one.payload["parts"]) - 1 for one in archives),
            captions_unused=said.captions_unused,
        )  # fmt: skip

    def fetch(self, spec: KaggleSpec, items: Sequence[Item], context: FetchContext) -> Iterator[Event]:
        """The slice's members out of the archive, which slices share in the source's cache; see `Source.fetch`."""
        from vlm_assets.archives.read import Reading
        from vlm_assets.transfer.kaggle import KaggleDataset

        dataset = KaggleDataset.parse("/".join([*spec.handle.split("/")[:2], context.revision]))
        path = _archive(spec, dataset, context)
        where = f"source {spec.name}: {dataset}"
        limits = ArchiveLimits(context.settings.max_image_bytes)
        budget = Budget(limits, path.stat().st_size, where)
        reading = Reading(limits, encoding=spec.encoding, spool_dir=context.spool_dir)
        with path.open("rb") as file:
            archive = ZipArchive(file, budget, encoding=spec.encoding)
            entries = _entries_of(items, archive)
            if entries is None:
                _kept_directory(spec, dataset, context.cache_dir).unlink(missing_ok=True)
                raise SourceError(f"{where} is not the archive that was listed; list again")
            for item in items:
                origin = f"kaggle://{dataset.owner}/{dataset.name}/{item.key}"
                if "parts" in item.payload:
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
            (name, f"{origin} and {name}", partial(_stream, entries[part["index"]], name, limits))
            for name, part in sidecars.items()
        ]
        captions = [spec.caption_rule().sidecar_words(files).as_json()]
    image = RecordImage(member.data)

    def open_image(key: str) -> RecordImage:
        if key == item.key:
            return image
        data = _stream(entries[payload["beside"][key]["index"]], key, limits).read()
        return RecordImage(data, origin=origin.removesuffix(item.key) + key)

    yield from caption_events(item.key, item.key, origin, image, captions, open_image=open_image)


def _stream(entry: "Entry", name: str, limits: "ArchiveLimits") -> BinaryIO:
    """A member's bytes.

    Raises:
        SourceError: there are none to be had.
    """
    member = read_member(entry, name, limits)
    if isinstance(member, LeftOut) or member.data is None:
        raise SourceError(f"{name} in the archive cannot be read: {member.detail}")
    return BytesIO(member.data)


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
        key: partial(_stream, entries[part["index"]], key, reading.limits)
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


@dataclass(frozen=True, slots=True)
class _Directory:
    archive_bytes: int
    members: list[KaggleMember]


def _kept_directory(spec: KaggleSpec, dataset: "KaggleDataset", cache_dir: Path) -> Path:
    """Where a listing keeps the directory; gone once a fetch found another, or every listing would give it again."""
    encoding = spec.encoding if isinstance(spec.encoding, str) else "+".join(spec.encoding or ("names",))
    return cache_dir / f"{_file_name(dataset)}.{encoding}.json"


def _directory(spec: KaggleSpec, kaggle: Any, dataset: "KaggleDataset", context: ListContext) -> _Directory:
    """All members of the archive, in its order; kept in the cache, for a version never changes.

    Raises:
        SourceError: the archive is no zip, or cannot be had.
    """
    kept = _kept_directory(spec, dataset, context.cache_dir)
    if kept.exists() and not context.force:
        try:
            archive_bytes, members = orjson.loads(kept.read_bytes())
            return _Directory(archive_bytes, [KaggleMember(*one) for one in members])
        except (ValueError, TypeError):
            kept.unlink()
    directory = _read_directory(spec, kaggle, dataset, context)
    context.cache_dir.mkdir(parents=True, exist_ok=True)
    partial = kept.with_suffix(".tmp")
    told = [astuple(member) for member in directory.members]
    partial.write_bytes(orjson.dumps([directory.archive_bytes, told]))
    partial.replace(kept)
    return directory


def _read_directory(
    spec: KaggleSpec, kaggle: Any, dataset: "KaggleDataset", context: ListContext
) -> _Directory:
    with _opened(spec, kaggle, dataset, context) as file:
        archive_bytes = file.seek(0, 2)
        limits = ArchiveLimits(context.settings.max_image_bytes)
        where = f"source {spec.name}: {dataset}"
        members = list(read_members_of(file, archive_bytes, limits, where, spec.encoding))
    return _Directory(archive_bytes, members)


@contextmanager
def _opened(
    spec: KaggleSpec, kaggle: Any, dataset: "KaggleDataset", context: ListContext
) -> Iterator[BinaryIO]:
    """The archive, by Range requests where it is not here and the server takes them."""
    from vlm_assets.transfer.client import Client
    from vlm_assets.transfer.kaggle import RemoteFile, download_archive
    from vlm_assets.transfer.politeness import HostLimits

    path = context.cache_dir / f"{_file_name(dataset)}.zip"
    with Client(context.settings, context.locks_dir, HostLimits.of(spec)) as client:
        source: Any = None
        if not path.exists():
            signed = kaggle.sign(dataset)
            if signed.ranges:
                source = BufferedReader(RemoteFile(client, signed), 2**20)
            else:
                download_archive(kaggle, client, dataset, path)
        with source if source is not None else path.open("rb") as file:
            yield file


def _table(spec: KaggleSpec, dataset: "KaggleDataset", context: ListContext, member: Item) -> BinaryIO:
    """A member's bytes at listing, kept in the cache, for a version never changes.

    Raises:
        SourceError: there are none to be had.
    """
    from vlm_assets.transfer.kaggle import Kaggle
    from vlm_assets.transfer.sync_guest import SyncGuest

    index = member.payload["index"]
    kept = context.cache_dir / f"{_file_name(dataset)}.{index}.{member.identity.replace(':', '-')}.table"
    if not kept.exists():
        limits = ArchiveLimits(context.settings.max_image_bytes)
        with (
            SyncGuest(context.settings, spec, context.locks_dir) as guest,
            _opened(spec, Kaggle(guest), dataset, context) as file,
        ):
            budget = Budget(limits, file.seek(0, 2), f"source {spec.name}: {dataset}")
            archive = ZipArchive(file, budget, encoding=spec.encoding)
            entry = next(one for one in archive.directory() if one.index == index)
            data = _stream(archive.entry(entry), member.key, limits).read()
        partial_file = kept.with_suffix(".tmp")
        partial_file.write_bytes(data)
        partial_file.replace(kept)
    return kept.open("rb")


def _check_ratio(context: ListContext, directory: _Directory, items: Sequence[Item], where: str) -> None:
    """Returns where the items do not unpack to too much for the archive's size.

    Raises:
        BombError: they do.
    """
    budget = Budget(ArchiveLimits(context.settings.max_image_bytes), directory.archive_bytes, where)
    budget.unpack(sum(item.size_bytes or 0 for item in items))


def _archive(spec: KaggleSpec, dataset: "KaggleDataset", context: FetchContext) -> Path:
    """The verified archive in the source's cache; one process downloads it, the others wait for that.

    Raises:
        SourceError: it cannot be had.
    """
    from vlm_assets.locks import hold_lock
    from vlm_assets.transfer.client import Client
    from vlm_assets.transfer.kaggle import Kaggle, download_archive
    from vlm_assets.transfer.politeness import HostLimits
    from vlm_assets.transfer.sync_guest import SyncGuest

    path = context.cache_dir / f"{_file_name(dataset)}.zip"
    with hold_lock(context.locks_dir / f"kaggle.{spec.name}", f"download of {dataset}", wait_s=12 * 3600):
        if path.exists() and not (context.force and path not in _fresh):
            return path
        with (
            SyncGuest(context.settings, spec, context.locks_dir) as guest,
            Client(
                context.settings, context.locks_dir, HostLimits.of(spec), cancelled=context.cancelled
            ) as client,
        ):
            context.cache_dir.mkdir(parents=True, exist_ok=True)
            download_archive(
                Kaggle(guest),
                client,
                dataset,
                path,
                progress=lambda size_bytes: context.progress(0, size_bytes),
            )
            context.measure("requests", guest.requests + client.requests)
        _fresh.add(path)
    return path


def _file_name(dataset: "KaggleDataset") -> str:
    return f"{dataset.owner}--{dataset.name}--{dataset.version}"


SOURCE = KaggleSource()
