"""Every case beside its peers, in one go.

    python -m vlm_assets_tests.benchmarks --dir DIR [--case NAME ...] [--large | --tiny] [--json FILE]
        [--check [FILE]] [--write-readme]

Each way of a case runs in a process of its own, in turns, on the same inputs, what it wrote synced. Prints medians,
spread, processor seconds, memory of the whole process tree and disk traffic, then how many times as fast each is as
its peer, with what it must be. Run it on a quiet machine; the small size of all takes under 15 minutes.

`--json` writes every run, after each case. `--write-readme` puts the tables between the marks of this folder's README
and every run into `measured.json` beside it; of cases that were not run, what stood there stays. `--check` compares
with that file, or with another that `--json` wrote. Ends with 1 where a way failed or could not be run, or where
`--check` finds a figure that fell by more than the tolerance, or is missing.
"""

import argparse
import json
import os
import platform
import shutil
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from vlm_assets_tests.benchmarks.suite import table
from vlm_assets_tests.benchmarks.suite.cases import CASES
from vlm_assets_tests.benchmarks.suite.environments import Environments
from vlm_assets_tests.benchmarks.suite.rounds import run_case

_PACKAGES: Final = ("pyarrow", "datasets", "webdataset", "pillow", "aiohttp", "pdf2image")
_TOLERANCE: Final = 0.15
_README: Final = Path(__file__).parent / "README.md"
_MEASURED: Final = Path(__file__).parent / "measured.json"


def machine() -> dict[str, Any]:
    """What the figures are of."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    told = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    models = [line.partition(":")[2].strip() for line in told if line.startswith("model name")]
    return {
        "cpus": len(os.sched_getaffinity(0)), "model": models[0] if models else "unknown",
        "memory_gib": round(memory / 2**30, 1), "arch": platform.machine(), "python": platform.python_version(),
        "packages": {name: version(name) for name in _PACKAGES}, "load": round(os.getloadavg()[0], 2),
    }  # fmt: skip


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
    size = parser.add_mutually_exclusive_group()
    size.add_argument(
        "--large", dest="size", action="store_const", const="large", default="small",
        help="sizes at which starting does not count",
    )  # fmt: skip
    size.add_argument(
        "--tiny", dest="size", action="store_const", const="tiny",
        help="only to see that everything runs: the figures are those of starting",
    )  # fmt: skip
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--peers", type=Path, help="where environments of peers are kept; default: below --dir"
    )
    parser.add_argument("--json", type=Path, help="writes every run there")
    parser.add_argument(
        "--write-readme", action="store_true", help=f"tables to {_README.name}, runs beside it"
    )
    parser.add_argument(
        "--check", type=Path, nargs="?", const=_MEASURED,
        help="compares with a file that --json wrote; without a name with what the README was made of",
    )  # fmt: skip
    parser.add_argument(
        "--tolerance", type=float, default=_TOLERANCE, help="of --check, a share (default: %(default)s)"
    )
    return parser.parse_args()


def main() -> int:
    """Runs the cases; 1 where one is not whole, or `--check` finds a figure that fell."""
    options = parsed()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # it would have every command compile all that it imports
    base = options.dir.absolute()
    base.mkdir(parents=True, exist_ok=True)
    before = json.loads(options.check.read_text("utf-8")) if options.check else None
    written = (
        json.loads(_MEASURED.read_text("utf-8")) if options.write_readme and _MEASURED.is_file() else None
    )
    day = datetime.now(UTC).date().isoformat()
    now: dict[str, Any] = {
        "day": day, "size": options.size, "rounds": options.rounds, "machine": machine(), "cases": {}
    }  # fmt: skip
    peers = Environments((options.peers or base / "peers").absolute())
    for name in options.case or CASES:
        work = base / "work"
        shutil.rmtree(work, ignore_errors=True)  # of a run that was killed
        try:
            result = run_case(CASES[name], work, options.size, options.rounds, peers, _note)
        finally:
            shutil.rmtree(work, ignore_errors=True)
        now["cases"][name] = case = result.as_json()
        print(f"\n{name}, {case['units']:,} {case['unit']}\n")
        print(table.markdown(table.WAY_COLUMNS, table.rows_of_ways(case)), flush=True)
        if options.json:
            _write(options.json, now)
        if options.write_readme:
            whole = table.merged(written, now)
            _write(_MEASURED, whole)
            table.write_between(_README, table.page_of(whole))
    print(f"\n{table.described(now)} Peers: {table.versions(now['cases'])}.\n")
    print(table.markdown(table.JUDGED_COLUMNS, table.rows_of_judged(now["cases"])))
    return _told(
        _incomplete(now) + ([] if before is None else list(table.fallen(before, now, options.tolerance)))
    )


def _incomplete(now: dict[str, Any]) -> list[str]:
    return [
        f"{name}: {way}: {' '.join(why.split())}"
        for name, case in now["cases"].items()
        for what in ("left_out", "failed")
        for way, why in case[what].items()
    ]


def _told(faults: list[str]) -> int:
    for fault in faults:
        print(fault, file=sys.stderr)
    return 1 if faults else 0


def _write(path: Path, told: dict[str, Any]) -> None:
    path.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", "utf-8")


def _note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
