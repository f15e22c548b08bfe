"""What is dear to make and only read: made once a test run, whichever of its workers asks first."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from vlm_assets.locks import hold_lock

_WAIT_S = 1_800.0


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A folder that `make` has filled to its end, in this process or in another worker's. Not to be changed."""
    own = factory.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    folder, done = shared / f"shared-{name}", shared / f"shared-{name}.done"
    with hold_lock(shared / f"shared-{name}.lock", f"making {name} for tests", wait_s=_WAIT_S):
        if not done.exists():
            folder.mkdir()
            make(folder)
            done.touch()
    return folder
