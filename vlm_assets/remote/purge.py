"""A takedown at the remote: its record, the emptied versions, and no stored version of what they replace."""

import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final

from vlm_assets.installation.opening import Installation
from vlm_assets.remote.bucket import Bucket, open_remote
from vlm_assets.remote.inventory import Inventory, take_inventory
from vlm_assets.remote.names import AREAS, Name
from vlm_assets.remote.on_commit import push_names, push_tombstones
from vlm_assets.remote.prune import PruneOrder, prune_remote
from vlm_assets.words.errors import VlmAssetsError

logger = logging.getLogger("vlm_assets.remote")

_EVERY: Final = 10**9
"""More versions than a name has, and more seconds than an object is old: only what is purged goes."""
_SHOWN: Final = 5

Holds = Callable[[Name, str], bool]
"""Whether a corpus version may hold the rows; one that is not on this machine may."""


@dataclass(frozen=True, slots=True)
class Purged:
    """What a takedown did at the remote: versions that went, and in words what is left to do."""

    deleted: tuple[str, ...] = ()
    outstanding: tuple[str, ...] = ()


def push_record(installation: Installation) -> None:
    """Pushes the takedown's record before anything else is done, so that no other machine takes the rows in."""
    try:
        push_tombstones(installation)
    except VlmAssetsError as error:  # `purge_remote` tries again, and says so on the receipt
        logger.warning("remote %s: the takedown's record: %s", installation.settings.remote, error)


def purge_remote(
    installation: Installation,
    slices: Collection[Name],
    corpora: Collection[Name],
    holds: Holds,
    *,
    again: str,
    bucket: Bucket | None = None,
) -> Purged:
    """Pushes takedowns and what was rewritten, then removes old versions for good; never raises for the remote.

    `slices` are those with covered rows, emptied by now; `corpora` those here, with their plans. `again` is the
    command that finishes what could not be done. Only names of these, and versions that `holds`, are touched.
    """
    address = installation.settings.remote
    try:
        bucket = bucket or open_remote(installation.settings)
        push_tombstones(installation, bucket=bucket)
        plans = [Name("allocations", name.group, name.leaf) for name in corpora]
        push_names(installation, [*slices, *plans, *corpora], bucket=bucket)
        inventory = take_inventory(bucket, [f"{area}/" for area in AREAS])
        order = PruneOrder(
            keep_versions=_EVERY,
            grace_s=float(_EVERY),
            purge=frozenset(map(str, [*slices, *_with_old_rows(installation, inventory, holds)])),
        )
        report = prune_remote(installation.settings, order, bucket=bucket)
    except VlmAssetsError as error:
        told = (
            f"remote {address}: {error}. Old versions there still hold the rows; when that is mended: {again}"
        )
        return Purged(outstanding=(f"{told} (deleting needs AllowPrune=true in deploy/aws/stack.yaml)",))
    pinned = [one for one in report.outstanding if _may_hold(one, holds)]
    outstanding = [
        f"remote {address}: {one} is pinned and may hold the rows: vlm-assets unpin {one.split('@')[1]}, "
        f"vlm-assets prune --remote --release-pins, then {again}"
        for one in pinned
    ]
    return Purged(tuple(report.versions), (*outstanding, *_not_here(installation, inventory, again)))


def _with_old_rows(installation: Installation, inventory: Inventory, holds: Holds) -> list[Name]:
    """Corpora with a version, other than the one shown here, that may hold the rows."""
    found = []
    for name, versions in sorted(inventory.versions().items()):
        link = name.link(installation.root)
        if name.area == "corpora" and link.is_symlink():
            old = set(versions) - {link.readlink().name}
            if any(holds(name, one) for one in old):
                found.append(name)
    return found


def _may_hold(label: str, holds: Holds) -> bool:
    path, version = label.split("@")
    return holds(Name(*path.split("/")), version)


def _not_here(installation: Installation, inventory: Inventory, again: str) -> list[str]:
    """Slices and corpora of other machines: nobody has looked at their rows."""
    root = installation.root
    missing = [name for name in inventory.names() if name.area in {"datasets", "corpora"}]
    missing = [name for name in missing if not name.link(root).is_symlink()]
    if not missing:
        return []
    shown = ", ".join(map(str, missing[:_SHOWN])) + (", …" if len(missing) > _SHOWN else "")
    told = f"remote {installation.settings.remote}: {len(missing)} slices or corpora are not on this machine"
    return [f"{told}, and were not looked at: {shown}. vlm-assets restore, then {again}"]
