"""The garbage collector, where many objects are made at once and none of them is garbage."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collector_paused() -> Iterator[None]:
    """Leaves the collector out: over a manifest of 100,000 slices it takes as long as the reading."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@contextmanager
def loading(module: str) -> Iterator[None]:
    """For imports that load `module`: what they make stays, so the collector looks at it neither now nor later.

    Of a command that loads Dagster and then has little to do, it took a quarter of the time. Nothing where the module
    is there already: what lies about by then may be garbage.
    """
    if module in sys.modules:
        yield
        return
    with collector_paused():
        yield
    gc.freeze()
