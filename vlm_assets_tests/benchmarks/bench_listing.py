"""Memory and time of listings at scale: of a list of URLs, a folder, a newspaper archive, a Hub repository.

    python -m vlm_assets_tests.benchmarks.bench_listing --dir DIR [--case urls_csv ...] [--size N] [--keep]

Upstream is made below DIR, or served from loopback by this process. Steps, each in a process of its own: `plan` of
a source that was never listed, the listing, the listing again without a change, `plan`, `status`. Prints processor
time (children included), seconds beside the load of the machine, the most memory that the process and all its
descendants had at once (resident and anonymous, sampled; shared pages count in each), and what the step had on disk
at most: in its temporary folder, and in the data root's cache.
"""

import argparse
import csv
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from vlm_assets.demo.newspaper_site import DemoIssue, DemoTitle, NewspaperSite
from vlm_assets.demo.services.huggingface import HubService
from vlm_assets.demo.services.pictures import picture
from vlm_assets.ingest.listing import refresh_listing
from vlm_assets.installation.opening import open_installation
from vlm_assets.settings import load_settings

SIZES: Final = {
    "urls_csv": 10_000_000,
    "urls_parquet": 10_000_000,
    "folder": 1_000_000,
    "newspapers": 600_000,
    "hub": 50_000,
}
STEPS: Final = ("plan, never listed", "listing", "listing, unchanged", "plan", "status")
_CHUNK: Final = 1_000_000
_TITLES: Final = 55
_YEARS: Final = range(1928, 1943)
_FOLDERS: Final = 100
_DISTINCT: Final = 20
_LINKS: Final = 30_000
"""Names of one file; ext4 allows 65,000."""
_SAMPLE_S: Final = 0.1


def make_csv(folder: Path, size: int) -> dict[str, Any]:
    with (folder / "urls.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(("url", "caption", "width"))
        rows.writerows(
            (_url(number), f"a picture of {number}, from a street", number % 4096) for number in range(size)
        )
    return {"kind": "image_urls", "urls": str(folder / "urls.csv"), "text_column": "caption"}


def make_parquet(folder: Path, size: int) -> dict[str, Any]:
    schema = pa.schema([("url", pa.string()), ("caption", pa.string()), ("width", pa.int64())])
    with pq.ParquetWriter(folder / "urls.parquet", schema) as file:
        for start in range(0, size, _CHUNK):
            numbers = range(start, min(start + _CHUNK, size))
            columns: list[list[Any]] = [
                [_url(number) for number in numbers],
                [f"a picture of {number}, from a street" for number in numbers],
                [number % 4096 for number in numbers],
            ]
            file.write_table(pa.table(columns, schema=schema))
    return {"kind": "image_urls", "urls": str(folder / "urls.parquet"), "text_column": "caption"}


def _url(number: int) -> str:
    return f"http://127.0.0.{number % 200 + 1}:8000/images/{number % 997:03d}/{number:012x}.jpg"


def make_folder(folder: Path, size: int) -> dict[str, Any]:
    """Tiny pictures in 100 folders; the names of a few files, as often as the file system lets them have one."""
    root = folder / "tree"
    for number in range(_FOLDERS):
        (root / f"f{number:02d}").mkdir(parents=True)
    content = [picture(str(number)).data for number in range(_DISTINCT)]
    first = root / "f00" / "0.jpg"
    for number in range(size):
        path = root / f"f{number % _FOLDERS:02d}" / f"{number}.jpg"
        if number % _LINKS == 0:
            path.write_bytes(content[number // _LINKS % _DISTINCT])
            first = path
        else:
            os.link(first, path)
    return {"kind": "client_folder", "path": str(root)}


def made_titles(size: int) -> tuple[DemoTitle, ...]:
    titles = []
    for title in range(_TITLES):
        issues = tuple(
            DemoIssue(
                _YEARS[n % len(_YEARS)], f"{n % 28 + 1} Mart {_YEARS[n % len(_YEARS)]}", f"t{title}/{n}.pdf"
            )
            for n in range(title, size, _TITLES)
        )
        titles.append(DemoTitle(f"title{title:02d}", f"Gazete {title}", issues))
    return tuple(titles)


@dataclass
class Step:
    """What a step took."""

    cpu_s: float = 0.0
    seconds: float = 0.0
    rss_mib: float = 0.0
    anon_mib: float = 0.0
    temp_mib: float = 0.0
    cache_mib: float = 0.0


@dataclass
class Watch:
    """Samples the memory of a process with all its descendants, and what lies in its folders."""

    process: subprocess.Popen[bytes]
    temp: Path
    cache: Path
    step: Step = field(default_factory=Step)
    _stop: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        step = self.step
        while not self._stop.wait(_SAMPLE_S):
            rss = anon = 0
            for one in _tree(self.process.pid):
                status = _status(one)
                rss += status.get("VmRSS", 0)
                anon += status.get("RssAnon", 0)
            step.rss_mib = max(step.rss_mib, rss / 1024)
            step.anon_mib = max(step.anon_mib, anon / 1024)
            step.temp_mib = max(step.temp_mib, _used_mib(self.temp))
            step.cache_mib = max(step.cache_mib, _used_mib(self.cache))


def _tree(pid: int) -> list[int]:
    try:
        return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
    except psutil.NoSuchProcess:
        return []


def _status(pid: int) -> dict[str, int]:
    """Sizes of a process in KiB; none where it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return {}
    return {line.split(":")[0]: int(line.split()[1]) for line in lines if line.endswith(" kB")}


def _used_mib(folder: Path) -> float:
    used = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                used += Path(place, name).stat().st_blocks * 512
    return used / 2**20


def run_step(folder: Path, name: str, command: list[str], environment: dict[str, str]) -> None:
    """Runs a command and prints what it took."""
    temp = folder / "tmp"
    temp.mkdir(exist_ok=True)
    start = time.perf_counter()
    process = subprocess.Popen(command, env={**environment, "TMPDIR": str(temp)}, stdout=subprocess.DEVNULL)
    with Watch(process, temp, folder / "data" / "cache") as watch:
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = status
    step = watch.step
    step.seconds = time.perf_counter() - start
    step.cpu_s = usage.ru_utime + usage.ru_stime
    code = os.waitstatus_to_exitcode(status)
    print(
        f"{name:<22}{step.cpu_s:8.1f}{step.seconds:8.1f}{os.getloadavg()[0]:6.1f}{step.rss_mib:8.0f}"
        f"{step.anon_mib:8.0f}{step.temp_mib:8.0f}{step.cache_mib:8.0f}" + (f"  exit {code}" if code else ""),
        flush=True,
    )


def install(folder: Path, keys: dict[str, Any]) -> None:
    """A data root, and a catalogue of one source."""
    (folder / "data").mkdir()
    (folder / "data" / ".vlm_root").touch()
    (folder / "catalog" / "sources").mkdir(parents=True)
    source = {"name": "one", "category": "photos", "subcategory": "all", "licence": "CC0-1.0", **keys}
    quotas = {"photos": {"share": 1, "subcategories": {"all": {"share": 1}}}}
    corpus = {"name": "bench", "seed": 1, "targets": {"1k": 1000}, "quotas": quotas}
    (folder / "catalog" / "corpus.yaml").write_text(yaml.safe_dump(corpus), "utf-8")
    (folder / "catalog" / "sources" / "one.yaml").write_text(yaml.safe_dump({"sources": [source]}), "utf-8")


def environment_of(folder: Path) -> dict[str, str]:
    """Of the commands; none of the settings of whoever starts this."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("VLM_")}
    return {
        **kept, "VLM_CATALOG": str(folder / "catalog"), "VLM_DATA_ROOT": str(folder / "data"),
        "VLM_ALLOW_PRIVATE_HOSTS": "127.0.0.0/8", "DAGSTER_HOME": str(folder / "data" / "dagster"),
    }  # fmt: skip


def measure(folder: Path, environment: dict[str, str], steps: Sequence[str]) -> None:
    """The steps, in their order."""
    program = [sys.executable, "-c", "from vlm_assets.cli import main; main()"]
    listing = [sys.executable, "-m", __spec__.name, "--dir", str(folder), "--list"]
    plan = [*program, "plan", "--target", "1k", "--json"]
    commands = {
        STEPS[0]: plan, STEPS[1]: listing, STEPS[2]: listing, STEPS[3]: plan,
        STEPS[4]: [*program, "status", "--json"],
    }  # fmt: skip
    print(f"{'step':<22}{'CPU-s':>8}{'s':>8}{'load':>6}{'MiB':>8}{'anon':>8}{'temp':>8}{'cache':>8}")
    for name in steps:
        run_step(folder, name, commands[name], environment)


def list_here() -> None:
    """The listing, as its asset makes it; says how many items there are."""
    installation = open_installation(load_settings(None))
    change = refresh_listing(installation, installation.catalog.sources[0])
    print(change.listing.items)


def of_case(
    name: str, folder: Path, size: int, opened: ExitStack, environment: dict[str, str]
) -> dict[str, Any]:
    """Makes upstream; the keys of the source."""
    made: dict[str, Callable[[Path, int], dict[str, Any]]] = {
        "urls_csv": make_csv, "urls_parquet": make_parquet, "folder": make_folder,
    }  # fmt: skip
    if name in made:
        return made[name](folder, size)
    if name == "newspapers":
        site = opened.enter_context(NewspaperSite(made_titles(size)))
        return {"kind": "newspapers", "base_url": site.base_url, "cooldown_s": 0}
    hub = opened.enter_context(HubService())
    data = picture("a").data
    hub.add("org/set", {f"train/f{number % _FOLDERS}/{number}.jpg": data for number in range(size)})
    environment["HF_ENDPOINT"] = hub.url
    return {"kind": "hf_dataset", "repo": "org/set"}


def run_case(name: str, base: Path, size: int, steps: Sequence[str]) -> None:
    folder = base / name
    folder.mkdir(parents=True)
    environment = environment_of(folder)
    with ExitStack() as opened:
        start = time.perf_counter()
        install(folder, of_case(name, folder, size, opened, environment))
        print(f"{name}, {size:,}: made in {time.perf_counter() - start:.0f} s", flush=True)
        measure(folder, environment, steps)


def cases(arguments: argparse.Namespace) -> Iterator[tuple[str, int]]:
    for name in arguments.case or SIZES:
        yield name, arguments.size or SIZES[name]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dir", type=Path, required=True)
    parser.add_argument("--case", action="append", choices=list(SIZES))
    parser.add_argument(
        "--size", type=lambda text: int(float(text)), help="of each case; default: as large as is claimed"
    )
    parser.add_argument("--step", action="append", choices=STEPS)
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--list", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.list:
        list_here()
        return
    base = arguments.dir.absolute()
    for name, size in cases(arguments):
        try:
            run_case(name, base, size, arguments.step or STEPS)
        finally:
            if not arguments.keep:
                shutil.rmtree(base / name, ignore_errors=True)


if __name__ == "__main__":
    main()
