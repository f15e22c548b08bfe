"""An environment with torch, TRL and Energon for tests marked `slow`: made with pip, apart, never in the lock."""

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Final

# TRL is pinned to the release whose code the `messages` column was made for; torch to one with a small CPU build;
# those that read rows are the ones that wrote them.
PACKAGES: Final = (
    "trl==1.16.0", "torch==2.13.0", "accelerate", "megatron-energon==7.4.1",
    *(f"{name}=={version(name)}" for name in ("datasets", "pillow")),
)  # fmt: skip


def make_environment(folder: Path) -> None:
    """Makes it: gigabytes, and minutes."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    install = [str(interpreter(folder)), "-m", "pip", "install", "--quiet", "--no-cache-dir", *PACKAGES]
    subprocess.run(install, check=True, env=plain_environment())


def interpreter(folder: Path) -> Path:
    """Its Python; the programs of packages lie beside it."""
    return folder / "bin" / "python"


def plain_environment(**more: str) -> dict[str, str]:
    """This process's environment without its Python path, and with no way to the Hub."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return {**kept, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", **more}
