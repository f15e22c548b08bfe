"""Arrow without pandas, for commands that are started often and show no tables of it."""

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from types import ModuleType


class _NoPandas(MetaPathFinder):
    """Finds that there is no pandas."""

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> None:
        """Of other modules it knows nothing."""
        del path, target
        if fullname == "pandas":
            raise ImportError("not now")


def leave_pandas_out() -> None:
    """Has pyarrow make arrays of given types without importing pandas, which takes a third of a second.

    It looks for pandas once, to know objects of it (`_check_import` in `pandas-shim.pxi`), and nobody here hands it
    one. Who asks for pandas has it: by `import` and `to_pandas`, and by `to_numpy` and arrays whose type Arrow is to
    find. Not while other threads import.
    """
    if "pandas" in sys.modules:
        return
    import pyarrow as pa

    finder = _NoPandas()
    sys.meta_path.insert(0, finder)
    try:
        pa.array([], pa.null())
    finally:
        sys.meta_path.remove(finder)
