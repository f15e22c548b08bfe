"""Exports and kills its process at the n-th durable step: `python -m … ROOT CATALOG OUT FORMAT STEP [processes]`."""

import os
import sys
from pathlib import Path

from vlm_assets.exports import files
from vlm_assets.exports.formats import Format
from vlm_assets.exports.run import export_corpus
from vlm_assets.installation.opening import open_installation
from vlm_assets.settings import load_settings
from vlm_assets.store.arrow_files import HashingFile
from vlm_assets_tests.corpus.killed_build import Fuse


def main(root: str, catalog: str, out: str, form: str, step: str, processes: str = "") -> None:
    """Prints the number of steps there were; those of processes of the export's own are not among them."""
    if processes:
        files.__dict__["_ROWS_OF_A_PROCESS"] = 0
    installation = open_installation(load_settings(None, catalog=Path(catalog), data_root=Path(root)))
    fuse = Fuse(int(step))
    for owner, name in ((HashingFile, "write"), (os, "fsync"), (Path, "replace"), (Path, "unlink")):
        fuse.around(owner, name)
    export_corpus(installation, "t", Format(form), out, workers=2)
    print(fuse.calls)


if __name__ == "__main__":
    main(*sys.argv[1:])
