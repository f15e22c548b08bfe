"""What the line does with a remote at each moment of its steps: fetch what the step needs, push what it committed.

The steps call the moments by name and know nothing else of the remote. Without one the same calls do nothing.
"""

import logging
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vlm_assets.installation.opening import Installation

if TYPE_CHECKING:  # loads pyarrow or boto3, which the code location does without
    from vlm_assets.corpus.staging import ShardPlan
    from vlm_assets.remote.bucket import Bucket
    from vlm_assets.remote.names import Name
    from vlm_assets.words.manifest import Listing

logger = logging.getLogger("vlm_assets.remote")

_LOCK_WAIT_S = 24 * 3600.0


class NoRemote:
    """A line that works alone: every moment passes."""

    def before_listing(self, sources: Collection[str]) -> None:
        """Listings and takedowns of other machines are here, so that the number of buckets is kept."""

    def after_listing(self, source: str) -> None:
        """The listing is at the remote."""

    def before_slices(self) -> None:
        """Takedowns of other machines are here: what they name is not requested again."""

    def before_slice(self, listing: "Listing", slice_key: str) -> None:
        """What another machine made of the slice is here, where that serves."""

    def after_slice(self, source: str, slice_key: str) -> None:
        """The slice's version is at the remote."""

    def before_allocation(self) -> None:
        """Takedowns, listings and slices of other machines are here."""

    def after_allocation(self, target: str) -> None:
        """The target's plan is at the remote."""

    def before_shards(self, target: str) -> None:
        """The target's plan and every slice version that it takes rows from are here."""

    def to_write(self, staging: Path, pending: "Sequence[ShardPlan]") -> "Sequence[ShardPlan]":
        """Of the shards that are not complete here, those that no machine has written."""
        del staging
        return pending

    def staging_here(self, target: str, staging: Path) -> Path:
        """The staging folder on this machine, planned again where another one planned it."""
        del target
        return staging

    def after_shard(self, staging: Path, bits: str) -> None:
        """The shard's files are at the remote."""

    def before_seal(self, target: str, staging: Path) -> Path:
        """`staging_here` with the shards of other machines in it, and no takedown past its plan."""
        del target
        return staging

    def after_seal(self, target: str) -> None:
        """Plan and corpus are at the remote."""

    def after_pin(self, target: str) -> None:
        """The pin is at the remote, with the version that it protects: no prune from another machine takes it."""

    def before_reading(self, target: str) -> None:
        """The target's corpus, its plan and the slices are here, to be audited or described."""


class SharedRemote(NoRemote):
    """A line that shares S3 with others. Pushes on commit unless the settings leave that to `backup`."""

    def __init__(self, installation: Installation, bucket: "Bucket | None" = None) -> None:
        from vlm_assets.remote.bucket import open_remote

        self._installation = installation
        self._bucket = bucket or open_remote(installation.settings)
        self._push = installation.settings.remote_push == "commit"

    def before_listing(self, sources: Collection[str]) -> None:
        """One look at the remote for all sources."""
        from vlm_assets.remote.hydrate import hydrate_sources

        hydrate_sources(self._installation, sources, slices=False, bucket=self._bucket)

    def after_listing(self, source: str) -> None:
        """Pushes the listing and the catalogue's snapshot."""
        from vlm_assets.remote.on_commit import push_listing

        if self._push:
            push_listing(self._installation, source, bucket=self._bucket)

    def before_slices(self) -> None:
        """Reads the remote's takedowns."""
        from vlm_assets.remote.takedowns import pull_tombstones

        pull_tombstones(self._bucket, self._installation.root)

    def before_slice(self, listing: "Listing", slice_key: str) -> None:
        """Asks nothing where the slice is committed for this listing; what is damaged there comes from its origin."""
        from vlm_assets.remote.hydrate import hydrate_due_slice
        from vlm_assets.words.errors import RemoteError

        try:
            hydrate_due_slice(
                self._installation, listing, slice_key, lock_wait_s=_LOCK_WAIT_S, bucket=self._bucket
            )
        except RemoteError as error:
            logger.warning("%s/%s is fetched from its origin: %s", listing.source, slice_key, error)

    def after_slice(self, source: str, slice_key: str) -> None:
        """Also for a slice that was committed before: a push that failed is made good."""
        from vlm_assets.remote.on_commit import push_slice

        if self._push:
            push_slice(self._installation, source, slice_key, bucket=self._bucket)

    def before_allocation(self) -> None:
        """Of all sources that the catalogue enables, as far as the remote has them."""
        from vlm_assets.remote.hydrate import hydrate_sources

        hydrate_sources(self._installation, bucket=self._bucket)

    def after_allocation(self, target: str) -> None:
        """Raises where another machine's plan is shown there that this one never had."""
        from vlm_assets.remote.on_commit import push_plan

        if self._push:
            push_plan(self._installation, target, bucket=self._bucket)

    def before_shards(self, target: str) -> None:
        """Follows the plan that the remote shows, unless the one here was never pushed."""
        from vlm_assets.remote.hydrate import follow_remote, hydrate_plan

        follow_remote(self._installation, self._name("allocations", target), bucket=self._bucket)
        hydrate_plan(self._installation, target, bucket=self._bucket)

    def to_write(self, staging: Path, pending: "Sequence[ShardPlan]") -> "Sequence[ShardPlan]":
        """Shards that the remote has need no writer; the seal fetches them."""
        from vlm_assets.remote.staged import known_shards

        known = known_shards(self._bucket, staging, pending) if pending else {}
        return [shard for shard in pending if shard.bits not in known]

    def staging_here(self, target: str, staging: Path) -> Path:
        """The plan and the takedowns must be those that the folder's name stands for.

        Raises:
            CorpusError: they have changed since.
        """
        from vlm_assets.allocation.step import tombstones_in_force
        from vlm_assets.corpus.build import corpus_lock
        from vlm_assets.corpus.shards import plan_shards
        from vlm_assets.locks import hold_lock
        from vlm_assets.words.errors import CorpusError
        from vlm_assets.words.layout import STAGING

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
        """Makes the shard known to whoever seals."""
        from vlm_assets.remote.staged import push_shard

        if self._push:
            push_shard(self._bucket, self._installation.root, staging, bits)

    def before_seal(self, target: str, staging: Path) -> Path:
        """Fetches the shards that are not complete here.

        Raises:
            CorpusError: a takedown came since the shards were planned.
        """
        from vlm_assets.allocation.step import tombstones_in_force
        from vlm_assets.corpus.build import pending_shards
        from vlm_assets.corpus.shards import staging_key
        from vlm_assets.corpus.staging import Staging
        from vlm_assets.locks import hold_lock
        from vlm_assets.remote.staged import pull_shards
        from vlm_assets.words.errors import CorpusError

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
            pull_shards(self._bucket, root, here, pending_shards(here))
        return here

    def after_seal(self, target: str) -> None:
        """Plan first, corpus after it."""
        from vlm_assets.remote.on_commit import push_target

        if self._push:
            push_target(self._installation, target, bucket=self._bucket)

    def after_pin(self, target: str) -> None:
        """Pushes the target's pins, as a backup of it does.

        Raises:
            RemoteError: the remote refused; the pin holds here, and goes with the next backup.
        """
        from vlm_assets.remote.backup import backup
        from vlm_assets.words.errors import RemoteError

        if self._push:
            report = backup(
                self._installation, sources=(), targets=[target], storage=False, bucket=self._bucket
            )
            if report.failed:
                told = "; ".join(f"{name}: {why}" for name, why in report.failed.items())
                raise RemoteError(f"pinned here, but not at the remote: {told}")

    def before_reading(self, target: str) -> None:
        """Nothing is asked where the corpus lies here: whoever reads it judges what lies here."""
        from vlm_assets.remote.hydrate import follow_remote, hydrate_plan, hydrate_sources
        from vlm_assets.store.versions import current_version

        if current_version(self._name("corpora", target).link(self._installation.root)) is not None:
            return
        hydrate_sources(self._installation, bucket=self._bucket)
        if follow_remote(self._installation, self._name("corpora", target), bucket=self._bucket) is not None:
            follow_remote(self._installation, self._name("allocations", target), bucket=self._bucket)
            hydrate_plan(self._installation, target, bucket=self._bucket)

    def _name(self, area: str, target: str) -> "Name":
        from vlm_assets.remote.names import Name

        return Name(area, self._installation.catalog.corpus.name, target)


def line_remote(installation: Installation) -> NoRemote:
    """The remote that the settings name, or one that does nothing."""
    return SharedRemote(installation) if installation.settings.remote else NoRemote()
