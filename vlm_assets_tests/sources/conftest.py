from collections.abc import Iterator

import pytest

from vlm_assets.demo.services.huggingface import HubService
from vlm_assets_tests.sources.kinds import Serve, serving
from vlm_assets_tests.transfer.gate_log import GateLog
from vlm_assets_tests.transfer.patience import be_brisk


@pytest.fixture(autouse=True)
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses between tries are short, whatever the timeout."""
    be_brisk(monkeypatch.setattr)


@pytest.fixture
def gate_log(monkeypatch: pytest.MonkeyPatch) -> GateLog:
    """What the gates of this process decide."""
    log = GateLog()
    log.watch(monkeypatch.setattr)
    return log


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubService]:
    with HubService() as service:
        monkeypatch.setenv("HF_ENDPOINT", service.url)
        monkeypatch.delenv("HF_TOKEN", raising=False)
        yield service


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """Files behind a kind, and the source that lists them."""
    with serving(tmp_path_factory) as serve:
        yield serve
