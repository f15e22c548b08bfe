"""Arrow makes arrays without pandas until somebody asks for pandas himself."""

import subprocess
import sys

_WITHOUT = """
import sys
import pyarrow as pa
from vlm_assets.commands.pandas_unasked import leave_pandas_out
leave_pandas_out()
assert pa.array([1, None], pa.int64()).to_pylist() == [1, None]
assert pa.array([["a"], None], pa.list_(pa.string())).to_pylist() == [["a"], None]
assert "pandas" not in sys.modules
frame = pa.table({"number": [1, 2]}).to_pandas()
import pandas
assert isinstance(frame, pandas.DataFrame)
assert pa.Table.from_pandas(frame).column("number").to_pylist() == pa.array(frame.number).to_pylist() == [1, 2]
leave_pandas_out()
"""


def test_pandas_is_loaded_by_those_who_ask_for_it():
    done = subprocess.run([sys.executable, "-c", _WITHOUT], capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr
