"""Removes what nothing needs: downloads, versions that nothing refers to, leftovers of cut runs.

Nothing that a symlink shows, a plan in force draws from, a pin protects or a live process holds is touched.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from pydantic import BaseModel

from vlm_assets.allocation.manifest import AllocationManifest
from vlm_assets.annotate.slice import annotation_lock
from vlm_assets.corpus.seal import pinned_versions, prune_versions
from vlm_assets.ingest.summary import refresh_summary
from vlm_assets.installation.opening import Installation
from vlm_assets.installation.removed import removed_sources
from vlm_assets.locks import hold_lock
from vlm_assets.operate.takedown import HalfDone, half_done, litter
from vlm_assets.store.corpus_lock import LOCK_FILE, items_path, read_lock
from vlm_assets.store.listings import read_listing
from vlm_assets.store.schema_1 import is_version_1, read_content
from vlm_assets.store.versions import current_version, read_manifest
from vlm_assets.words.counts import so_many
from vlm_assets.words.disk import named_disk_errors
from vlm_assets.words.disk import remove_tree as remove_folder
from vlm_assets.words.errors import LockHeldError, StoreError
from vlm_assets.words.layout import ANNOTATING, MANIFEST, STAGING, VERSIONS, DataRoot
from vlm_assets.words.manifest import Listing

Progress = Callable[[str, int, int], None]
"""Is told what comes next, how much is over, how much there is."""


def no_progress(name: str, done: int, total: int) -> None:
    """Tells nobody."""
    del name, done, total


class PruneReport(BaseModel):
    """What was removed, as paths below the data root; what could have been and was not, in words."""

    removed: list[str] = []
    freed_bytes: int = 0
    kept: list[str] = []
    runs: list[str] = []
    """Ids of Dagster runs that went."""


def source_names(root: DataRoot) -> list[str]:
    """Every source with a folder or a listing, of the catalogue or not."""
    folders = (root.path / "datasets", root.cache, *root.annotations.glob("*"))
    names = {path.name for folder in folders if folder.is_dir() for path in folder.iterdir()}
    return sorted(names | {path.stem for path in root.listings.glob("*.json")})


@named_disk_errors
def prune_data_root(
    installation: Installation,
    *,
    sources: Collection[str] | None = None,
    retired: bool = False,
    removed: bool = False,
    dry_run: bool = False,
    progress: Progress = no_progress,
) -> PruneReport:
    """Cleans the whole data root, or the folders of some sources.

    Listings and summaries stay; a slice's cache goes only while nobody builds the slice. With `retired`, slices that
    upstream no longer lists are removed too; with `removed`, all of sources that the catalogue has no more. `dry_run`
    removes nothing, and reports the same. `progress` is told of each slice.
    """
    names = sorted(sources) if sources is not None else source_names(installation.root)
    pruning = _Pruning(installation, names, progress, dry_run=dry_run)
    gone = removed_sources(installation) if removed else {}
    for name in names:
        if name in gone:
            pruning.removed(name)
        else:
            pruning.source(name, retired=retired)
    if sources is None:
        pruning.allocations()
        pruning.corpora()
        pruning.locks()
        pruning.half_done()
        pruning.litter()
    return pruning.report


class _Pruning:
    def __init__(
        self, installation: Installation, sources: Sequence[str], progress: Progress, *, dry_run: bool
    ) -> None:
        self._installation = installation
        self._root: DataRoot = installation.root
        self._progress = progress
        self._slices = sum(len(self._slice_keys(name)) for name in sources)
        self._looked_at = 0
        self._planned = _planned_versions(self._root)
        self._dry_run = dry_run
        self._gone: set[Path] = set()
        """Versions of slices that are shown no more."""
        self._hidden: set[str] = set()
        """Their names."""
        self.report = PruneReport()

    def source(self, name: str, *, retired: bool) -> None:
        """Caches, staging, old versions and, if asked for, retired slices of a source."""
        listing = read_listing(self._root, name, older=True)
        going = listing.retired if retired and listing is not None else ()
        if self._clear_slices(name, going):
            self._cache(name)
        self._versions(name)
        self._annotations(name)
        if listing is not None and not self._dry_run:
            self._refresh(name, listing)

    def _refresh(self, name: str, listing: Listing) -> None:
        """The summary, unless a slice waits for its migration, which writes it then."""
        try:
            refresh_summary(self._root, name, listing)
        except StoreError:
            if not any(_is_older(one) for one in self._shown(name)):
                raise

    def _shown(self, name: str) -> set[Path]:
        folder = self._root.source(name)
        links = (path for path in folder.iterdir() if path.is_symlink()) if folder.is_dir() else ()
        return {version for link in links if (version := current_version(link)) is not None}

    def removed(self, name: str) -> None:
        """All of a source that the catalogue has no more, but for versions that plans in force draw from."""
        if not self._clear_slices(name, self._slice_keys(name)):
            return
        for path in sorted(self._root.listings.glob(f"{name}.*")):  # a name has no dot
            self._remove(path)
        self._remove(self._root.cache_of(name))
        self._versions(name)
        self._annotations(name)
        folder = self._root.source(name)
        planned = [one for one in sorted(self._planned[name]) if (folder / VERSIONS / one).is_dir()]
        if planned:
            told = f"{so_many(len(planned), 'version')} kept for the plans in force; build, then prune"
            self.report.kept.append(f"datasets/{name}: {told}")
        for file in (MANIFEST, "dataset_dict.json"):
            self._remove(folder / file)
        if not self._dry_run:
            for path in (folder / STAGING, folder / VERSIONS, folder):
                with suppress(OSError):  # not empty, or never there
                    path.rmdir()

    def _clear_slices(self, name: str, going: Collection[str]) -> bool:
        """Spools and staging of a source's slices, and the names of those that go; False where some are at work."""
        busy = len(self.report.kept)
        for key in self._slice_keys(name):
            self._progress(f"{name}/{key}", self._looked_at, self._slices)
            self._looked_at += 1
            lock = self._root.locks / f"slice.{name}.{key}"
            try:
                with hold_lock(lock, f"pruning {name}/{key}"):
                    self._remove(self._root.cache_of(name) / "spool" / key)
                    self._remove(self._root.source(name) / STAGING / key)
                    if key in going:
                        self._hide(self._root.slice(name, key))
                        self._hidden.add(f"{name}/{key}")
            except LockHeldError as error:
                self.report.kept.append(str(error))
        return len(self.report.kept) == busy

    def _annotations(self, name: str) -> None:
        """Values of slices that no name shows."""
        for path in sorted(self._root.annotations.glob(f"*/{name}/*.parquet")):
            key = path.name.removesuffix(".parquet")
            if f"{name}/{key}" in self._hidden or current_version(self._root.slice(name, key)) is None:
                self._remove(path)

    def _hide(self, link: Path) -> None:
        """Takes a slice's symlink away, after which its version is needed by plans alone."""
        version = current_version(link) if link.is_symlink() else None
        if version is not None:
            self._gone.add(version)
        if not self._dry_run:
            link.unlink(missing_ok=True)

    def allocations(self) -> None:
        """Plans that no symlink shows and no current corpus was built from."""
        used = {path.resolve() for path in self._links("allocations")}
        for folder in (self._root.path / "allocations").glob(f"*/{VERSIONS}/*"):
            lost = not (folder / MANIFEST).is_file()
            if lost or (folder.resolve() not in used and folder.name not in self._corpus_plans()):
                self._remove(folder)

    def corpora(self) -> None:
        """Versions beyond `keep_versions` that are not pinned, and folders that were never committed."""
        keep = self._installation.catalog.corpus.keep_versions
        for folder in sorted((self._root.path / "corpora").glob(f"*/{VERSIONS}/*")):
            if not (folder / MANIFEST).is_file():
                self._remove(folder)
        self._older_corpora()
        for link in self._links("corpora"):
            before = {path.name: _folder_bytes(path) for path in (link.parent / VERSIONS).iterdir()}
            for path in prune_versions(link, keep, dry_run=self._dry_run):
                self._note(path, before.get(path.name, 0))

    def _older_corpora(self) -> None:
        """Versions of schema 1 that a migration took out of force: nobody reads them but by their pins."""
        shown = {path.resolve() for path in self._links("corpora")}
        for corpus in sorted((self._root.path / "corpora").glob("*")):
            pinned = pinned_versions(corpus)
            for folder in sorted(corpus.glob(f"{VERSIONS}/*")):
                if (
                    (folder / MANIFEST).is_file()
                    and folder.resolve() not in shown
                    and folder.name not in pinned
                    and _is_older(folder)
                ):
                    self._remove(folder)

    def locks(self) -> None:
        """Locks that runs worked by, and that are not the catalogue's now: git has them, and the remote."""
        lock_file = self._installation.catalog_dir / LOCK_FILE
        now = read_lock(lock_file).version if lock_file.is_file() else ""
        for path in sorted((self._root.path / ".catalogs").glob("*.lock")):
            if path.stem != now:
                self._remove(path)
                self._remove(items_path(path))

    def half_done(self) -> None:
        """What nobody works on and no build goes on with."""
        for one in left_half_done(self._root):
            if one.path.relative_to(self._root.path).as_posix() in self.report.removed:
                continue  # with its slice, and it is still there in a dry run
            try:
                with hold_lock(one.lock, f"pruning {one.path.name}"):
                    self._remove(one.path)
            except LockHeldError as error:
                self.report.kept.append(str(error))

    def litter(self) -> None:
        """Temporary files of killed processes."""
        for path in litter(self._root):
            if not self._dry_run:
                path.unlink(missing_ok=True)
            self._note(path, 0)

    def _links(self, kind: str) -> Iterator[Path]:
        for path in sorted((self._root.path / kind).glob("*/*")):
            if path.is_symlink() and current_version(path) is not None:
                yield path

    def _corpus_plans(self) -> set[str]:
        return {
            str(read_content(link.resolve()).get("allocation_version", "")) for link in self._links("corpora")
        }

    def _slice_keys(self, name: str) -> list[str]:
        folders = (
            self._root.source(name),
            self._root.source(name) / STAGING,
            self._root.cache_of(name) / "spool",
        )
        return sorted(
            {
                p.name
                for f in folders
                if f.is_dir()
                for p in f.iterdir()
                if not p.name.startswith(".") and p.is_dir()
            }
        )

    def _cache(self, name: str) -> None:
        """Everything downloaded; tables of file hashes stay, for they save reading all files again."""
        folder = self._root.cache_of(name)
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            if path.name == ANNOTATING:
                self._annotated_so_far(name, path)
            elif path.suffix not in (".db", ".sqlite"):
                self._remove(path)

    def _annotated_so_far(self, name: str, folder: Path) -> None:
        """What annotators said of slices that nobody is annotating now."""
        for path in sorted(folder.iterdir()):
            lock = annotation_lock(self._root, name, path.name)
            try:
                with hold_lock(lock, f"pruning {name}/{path.name}"):
                    self._remove(path)
            except LockHeldError as error:
                self.report.kept.append(str(error))

    def _versions(self, name: str) -> None:
        folder = self._root.source(name)
        if not folder.is_dir():
            return
        shown = self._shown(name) - self._gone
        for version in sorted((folder / VERSIONS).iterdir()) if (folder / VERSIONS).is_dir() else ():
            planned = version.name in self._planned[name] and _is_read(version)
            if version not in shown and not planned:
                self._remove(version)

    def _remove(self, path: Path) -> None:
        remove_tree(self._root, path, self.report, dry_run=self._dry_run)

    def _note(self, path: Path, size_bytes: int) -> None:
        self.report.removed.append(path.relative_to(self._root.path).as_posix())
        self.report.freed_bytes += size_bytes


def left_half_done(root: DataRoot) -> list[HalfDone]:
    """What is half done and no build goes on with: all but shards of the plans in force."""
    plans = {
        f"corpora/{link.parent.name}/{STAGING}/{link.name}-{version.name}"
        for link in (root.path / "allocations").glob("*/*")
        if link.is_symlink() and (version := current_version(link)) is not None
    }
    found = [(one, one.path.relative_to(root.path).as_posix()) for one in half_done(root)]
    return [one for one, name in found if name.rpartition("-")[0] not in plans]


def remove_tree(root: DataRoot, path: Path, report: PruneReport, *, dry_run: bool = False) -> None:
    """Removes a file or folder below the data root and notes it (`dry_run`: notes it); nothing where none is."""
    if not path.exists():
        return
    size_bytes = _folder_bytes(path)
    if not dry_run and path.is_dir():
        (path / MANIFEST).unlink(missing_ok=True)  # without it the folder was never committed
        remove_folder(path)
    elif not dry_run:
        path.unlink()
    report.removed.append(path.relative_to(root.path).as_posix())
    report.freed_bytes += size_bytes


def _planned_versions(root: DataRoot) -> defaultdict[str, set[str]]:
    """Slice versions, by source, that the plans in force draw from or hold rows against."""
    planned: defaultdict[str, set[str]] = defaultdict(set)
    for link in (root.path / "allocations").glob("*/*"):
        version = current_version(link) if link.is_symlink() else None
        if version is None:
            continue
        try:
            manifest = read_manifest(version, AllocationManifest)
        except StoreError:
            continue
        for one in manifest.slices:
            planned[one.source].add(one.version)
        for held in manifest.benchmarks:
            planned[held.source].add(held.version)
    return planned


def _is_read(version: Path) -> bool:
    """Whether a plan can be built from a version: none is from one of schema 1, beside which a migrated one lies."""
    return (version / MANIFEST).is_file() and not _is_older(version)


def _is_older(version: Path) -> bool:
    """Whether a version is of schema 1; what cannot be read is nobody's to remove."""
    try:
        return is_version_1(version)
    except StoreError:
        return False


def _folder_bytes(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    return sum(p.stat().st_size for p in path.rglob("*") if p.is_file() and p.stat().st_nlink == 1)
