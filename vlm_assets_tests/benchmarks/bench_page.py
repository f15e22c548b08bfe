"""Pages of the webserver in chromium: how long the page of an asset with many partitions takes, and how pages look.

    python -m vlm_assets_tests.benchmarks.bench_page [--slices N] [--repeats N] [--shots FOLDER]

Fills one source with N slices directly, gives the instance its history with `reconcile`, then opens the asset's
overview and partitions: seconds until the counts stand there (asked for: under 3 with 2,000). The first visit loads
the UI's scripts too. With `--shots` a backfill with failures, the corpus, its checks and sensor ticks follow, and
every page is saved as PNG.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from vlm_assets.installation.opening import Installation
from vlm_assets.orchestration.command.reconcile import reconcile
from vlm_assets_tests.benchmarks.bench_backfill import fill_folders
from vlm_assets_tests.browser import Browser
from vlm_assets_tests.orchestration.services import Services
from vlm_assets_tests.workplace import STREET, fill, ingest, install

LIMIT_S = 3.0


def city(base: Path) -> Installation:
    """A large source, and a small one with broken slices."""
    sources = [
        {**STREET, "path": base / "pictures", "verify": "header"},
        {
            **STREET,
            "name": "nature",
            "subcategory": "nature",
            "path": base / "nature",
            "reject_tolerance": 0.05,
        },
    ]
    shares = {"street": {"share": 0.8}, "nature": {"share": 0.2}}
    corpus = {"targets": {"50": 50}, "quotas": {"photos": {"share": 1, "subcategories": shares}},
              "require_complete": False}  # fmt: skip
    return install(base, *sources, corpus=corpus)


def fill_all(base: Path, slices: int) -> None:
    """Pictures of both sources; three slices of ten of the small one are broken."""
    fill_folders(base / "pictures", slices)
    for number in range(10):
        folder = fill(base / "nature" / f"n{number}", 3, start=50 * number)
        if number in {2, 3, 7}:
            (folder / "bad.jpg").write_bytes(b"rubbish")


def timed_pages(browser: Browser, services: Services, slices: int, repeats: int, shots: Path | None) -> None:
    """Opens the large asset's pages and prints the seconds."""
    views = {
        "overview": ("", ("Latest materialization", f"s{slices - 1:05d}")),
        "partitions": ("?view=partitions", ("s00000", f"Materialized ({slices})")),
    }
    browser.open(f"{services.url}/assets", "street")
    for name, (query, texts) in views.items():
        seconds = [
            browser.open(f"{services.url}/assets/dataset/street{query}", *texts) for _ in range(repeats)
        ]
        told = ", ".join(f"{one:.2f}" for one in seconds)
        print(
            f"{name} of an asset with {slices} partitions: median {statistics.median(seconds):.2f} s ({told})"
        )
        if shots:
            time.sleep(2)
            browser.shoot(shots / f"asset-{name}.png")


def failing_backfill(services: Services) -> str:
    """A backfill of the small source, with its failures."""
    with services.instance() as instance:
        keys = instance.get_dynamic_partitions("nature__slices")
    backfill = services.backfill("nature", keys)
    services.backfilled(backfill)
    return backfill


def other_pages(browser: Browser, services: Services, shots: Path) -> None:
    """Everything else that a user looks at, as PNG."""
    backfill = failing_backfill(services)
    services.ended(services.launch("corpus_line", tags={"dagster/partition": "50"}))
    nature, sensors = "/assets/dataset/nature?view=partitions", "/locations/__repository__@vlm_assets/sensors"
    pages = {
        "lineage": ("/asset-groups", ("dataset_photos",), ""),
        "backfill": (f"/runs/b/{backfill}", ("nature", "Failed"), ""),
        "slice-failed": (
            f"{nature}&partition=n2",
            ("did not materialize",),
            "View all historical events (1)",
        ),
        "slice": (f"{nature}&partition=n1", ("rejects by reason",), ""),
        "corpus": ("/assets/corpus", ("Latest materialization",), ""),
        "checks": ("/assets/corpus?view=checks", ("shard_files",), ""),
        "ticks": (f"{sensors}/changed_slices", ("View logs",), "View logs"),
        "ticks-corpus": (f"{sensors}/stale_corpus", ("View logs",), "View logs"),
        "jobs": ("/jobs", ("corpus_line",), ""),
    }
    for name, (path, texts, button) in pages.items():
        seconds = browser.open(services.url + path, *texts)
        if button:
            browser.click(button)
        time.sleep(2)  # what is drawn after the text
        browser.shoot(shots / f"{name}.png")
        print(f"{name}: {seconds:.2f} s")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--slices", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--shots", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-page-") as temporary:
        base = Path(temporary)
        fill_all(base, options.slices)
        installation = city(base)
        ingest(installation, "street")
        settings = {"VLM_NIGHTLY": "true", "VLM_NIGHTLY_CRON": "0 0 1 1 *", "VLM_SENSOR_INTERVAL_S": 10}
        with Services(installation, base, **settings) as services:
            with services.instance() as instance:
                reconcile(installation, instance)
            services.ended(services.launch("listings"))
            if options.shots:
                options.shots.mkdir(parents=True, exist_ok=True)
            with Browser() as browser:
                timed_pages(browser, services, options.slices, options.repeats, options.shots)
                if options.shots:
                    other_pages(browser, services, options.shots)


if __name__ == "__main__":
    main()
