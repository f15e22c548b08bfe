"""A repository's data files as items, and items as records: what `hf_dataset` lists and fetches."""

import io
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any, Final, Literal, Protocol, TypeVar

import orjson

from vlm_assets.archives.limits import ArchiveLimits, MissingPartsError
from vlm_assets.archives.names import Encodings
from vlm_assets.archives.split import last_parts_missing
from vlm_assets.captions.tables import TableReading
from vlm_assets.captions.trees import METADATA_NAMES, CaptionRule
from vlm_assets.hub.cells import Follow
from vlm_assets.hub.client import HubFileError, HubRepo
from vlm_assets.hub.columns import Wanted
from vlm_assets.hub.contents import with_contents
from vlm_assets.hub.left_out import FilesApart, files_apart, may_be_named
from vlm_assets.hub.listed_tables import ZIPS, TableGroup
from vlm_assets.hub.loose import IMAGEFOLDER, RepoFiles, files_beside, loose_events, loose_items
from vlm_assets.hub.member_names import MemberNames
from vlm_assets.hub.packed import PACKED, packed_words, tables_of_split
from vlm_assets.hub.readers import TABLE_FORMATS, Reading, read_data_file
from vlm_assets.hub.remote_contents import LOOKED_AT, formats_by_content, unnamed_files
from vlm_assets.hub.repo_files import RepoFile
from vlm_assets.hub.repo_tables import following, ranged, repo_tables
from vlm_assets.hub.splits import DataSplit, find_splits
from vlm_assets.hub.zip_members import WithMembers, listed_zips, zips_hint
from vlm_assets.transfer.files import FileHashes
from vlm_assets.transfer.politeness import LimitedSpec
from vlm_assets.transfer.sync_guest import SyncGuest
from vlm_assets.words.contexts import FetchContext, ListContext
from vlm_assets.words.counts import so_many
from vlm_assets.words.errors import Reject, RejectReason, SourceError
from vlm_assets.words.layout import nfc
from vlm_assets.words.records import Event, Item

T = TypeVar("T")
_CARDS: Final = ("README.md", ".huggingface.yaml")
_MAX_CARD_BYTES: Final = 64 * 2**20
NO_CAPTIONS: Final = CaptionRule()
AS_FOUND: Final = TableReading()
_AHEAD: Final = {True: 2, False: 32}
"""Downloads ahead of the reader: data files of gigabytes, or single images."""


class HubSpec(LimitedSpec, Protocol):
    """The keys that listing a repository needs."""

    @property
    def name(self) -> str: ...  # noqa: D102  # a key of SourceSpec, described there

    @property
    def repo(self) -> str: ...  # noqa: D102

    @property
    def revision(self) -> str | None: ...  # noqa: D102

    @property
    def configs(self) -> Literal["all"] | tuple[str, ...]: ...  # noqa: D102

    @property
    def splits(self) -> Literal["all"] | tuple[str, ...]: ...  # noqa: D102

    @property
    def text_column(self) -> str | None: ...  # noqa: D102


class ImageSpec(HubSpec, Protocol):
    """Those that reading images needs besides."""

    @property
    def wanted(self) -> Wanted: ...  # noqa: D102

    @property
    def encoding(self) -> Encodings: ...  # noqa: D102

    def table_reading(self) -> TableReading: ...  # noqa: D102

    def caption_rule(self) -> CaptionRule: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class RepoLayout:
    """A repository at one commit: its wanted splits with their items."""

    sha: str
    splits: Sequence[tuple[DataSplit, list[Item]]]
    captions: Mapping[str, Mapping[str, Any]]
    """By config of loose images: what became of its captions."""
    apart: FilesApart
    """Its other files."""
    upstream: int
    """Files, each again for every further split that has it; and images that only metadata name."""


def list_repo(
    spec: HubSpec,
    context: ListContext,
    rule: CaptionRule = NO_CAPTIONS,
    *,
    wanted: Wanted | None = None,
    reading: TableReading = AS_FOUND,
) -> RepoLayout:
    """The splits of a repository at the commit that its revision names now, their captions by `rule`.

    One request where the revision is unset, a branch or a tag; then a page of the tree per 1,000 files and one
    request per README or metadata file, each kept in the cache by commit. `wanted`: what the catalogue says of
    columns is held against the first table of a split, by the footer of a Parquet file, and files that rows name are
    found.

    Raises:
        SourceError: gated, private, missing; no such config or split; nothing that is read.
    """
    with SyncGuest(context.settings, spec, context.locks_dir) as guest:
        repo = HubRepo.open(spec.repo, context.settings, guest)
        sha = repo.resolve(spec.revision)
        tree = {file.path: file for file in repo.tree(sha, context.cache_dir, force=context.force)}
        with FileHashes(context.cache_dir / "hub.sqlite") as hashes:

            def fetch(path: str) -> Path:
                folder = context.cache_dir / "hub"
                return repo.fetch(tree[path], sha, folder, hashes, force=context.force)

            def read(path: str) -> bytes:
                return fetch(path).read_bytes()

            formats = with_contents(formats_by_content(repo, sha, tree, context.cache_dir))
            splits = find_splits(
                tree,
                _card(tree, read),
                f"source {spec.name}: {spec.repo}",
                configs=None if spec.configs == "all" else spec.configs,
                splits=None if spec.splits == "all" else spec.splits,
                formats=formats,
            )
            where = f"source {spec.name}: {spec.repo}"
            looked_at = context.cache_dir / "looked_at"
            names = MemberNames(
                lambda file: ranged(repo, file, sha, looked_at), fetch, context.settings.max_image_bytes,
                rule.reading.encoding,
            )  # fmt: skip
            files = RepoFiles(tree, lambda path: io.BytesIO(read(path)), where, context.cache_dir, names)
            listed, captions = _listed(splits, files, rule)
            sizes = {path: file.size_bytes for path, file in tree.items()}
            own = rule.tables not in ((), METADATA_NAMES)
            tables = {path for path in tree if own and rule.may_own(nfc(path))}
            unwanted = _unwanted(spec, tree, _card(tree, read), formats)
            hints: list[str] = []
            if wanted is not None:
                candidates = may_be_named(tree, listed) - tables - unwanted
                has_tables = any(split.format in TABLE_FORMATS for split, _ in listed)
                beside = [tree[one] for one in candidates] if has_tables else []
                zips, hints = listed_zips(beside, names), zips_hint(beside)
                looks = repo_tables(repo, sha, tree, fetch, context.cache_dir, wanted, reading, zips)
                groups = [TableGroup(split.format, split.features or {}, found) for split, found in listed]
                items, named = looks.checked(groups, WithMembers(set(map(nfc, candidates)), zips.found))
                listed = [(split, found) for (split, _), found in zip(listed, items, strict=True)]
                tables |= {path for path in candidates if nfc(path) in named}
                tables |= {
                    one["path"] for _, found in listed for item in found for one in item.payload.get(ZIPS, ())
                }
            apart = files_apart(sizes, listed, tables, unwanted, formats)
            unread = len(unnamed_files(tree)) - LOOKED_AT
            if unread > 0:
                without = so_many(unread, "file")
                hints.append(f"{without} without a known suffix not looked into, only the first {LOOKED_AT}")
            apart = replace(apart, hints=(*names.hints, *apart.hints, *hints))
            return RepoLayout(sha, listed, captions, apart, len(tree) + apart.again)


def _listed(
    splits: Sequence[DataSplit], files: RepoFiles, rule: CaptionRule
) -> tuple[list[tuple[DataSplit, list[Item]]], dict[str, Mapping[str, Any]]]:
    """The splits with their items, loose images a config at a time: its tables speak of all its splits."""
    items: dict[tuple[str, str], list[Item]] = {}
    captions: dict[str, Mapping[str, Any]] = {}
    for split in splits:
        if split.format != IMAGEFOLDER:
            of_config = [one for one in splits if one.config == split.config]
            items[split.config, split.split] = _items(split, of_config, files, rule)
    beside = set(tables_of_archives(item for found in items.values() for item in found))
    for config in sorted({split.config for split in splits}):
        loose = [split for split in splits if split.config == config and split.format == IMAGEFOLDER]
        listed, counts = loose_items(loose, files, rule, beside) if loose else ([], {})
        items |= {(config, split.split): found for split, found in zip(loose, listed, strict=True)}
        if counts:
            captions[config] = counts
    return [(one, items[one.config, one.split]) for one in splits], captions


def _unwanted(
    spec: HubSpec, tree: Mapping[str, RepoFile], card: str, formats: Callable[[str], str | None]
) -> set[str]:
    """Data files of all configs and splits, where the catalogue names some only."""
    if spec.configs == "all" and spec.splits == "all":
        return set()
    try:
        every = find_splits(tree, card, spec.repo, formats=formats)
    except SourceError:  # of a config that nobody wants
        return set()
    return {path for split in every for path in (*split.files, *split.metadata_files)}


def fetch_items(spec: ImageSpec, items: Sequence[Item], context: FetchContext) -> Iterator[Event]:
    """Records of data files or loose images, in the order of the items.

    Downloads lie in the slice's spool, a few ahead of the reader, each verified against the tree.

    Raises:
        SourceError: a data file that is wrong or cannot be read to its end.
    """
    with (
        SyncGuest(context.settings, spec, context.locks_dir) as guest,
        FileHashes(context.cache_dir / "hub.sqlite") as hashes,
        following(
            HubRepo.open(spec.repo, context.settings, guest), context, hashes, spec.encoding
        ) as follow_of,
    ):
        for item, outcome in fetched(spec, items, context):
            if not isinstance(outcome, HubFileError):
                yield from _item_events(spec, item, outcome, context, follow_of(item))
            elif item.payload["format"] != IMAGEFOLDER:
                raise outcome
            else:
                mendable = outcome.reason is RejectReason.CHECKSUM
                yield Reject(item.key, outcome.reason, str(outcome)[:300], transient=mendable)
            context.progress(1, item.size_bytes or 0)
        context.measure("requests", guest.requests)


def _item_events(
    spec: ImageSpec, item: Item, paths: list[Path], context: FetchContext, follow: Follow | None
) -> Iterator[Event]:
    payload = item.payload
    if payload["format"] == IMAGEFOLDER:
        yield from loose_events(item, paths, spec.caption_rule(), partial(origin_of, spec))
        return
    split = str(payload["split"]).partition("/")[0]
    count = len(paths) - len(_tables(item))
    reading = Reading(
        ArchiveLimits(context.settings.max_image_bytes), spec.wanted,
        context.attributes.get("features", {}).get(split, {}), context.spool_dir, spec.encoding,
        packed_words(payload.get("tables", {}), spec.caption_rule(), paths[count:]),
        spec.table_reading(), follow,
    )  # fmt: skip
    origin = origin_of(spec, payload["file"]["path"] if "file" in payload else item.key)
    try:
        yield from read_data_file(paths[:count], payload["format"], item.key, origin, reading)
    except MissingPartsError as error:
        parts = [
            (PurePosixPath(one["path"]).name, one["size_bytes"])
            for one in payload.get("parts") or [payload["file"]]
        ]
        yield from last_parts_missing(item.key, parts, error, _tables(item))


def fetched(
    spec: HubSpec, items: Sequence[Item], context: FetchContext
) -> Iterator[tuple[Item, list[Path] | HubFileError]]:
    """Each item with its verified local file (of a split archive: files), or what is wrong with one of them.

    Raises:
        SourceError: the Hub cannot be reached, or refuses the repository.
    """
    container = any(item.payload["format"] != IMAGEFOLDER for item in items)
    with (
        SyncGuest(context.settings, spec, context.locks_dir) as guest,
        FileHashes(context.cache_dir / "hub.sqlite") as hashes,
        ThreadPoolExecutor(min(guest.limits.concurrency or 1, 8), thread_name_prefix="hub") as pool,
    ):
        repo = HubRepo.open(spec.repo, context.settings, guest)

        def get(item: Item) -> tuple[Item, list[Path] | HubFileError]:
            if item.payload.get("missing"):
                told = "named in the metadata, not in the repository"
                return item, HubFileError(told, RejectReason.NOT_FOUND)
            files = [RepoFile(**one) for one in item.payload.get("parts") or [item.payload["file"]]]
            files += [*files_beside(item), *(RepoFile(**one) for one in _tables(item).values())]
            folder, force = context.spool_dir, context.force
            try:
                paths = [repo.fetch(one, context.revision, folder, hashes, force=force) for one in files]
            except HubFileError as error:
                return item, error
            return item, [path.resolve() for path in paths]

        try:
            yield from _ahead(pool, get, items, _AHEAD[container], context)
        finally:
            context.measure("requests", guest.requests)


def tables_of_archives(items: Iterable[Item]) -> Iterator[str]:
    """Keys of the tables that archives among these items look into, each once an archive."""
    for item in items:
        yield from _tables(item)


def _tables(item: Item) -> Mapping[str, Any]:
    """Files of tables that speak of an archive, by path."""
    files: Mapping[str, Any] = item.payload.get("tables", {}).get("files", {})
    return files


def _ahead(
    pool: ThreadPoolExecutor,
    get: Callable[[Item], T],
    items: Sequence[Item],
    ahead: int,
    context: FetchContext,
) -> Iterator[T]:
    waiting: deque[Future[T]] = deque()
    rest = iter(items)
    try:
        while True:
            while len(waiting) <= ahead and (item := next(rest, None)) is not None:
                waiting.append(pool.submit(get, item))
            if not waiting:
                return
            if context.cancelled.is_set():
                raise SourceError(f"{context.source}/{context.slice_name}: cancelled; downloads are kept")
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


def _items(split: DataSplit, splits: Sequence[DataSplit], files: RepoFiles, rule: CaptionRule) -> list[Item]:
    """Data files and archives of a split; of `splits` of its config."""
    tree = files.tree
    tables = tables_of_split(split, splits, tree, rule, files.names) if split.format in PACKED else {}
    name = f"{split.config}/{split.split}"
    shared = _short_hash(split.features) if split.features and split.format in TABLE_FORMATS else ""
    items: list[Item] = []
    for path in split.files:
        parts = [tree[part] for part in split.parts.get(path, (path,))]
        payload: dict[str, Any] = {"format": split.format, "split": name}
        identity = [one.identity for one in parts] + ([shared] if shared else [])
        if path in split.parts:
            payload["parts"] = [asdict(part) for part in parts]
        else:
            payload["file"] = asdict(parts[0])
        if told := tables.get(path):
            payload["tables"] = told
            identity += [_short_hash(told)]
        items.append(Item(nfc(path), "+".join(identity), payload, sum(one.size_bytes for one in parts)))
    return items


def _card(tree: Mapping[str, RepoFile], read: Callable[[str], bytes]) -> str:
    for name in _CARDS:
        if name in tree:
            if tree[name].size_bytes > _MAX_CARD_BYTES:
                raise SourceError(f"{name} of the repository is larger than {_MAX_CARD_BYTES >> 20} MiB")
            text = read(name).decode("utf-8", "replace")
            return text if name.endswith(".md") else f"---\n{text}\n---\n"
    return ""


def origin_of(spec: HubSpec, path: str) -> str:
    """Where a file comes from, without the revision: a commit that leaves the file alone changes no row."""
    return f"hf://datasets/{spec.repo}/{path}"


def _short_hash(value: Any) -> str:
    return sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]
