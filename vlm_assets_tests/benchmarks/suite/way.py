"""One way of one case, in this process: `python -m ….suite.way MODULE CASE WAY INPUTS OUT UNITS ADDRESS`."""

import importlib
import sys
from pathlib import Path

from vlm_assets_tests.benchmarks.suite.case import Inputs, Peer
from vlm_assets_tests.benchmarks.suite.peers.clock import timed


def main() -> None:
    """Imports what the case names, then runs the way by the clock."""
    module_name, case_name, way_name, folder, out, units, address = sys.argv[1:]
    [case] = [one for one in importlib.import_module(module_name).CASES if one.name == case_name]
    for module in case.imports:
        importlib.import_module(module)
    way = case.ways[way_name]
    if isinstance(way, Peer):
        raise SystemExit(f"{way_name} runs in an environment of its own")
    inputs = Inputs(Path(folder), int(units), address)
    timed(lambda: way(inputs, Path(out)))


if __name__ == "__main__":
    main()
