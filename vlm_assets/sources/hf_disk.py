"""`hf_disk`: folders of `save_to_disk`, or Arrow and Parquet files, read where they lie and copied once.

A slice is a split, or a bucket of its files where they exceed `slice_bytes`. Data files are those that `state.json`
names, never what a glob finds: `datasets` leaves `cache-*.arrow` files in the same folder. A folder that lacks one of
them is an error, not a smaller dataset.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from vlm_assets.archives.limits import ArchiveLimits
from vlm_assets.captions.keys import TEXT_FILE_KEYS, TextFileKeys
from vlm_assets.catalog.spec import Size, SourceSpec
from vlm_assets.hub.groups import buckets_for_bytes, slices_of_group
from vlm_assets.sources._folder_walk import FolderWalk
from vlm_assets.sources._held_files import HeldFiles
from vlm_assets.sources._hints import DATA_FILES_SORT, unread_hints
from vlm_assets.sources._saved_folders import Group, SavedFolder
from vlm_assets.sources._tables import TABLE_KEYS, TableSpec
from vlm_assets.sources.protocol import Obtained, Requests, Traits
from vlm_assets.transfer.files import FileHashes
from vlm_assets.words.contexts import FetchContext, ListContext
from vlm_assets.words.errors import LeftOutReason, RejectReason, SourceError
from vlm_assets.words.layout import nfc
from vlm_assets.words.records import Event, Item, Listed, ListedSlice

if TYPE_CHECKING:
    from vlm_assets.hub.cells import Followed
    from vlm_assets.hub.listed_tables import TableGroup
    from vlm_assets.hub.looks import TableLook


class HfDiskSpec(TextFileKeys, TableSpec):
    """Keys of `hf_disk`."""

    BYTES_KEYS: ClassVar[tuple[str, ...]] = (*TABLE_KEYS, *TEXT_FILE_KEYS)

    kind: Literal["hf_disk"]
    path: Path
    """A folder of `save_to_disk`, or of Arrow and Parquet files; relative to the catalogue."""
    slice_bytes: Size = 4_000_000_000
    """A larger split is cut into groups of its files."""
    follow_links: bool = False
    """Takes in what links lead to outside the folder. Only for folders in which nobody else may write."""


class HfDisk:
    """Lists and reads dataset files on this machine's volumes."""

    kind: ClassVar[str] = "hf_disk"
    version: ClassVar[int] = 2
    spec_type: ClassVar[type[SourceSpec]] = HfDiskSpec
    traits: ClassVar[Traits] = Traits(
        requests=Requests.NONE,
        renders_pages=False,
        memory_mib=8_192,
        badges=frozenset({"huggingface"}),
        obtained=Obtained.PRIVATE,
    )

    def list(self, spec: HfDiskSpec, context: ListContext) -> Listed:
        """Slices of every split in the folder, files identified by their sha256; see `Source.list`."""
        if spec.path.is_file():
            raise SourceError(f"source {spec.name}: {spec.path} is a file; give the folder that holds it")
        walk = FolderWalk(spec.name, spec.path, follow_links=spec.follow_links)
        groups = SavedFolder(spec.name, spec.path, walk, follow_links=spec.follow_links).groups()
        walk.check_names(nfc(name) for group in groups for name in group.files)
        buckets: dict[str, int] = {}
        slices: list[ListedSlice] = []
        with FileHashes(context.cache_dir / "files.sqlite") as hashes:
            listed, named = _tables_listed(spec, context, walk, groups, hashes)
            for group, items in zip(groups, listed, strict=True):
                planned = buckets_for_bytes(items, spec.slice_bytes)
                slices += slices_of_group(
                    group.name, items, planned,
                    fixed=spec.buckets, previous=context.previous_buckets, buckets=buckets,
                )  # fmt: skip
        features = {g.name: g.features for g in groups if g.features}
        companions, shared = _apart(walk, groups, named)
        return Listed(
            "on disk", slices, buckets, {"features": features}, walk.left_out,
            unread_hints(walk.left_out, reads=DATA_FILES_SORT),
            upstream=walk.count + shared, companions=companions,
        )  # fmt: skip

    def fetch(self, spec: HfDiskSpec, items: Sequence[Item], context: FetchContext) -> Iterator[Event]:
        """Records of the slice's data files, each checked to be the one that was listed; see `Source.fetch`."""
        from vlm_assets.hub.readers import Reading, read_data_file

        with FileHashes(context.cache_dir / "files.sqlite") as hashes:
            held = HeldFiles(spec.name, hashes)
            follow_of = _follow(spec, items, held)
            for item in items:
                path = spec.path / item.payload["path"]
                digest = item.payload.get("sha256", item.identity)
                if not digest or hashes.hash_many([path]) != [digest]:
                    raise SourceError(
                        f"source {spec.name}: {path} is unreadable or not the file that was listed; list it again"
                    )
                follow = follow_of(item)
                features = context.attributes.get("features", {}).get(item.payload["group"], {})
                reading = Reading(
                    ArchiveLimits(context.settings.max_image_bytes),
                    spec.wanted,
                    features,
                    context.spool_dir,
                    text=spec.table_reading(),
                    follow=follow,
                )
                yield from read_data_file(path, item.payload["format"], item.key, item.key, reading)
                held.check(item, {path: digest, **(follow.listed if follow is not None else {})})
                context.progress(1, item.size_bytes or 0)


def _apart(walk: FolderWalk, groups: "Sequence[Group]", named: set[str]) -> tuple[int, int]:
    """How many files are companions, and how often a file is an item again; leaves out the others.

    `named`: those that rows name.
    """
    from vlm_assets.hub.left_out import is_companion

    uses = Counter(nfc(name) for group in groups for name in group.files)
    others = walk.files.keys() - uses.keys()
    companions = {key for key in others if is_companion(key)} | named
    walk.leave_out(others - companions, LeftOutReason.UNKNOWN_TYPE, "no data file of a split")
    # What `state.json` names is an item, be its name hidden or not.
    walk.left_out[:] = [one for one in walk.left_out if one.key not in uses]
    return len(companions), sum(uses.values()) - len(uses)


def _item(spec: HfDiskSpec, group: Group, name: str, digest: str) -> Item:
    size = (spec.path / name).stat().st_size
    payload = {"path": name, "format": group.format, "group": group.name, "sha256": digest}
    return Item(nfc(name), digest, payload, size)


def _tables_listed(
    spec: HfDiskSpec,
    context: ListContext,
    walk: FolderWalk,
    groups: "Sequence[Group]",
    hashes: FileHashes,
) -> tuple[list[list[Item]], set[str]]:
    """The items of each group, and the keys of files that their rows name."""
    from vlm_assets.hub.listed_tables import TableGroup, TablesListed

    made: list[TableGroup] = []
    for group in groups:
        digests = hashes.hash_many([spec.path / name for name in group.files])
        items = [_item(spec, group, name, digest) for name, digest in zip(group.files, digests, strict=True)]
        made.append(TableGroup(group.format, group.features, items))
    tables = TablesListed(
        spec.wanted,
        context.cache_dir,
        partial(_look, spec, walk.files),
        lambda keys: hashes.hash_many([spec.path / walk.files[key] for key in keys]),
        holds=True,
    )
    used = {nfc(name) for group in groups for name in group.files}
    return tables.checked(made, set(walk.files) - used)


def _look(spec: HfDiskSpec, files: Mapping[str, str], group: "TableGroup", item: Item) -> "TableLook":
    from vlm_assets.hub.looks import TableLook

    path = spec.path / item.payload["path"]
    follow = _DiskFollow(spec, files, item.key)
    return TableLook(
        item.key, group.format, str(path), path, spec.wanted, group.features, spec.table_reading(), follow
    )


def _follow(
    spec: HfDiskSpec, items: Sequence[Item], held: HeldFiles
) -> "Callable[[Item], _HeldFollow | None]":
    """Gives what an item's rows may name; the folder is walked only where some do."""
    from vlm_assets.hub.listed_tables import FOLLOWS, NAMED

    any_follows = any(item.payload.get(FOLLOWS) for item in items)
    files = FolderWalk(spec.name, spec.path, follow_links=spec.follow_links).files if any_follows else {}

    def follow(item: Item) -> _HeldFollow | None:
        if not item.payload.get(FOLLOWS):
            return None
        return _HeldFollow(spec, files, item.key, held, item.payload.get(NAMED, {}))

    return follow


class _DiskFollow:
    """`Follow` inside the source's folder; a link that leads out of it is followed only with `follow_links`."""

    def __init__(self, spec: HfDiskSpec, files: Mapping[str, str], table: str) -> None:
        from vlm_assets.hub.named_files import NamedFiles

        self._root = spec.path
        self._follow_links = spec.follow_links
        self._files = files
        names = NamedFiles(files, table, root=str(spec.path))
        self.key_of = names.key_of
        self.why_not = names.why_not

    def get(self, keys: Sequence[str]) -> "Mapping[str, Followed]":
        """The files of these keys where they lie."""
        return {key: self._followed(key) for key in keys}

    def _followed(self, key: str) -> "Followed":
        from vlm_assets.hub.cells import Followed

        path = self._root / self._files[key]
        if not self._follow_links and not path.resolve().is_relative_to(self._root.resolve()):
            return Followed(None, key, detail=f"{key} is a link that leads out of the folder")
        if not path.is_file():
            return Followed(None, key, detail=f"{key} is gone", transient=True)
        return Followed(path, key)


class _HeldFollow(_DiskFollow):
    """Files that were listed with a table, as they were then; `listed` has the sha256 of each that was asked for."""

    def __init__(
        self,
        spec: HfDiskSpec,
        files: Mapping[str, str],
        table: str,
        held: HeldFiles,
        digests: Mapping[str, str],
    ) -> None:
        super().__init__(spec, {**{key: key for key in digests}, **files}, table)  # what is gone is named so
        self._held = held
        self._digests = digests
        self.listed: dict[Path, str] = {}

    def _followed(self, key: str) -> "Followed":
        found = super()._followed(key)
        digest = self._digests.get(key, "")
        if found.path is None or not self._held.is_changed(found.path, digest):
            self.listed |= {} if found.path is None else {found.path: digest}
            return found
        told = f"{key} was replaced since it was listed"
        return replace(found, path=None, reason=RejectReason.CHANGED, detail=told, transient=True)


SOURCE = HfDisk()
