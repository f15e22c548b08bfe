"""For tests of pages."""

from collections.abc import Iterator

import pytest
from PIL import Image

from vlm_assets.pdf import worker


@pytest.fixture
def unbounded(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The worker runs in this process, which no processor time shall end."""
    monkeypatch.setattr(worker._Worker, "_allow", lambda *_: None)
    limit = Image.MAX_IMAGE_PIXELS
    yield
    Image.MAX_IMAGE_PIXELS = limit
