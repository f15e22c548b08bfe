import gc

import pytest

from vlm_assets.words.collector import collector_paused, loading


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


@pytest.mark.parametrize(
    ("module", "works", "frozen"), [("no.such.module", False, True), ("sys", True, False)]
)
def test_what_is_loaded_is_not_looked_at_again(module, works, frozen):
    before = gc.get_freeze_count()
    with loading(module):
        assert gc.isenabled() is works
    assert gc.isenabled()
    assert (gc.get_freeze_count() > before) is frozen
    gc.unfreeze()
