"""Environments of peers: made once in a folder, each with what it asks for and nothing else."""

import shutil
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import Final

from vlm_assets_tests.benchmarks.suite.case import PEER_SCRIPTS, Peer

_VERSION: Final = "import sys, importlib.metadata as m; print(m.version(sys.argv[1]))"


class NoPeerError(Exception):
    """A peer that cannot be installed here; the text says why."""


class Environments:
    """Pythons of peers below one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def command(self, peer: Peer, folder: Path, out: Path, units: int, address: str) -> list[str]:
        """The command that runs a peer's script on the inputs.

        Raises:
            NoPeerError: it cannot be installed.
        """
        script = PEER_SCRIPTS / peer.script
        return [
            str(self._python(peer)),
            str(script),
            str(folder),
            str(out),
            str(units),
            address,
            *peer.arguments,
        ]

    def version(self, peer: Peer) -> str:
        """`name version` of what a peer's script measures."""
        name = (*peer.alone, *peer.requirements)[0].partition("=")[0]
        told = subprocess.run(
            [str(self._python(peer)), "-c", _VERSION, name], check=True, capture_output=True, text=True
        )
        return f"{name} {told.stdout.strip()}"

    def _python(self, peer: Peer) -> Path:
        asked = [*peer.requirements, *(f"{one} alone" for one in peer.alone)]
        folder = self._folder / sha256("\n".join(asked).encode()).hexdigest()[:12]
        python, done = folder / "bin" / "python", folder / "installed"
        if done.exists():
            return python
        shutil.rmtree(folder, ignore_errors=True)
        uv = Path(sys.executable).parent / "uv"  # in a tenth of pip's time, where it is there
        pip = [str(uv), "pip"] if uv.is_file() else [str(python), "-m", "pip"]
        install = [*pip, "install", "-q", *(["--python", str(python)] if uv.is_file() else [])]
        try:
            _said([sys.executable, "-m", "venv", *(["--without-pip"] if uv.is_file() else []), str(folder)])
            _said([*install, *peer.requirements])
            if peer.alone:
                _said([*install, "--no-deps", *peer.alone])
        except subprocess.CalledProcessError as error:
            raise NoPeerError(f"{' '.join(asked)}: {error.stderr.strip()[-300:]}") from error
        done.touch()
        return python


def _said(command: list[str]) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)
