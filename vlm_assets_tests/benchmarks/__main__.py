"""Every case beside its peers, in one go.

    python -m vlm_assets_tests.benchmarks --dir DIR [--case NAME ...] [--large] [--json FILE] [--check FILE]

Each way of a case runs in a process of its own, in turns, on the same inputs, what it wrote synced. Prints medians,
spread, processor seconds, memory of the whole process tree and disk traffic, then how many times as fast each is as
its peer, with what it must be. Run it on a quiet machine; the small size of all takes under 15 minutes. `--json`
writes every run; `--check` compares with such a file and ends with 1 where a ratio fell by more than the tolerance.
"""

import argparse
import json
import os
import platform
import shutil
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from vlm_assets_tests.benchmarks.suite.cases import CASES
from vlm_assets_tests.benchmarks.suite.environments import Environments
from vlm_assets_tests.benchmarks.suite.rounds import run_case
from vlm_assets_tests.benchmarks.suite.table import (
    RATIO_COLUMNS,
    WAY_COLUMNS,
    CaseResult,
    markdown,
    regressions,
    rows_of_ratios,
    rows_of_ways,
)

_PACKAGES: Final = ("pyarrow", "datasets", "pillow", "aiohttp", "pdf2image")
_TOLERANCE: Final = 0.15


def machine() -> dict[str, Any]:
    """What the figures are of."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpus": len(os.sched_getaffinity(0)), "memory_gib": round(memory / 2**30, 1), "arch": platform.machine(),
        "python": platform.python_version(), "packages": {name: version(name) for name in _PACKAGES},
        "load": round(os.getloadavg()[0], 2),
    }  # fmt: skip


def described(found: dict[str, Any]) -> str:
    """The machine in a line."""
    packages = ", ".join(f"{name} {one}" for name, one in found["packages"].items())
    return (
        f"{found['cpus']} CPUs ({found['arch']}), {found['memory_gib']} GiB, load {found['load']} before; "
        f"Python {found['python']}, {packages}"
    )


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m vlm_assets_tests.benchmarks", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument(
        "--dir", type=Path, required=True, help="an empty or new folder on the disk to be measured"
    )
    parser.add_argument("--case", action="append", choices=list(CASES), help="only this one; may be repeated")
    parser.add_argument("--large", action="store_true", help="sizes at which starting does not count")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--peers", type=Path, help="where environments of peers are kept; default: below --dir"
    )
    parser.add_argument("--json", type=Path, help="writes every run there")
    parser.add_argument("--check", type=Path, help="a file that --json wrote; ends with 1 where a ratio fell")
    parser.add_argument(
        "--tolerance", type=float, default=_TOLERANCE, help="of --check, a share (default: %(default)s)"
    )
    return parser.parse_args()


def main() -> int:
    """Runs the cases; 1 where `--check` finds a ratio that fell."""
    options = parsed()
    base = options.dir.absolute()
    base.mkdir(parents=True, exist_ok=True)
    before = json.loads(options.check.read_text("utf-8")) if options.check else None
    found = machine()
    peers = Environments((options.peers or base / "peers").absolute())
    results: list[CaseResult] = []
    for name in options.case or CASES:
        work = base / "work"
        try:
            one = run_case(
                CASES[name], work, "large" if options.large else "small", options.rounds, peers, _note
            )
        finally:
            shutil.rmtree(work, ignore_errors=True)
        results.append(one)
        told = "".join(f"; {way}: {version}" for way, version in one.versions.items())
        print(
            f"\n{name}, {one.units:,} {one.case.unit}{told}\n\n{markdown(WAY_COLUMNS, rows_of_ways(one))}",
            flush=True,
        )
    print(f"\n{described(found)}\n\n{markdown(RATIO_COLUMNS, rows_of_ratios(results))}")
    after = {"machine": found, "cases": {one.case.name: one.as_json() for one in results}}
    if options.json:
        options.json.write_text(json.dumps(after, indent=1) + "\n", "utf-8")
    fallen = list(regressions(before, after, options.tolerance)) if before else []
    for case, name, was, now in fallen:
        print(f"fell: {case}: {name}: {was:.2f} before, {now:.2f} now", file=sys.stderr)
    return 1 if fallen else 0


def _note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
