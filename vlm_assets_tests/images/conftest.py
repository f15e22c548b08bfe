import pytest

from vlm_assets_tests.images.pictures import (
    prober,
)


@pytest.fixture(scope="module")
def probe():
    """One prober with the default policy for all tests that need no other: children start once."""
    with prober() as one:
        yield one.probe
