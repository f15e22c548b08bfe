"""Whether the catalogue's files can be served, as a check: a service with faulty ones goes on with the last good.

Dagster knows a code location that loads and one that does not; the third state, loaded from what the files said
before they broke, would look like the first.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import dagster as dg

from vlm_assets.orchestration.names import CATALOG_KEY, PARSES
from vlm_assets.orchestration.run.check_events import as_event
from vlm_assets.words.counts import so_many
from vlm_assets.words.errors import Problem

_SHOWN: Final = 20
_NOTE: Final = "catalog_told"


def catalog_result(
    faults: Sequence[Problem], served: str, *, found: str | None = None
) -> dg.AssetCheckResult:
    """An error where the files have faults; a warning where they say something else than is served (`found`)."""
    if faults:
        told = (
            f"The catalogue has {so_many(len(faults), 'fault')}; the last good one ({served[:12]}) is served "
            f"until {'it is' if len(faults) == 1 else 'they are'} mended. First: {faults[0]}"
        )
    elif found is not None and found != served:
        told = f"The files ({found[:12]}) are not what is served ({served[:12]}): reload the code location."
    else:
        told = f"The catalogue is served as its files say ({served[:12]})."
    rows = [dg.TableRecord({"fault": str(one)}) for one in faults[:_SHOWN]]
    return dg.AssetCheckResult(
        asset_key=CATALOG_KEY,
        check_name=PARSES,
        passed=not faults and found in (None, served),
        severity=dg.AssetCheckSeverity.ERROR if faults else dg.AssetCheckSeverity.WARN,
        description=told,
        metadata={"faults": len(faults), **({"the first": dg.MetadataValue.table(rows)} if rows else {})},
    )


def report_catalog(notes: Path, faults: Sequence[Problem], served: str) -> None:
    """Tells the instance of faults, and of each other catalogue that is served without any; else nothing.

    A note beside those of the services keeps what was told last. Without a DAGSTER_HOME there is nobody to tell.
    """
    note = notes / _NOTE
    told_last = note.read_text("utf-8") if note.is_file() else ""
    if not os.environ.get("DAGSTER_HOME") or (told_last == served and not faults):
        return
    event = as_event(catalog_result(faults, served))
    with dg.DagsterInstance.get() as instance:
        instance.report_runless_asset_event(event)
    notes.mkdir(parents=True, exist_ok=True)
    note.write_text("" if faults else served, "utf-8")
