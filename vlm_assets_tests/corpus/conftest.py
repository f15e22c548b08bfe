from pathlib import Path

import pytest

from vlm_assets.words.layout import DataRoot


@pytest.fixture
def root(tmp_path: Path) -> DataRoot:
    root = DataRoot(tmp_path)
    root.marker.touch()
    return root
