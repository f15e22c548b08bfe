import subprocess
import sys

import pytest

HEAVY = "datasets huggingface_hub pyarrow kagglehub requests aiohttp httpx2 PIL pandas fsspec"


@pytest.mark.parametrize("kind", ["hf_dataset", "hf_disk", "hf_image_urls", "kaggle", "github_release"])
def test_a_kind_loads_without_its_libraries(kind: str) -> None:
    code = f"import sys, vlm_assets.sources.{kind}; print(*(m for m in {HEAVY.split()} if m in sys.modules))"
    told = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert told.stdout.split() == []
