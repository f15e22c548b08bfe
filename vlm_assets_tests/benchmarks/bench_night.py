"""A night without changes: what listings and sensors cost when no source has moved.

    python -m vlm_assets_tests.benchmarks.bench_night [--sources N]

N folders are fetched and built once in this process, into the instance that the services then use. Then the
schedule's run is launched twice through the real services: the seconds from the launch until both sensors have looked
and launched nothing (asked for: under 2 minutes for 100 sources), the runs, and what each night added to the event
log: runs, events, materializations.
"""

import argparse
import tempfile
import time
from io import StringIO
from pathlib import Path
from typing import Any

from rich.console import Console

from vlm_assets.installation.opening import Installation
from vlm_assets.orchestration.command.build import run_build
from vlm_assets.orchestration.names import dataset_key, listing_key
from vlm_assets_tests.orchestration.services import Services, wait_for
from vlm_assets_tests.workplace import STREET, fill, ingest, install

SENSORS = ("changed_slices", "stale_corpus")
LIMIT_S = 120.0


def town(base: Path, sources: int) -> Installation:
    """So many sources of two slices, and a corpus of them."""
    specs = []
    for number in range(sources):
        folder = base / "in" / f"s{number:03d}"
        for part in range(2):
            fill(folder / f"part{part}", 1, start=10 * number + part)
        specs.append({**STREET, "name": f"s{number:03d}", "path": folder})
    return install(base, *specs, corpus={"targets": {"50": min(50, sources)}})


def first_build(installation: Installation, home: Path) -> float:
    """Everything once, in this process, the slices without Dagster; seconds.

    Raises:
        SystemExit: it fails.
    """
    out = StringIO()
    clock = time.perf_counter()
    for spec in installation.catalog.sources:
        ingest(installation, spec.name)
    with Services.home_of(home):
        code = run_build(installation, targets=[], sources=[], console=Console(file=out, width=200))
    if code:
        raise SystemExit(out.getvalue())
    return time.perf_counter() - clock


def materializations(instance: Any, installation: Installation) -> int:
    """Materializations of all listings and datasets so far."""
    keys = [make(spec.name) for spec in installation.catalog.sources for make in (listing_key, dataset_key)]
    return sum(len(instance.fetch_materializations(key, limit=1000).records) for key in keys)


def night(services: Services, instance: Any, number: int) -> None:
    """One quiet night, told in a line."""
    before, made = (
        {run.run_id for run in instance.get_runs()},
        materializations(instance, services.installation),
    )
    began, clock = time.time(), time.perf_counter()
    status = services.ended(services.schedule_at("nightly", "listings", began + number * 86_400))
    listed = time.perf_counter() - clock
    ended = time.time()

    def quiet() -> bool:
        ticks = [[t for t in services.ticks(name) if t["timestamp"] > ended] for name in SENSORS]
        return all(any(t["status"] == "SKIPPED" and t["endTimestamp"] for t in some) for some in ticks)

    wait_for(quiet, "both sensors")
    seconds = time.perf_counter() - clock
    runs = [run for run in instance.get_runs() if run.run_id not in before]
    events = sum(len(instance.all_logs(run.run_id)) for run in runs)
    ticks = [t for name in SENSORS for t in services.ticks(name) if t["timestamp"] > began]
    longest = max(t["endTimestamp"] - t["timestamp"] for t in ticks if t["endTimestamp"])
    more = materializations(instance, services.installation) - made
    print(
        f"night {number}: {status}, {seconds:.0f} s ({listed:.0f} s until listed; asked for: under {LIMIT_S:.0f}); "
        f"runs {sorted(run.job_name for run in runs)}; {events} events, {more} materializations; "
        f"longest tick {longest:.1f} s"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sources", type=int, default=100)
    options = parser.parse_args()
    settings = {"VLM_NIGHTLY": "true", "VLM_NIGHTLY_CRON": "0 0 1 1 *", "VLM_NIGHTLY_TIMEZONE": "UTC"}
    with tempfile.TemporaryDirectory(prefix="bench-night-") as temporary:
        base = Path(temporary)
        installation = town(base, options.sources)
        services = Services(installation, base, **settings)
        print(f"{options.sources} sources; first build {first_build(installation, services.home):.0f} s")
        with services, services.instance() as instance:
            for number in (1, 2):
                night(services, instance, number)


if __name__ == "__main__":
    main()
