"""`kaggle`: images in a Kaggle dataset's archive, which is downloaded once and read member by member.

The listing reads the archive's directory by Range requests. An image's identity is its CRC-32 and size, all that a
zip tells: a new version re-fetches the slices whose images changed. `include` and `exclude` are globs over paths in
the archive; only images (and members that must be refused) are items.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal

import orjson
from pydantic import Field

from vlm_assets.catalog.spec import SourceSpec
from vlm_assets.hub.groups import slices_of_group
from vlm_assets.sources.protocol import Requests, Traits
from vlm_assets.words.contexts import FetchContext, ListContext
from vlm_assets.words.errors import Reject, RejectReason, SourceError
from vlm_assets.words.records import Item, Listed, ListedSlice, Record

if TYPE_CHECKING:
    from vlm_assets.transfer.kaggle import KaggleDataset

_ROOT_SLICE: Final = "root"
_fresh: set[Path] = set()
"""Archives that this process has downloaded by force: slices of one run share them."""


class KaggleSpec(SourceSpec):
    """Keys of `kaggle`."""

    BYTES_KEYS: ClassVar[tuple[str, ...]] = ()

    kind: Literal["kaggle"]
    handle: str = Field(
        pattern=r"^[\w-]+/[\w-]+(/versions/[1-9]\d*)?$", description="owner/dataset[/versions/N]."
    )
    include: tuple[str, ...] = ("*",)
    exclude: tuple[str, ...] = ()
    files_per_slice: int = Field(10_000, ge=1)


class KaggleSource:
    """A slice is a top folder of the archive; a bucket of one where it holds more than `files_per_slice`."""

    kind: ClassVar[str] = "kaggle"
    version: ClassVar[int] = 1
    spec_type: ClassVar[type[SourceSpec]] = KaggleSpec
    traits: ClassVar[Traits] = Traits(
        requests=Requests.ONE_A_SOURCE, renders_pages=False, memory_mib=8_192, badges=frozenset()
    )

    def list(self, spec: KaggleSpec, context: ListContext) -> Listed:
        """The images in the archive at the pinned version; see `Source.list`."""
        from vlm_assets.transfer.kaggle import Kaggle, KaggleDataset
        from vlm_assets.transfer.sync_guest import SyncGuest

        with SyncGuest(context.settings, spec, context.locks_dir) as guest:
            kaggle = Kaggle(guest)
            dataset = kaggle.resolve(KaggleDataset.parse(spec.handle))
            entries = _directory(spec, kaggle, dataset, context)
        items = [_item(*entry) for entry in _numbered(entries) if _wanted(spec, entry[1])]
        if not items:
            raise SourceError(
                f"source {spec.name}: none of the {len(entries)} members of {dataset} is an image that include and "
                f"exclude let through; there are: {', '.join(e[1] for e in entries[:10])}"
            )
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
        return Listed(f"versions/{dataset.version}", slices, buckets)

    def fetch(
        self, spec: KaggleSpec, items: Sequence[Item], context: FetchContext
    ) -> Iterator[Record | Reject]:
        """The slice's members out of the archive, which slices share in the source's cache; see `Source.fetch`."""
        from vlm_assets.transfer.archives import ArchiveLimits, open_zip, read_zip_member
        from vlm_assets.transfer.kaggle import KaggleDataset

        dataset = KaggleDataset.parse("/".join([*spec.handle.split("/")[:2], context.revision]))
        path = _archive(spec, dataset, context)
        limits = ArchiveLimits(context.settings.max_image_bytes)
        with open_zip(path, f"source {spec.name}: {dataset}") as archive:
            infos = archive.infolist()
            for item in items:
                if item.payload.get("duplicate"):
                    yield Reject(item.key, RejectReason.DUPLICATE_ITEM, "the archive has this name twice", 0)
                    continue
                info = infos[item.payload["index"]]
                if [info.CRC, info.file_size] != item.payload["crc_size"]:
                    raise SourceError(
                        f"source {spec.name}: {dataset} is not the archive that was listed; list again"
                    )
                _, data, reason, detail = read_zip_member(archive, info, limits)
                if data is None:
                    yield Reject(item.key, reason or RejectReason.UNREADABLE, detail, 0)
                else:
                    origin = f"kaggle://{dataset.owner}/{dataset.name}/{item.key}"
                    yield Record(item.key, 0, item.key, data, origin)
                context.progress(1, item.size_bytes or 0)


_Entry = tuple[int, str, int, int, str]
"""Index in the directory, safe name, CRC-32, size, why the name is unsafe."""


def _wanted(spec: KaggleSpec, name: str) -> bool:
    return any(fnmatchcase(name, glob) for glob in spec.include) and not any(
        fnmatchcase(name, glob) for glob in spec.exclude
    )


def _numbered(entries: Sequence[_Entry]) -> Iterator[tuple[int, str, int, int, str, int]]:
    """Entries with how often their name came before."""
    seen: Counter[str] = Counter()
    for entry in entries:
        yield *entry, seen[entry[1]]
        seen[entry[1]] += 1


def _item(index: int, name: str, crc: int, size: int, unsafe: str, repetition: int) -> Item:
    payload: dict[str, Any] = {"index": index, "crc_size": [crc, size]}
    if unsafe:
        payload["unsafe"] = unsafe
    if repetition:
        payload["duplicate"] = True
    return Item(f"{name}#{repetition}" if repetition else name, f"{crc:08x}:{size}", payload, size)


def _directory(spec: KaggleSpec, kaggle: Any, dataset: "KaggleDataset", context: ListContext) -> list[_Entry]:
    """Images and unsafe members of the archive, in its order; kept in the cache, for a version never changes.

    Raises:
        SourceError: the archive is no zip, or cannot be had.
    """
    kept = context.cache_dir / f"{_file_name(dataset)}.members.json"
    if kept.exists() and not context.force:
        try:
            return [tuple(entry) for entry in orjson.loads(kept.read_bytes())]
        except ValueError:
            kept.unlink()
    entries = _read_directory(spec, kaggle, dataset, context)
    context.cache_dir.mkdir(parents=True, exist_ok=True)
    partial = kept.with_suffix(".tmp")
    partial.write_bytes(orjson.dumps(entries))
    partial.replace(kept)
    return entries


def _read_directory(
    spec: KaggleSpec, kaggle: Any, dataset: "KaggleDataset", context: ListContext
) -> list[_Entry]:
    from io import BufferedReader

    from vlm_assets.transfer.archives import is_dropping, is_image_name, open_zip, safe_name, zip_name
    from vlm_assets.transfer.client import Client
    from vlm_assets.transfer.kaggle import RemoteFile, download_archive
    from vlm_assets.transfer.politeness import HostLimits

    where = f"source {spec.name}: {dataset}"
    path = context.cache_dir / f"{_file_name(dataset)}.zip"
    with Client(context.settings, context.locks_dir, HostLimits.of(spec)) as client:
        source: Any = path
        if not path.exists():
            signed = kaggle.sign(dataset)
            if signed.ranges:
                source = BufferedReader(RemoteFile(client, signed), 2**20)
            else:
                download_archive(kaggle, client, dataset, path)
        with open_zip(source, where) as archive:
            entries = [
                (index, *safe_name(zip_name(info)), info) for index, info in enumerate(archive.infolist())
            ]
    return [
        (index, name, info.CRC, info.file_size, unsafe)
        for index, name, unsafe, info in entries
        if (unsafe or is_image_name(name)) and not is_dropping(name) and not (info.is_dir() and not unsafe)
    ]


def _archive(spec: KaggleSpec, dataset: "KaggleDataset", context: FetchContext) -> Path:
    """The verified archive in the source's cache; one process downloads it, the others wait for that.

    Raises:
        SourceError: it cannot be had.
    """
    from vlm_assets.store.locks import hold_lock
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
