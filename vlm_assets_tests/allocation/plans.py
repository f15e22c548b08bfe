"""One plan of a small catalogue, and the ids that it selects."""

import numpy as np
import pyarrow as pa

from vlm_assets.allocation.plan import plan_allocation
from vlm_assets.words.tombstones import Tombstones

PICTURE = 0x00FF00FF00FF00FF
"""A dhash that is not flat."""


def ids_of(plan):
    """Selected ids, through the row numbers that the plan stores."""
    found = []
    for one in plan.slices:
        with pa.OSFile(str(one.supply.path / "index.arrow")) as file:
            ids = pa.ipc.open_file(file).read_all().column("id").to_pylist()
        assert (np.diff(one.row.astype(np.int64)) > 0).all()
        found += [ids[number] for number in one.row]
    return found


def plan(cat, supply, tombstones=None, target="t", base_dir=None):
    return plan_allocation(cat, target, supply, tombstones or Tombstones(), base_dir=base_dir)
