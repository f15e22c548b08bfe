"""`python -m vlm_assets_tests.variations.seen`: what the machine is like that this runs on, as one JSON object.

For whoever made it otherwise, and must show that it is.
"""

import ctypes
import json
import locale
import os
import platform
import re
import subprocess
import zlib
from pathlib import Path

_FONTS = ("/usr/share/fonts", "/usr/local/share/fonts")
_FONT_FILES = {".ttf", ".otf", ".ttc", ".pfb", ".pcf", ".t1"}


def seen() -> dict[str, str]:
    """Each property by name."""
    import pyarrow as pa

    return {
        "python": platform.python_version(),
        "zlib": zlib.ZLIB_RUNTIME_VERSION,
        "zlib at work": _zlib_at_work(),
        "poppler": _poppler(),
        "fonts": str(_fonts()),
        "locale": locale.setlocale(locale.LC_ALL, ""),
        "workers": os.environ.get("VLM_WORKERS", "0"),
        "late": str(_late()),
        "machine": platform.machine(),
        "vectors": pa.runtime_info().simd_level,
    }


def _zlib_at_work() -> str:
    """Whatever library a decoder of Pillow's would find: the C library's answer, not that of Python's module."""
    try:
        found = ctypes.CDLL("libz.so.1").zlibVersion
    except OSError:
        return "none"
    found.restype = ctypes.c_char_p
    return bytes(found()).decode()


def _poppler() -> str:
    try:
        told = subprocess.run(["pdftoppm", "-v"], capture_output=True, text=True, check=False).stderr
    except FileNotFoundError:
        return "none"
    found = re.search(r"version (\S+)", told)
    return found.group(1) if found else "unknown"


def _fonts() -> int:
    folders = [*map(Path, _FONTS), Path.home() / ".fonts", Path.home() / ".local/share/fonts"]
    return sum(
        Path(name).suffix.lower().removesuffix(".gz") in _FONT_FILES
        for folder in folders
        for _, _, names in os.walk(folder)
        for name in names
    )


def _late() -> int:
    """How many were late."""
    marks = os.environ.get("LATE_MARKS")
    return len(os.listdir(marks)) if marks else 0  # noqa: PTH208 - a number is wanted


if __name__ == "__main__":
    print(json.dumps(seen()))
