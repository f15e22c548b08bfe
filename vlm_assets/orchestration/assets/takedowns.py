"""Finishes takedowns that were cut, or that another machine gave, before a run builds or pushes anything."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from vlm_assets.installation.opening import Installation

if TYPE_CHECKING:
    from vlm_assets.operate.takedown.receipt import Receipt


def finish_before(
    installation: Installation,
    warn: Callable[[str], None],
    *,
    attempted: bool = False,
    thorough: bool = False,
) -> "list[Receipt]":
    """Carries out what is unfinished on this machine; what stays outstanding is told. The remote's are here by now.

    Without `attempted`, what stands on a receipt as outstanding is left to a person. `thorough`: see there.

    Raises:
        StoreError, CorpusError: one cannot be carried out now; nothing may be built past it.
    """
    if not any(installation.root.tombstones.rglob("*.json")):
        return []  # without all that carries one out, which is a fifth of what a build loads
    from vlm_assets.operate.takedown import finish_takedowns
    from vlm_assets.orchestration.assets.previews import forget_previews

    receipts = finish_takedowns(
        installation,
        workers=installation.settings.worker_count,
        attempted=attempted,
        thorough=thorough,
        forget_previews=lambda slices: forget_previews(installation, slices),
    )
    for receipt in receipts:
        for one in receipt.outstanding:
            warn(f"takedown {receipt.tombstone}: OUTSTANDING: {one}")
    return receipts
