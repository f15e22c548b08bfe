"""A command watched: what it tells of itself, and the memory of it and all its descendants."""

import json
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

import psutil

_SAMPLE_S: Final = 0.05
_MIB: Final = 2**20


class WayError(Exception):
    """A way that ended in an error; the text is what it said last."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run of one way, imports left out: its own clock, and what it and all its descendants spent."""

    seconds: float
    cpu_s: float
    peak_mib: float
    """Sampled. Proportional set size where the kernel tells it: shared pages count once."""
    read_mib: float
    """From the disk: what the page cache gives is not in it."""
    written_mib: float

    def as_json(self) -> dict[str, float]:
        """Rounded figures."""
        return {name: round(value, 4) for name, value in asdict(self).items()}


def run(command: Sequence[str], folder: Path) -> Run:
    """Runs the command in a folder to its end.

    Raises:
        WayError: it ended in an error, or told nothing.
    """
    with (folder / "said").open("wb") as said, (folder / "errors").open("wb") as errors:
        process = psutil.Popen(list(command), stdout=said, stderr=errors, cwd=folder)
        watch = _Watch(process)
        thread = threading.Thread(target=watch.run)
        thread.start()
        status = process.wait()
        watch.stop.set()
        thread.join()
    lines = (folder / "said").read_text("utf-8", "replace").splitlines()
    if status or not lines:
        told = (folder / "errors").read_text("utf-8", "replace")[-2000:]
        raise WayError(f"{' '.join(command)} ended with {status}: {told}")
    own = json.loads(lines[-1])
    return Run(
        own["seconds"], own["cpu_s"], watch.peak / _MIB, own["read_bytes"] / _MIB, own["written_bytes"] / _MIB
    )


@dataclass
class _Watch:
    process: psutil.Popen
    stop: threading.Event = field(default_factory=threading.Event)
    peak: int = 0

    def run(self) -> None:
        while not self.stop.wait(_SAMPLE_S):
            memory = 0
            for one in _tree(self.process):
                with suppress(psutil.Error):
                    memory += one.memory_full_info().pss
            self.peak = max(self.peak, memory)


def _tree(process: psutil.Popen) -> list[psutil.Process]:
    with suppress(psutil.NoSuchProcess):
        top = psutil.Process(process.pid)
        return [top, *top.children(recursive=True)]
    return []
