"""How many slices of one kind are built at a time on this machine, over all runs: slots, which are OS locks.

A pool has one run a source; this is what keeps ten sources of PDFs from starting ten times the processes. Dagster's
own limits know neither the kinds of a run for scattered slices nor the runs of a command beside the daemon.
"""

import os
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

from vlm_assets.locks import hold_lock
from vlm_assets.settings import Settings
from vlm_assets.sources.registry import traits_of

_MOST: Final = 16


def slots_of(kind: str, settings: Settings) -> int:
    """Slices of a kind at a time: what the settings say, or by cores.

    Kinds that draw pages: one for every four cores. The others wait for networks and disks: one a core, at least two.
    Both at most 16, which is also what the queue starts at a time.
    """
    told = settings.kind_slots.get(kind)
    if told is not None:
        return told
    cores = len(os.sched_getaffinity(0))
    return max(1, min(cores // 4, _MOST)) if traits_of(kind).renders_pages else max(2, min(cores, _MOST))


def hold_kind_slot(
    locks_dir: Path, kind: str, count: int, purpose: str, *, wait_s: float
) -> AbstractContextManager[None]:
    """Holds one of `count` slots of a kind for the block; when it must wait, the log names the holders.

    Raises:
        LockHeldError: all are still held after `wait_s`; names pid, host and start of each holder.
    """
    return hold_lock(
        [locks_dir / "kinds" / f"{kind}.{number}" for number in range(count)],
        purpose,
        wait_s=wait_s,
        taken=f"all {count} slots of kind {kind} are taken. ",
    )
