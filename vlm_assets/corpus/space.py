"""Room on the volume: asked before anything is written and again while writing."""

import os
from pathlib import Path
from typing import Final

from vlm_assets.words.errors import DiskFullError

RESERVE_BYTES: Final = 2**30
"""Left free on the volume: logs, event storage and manifests still need room when a build stops."""


def check_space(path: Path, needed_bytes: int, reserve_bytes: int, purpose: str) -> None:
    """Returns where `needed_bytes` fit beside the reserve.

    Raises:
        DiskFullError: they do not; names what is needed, free and kept.
    """
    stat = os.statvfs(path)
    free_bytes = stat.f_bavail * stat.f_frsize
    if free_bytes < needed_bytes + reserve_bytes:
        raise DiskFullError(
            f"{path}: {purpose} needs {needed_bytes:,} bytes beside a reserve of {reserve_bytes:,}; "
            f"{free_bytes:,} are free. Free {needed_bytes + reserve_bytes - free_bytes:,} bytes and run it again; "
            "what is done is kept."
        )
