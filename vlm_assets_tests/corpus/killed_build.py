"""Builds a corpus and kills its own process at the n-th durable step: `python -m … ROOT PLAN STEP`; 0: never."""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vlm_assets.corpus.build import build_corpus
from vlm_assets.store.arrow_files import HashingFile
from vlm_assets.words.layout import DataRoot


class Fuse:
    """Counts calls of what changes the disk; at the chosen one the process is gone before or after it."""

    def __init__(self, step: int) -> None:
        self.calls = 0
        self._step = step

    def around(self, owner: Any, name: str) -> None:
        """Counts two steps for each call."""
        plain: Callable[..., Any] = getattr(owner, name)

        def counted(*args: Any, **keys: Any) -> Any:
            self._burn()
            result = plain(*args, **keys)
            self._burn()
            return result

        setattr(owner, name, counted)

    def _burn(self) -> None:
        self.calls += 1
        if self.calls == self._step:
            os.kill(os.getpid(), signal.SIGKILL)


def main(root: str, plan_dir: str, step: str) -> None:
    """Prints the root hash and the number of steps there were."""
    fuse = Fuse(int(step))
    for owner, name in (
        (HashingFile, "write"), (os, "fsync"), (os, "link"), (Path, "replace"), (Path, "rename"), (Path, "unlink"),
        (Path, "symlink_to"), (Path, "chmod"),
    ):  # fmt: skip
        fuse.around(owner, name)
    manifest = build_corpus(Path(plan_dir), DataRoot(Path(root)))
    print(manifest.root_hash, fuse.calls)


if __name__ == "__main__":
    main(*sys.argv[1:])
