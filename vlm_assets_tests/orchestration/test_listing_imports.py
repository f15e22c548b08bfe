"""Listings run in threads: packages that these enter from different ends are loaded before."""

import subprocess
import sys

import pytest

SCRIPT = """
import sys
from vlm_assets.orchestration.assets.listing import load_before_threads
load_before_threads(sys.argv[1:])
print(*(name for name in ("aiohttp", "requests", "huggingface_hub") if name in sys.modules))
"""


@pytest.mark.parametrize(
    ("kinds", "loaded"),
    [(["client_folder", "pdf_folder"], ""), (["image_urls", "client_folder"], "aiohttp requests")],
    ids=["nothing online", "online"],
)
def test_what_threads_share_is_loaded_before_them_and_nothing_else(kinds: list[str], loaded: str):
    done = subprocess.run([sys.executable, "-c", SCRIPT, *kinds], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == loaded
