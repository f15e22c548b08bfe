"""Commands of a person, a sensor's looks, the code location and a page, over a source of very many slices.

    python -m vlm_assets_tests.benchmarks.bench_slices --dir DIR [--slices N] [--page] [--keep]

Ten small slices are fetched; all others are their files again (hard links), each under a manifest and a name of its
own, so that 100,000 are made in minutes. A target is planned and built. Each step runs in a process of its own,
`--repeats` times; asked for: under 3 seconds. With `--page` the instance gets its history by `reconcile`, and
chromium opens the asset's pages.
"""

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from vlm_assets.allocation.step import allocate
from vlm_assets.corpus.build import build_corpus
from vlm_assets.ingest.summary import refresh_summary
from vlm_assets.installation.opening import Installation
from vlm_assets.operate.status import read_status
from vlm_assets.store.listings import write_listing
from vlm_assets.store.versions import current_version, read_manifest
from vlm_assets.words.layout import MANIFEST, VERSIONS
from vlm_assets.words.manifest import ListingSlice, SliceManifest
from vlm_assets_tests.workplace import STREET, fill, ingest, install, relist

LIMIT_S: Final = 3.0
_MADE: Final = 10
_TARGET: Final = "10"
_PROGRAM: Final = "from vlm_assets.cli import main; main()"
_IN_PROCESS: Final = """
import time
from vlm_assets.installation.opening import open_installation
from vlm_assets.orchestration.run.pending import due_slices, target_states
installation = open_installation()
spec = installation.catalog.source("street")
"""
STEPS: Final = {
    "status": [_PROGRAM, "status"],
    "status --json": [_PROGRAM, "status", "--json"],
    "plan": [_PROGRAM, "plan", "--target", _TARGET],
    "check": [_PROGRAM, "check"],
    "location": ["import vlm_assets.definitions"],
    "look of changed_slices": [_IN_PROCESS + "due_slices(installation, spec, now=time.time())"],
    "look of stale_corpus": [_IN_PROCESS + f"target_states(installation, ({_TARGET!r},))"],
}


def town(base: Path) -> Installation:
    """The source's catalogue."""
    return install(
        base, {**STREET, "path": base / "in"}, corpus={"shortfall": "redistribute", "targets": {_TARGET: 10}}
    )


def make(base: Path, slices: int) -> Installation:
    """The source, its slices committed, planned and built."""
    for number in range(_MADE):
        fill(base / "in" / f"a{number}", 2, start=10 * number)
    installation = town(base)
    ingest(installation)
    listing, root = relist(installation), installation.root
    listed: dict[str, ListingSlice] = dict(listing.slices)
    originals = []
    for key in sorted(listing.slices):
        version = current_version(root.slice("street", key))
        assert version is not None
        originals.append((listing.slices[key], version, read_manifest(version, SliceManifest)))
    for number in range(slices - _MADE):
        entry, version, manifest = originals[number % _MADE]
        key = f"s{number:06d}"
        listed[key] = entry.model_copy(update={"name": key})
        _commit(installation, version, manifest.model_copy(update={"slice": key}))
    listing = listing.model_copy(update={"slices": dict(sorted(listed.items()))})
    write_listing(root, listing)
    refresh_summary(root, "street", listing)
    build_corpus(allocate(installation, _TARGET).path, root)
    return installation


def _commit(installation: Installation, original: Path, manifest: SliceManifest) -> None:
    """A version of the original's files under another manifest; nothing is synced."""
    content, folder = manifest.to_bytes(), installation.root.source("street")
    version = folder / VERSIONS / manifest.version
    version.mkdir()
    for path in original.iterdir():
        if path.name != MANIFEST:
            os.link(path, version / path.name)
    (version / MANIFEST).write_bytes(content)
    (folder / manifest.slice).symlink_to(f"{VERSIONS}/{version.name}")


def environment_of(base: Path) -> dict[str, str]:
    """Of the steps; none of the settings of whoever starts this."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("VLM_", "DAGSTER_"))}
    home = base / "home"
    home.mkdir(exist_ok=True)
    return {
        **kept, "VLM_CATALOG": str(base / "catalog"), "VLM_DATA_ROOT": str(base / "data"),
        "DAGSTER_HOME": str(home), "VLM_CONTACT": "a@example.org",
    }  # fmt: skip


def measure(base: Path, name: str, repeats: int) -> None:
    """One step, in a line."""
    seconds, cpu = [], []
    for _ in range(repeats):
        clock, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            [sys.executable, "-c", *STEPS[name]], env=environment_of(base), capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(time.perf_counter() - clock)
        cpu.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        if done.returncode:
            raise SystemExit(f"{name}: exit {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    told = ", ".join(f"{one:.1f}" for one in seconds)
    print(
        f"{name:<24}{statistics.median(seconds):6.1f} s {statistics.median(cpu):6.1f} CPU-s ({told}; load "
        f"{os.getloadavg()[0]:.0f}; asked for: under {LIMIT_S:.0f} s)",
        flush=True,
    )


def open_pages(base: Path, installation: Installation, slices: int) -> None:
    """The asset's pages in chromium."""
    from vlm_assets.orchestration.command.reconcile import reconcile
    from vlm_assets_tests.browser import Browser
    from vlm_assets_tests.orchestration.services import Services

    with Services(installation, base) as services:
        with services.instance() as instance:
            clock = time.perf_counter()
            done = reconcile(installation, instance)
            print(f"reconcile: {time.perf_counter() - clock:.0f} s, {done}", flush=True)
        with Browser() as browser:
            browser.open(f"{services.url}/assets", "street")
            for name, query, texts in (
                ("overview", "", ("Latest materialization",)),
                ("partitions", "?view=partitions", (f"Materialized ({slices})",)),
                ("a partition", "?view=partitions&partition=a0", ("rejects by reason",)),
            ):
                seconds = [
                    browser.open(f"{services.url}/assets/dataset/street{query}", *texts, seconds=120)
                    for _ in range(3)
                ]
                print(f"page, {name}: " + ", ".join(f"{one:.1f}" for one in seconds) + " s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dir", type=Path, required=True)
    parser.add_argument("--slices", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--step", action="append", choices=list(STEPS))
    parser.add_argument("--page", action="store_true")
    parser.add_argument("--keep", action="store_true", help="leave it there, and take what is there")
    options = parser.parse_args()
    base = options.dir.absolute() / "slices"
    try:
        clock = time.perf_counter()
        installation = town(base) if (base / "data").is_dir() else make(base, options.slices)
        (street,) = read_status(installation).sources
        print(
            f"{street.slices:,} slices, {street.due:,} due; {time.perf_counter() - clock:.0f} s", flush=True
        )
        for name in options.step or STEPS:
            measure(base, name, options.repeats)
        if options.page:
            open_pages(base, installation, options.slices)
    finally:
        if not options.keep:
            shutil.rmtree(base, ignore_errors=True)


if __name__ == "__main__":
    main()
