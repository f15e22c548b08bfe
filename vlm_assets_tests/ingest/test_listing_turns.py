"""Two that list one source: the second waits as long as the first takes."""

from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import pytest

from vlm_assets.locks import hold_lock
from vlm_assets_tests.workplace import STREET, fill, install, relist


def test_a_listing_that_takes_hours_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    installation = install(tmp_path, {**STREET, "path": fill(tmp_path / "in", 2)})
    hours = 0

    with ExitStack() as other:
        other.enter_context(hold_lock(installation.root.locks / "listing.street", "listing street"))

        def an_hour_later(_seconds: float) -> None:
            nonlocal hours
            hours += 1
            if hours == 5:
                other.close()

        clock = SimpleNamespace(monotonic=lambda: hours * 3600.0, sleep=an_hour_later)
        monkeypatch.setattr("vlm_assets.locks.time", clock)
        assert relist(installation).items == 2
    assert hours == 5
