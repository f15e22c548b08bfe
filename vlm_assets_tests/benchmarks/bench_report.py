"""The papers of a corpus of any number of rows: seconds, largest resident set, bytes of the report.

    python -m vlm_assets_tests.benchmarks.bench_report --dir FOLDER [--rows 1e6] [--image-bytes 480] [--keep]

Makes slices of 1.3 times so many rows (see `made_installation`), allocates and builds, then writes the papers in a
process of its own and, beside it, reads the index files once with Arrow. Images are random bytes under JPEG's name:
each picture is tried and fails, so the report's pictures are put in by `--pictures`, a PNG of that side for each.
"""

import argparse
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa

from vlm_assets.allocation.step import allocate
from vlm_assets.corpus.build import build_corpus
from vlm_assets.images.thumbnails import thumbnail
from vlm_assets.papers import shown
from vlm_assets.papers.write import write_papers
from vlm_assets.store.papers import PAPER_FILES
from vlm_assets_tests.benchmarks.made_installation import Made, install, make_slices, opened
from vlm_assets_tests.workplace import picture

TARGET = "t"
_SUPPLY = 1.3


def prepare(folder: Path, made: Made, rows: int) -> None:
    """A sealed corpus of so many rows."""
    if folder.is_dir():
        return
    install(folder, {TARGET: rows})
    make_slices(folder, made)
    installation = opened(folder)
    build_corpus(allocate(installation, TARGET).path, installation.root, workers=2)


def step_papers(folder: Path, *, pictures: bool) -> str:
    """Writes them; what they weigh."""
    if pictures:  # every picture is a real one, decoded and made small as usual
        real = {"format": "JPEG", "width_px": 1200, "height_px": 900, "orientation": None}
        encoded = picture(7, size=(1200, 900))
        vars(shown)["thumbnail"] = lambda _bytes, _fact, side: thumbnail(encoded, real, side)
    installation = opened(folder)
    written = write_papers(installation, TARGET)
    sizes = ", ".join(f"{name} {(written.folder / name).stat().st_size:,} B" for name in PAPER_FILES)
    return f"{written.figures['rows']:,} rows: {sizes}"


def step_indexes(folder: Path) -> str:
    """Reads every column of the index files once."""
    rows = 0
    for path in sorted(opened(folder).root.corpus("bench", TARGET).glob("index-*.arrow")):
        with pa.OSFile(str(path)) as file:
            rows += pa.ipc.open_file(file).read_all().num_rows
    return f"{rows:,} rows"


def run_step(folder: Path, name: str, arguments: argparse.Namespace) -> None:
    """One step in a process of its own."""
    more = ["--pictures"] if arguments.pictures else []
    clock = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", __spec__.name, "--dir", str(folder), "--step", name, *more],
        capture_output=True,
        text=True,
        check=True,
    )
    print(f"{name}: {time.monotonic() - clock:.1f} s; {done.stdout.strip()}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--dir", type=Path, required=True)
    parser.add_argument("--rows", type=float, default=1e6)
    parser.add_argument("--image-bytes", type=int, default=480)
    parser.add_argument("--pictures", action="store_true")
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--step", choices=("papers", "indexes"))
    arguments = parser.parse_args()
    if arguments.step:
        pictures = arguments.pictures
        told = (
            step_papers(arguments.dir, pictures=pictures)
            if arguments.step == "papers"
            else step_indexes(arguments.dir)
        )
        print(f"{told}; {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024:,} MiB")
        return
    prepare(arguments.dir, Made(int(_SUPPLY * arguments.rows), arguments.image_bytes), int(arguments.rows))
    for name in ("indexes", "papers"):
        run_step(arguments.dir, name, arguments)
    if not arguments.keep:
        shutil.rmtree(arguments.dir)


if __name__ == "__main__":
    main()
