"""A Hub on loopback that may be written to, and what writes there."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from vlm_assets.installation.opening import Installation
from vlm_assets_tests.exports.corpora import COUNT, add_rows, seal
from vlm_assets_tests.exports.publishing.hub import TOKEN, WritableHub

SETTINGS: dict[str, Any] = {
    "hf_token": TOKEN,
    "allow_private_hosts": ("127.0.0.1",),
    "http_timeout_s": 3.0,
    "http_attempts": 3,
}
"""The token's value is made up; waits of a second become tenths."""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[WritableHub]:
    with WritableHub() as one:
        monkeypatch.setenv("HF_ENDPOINT", one.url)
        monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
        yield one


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """A corpus of two categories; not to be changed."""
    base = tmp_path_factory.mktemp("published")
    return _sealed(base)


@pytest.fixture
def fresh(tmp_path: Path) -> Installation:
    """One of one's own."""
    return _sealed(tmp_path)


def _sealed(base: Path) -> Installation:
    add_rows(base, range(COUNT), "a")
    add_rows(base, range(COUNT, COUNT + 30), "a", folder="drawings")
    return seal(base, **SETTINGS)
