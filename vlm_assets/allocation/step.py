"""The allocation as one step: gather, plan unless the plan in force has the same inputs, commit."""

import logging
import shutil
from dataclasses import dataclass
from pathlib import Path

from vlm_assets.allocation.committed import Supply, gather_supply
from vlm_assets.allocation.gram_memory import GramMemory
from vlm_assets.allocation.inputs import inputs_hash
from vlm_assets.allocation.manifest import AllocationManifest
from vlm_assets.allocation.plan import plan_allocation, write_plan
from vlm_assets.installation.opening import Installation
from vlm_assets.locks import hold_lock
from vlm_assets.store.corpus_lock import Locked
from vlm_assets.store.tombstones import Tombstone, read_tombstones, write_tombstone
from vlm_assets.store.versions import commit_version, current_version, read_manifest
from vlm_assets.words.disk import named_disk_errors
from vlm_assets.words.errors import IncompleteError
from vlm_assets.words.layout import STAGING, DataRoot
from vlm_assets.words.tombstones import Tombstones

logger = logging.getLogger("vlm_assets.allocation")


@dataclass(frozen=True, slots=True)
class AllocationOutcome:
    """The plan in force for a target. `reused`: its inputs had not changed."""

    manifest: AllocationManifest
    path: Path
    reused: bool


def tombstones_in_force(root: DataRoot) -> Tombstones:
    """All takedowns on record, as a plan takes them."""
    stored = read_tombstones(root)
    return Tombstones(image_sha256=stored.image_sha256, ids=stored.ids, hashes=stored.names)


def planned_takedowns(root: DataRoot, locked: Locked | None) -> Tombstones:
    """The takedowns that a plan is made with: all, or those that a lock's plans knew. Later ones become holes."""
    if locked is None:
        return tombstones_in_force(root)
    lock, given = locked.lock, _lock_order(locked)
    stored = read_tombstones(root, lambda name, one: name in lock.takedowns or one.asked == given)
    return Tombstones(image_sha256=stored.image_sha256, ids=stored.ids, hashes=stored.names)


def adopt_takedowns(root: DataRoot, locked: Locked) -> bool:
    """Puts the rows that a lock has as taken down on record, unless all its takedowns are known; whether it did."""
    if set(locked.lock.takedowns) <= set(read_tombstones(root).names):
        return False
    ids = tuple(sorted(locked.taken_down_ids()))
    write_tombstone(root, Tombstone(asked=_lock_order(locked), only_row=True, ids=ids))
    return True


def _lock_order(locked: Locked) -> str:
    return f"lock:{locked.lock.version}"


def complete_supply(installation: Installation) -> Supply:
    """The supply.

    Raises:
        AllocationError: something declared was never committed, and `require_complete` is on; or nothing is there.
    """
    supply = gather_supply(installation)
    if supply.incomplete and installation.catalog.corpus.require_complete:
        raise IncompleteError.of(supply.incomplete)
    return supply


@named_disk_errors
def allocate(
    installation: Installation, target: str, *, locked: Locked | None = None, lock_wait_s: float = 0.0
) -> AllocationOutcome:
    """Puts a plan for the present inputs in force; an equal one is kept. `locked`: made with the lock's takedowns.

    Raises:
        AllocationError: incomplete sources, an unknown target, or a shortfall where the catalogue says `fail`.
        LockHeldError: another process allocates this target.
    """
    corpus = installation.catalog.corpus
    link = installation.root.allocation(corpus.name, target)
    lock = installation.root.locks / f"allocation.{corpus.name}.{target}"
    with hold_lock(lock, f"allocation {corpus.name}/{target}", wait_s=lock_wait_s):
        supply = complete_supply(installation)
        tombstones = planned_takedowns(installation.root, locked)
        base = installation.catalog_dir
        wanted = inputs_hash(installation.catalog, target, supply.everything, tombstones, base_dir=base)
        current = current_version(link)
        if current is not None:
            manifest = read_manifest(current, AllocationManifest)
            if manifest.inputs_hash == wanted:
                return AllocationOutcome(manifest, current, reused=True)
        plan = plan_allocation(
            installation.catalog, target, supply.everything, tombstones,
            base_dir=base, memory=GramMemory(installation.root, keep=True),
        )  # fmt: skip
        staging = link.parent / STAGING / target
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(parents=True)
        manifest = write_plan(plan, staging)
        path = commit_version(staging, link, manifest)
    logger.info("%s: %d of %d rows granted", target, manifest.granted_rows, manifest.target_rows)
    return AllocationOutcome(manifest, path, reused=False)
