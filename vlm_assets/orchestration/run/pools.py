"""Registers pools before their first use.

The first dequeue of a pool that the instance has never seen ignores the default limit (measured: two runs of one
partition both started), so every pool is given its slot before a run of it is queued.
"""

from collections.abc import Iterable

import dagster as dg


def register_pools(instance: dg.DagsterInstance, pools: Iterable[str]) -> None:
    """Gives one slot to each pool that the instance does not know; limits set by hand stay."""
    storage = instance.event_log_storage
    if not storage.supports_global_concurrency_limits:
        return
    known = {limit.name for limit in storage.get_pool_limits()}
    for pool in sorted(set(pools) - known):
        storage.set_concurrency_slots(pool, 1)
