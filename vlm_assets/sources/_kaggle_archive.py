"""The archive of a Kaggle dataset: its directory by Range requests, and all of it, once, where it is fetched."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from io import BufferedReader, BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import orjson

from vlm_assets.archives.contents import read_member
from vlm_assets.archives.limits import ArchiveLimits, Budget
from vlm_assets.archives.zips import ZipArchive
from vlm_assets.captions.keys import CaptionKeys
from vlm_assets.catalog.spec import SourceSpec
from vlm_assets.sources._kaggle_members import KaggleMember, read_members_of
from vlm_assets.words.contexts import FetchContext, ListContext
from vlm_assets.words.errors import LeftOut, SourceError
from vlm_assets.words.records import Item

if TYPE_CHECKING:
    from vlm_assets.archives.members import Entry
    from vlm_assets.transfer.kaggle import KaggleDataset

_fresh: set[Path] = set()
"""Archives that this process has downloaded by force: slices of one run share them."""


class KaggleKeys(CaptionKeys, SourceSpec):
    """Keys of all that reads a dataset's archive."""


def member_stream(entry: "Entry", name: str, limits: "ArchiveLimits") -> BinaryIO:
    """A member's bytes.

    Raises:
        SourceError: there are none to be had.
    """
    member = read_member(entry, name, limits)
    if isinstance(member, LeftOut) or member.data is None:
        raise SourceError(f"{name} in the archive cannot be read: {member.detail}")
    return BytesIO(member.data)


@dataclass(frozen=True, slots=True)
class Directory:
    archive_bytes: int
    members: list[KaggleMember]


def kept_directory(spec: KaggleKeys, dataset: "KaggleDataset", cache_dir: Path) -> Path:
    """Where a listing keeps the directory; gone once a fetch found another, or every listing would give it again."""
    encoding = spec.encoding if isinstance(spec.encoding, str) else "+".join(spec.encoding or ("names",))
    return cache_dir / f"{file_name(dataset)}.{encoding}.json"


def directory_of(spec: KaggleKeys, kaggle: Any, dataset: "KaggleDataset", context: ListContext) -> Directory:
    """All members of the archive, in its order; kept in the cache, for a version never changes.

    Raises:
        SourceError: the archive is no zip, or cannot be had.
    """
    kept = kept_directory(spec, dataset, context.cache_dir)
    if kept.exists() and not context.force:
        try:
            archive_bytes, members = orjson.loads(kept.read_bytes())
            return Directory(archive_bytes, [KaggleMember(*one) for one in members])
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
    spec: KaggleKeys, kaggle: Any, dataset: "KaggleDataset", context: ListContext
) -> Directory:
    with _opened(spec, kaggle, dataset, context) as file:
        archive_bytes = file.seek(0, 2)
        limits = ArchiveLimits(context.settings.max_image_bytes)
        where = f"source {spec.name}: {dataset}"
        members = list(read_members_of(file, archive_bytes, limits, where, spec.encoding))
    return Directory(archive_bytes, members)


@contextmanager
def _opened(
    spec: KaggleKeys, kaggle: Any, dataset: "KaggleDataset", context: ListContext, *, whole: bool = False
) -> Iterator[BinaryIO]:
    """The archive, by Range requests where it is not here, the server takes them and not all is wanted."""
    from vlm_assets.transfer.client import Client
    from vlm_assets.transfer.kaggle import RemoteFile, download_archive
    from vlm_assets.transfer.politeness import HostLimits

    path = context.cache_dir / f"{file_name(dataset)}.zip"
    with Client(context.settings, context.locks_dir, HostLimits.of(spec)) as client:
        source: Any = None
        if not path.exists():
            signed = kaggle.sign(dataset)
            if signed.ranges and not whole:
                source = BufferedReader(RemoteFile(client, signed), 2**20)
            else:
                download_archive(kaggle, client, dataset, path)
        with source if source is not None else path.open("rb") as file:
            yield file


@contextmanager
def open_entries(
    spec: KaggleKeys,
    dataset: "KaggleDataset",
    context: ListContext,
    wanted: Collection[int],
    *,
    whole: bool = False,
) -> "Iterator[Mapping[int, Entry]]":
    """The members of these numbers at listing. `whole`: the archive is downloaded for it, as a fetch would.

    Raises:
        SourceError: the archive cannot be had.
    """
    from vlm_assets.transfer.kaggle import Kaggle
    from vlm_assets.transfer.sync_guest import SyncGuest

    limits = ArchiveLimits(context.settings.max_image_bytes)
    with (
        SyncGuest(context.settings, spec, context.locks_dir) as guest,
        _opened(spec, Kaggle(guest), dataset, context, whole=whole) as file,
    ):
        budget = Budget(limits, file.seek(0, 2), f"source {spec.name}: {dataset}")
        archive = ZipArchive(file, budget, encoding=spec.encoding)
        yield {one.index: archive.entry(one) for one in archive.directory() if one.index in wanted}


def member_bytes(spec: KaggleKeys, dataset: "KaggleDataset", context: ListContext, member: Item) -> BinaryIO:
    """A member's bytes at listing, kept in the cache, for a version never changes.

    Raises:
        SourceError: there are none to be had.
    """
    index = member.payload["index"]
    kept = context.cache_dir / f"{file_name(dataset)}.{index}.{member.identity.replace(':', '-')}.table"
    if not kept.exists():
        with open_entries(spec, dataset, context, {index}) as entries:
            limits = ArchiveLimits(context.settings.max_image_bytes)
            data = member_stream(entries[index], member.key, limits).read()
        partial_file = kept.with_suffix(".tmp")
        partial_file.write_bytes(data)
        partial_file.replace(kept)
    return kept.open("rb")


def archive_of(spec: KaggleKeys, dataset: "KaggleDataset", context: FetchContext) -> Path:
    """The verified archive in the source's cache; one process downloads it, the others wait for that.

    Raises:
        SourceError: it cannot be had.
    """
    from vlm_assets.locks import hold_lock
    from vlm_assets.transfer.client import Client
    from vlm_assets.transfer.kaggle import Kaggle, download_archive
    from vlm_assets.transfer.politeness import HostLimits
    from vlm_assets.transfer.sync_guest import SyncGuest

    path = context.cache_dir / f"{file_name(dataset)}.zip"
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


def file_name(dataset: "KaggleDataset") -> str:
    return f"{dataset.owner}--{dataset.name}--{dataset.version}"
