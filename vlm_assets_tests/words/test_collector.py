import gc

import pytest

from vlm_assets.words.collector import collector_paused


def fail_within() -> None:
    with collector_paused():
        assert not gc.isenabled()
        with collector_paused():
            pass
        assert not gc.isenabled()
        raise ValueError("x")


def test_the_collector_works_on_whatever_happens():
    assert gc.isenabled()
    with pytest.raises(ValueError, match="x"):
        fail_within()
    assert gc.isenabled()
