"""What a machine fetches because a step needs it: tombstones, listings, slices of other machines, a plan's versions.

So that machines that share nothing but the remote (and Dagster's Postgres) work on one corpus.
"""

from collections.abc import Collection, Iterable
from pathlib import Path

from vlm_assets.allocation.manifest import AllocationManifest
from vlm_assets.ingest.summary import note_slice
from vlm_assets.installation.opening import Installation
from vlm_assets.locks import hold_lock
from vlm_assets.remote.away import keeps_data
from vlm_assets.remote.bucket import Bucket, open_remote
from vlm_assets.remote.fetch import Fetcher, read_remote_version
from vlm_assets.remote.memory import Memory
from vlm_assets.remote.names import Name, lock_of
from vlm_assets.remote.pointers import read_pointer
from vlm_assets.remote.report import RestoreReport, TransferProgress
from vlm_assets.remote.restore import RestoreOptions, restore
from vlm_assets.remote.takedowns import pull_tombstones
from vlm_assets.store.away import away_in
from vlm_assets.store.met import name_covered
from vlm_assets.store.taken_down import refuse_taken_down
from vlm_assets.store.tombstones import read_tombstones
from vlm_assets.store.versions import current_version, read_manifest, remove_version, swap_link
from vlm_assets.words.counts import so_many
from vlm_assets.words.disk import named_disk_errors
from vlm_assets.words.errors import RemoteError
from vlm_assets.words.layout import MANIFEST, VERSIONS, DataRoot
from vlm_assets.words.manifest import Listing, SliceManifest


def hydrate_sources(
    installation: Installation,
    sources: Collection[str] | None = None,
    *,
    slices: bool = True,
    lock_wait_s: float = 3600.0,
    progress: TransferProgress | None = None,
    bucket: Bucket | None = None,
) -> RestoreReport:
    """Before a listing, an allocation or a slice: the remote's tombstones, and these sources as the remote has them.

    Without `sources`, all that the catalogue enables. `slices=False` brings the listings alone, which is what a first
    listing needs to keep its number of buckets. What this machine committed and never pushed is left alone. A source
    that the remote does not have is no error.

    Raises:
        RemoteError: the remote does not answer, or something did not come over: nothing may be planned past it.
    """
    enabled = [spec.name for spec in installation.catalog.fetched if spec.enabled]
    report = restore(
        installation.settings,
        sources=enabled if sources is None else sources,
        targets=(),
        options=RestoreOptions(storage=False, slices=slices, known_only=True, lock_wait_s=lock_wait_s),
        progress=progress,
        bucket=bucket,
    )
    _demand(report)
    return report


@named_disk_errors
def hydrate_due_slice(
    installation: Installation,
    listing: Listing,
    slice_key: str,
    *,
    lock_wait_s: float = 3600.0,
    bucket: Bucket | None = None,
) -> Path | None:
    """Before a slice is fetched from its origin: what another machine made of it, where that serves.

    That is any version where this machine has none (its unchanged items need no fetch), and one made for the present
    listing where the one here was not. The slice shows it from then on. Returns its folder; None where nothing came.
    The caller has the remote's tombstones.

    Raises:
        RemoteError: the version that the remote shows is missing or damaged.
    """
    root, name = installation.root, Name("datasets", listing.source, slice_key)
    wanted = listing.slices[slice_key].fingerprint
    here = current_version(name.link(root))
    if here is not None and read_manifest(here, SliceManifest).listing_fingerprint == wanted:
        return None
    bucket = bucket or open_remote(installation.settings)
    found = read_pointer(bucket, name)
    if found is None or (here is not None and found[0].version == here.name):
        return None
    if here is not None:
        stored = read_remote_version(bucket, name, found[0].version)
        if SliceManifest.from_bytes(stored.manifest).listing_fingerprint != wanted:
            return None
    whole = keeps_data(installation.settings)
    [directory] = _fetch(bucket, root, [(name, found[0].version)], lock_wait_s, show=True, whole=whole)
    note_slice(root, read_manifest(directory, SliceManifest), directory.name, listing)
    return directory


@named_disk_errors
def follow_remote(
    installation: Installation, name: Name, *, lock_wait_s: float = 3600.0, bucket: Bucket | None = None
) -> Path | None:
    """Folder of the version that the remote shows under a name, fetched and shown here too.

    What this machine committed and never pushed stays shown. None where neither side has any.

    Raises:
        RemoteError: the version is missing or damaged.
    """
    root = installation.root
    bucket = bucket or open_remote(installation.settings)
    here, found = current_version(name.link(root)), read_pointer(bucket, name)
    if found is None or (here is not None and here.name == found[0].version):
        return here
    if here is not None and bucket.size_of(name.manifest(here.name)) is None:
        return here
    whole = keeps_data(installation.settings)
    return _fetch(bucket, root, [(name, found[0].version)], lock_wait_s, show=True, whole=whole)[0]


@named_disk_errors
def follow_emptied(
    installation: Installation,
    names: Iterable[Name],
    *,
    lock_wait_s: float = 3600.0,
    bucket: Bucket | None = None,
) -> list[Name]:
    """Before slices are emptied: of those whose data is away, the version that another machine has emptied meanwhile.

    Its purge has taken the bytes of the one before, which is removed here. Returns the slices that were followed.

    Raises:
        RemoteError: the version that the remote shows is missing or damaged.
    """
    root = installation.root
    bucket = bucket or open_remote(installation.settings)
    followed = []
    for name in names:
        here = current_version(name.link(root))
        found = read_pointer(bucket, name) if here is not None and away_in(here) else None
        if here is None or found is None or found[0].version == here.name:
            continue
        wanted = [(name, found[0].version)]
        _fetch(bucket, root, wanted, lock_wait_s, show=True, whole=keeps_data(installation.settings))
        remove_version(here)
        followed.append(name)
    return followed


@named_disk_errors
def hydrate_plan(
    installation: Installation, target: str, *, lock_wait_s: float = 3600.0, bucket: Bucket | None = None
) -> list[Path]:
    """Before shards are planned: the tombstones, and every slice version that the target's plan takes rows from.

    Returns the folders that were fetched. Versions that are on disk are left alone; data that is away comes back,
    unless shards take their rows from the remote.

    Raises:
        RemoteError: a version is neither here nor at the remote.
    """
    root, corpus = installation.root, installation.catalog.corpus.name
    bucket = bucket or open_remote(installation.settings)
    pull_tombstones(bucket, root)
    plan = read_manifest(root.allocation(corpus, target).resolve(), AllocationManifest)
    wanted = ((Name("datasets", one.source, one.slice), one.version) for one in plan.slices if one.selected)
    whole = keeps_data(installation.settings)
    missing = [(n, v) for n, v in wanted if not _is_here(n.versions(root) / v, whole=whole)]
    return _fetch(bucket, root, missing, lock_wait_s, whole=whole)


def _is_here(version: Path, *, whole: bool) -> bool:
    return (version / MANIFEST).is_file() and not (whole and away_in(version))


def _fetch(
    bucket: Bucket,
    root: DataRoot,
    wanted: Iterable[tuple[Name, str]],
    lock_wait_s: float,
    *,
    show: bool = False,
    whole: bool = True,
) -> list[Path]:
    """Folders of versions, fetched if need be. Each is shown by its name where that showed none, or with `show`."""
    wanted = list(wanted)
    if not wanted:
        return []
    with hold_lock(root.locks / "restore", f"hydration from {bucket.address}", wait_s=lock_wait_s):
        fetcher, memory = Fetcher(bucket, root, whole=whole), Memory(root, bucket.address)
        complete = False
        try:
            folders = [_fetch_one(root, fetcher, memory, n, v, lock_wait_s, show=show) for n, v in wanted]
            complete = True
        finally:
            fetcher.close(complete=complete)
            memory.save()
    return folders


def _fetch_one(
    root: DataRoot,
    fetcher: Fetcher,
    memory: Memory,
    name: Name,
    version: str,
    lock_wait_s: float,
    *,
    show: bool,
) -> Path:
    with hold_lock(lock_of(root, name), f"hydrating {name}", wait_s=lock_wait_s):
        directory = name.versions(root) / version
        if not (directory / MANIFEST).is_file():
            directory = fetcher.fetch_version(read_remote_version(fetcher.bucket, name, version))
        elif fetcher.whole and away_in(directory):
            fetcher.mend_version(
                read_remote_version(fetcher.bucket, name, version), directory, thorough=False
            )
        if show or current_version(name.link(root)) is None:
            refuse_taken_down(name, directory, read_tombstones(root))
            swap_link(name.link(root), Path(VERSIONS) / version)
            if name.area == "datasets":
                name_covered(root, name.group, name.leaf)
            memory.take_over(name.current, version)
        else:
            memory.lend(name.current, version)
    return directory


def _demand(report: RestoreReport) -> None:
    if report.failed:
        told = "\n".join(f"{name}: {why}" for name, why in sorted(report.failed.items())[:10])
        raise RemoteError(
            f"{report.remote}: {so_many(len(report.failed), 'thing')} did not come over:\n{told}"
        )
