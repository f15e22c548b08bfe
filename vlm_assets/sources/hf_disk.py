"""`hf_disk`: folders of `save_to_disk`, or Arrow and Parquet files, read where they lie and copied once.

A slice is a split, or a bucket of its files where they exceed `slice_bytes`. Data files are those that `state.json`
names, never what a glob finds: `datasets` leaves `cache-*.arrow` files in the same folder. A folder that lacks one of
them is an error, not a smaller dataset.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import orjson

from vlm_assets.captions.keys import TEXT_FILE_KEYS, TextFileKeys
from vlm_assets.catalog.spec import Size, SourceSpec
from vlm_assets.hub.groups import buckets_for_bytes, slices_of_group
from vlm_assets.sources._folder_walk import FolderWalk
from vlm_assets.sources._held_files import HeldFiles
from vlm_assets.sources._hints import DATA_FILES_SORT, unread_hints
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
        groups = _saved(spec) or _plain(spec)
        walk = FolderWalk(spec.name, spec.path, follow_links=True)
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
        from vlm_assets.archives.limits import ArchiveLimits
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


def _apart(walk: FolderWalk, groups: "Sequence[_Group]", named: set[str]) -> tuple[int, int]:
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


@dataclass(frozen=True, slots=True)
class _Group:
    """One split: its data files relative to the source's path."""

    name: str
    format: str
    files: tuple[str, ...]
    features: dict[str, Any]


def _item(spec: HfDiskSpec, group: _Group, name: str, digest: str) -> Item:
    size = (spec.path / name).stat().st_size
    payload = {"path": name, "format": group.format, "group": group.name, "sha256": digest}
    return Item(nfc(name), digest, payload, size)


def _tables_listed(
    spec: HfDiskSpec,
    context: ListContext,
    walk: FolderWalk,
    groups: "Sequence[_Group]",
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
    follow = _DiskFollow(spec.path, files, item.key)
    return TableLook(
        item.key, group.format, str(path), path, spec.wanted, group.features, spec.table_reading(), follow
    )


def _follow(
    spec: HfDiskSpec, items: Sequence[Item], held: HeldFiles
) -> "Callable[[Item], _HeldFollow | None]":
    """Gives what an item's rows may name; the folder is walked only where some do."""
    from vlm_assets.hub.listed_tables import FOLLOWS, NAMED

    any_follows = any(item.payload.get(FOLLOWS) for item in items)
    files = FolderWalk(spec.name, spec.path, follow_links=True).files if any_follows else {}

    def follow(item: Item) -> _HeldFollow | None:
        if not item.payload.get(FOLLOWS):
            return None
        return _HeldFollow(spec.path, files, item.key, held, item.payload.get(NAMED, {}))

    return follow


class _DiskFollow:
    """`Follow` inside the source's folder; a link that leads out of it is not followed."""

    def __init__(self, root: Path, files: Mapping[str, str], table: str) -> None:
        from vlm_assets.hub.named_files import NamedFiles

        self._root = root
        self._files = files
        names = NamedFiles(files, table, root=str(root))
        self.key_of = names.key_of
        self.why_not = names.why_not

    def get(self, keys: Sequence[str]) -> "Mapping[str, Followed]":
        """The files of these keys where they lie."""
        return {key: self._followed(key) for key in keys}

    def _followed(self, key: str) -> "Followed":
        from vlm_assets.hub.cells import Followed

        path = self._root / self._files[key]
        if not path.resolve().is_relative_to(self._root.resolve()):
            return Followed(None, key, detail=f"{key} is a link that leads out of the folder")
        if not path.is_file():
            return Followed(None, key, detail=f"{key} is gone", transient=True)
        return Followed(path, key)


class _HeldFollow(_DiskFollow):
    """Files that were listed with a table, as they were then; `listed` has the sha256 of each that was asked for."""

    def __init__(
        self, root: Path, files: Mapping[str, str], table: str, held: HeldFiles, digests: Mapping[str, str]
    ) -> None:
        super().__init__(root, {**{key: key for key in digests}, **files}, table)  # what is gone is named so
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


def _saved(spec: HfDiskSpec) -> list[_Group]:
    """Splits of a `save_to_disk` folder, or of several below the path; none where there is no `state.json`."""
    if not spec.path.is_dir():
        if spec.path.exists():
            return []
        raise SourceError(f"source {spec.name}: {spec.path} does not exist; is the volume mounted?")
    roots = {folder.parent for folder in spec.path.rglob("state.json")}
    for index in {spec.path / "dataset_dict.json", *spec.path.rglob("dataset_dict.json")}:
        if index.is_file():
            roots |= {index.parent / split for split in _json(spec, index).get("splits", ())}
    return [_saved_split(spec, folder) for folder in sorted(roots)]


def _saved_split(spec: HfDiskSpec, folder: Path) -> _Group:
    relative = folder.relative_to(spec.path)
    if not (folder / "state.json").is_file():
        raise SourceError(
            f"source {spec.name}: {folder} has no state.json though dataset_dict.json names it: partial"
        )
    names = [entry["filename"] for entry in _json(spec, folder / "state.json").get("_data_files", ())]
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise SourceError(
            f"source {spec.name}: {folder} is partial: {len(missing)} of {len(names)} data files are missing, "
            f"the first is {missing[0]}; copy it again"
        )
    info = _json(spec, folder / "dataset_info.json") if (folder / "dataset_info.json").is_file() else {}
    name = relative.as_posix().replace("/", "--") if relative.parts else "data"
    files = tuple(sorted((relative / name).as_posix() for name in names))
    return _Group(name, "arrow", files, info.get("features") or {})


def _plain(spec: HfDiskSpec) -> list[_Group]:
    """Splits of a folder of data files by `datasets`' own patterns, or the one file that the path is."""
    from vlm_assets.hub.contents import local_formats, with_contents
    from vlm_assets.hub.readers import TABLE_FORMATS, TEXT_FORMATS
    from vlm_assets.hub.splits import find_splits

    if spec.path.is_file():
        raise SourceError(f"source {spec.name}: {spec.path} is a file; give the folder that holds it")
    paths = [
        path.relative_to(spec.path).as_posix() for path in sorted(spec.path.rglob("*")) if path.is_file()
    ]
    format_of = with_contents(local_formats(spec.path, paths))
    tables = [
        path
        for path in paths
        if format_of(path) in TABLE_FORMATS and not Path(path).name.startswith("cache-")
    ]
    card = spec.path / "README.md"
    text = card.read_text("utf-8", "replace") if card.is_file() else ""
    if not tables:
        raise SourceError(
            f"source {spec.name}: no Arrow or Parquet file and no state.json in {spec.path} ({len(paths)} files); "
            "for folders of images use kind client_folder"
        )
    found = find_splits(tables, text, f"source {spec.name}: {spec.path}", formats=format_of)
    alone = len({split.config for split in found}) == 1
    groups = [
        _Group(
            one.split if alone else f"{one.config}--{one.split}",
            one.format,
            one.files,
            dict(one.features or {}),
        )
        for one in found
    ]
    taken = {path for one in found for path in one.files}
    rest: dict[str, list[str]] = {}
    for path in tables:
        form = format_of(path)
        if path not in taken and form is not None and form not in TEXT_FORMATS:
            rest.setdefault(form, []).append(path)
    # A split is in one format, by `datasets`' rule; Parquet beside Arrow is data all the same.
    return groups + [_Group(f"rest--{form}", form, tuple(rest[form]), {}) for form in sorted(rest)]


def _json(spec: HfDiskSpec, path: Path) -> dict[str, Any]:
    try:
        return dict(orjson.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError) as error:
        raise SourceError(f"source {spec.name}: {path} cannot be read: {error}") from error


SOURCE = HfDisk()
