"""What the line does with a remote at each moment of its steps: fetch what the step needs, push what it committed.

The steps call the moments by name and know nothing else of the remote. Without one the same calls do nothing.
"""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vlm_assets.installation.opening import Installation

if TYPE_CHECKING:  # loads pyarrow, which the code location does without
    from vlm_assets.corpus.staging import ShardPlan
    from vlm_assets.remote.ranges import BucketRanges
    from vlm_assets.store.corpus_lock import CorpusLock
    from vlm_assets.words.manifest import Listing


class NoRemote:
    """A line that works alone: every moment passes."""

    def before_listing(self, sources: Collection[str]) -> None:
        """Listings and takedowns of other machines are here, so that the number of buckets is kept."""

    def after_listing(self, source: str) -> None:
        """The listing is at the remote."""

    def before_keeping(self, lock_file: Path, lock: "CorpusLock") -> None:
        """The items file lies beside a lock."""

    def after_keeping(self, name: str) -> None:
        """The kept lock of that name is where runs on other disks find it."""

    def before_locked(self, name: str) -> None:
        """The kept `corpus.lock` of that name is here, with its items."""

    def after_lock(self, name: str) -> None:
        """The kept lock of that name is at the remote, with its items."""

    def before_slices(self) -> None:
        """Takedowns of other machines are here: what they name is not requested again."""

    def before_slice(self, listing: "Listing", slice_key: str) -> None:
        """What another machine made of the slice is here, where that serves."""

    def after_slice(self, source: str, slice_key: str) -> None:
        """The slice's version is at the remote."""

    def slice_told(self, source: str, slice_key: str) -> None:
        """The slice's data may leave this disk: whoever tells of it has looked at it."""

    def before_annotations(self, source: str, slice_key: str, names: Collection[str]) -> None:
        """What other machines computed of the slice is here: these annotations, where this one has none."""

    def after_annotations(self, source: str, slice_key: str) -> None:
        """The slice's annotations are at the remote."""

    def before_allocation(self) -> None:
        """Takedowns, listings and slices of other machines are here."""

    def after_allocation(self, target: str) -> None:
        """The target's plan is at the remote."""

    def before_shards(self, target: str) -> None:
        """The target's plan is here, and every slice version that it takes rows from, or its index."""

    def row_objects(self) -> "BucketRanges | None":
        """Where rows are read from whose slices have nothing but their indexes here."""
        return None

    @property
    def shards_leave(self) -> bool:
        """Whether a shard's data is off this disk after `after_shard`."""
        return False

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


def line_remote(installation: Installation) -> NoRemote:
    """The remote that the settings name, or one that does nothing."""
    if not installation.settings.remote:
        return NoRemote()
    from vlm_assets.remote.shared import SharedRemote  # noqa: PLC0415 - the code location loads no pyarrow, no boto3

    return SharedRemote(installation)
