"""Exports a corpus and kills its own process at the n-th durable step: `python -m … ROOT CATALOG OUT FORMAT STEP`."""

import os
import sys
from pathlib import Path

from vlm_assets.exports.formats import Format
from vlm_assets.exports.run import export_corpus
from vlm_assets.installation.opening import open_installation
from vlm_assets.settings import load_settings
from vlm_assets.store.arrow_files import HashingFile
from vlm_assets_tests.corpus.killed_build import Fuse


def main(root: str, catalog: str, out: str, form: str, step: str) -> None:
    """Prints the number of steps there were."""
    installation = open_installation(load_settings(None, catalog=Path(catalog), data_root=Path(root)))
    fuse = Fuse(int(step))
    for owner, name in ((HashingFile, "write"), (os, "fsync"), (Path, "replace"), (Path, "unlink")):
        fuse.around(owner, name)
    export_corpus(installation, "t", Format(form), out, workers=2)
    print(fuse.calls)


if __name__ == "__main__":
    main(*sys.argv[1:])
