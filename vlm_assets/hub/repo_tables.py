"""Files that rows of a repository's tables name: looked for when it is listed, followed when they are read."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache, partial
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO, Final, cast

from vlm_assets.archives.limits import MemberFaultError
from vlm_assets.archives.names import Encodings
from vlm_assets.captions.tables import TableReading
from vlm_assets.hub.cells import Follow, Followed
from vlm_assets.hub.client import HubFileError, HubRepo
from vlm_assets.hub.columns import Wanted
from vlm_assets.hub.listed_tables import FOLLOWS, ZIPS, NamesOnly, TableGroup, TablesListed
from vlm_assets.hub.looks import RangedFile, TableLook
from vlm_assets.hub.named_files import NamedFiles
from vlm_assets.hub.repo_files import RepoFile
from vlm_assets.hub.zip_members import FetchedZips, WithMembers, ZipMembers
from vlm_assets.transfer.files import FileHashes
from vlm_assets.words.contexts import FetchContext
from vlm_assets.words.errors import RejectReason, SourceError
from vlm_assets.words.layout import nfc, temporary_beside
from vlm_assets.words.records import Item

LOOKED_AT_BYTES: Final = 64 * 2**20
"""A larger file that is not Parquet is looked at when it is fetched, not when it is listed."""
_AT_ONCE: Final = 8


def repo_tables(
    repo: HubRepo,
    sha: str,
    tree: Mapping[str, RepoFile],
    read: Callable[[str], Path],
    cache_dir: Path,
    wanted: Wanted,
    reading: TableReading,
    zips: ZipMembers,
) -> TablesListed:
    """Looks into a repository's tables at one commit. `read` fetches a file, out of the cache where it can.

    `zips`: in which files that rows name may be.
    """
    by_key = {nfc(path): file for path, file in tree.items()}
    listed = WithMembers(by_key.keys(), zips.found)

    def identity_of(key: str) -> str:
        found = None if key in by_key else zips.found(key)
        return by_key[key].identity if found is None else f"{found[0].identity}!{found[1]}"

    def look(group: TableGroup, item: Item) -> TableLook | None:
        if "file" not in item.payload:
            return None
        file = RepoFile(**item.payload["file"])
        source: Path | Callable[[], BinaryIO]
        if group.format == "parquet":
            source = partial(ranged, repo, file, sha, cache_dir / "looked_at")
        elif file.size_bytes <= LOOKED_AT_BYTES:
            source = read(file.path).resolve()
        else:
            return None
        where = f"hf://datasets/{repo.name}/{file.path}"
        follow = NamesOnly(NamedFiles(listed, item.key, repo=repo.name))
        return TableLook(item.key, group.format, where, source, wanted, group.features, reading, follow)

    return TablesListed(wanted, cache_dir, look, lambda keys: list(map(identity_of, keys)), zips.zips)


def ranged(repo: HubRepo, file: RepoFile, sha: str, kept: Path) -> BinaryIO:
    """A file of a repository, read in ranges; each is asked for once."""

    def read(start: int, end: int) -> bytes:
        """Asked for once: what is looked at of a file is the same at every listing, under every catalogue."""
        path = kept / sha256(f"{file.identity}:{start}-{end}".encode()).hexdigest()
        if path.exists():
            return path.read_bytes()
        data = repo.read_range(file, sha, start, end)
        kept.mkdir(parents=True, exist_ok=True)
        beside = temporary_beside(path)
        beside.write_bytes(data)
        beside.replace(path)
        return data

    return cast("BinaryIO", RangedFile(file.size_bytes, read))


class RepoFollow:
    """`Follow` over a repository: files are fetched below the slice's spool, some at once, each verified."""

    def __init__(
        self,
        repo: HubRepo,
        context: FetchContext,
        hashes: FileHashes,
        pool: ThreadPoolExecutor,
        by_key: Mapping[str, RepoFile],
        table: str,
        zips: FetchedZips,
    ) -> None:
        """`by_key`: the repository's files; `table`: the one whose rows name them, or members of `zips`."""
        self._by_key = by_key
        self._zips = zips
        self._fetch = partial(self._fetched, repo, context, hashes)
        self._pool = pool
        names = NamedFiles(WithMembers(by_key.keys(), zips.found), table, repo=repo.name)
        self.key_of = names.key_of
        self.why_not = names.why_not

    def get(self, keys: Sequence[str]) -> Mapping[str, Followed]:
        """The files of these keys.

        Raises:
            SourceError: the Hub cannot be reached.
        """
        return dict(zip(keys, self._pool.map(self._fetch, keys), strict=True))

    def _fetched(self, repo: HubRepo, context: FetchContext, hashes: FileHashes, key: str) -> Followed:
        if context.cancelled.is_set():
            raise SourceError(f"{context.source}/{context.slice_name}: cancelled; downloads are kept")
        member = None if key in self._by_key else self._zips.found(key)
        if member is not None:
            return self._unpacked(repo, *member)
        file = self._by_key[key]
        origin = f"hf://datasets/{repo.name}/{file.path}"
        try:
            path = repo.fetch(file, context.revision, context.spool_dir, hashes, force=context.force)
        except HubFileError as error:
            mendable = error.reason is RejectReason.CHECKSUM
            return Followed(None, origin, error.reason, str(error)[:200], transient=mendable)
        return Followed(path.resolve(), origin)

    def _unpacked(self, repo: HubRepo, file: RepoFile, name: str) -> Followed:
        origin = f"hf://datasets/{repo.name}/{file.path}!{name}"
        try:
            data = self._zips.read(file, name)
        except MemberFaultError as fault:
            return Followed(None, origin, fault.reason, f"{file.path}!{name}: {fault.detail}"[:200])
        return Followed(data, origin) if isinstance(data, Path) else Followed(None, origin, data=data)


@contextmanager
def following(
    repo: HubRepo, context: FetchContext, hashes: FileHashes, encoding: Encodings = None
) -> Iterator[Callable[[Item], Follow | None]]:
    """Gives what an item's rows may name, as long as the context lasts; None for items that name nothing.

    `encoding`: of names in zips that are neither declared nor UTF-8.
    """
    at_once = min(repo.guest.limits.concurrency or 1, _AT_ONCE)
    with ThreadPoolExecutor(at_once, thread_name_prefix="hub-named") as pool:

        @cache
        def by_key() -> Mapping[str, RepoFile]:
            return {nfc(file.path): file for file in repo.tree(context.revision, context.cache_dir)}

        def fetch(file: RepoFile) -> Path:
            return repo.fetch(file, context.revision, context.spool_dir, hashes, force=context.force)

        @cache
        def opened(files: tuple[RepoFile, ...]) -> FetchedZips:
            once = cache(fetch)
            return FetchedZips(files, once, context.spool_dir, context.settings.max_image_bytes, encoding)

        def of(item: Item) -> Follow | None:
            if not item.payload.get(FOLLOWS):
                return None
            zips = opened(tuple(RepoFile(**one) for one in item.payload.get(ZIPS, ())))
            return RepoFollow(repo, context, hashes, pool, by_key(), item.key, zips)

        yield of
