"""Sealed corpora that tests share, and the S3 server of the remote's tests."""

from pathlib import Path

import pytest

from vlm_assets.installation.opening import Installation
from vlm_assets_tests.exports.corpora import COUNT, add_rows, seal
from vlm_assets_tests.remote.conftest import s3, s3_server

__all__ = ["s3", "s3_server"]


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """A corpus of one category; not to be changed."""
    base = tmp_path_factory.mktemp("sealed")
    add_rows(base, range(COUNT), "a")
    return seal(base)


@pytest.fixture
def fresh(tmp_path: Path) -> Installation:
    """A corpus of one's own."""
    add_rows(tmp_path, range(COUNT), "a")
    return seal(tmp_path)
