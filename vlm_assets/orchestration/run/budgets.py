"""Nightly budgets of sources: which night a run belongs to, and the meter that its requests are counted with.

A run belongs to a night when the nightly schedule brought it about: the schedule tags the listings, the sensor hands
the tag on. Listings are counted with no budget: half a listing would look like a source that has shrunk.
"""

from typing import Final

import dagster as dg

from vlm_assets.catalog.spec import SourceSpec
from vlm_assets.installation.opening import Installation
from vlm_assets.orchestration.names import NIGHTLY_TAG
from vlm_assets.sources.protocol import Requests
from vlm_assets.sources.registry import traits_of
from vlm_assets.transfer.budget import UNMETERED, Budget, BudgetMeter, Meter, read_usage
from vlm_assets.words.layout import DataRoot

_RETRY_NUMBER_TAG: Final = "dagster/retry_number"


def night_of(run: dg.DagsterRun) -> str | None:
    """The night that a run works for; None for one that a person has started, also as a copy of a nightly one."""
    by_hand = run.parent_run_id is not None and _RETRY_NUMBER_TAG not in run.tags
    return None if by_hand else run.tags.get(NIGHTLY_TAG)


def budget_of(spec: SourceSpec, night: str | None) -> Budget | None:
    """The source's budget for a night; None where nothing limits it, or its kind asks nobody for anything."""
    if night is None or (spec.nightly_bytes is None and spec.nightly_requests is None):
        return None
    if traits_of(spec.kind).requests is Requests.NONE:
        return None
    return Budget(spec.name, night, spec.nightly_bytes, spec.nightly_requests)


def meter_of(root: DataRoot, spec: SourceSpec, run: dg.DagsterRun) -> Meter:
    """What counts the requests of a run for a source."""
    budget = budget_of(spec, night_of(run))
    return UNMETERED if budget is None else BudgetMeter(root.budgets, budget)


def spent_words(installation: Installation, spec: SourceSpec, night: str | None) -> str:
    """That a night's budget is used up, with figures; "" where it is not."""
    budget = budget_of(spec, night)
    if budget is None:
        return ""
    used = read_usage(installation.root.budgets, budget)
    return budget.told(used) if budget.spent(used) else ""
