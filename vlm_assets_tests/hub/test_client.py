"""The Hub's client is one for all threads of a process."""

from threading import Barrier, Event, Thread
from typing import Any

import huggingface_hub
import pytest

from vlm_assets.hub import client
from vlm_assets_tests.waiting import HANG_S


def test_threads_that_begin_together_share_one_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second factory closes the client of the first, from which a thread may be reading."""
    started, others, made = Barrier(4), Event(), []

    def factory_set(factory: Any) -> None:
        made.append(factory)
        others.wait(0.2)  # nobody sets it: time for the others to come here, where nothing keeps them

    monkeypatch.setattr(huggingface_hub, "set_client_factory", factory_set)
    client._prepare.cache_clear()

    def begin() -> None:
        started.wait(HANG_S)
        client.prepare(None)

    threads = [Thread(target=begin) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(HANG_S)
    client._prepare.cache_clear()  # what was set goes to nobody
    assert len(made) == 1
