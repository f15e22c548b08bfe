"""The line's remote where there is one: S3, shared with other machines."""

import logging
from collections.abc import Collection, Sequence
from pathlib import Path

from vlm_assets.allocation.step import tombstones_in_force
from vlm_assets.corpus.build import corpus_lock, pending_shards
from vlm_assets.corpus.shards import plan_shards, staging_key
from vlm_assets.corpus.staging import ShardPlan, Staging
from vlm_assets.installation.opening import Installation
from vlm_assets.locks import hold_lock
from vlm_assets.remote.annotations import restore_annotation
from vlm_assets.remote.away import free_pushed, keeps_data, leaves_at_once, lend_data
from vlm_assets.remote.backup import backup
from vlm_assets.remote.bucket import Bucket, open_remote
from vlm_assets.remote.hydrate import follow_remote, hydrate_due_slice, hydrate_plan, hydrate_sources
from vlm_assets.remote.line import NoRemote
from vlm_assets.remote.locks import pull_items, pull_lock
from vlm_assets.remote.memory import Memory
from vlm_assets.remote.names import Name
from vlm_assets.remote.on_commit import (
    push_annotations,
    push_listing,
    push_lock,
    push_plan,
    push_slice,
    push_target,
)
from vlm_assets.remote.ranges import BucketRanges, forget_indexes, hydrate_indexes
from vlm_assets.remote.staged import free_shard, known_shards, pull_shards, push_shard
from vlm_assets.remote.takedowns import pull_tombstones
from vlm_assets.store.corpus_lock import CorpusLock, items_path
from vlm_assets.store.versions import current_version
from vlm_assets.words.errors import CorpusError, RemoteError, TakenDownError
from vlm_assets.words.layout import STAGING
from vlm_assets.words.manifest import Listing

logger = logging.getLogger("vlm_assets.remote")

_LOCK_WAIT_S = 24 * 3600.0


class SharedRemote(NoRemote):
    """A line that shares S3 with others. Pushes on commit unless the settings leave that to `backup`."""

    def __init__(self, installation: Installation, bucket: Bucket | None = None) -> None:
        self._installation = installation
        self._bucket = bucket or open_remote(installation.settings)
        self._push = installation.settings.remote_push == "commit"
        self._by_range = not keeps_data(installation.settings)
        lend_data(installation.settings)

    def before_listing(self, sources: Collection[str]) -> None:
        """One look at the remote for all sources."""
        hydrate_sources(self._installation, sources, slices=False, bucket=self._bucket)

    def after_listing(self, source: str) -> None:
        """Pushes the listing and the catalogue's snapshot."""
        if self._push:
            push_listing(self._installation, source, bucket=self._bucket)

    def before_keeping(self, lock_file: Path, lock: CorpusLock) -> None:
        """Fetches the items file that `lock` pushed."""
        pull_items(self._bucket, lock, items_path(lock_file))

    def after_keeping(self, name: str) -> None:
        """As a listing or a slice."""
        if self._push:
            push_lock(self._installation, name, bucket=self._bucket)

    def before_locked(self, name: str) -> None:
        """Fetches what another machine keeps."""
        pull_lock(self._bucket, self._installation.root, name)

    def after_lock(self, name: str) -> None:
        """Also where the settings leave pushing to `backup`: readers of the lock need its items."""
        push_lock(self._installation, name, bucket=self._bucket)

    def before_slices(self) -> None:
        """Reads the remote's takedowns."""
        pull_tombstones(self._bucket, self._installation.root)

    def before_slice(self, listing: Listing, slice_key: str) -> None:
        """Asks nothing where the slice is committed for this listing; what is damaged there comes from its origin."""
        try:
            hydrate_due_slice(
                self._installation, listing, slice_key, lock_wait_s=_LOCK_WAIT_S, bucket=self._bucket
            )
        except (RemoteError, TakenDownError) as error:
            logger.warning("%s/%s is fetched from its origin: %s", listing.source, slice_key, error)

    def after_slice(self, source: str, slice_key: str) -> None:
        """Also for a slice that was committed before: a push that failed is made good."""
        if self._push:
            push_slice(self._installation, source, slice_key, bucket=self._bucket)

    def slice_told(self, source: str, slice_key: str) -> None:
        """Where shards take their rows from the remote, frees data files that are seen to be there."""
        if self._push:
            free_pushed(self._installation.settings, self._bucket, [Name("datasets", source, slice_key)])

    def before_annotations(self, source: str, slice_key: str, names: Collection[str]) -> None:
        """Asks nothing where there are values, be they stale; what cannot be had is computed."""
        root = self._installation.root
        paths = [root.annotation(name, source, slice_key) for name in names]
        lacking = [path for path in paths if not path.is_file()]
        memory = Memory(root, self._bucket.address)
        for path in lacking:
            try:
                restore_annotation(self._bucket, root, memory, path.relative_to(root.path).as_posix())
            except (RemoteError, TakenDownError) as error:
                logger.warning("%s/%s is annotated here: %s", source, slice_key, error)
        if lacking:
            memory.save()

    def after_annotations(self, source: str, slice_key: str) -> None:
        """As a slice."""
        if self._push:
            push_annotations(self._installation, {(source, slice_key)}, bucket=self._bucket)

    def before_allocation(self) -> None:
        """Of all sources that the catalogue enables, as far as the remote has them."""
        hydrate_sources(self._installation, bucket=self._bucket)

    def after_allocation(self, target: str) -> None:
        """Raises where another machine's plan is shown there that this one never had."""
        if self._push:
            push_plan(self._installation, target, bucket=self._bucket)

    def before_shards(self, target: str) -> None:
        """Follows the plan that the remote shows, unless the one here was never pushed."""
        follow_remote(self._installation, self._name("allocations", target), bucket=self._bucket)
        if self._by_range:
            hydrate_indexes(self._installation, target, self._bucket, lock_wait_s=_LOCK_WAIT_S)
        else:
            hydrate_plan(self._installation, target, bucket=self._bucket)

    def row_objects(self) -> BucketRanges | None:
        """The bucket, where the settings want rows by range."""
        return BucketRanges(self._bucket) if self._by_range else None

    @property
    def shards_leave(self) -> bool:
        """Where rows come from the remote, and what is committed goes there at once."""
        return leaves_at_once(self._installation.settings)

    def to_write(self, staging: Path, pending: Sequence[ShardPlan]) -> Sequence[ShardPlan]:
        """Shards that the remote has need no writer; the seal fetches them."""
        known = known_shards(self._bucket, staging, pending) if pending else {}
        return [shard for shard in pending if shard.bits not in known]

    def staging_here(self, target: str, staging: Path) -> Path:
        """The plan and the takedowns must be those that the folder's name stands for.

        Raises:
            CorpusError: they have changed since.
        """
        root, corpus = self._installation.root, self._installation.catalog.corpus.name
        here = root.corpus(corpus, target).parent / STAGING / staging.name
        if (here / "plan.json").is_file():
            return here
        self.before_shards(target)
        with hold_lock(corpus_lock(root, corpus, target), "planning for one shard", wait_s=_LOCK_WAIT_S):
            if not (here / "plan.json").is_file():
                here, _ = plan_shards(root.allocation(corpus, target), root, tombstones_in_force(root))
        if here.name != staging.name:
            raise CorpusError(
                f"{corpus}/{target}: the plan or the takedowns have changed since {staging.name} was planned; "
                "run the corpus again"
            )
        return here

    def after_shard(self, staging: Path, bits: str) -> None:
        """Makes the shard known to whoever seals; where rows come from the remote, its data leaves this disk."""
        if self._push:
            push_shard(self._bucket, self._installation.root, staging, bits)
            if self.shards_leave:
                free_shard(self._bucket, staging, bits)

    def before_seal(self, target: str, staging: Path) -> Path:
        """Fetches the shards that are not complete here.

        Raises:
            CorpusError: a takedown came since the shards were planned.
        """
        self.before_slices()
        root = self._installation.root
        here = self.staging_here(target, staging)
        key = staging_key(Staging(here).read_plan().allocation_version, tombstones_in_force(root))
        if here.name != f"{target}-{key}":
            raise CorpusError(
                f"{target}: a takedown arrived since its shards were planned; run the corpus again, only the shards "
                "that hold those rows are written anew"
            )
        with hold_lock(root.locks / "restore", f"shards of {target}", wait_s=_LOCK_WAIT_S):
            pull_shards(self._bucket, root, here, pending_shards(here), whole=not self._by_range)
        return here

    def after_seal(self, target: str) -> None:
        """Plan first, corpus after it. Indexes that came for the shards go."""
        if self._push:
            push_target(self._installation, target, bucket=self._bucket)
            free_pushed(self._installation.settings, self._bucket, [self._name("corpora", target)])
        forget_indexes(self._installation.root)

    def after_pin(self, target: str) -> None:
        """Pushes the target's pins, as a backup of it does.

        Raises:
            RemoteError: the remote refused; the pin holds here, and goes with the next backup.
        """
        if self._push:
            report = backup(
                self._installation, sources=(), targets=[target], storage=False, bucket=self._bucket
            )
            if report.failed:
                told = "; ".join(f"{name}: {why}" for name, why in report.failed.items())
                raise RemoteError(f"pinned here, but not at the remote: {told}")

    def before_reading(self, target: str) -> None:
        """Nothing is asked where the corpus lies here: whoever reads it judges what lies here."""
        if current_version(self._name("corpora", target).link(self._installation.root)) is not None:
            return
        hydrate_sources(self._installation, bucket=self._bucket)
        if follow_remote(self._installation, self._name("corpora", target), bucket=self._bucket) is not None:
            follow_remote(self._installation, self._name("allocations", target), bucket=self._bucket)
            hydrate_plan(self._installation, target, bucket=self._bucket)

    def _name(self, area: str, target: str) -> Name:
        return Name(area, self._installation.catalog.corpus.name, target)
