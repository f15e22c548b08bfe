"""`python -m vlm_assets_tests.variations`: the same catalogue built on one machine after another, as a table.

    … --dir DIR [--only NAME …] [--core] [--parts DIR] [--json FILE]     builds and compares
    … --get NAME … | --get all [--parts DIR]                    fetches what other machines are made of

Exit 1: a machine gave other bytes, was not what it should be, or was asked for by name and cannot be had.
"""

import argparse
import json
import sys
import time
import warnings
from dataclasses import asdict
from pathlib import Path

from vlm_assets_tests.variations.machines import VARIATIONS, Variation
from vlm_assets_tests.variations.parts import GETTERS, NotHereError, Parts, default_folder
from vlm_assets_tests.variations.table import Table


def main(words: list[str]) -> int:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--dir", type=Path, help="a folder for inputs and data roots; new or empty")
    asked.add_argument(
        "--only", action="append", choices=[one.name for one in VARIATIONS], help="beside plain"
    )
    asked.add_argument("--no-lock", action="store_true", help="without the trial of the lock")
    asked.add_argument(
        "--core", action="store_true", help="all but plain without Dagster: a third of the time"
    )
    asked.add_argument("--parts", type=Path, default=default_folder(), help="where parts lie")
    asked.add_argument("--json", type=Path, help="writes the table as JSON too")
    asked.add_argument(
        "--get", nargs="+", choices=[*GETTERS, "all"], help="fetches parts, and builds nothing"
    )
    given = asked.parse_args(words)
    parts = Parts(given.parts.absolute())
    if given.get:
        return _get(parts, list(GETTERS) if "all" in given.get else given.get)
    if given.dir is None or (given.dir.exists() and any(given.dir.iterdir())):
        asked.error("--dir names a new or an empty folder")
    began = time.monotonic()
    table = Table(parts, given.dir.absolute(), tell=lambda line: print(line, flush=True), core=given.core)
    table.fill(_chosen(given.only), lock=not given.no_lock)
    if given.json:
        given.json.write_text(
            json.dumps([asdict(row) for row in table.rows], indent=1, ensure_ascii=False), "utf-8"
        )
    print(f"\n{table.summary()}, in {time.monotonic() - began:.0f} s")
    return int(any(row.failed or (given.only and not row.tried) for row in table.rows))


def _chosen(names: list[str] | None) -> list[Variation]:
    return [one for number, one in enumerate(VARIATIONS) if not names or not number or one.name in names]


def _get(parts: Parts, names: list[str]) -> int:
    failed = False
    for name in names:
        began = time.monotonic()
        try:
            print(f"{name}: {parts.get(name)} ({time.monotonic() - began:.0f} s)", flush=True)
        except NotHereError as error:
            failed = True
            print(f"{name}: not had: {error}", flush=True)
    return int(failed)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    sys.exit(main(sys.argv[1:]))
