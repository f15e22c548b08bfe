"""Speed of `image_urls` beside img2dataset on the same URLs, from a static server on the same machine.

    python -m vlm_assets_tests.benchmarks.bench_image_urls [--images N] [--repeats N] [--install-peer DIR]
                                                           [--peer-python PATH] [--memory]

Cases, each in a process of its own, interleaved: download into the spool with a sha256 of every body; the whole
way to a committed slice, with header probe and with `verify: decode`; img2dataset 1.47 with `resize_mode=no` and
parquet output, re-encoding disabled (its fastest way) and not. The server is another process and not counted.
Prints medians of images per second and per CPU-second (user + system, children included), and ratios to the
peer. The peer needs an environment of its own: `--install-peer DIR` makes one with pip, `--peer-python` names one
that is there; without either only the project's cases run. `--memory`: the largest anonymous memory (RssAnon).
"""

import argparse
import asyncio
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from vlm_assets_tests.benchmarks.bench_probe import make_jpegs

PEER = "img2dataset==1.47.0"
_DISTINCT = 200
_FETCHED = ("download into the spool", "slice, verify: header", "slice, verify: decode")
_PEERS = ("img2dataset, re-encoding disabled", "img2dataset")
_PEER_SCRIPT = """
import sys
from img2dataset import download
if __name__ == "__main__":
    download(url_list=sys.argv[1], output_folder=sys.argv[2], output_format="parquet", input_format="csv",
             url_col="url", resize_mode="no", processes_count=2, thread_count=32, number_sample_per_shard=2500,
             disable_all_reencoding=sys.argv[3] == "1", retries=2, enable_wandb=False)
"""


class StaticServer(asyncio.Protocol):
    """Sends the same few pictures under any number of names, each made different by its last bytes."""

    pictures: tuple[bytes, ...] = ()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._buffer = b""

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            request, self._buffer = self._buffer[:end], self._buffer[end + 4 :]
            self._answer(request.split(b" ", 2)[1])

    def _answer(self, path: bytes) -> None:
        name = path.rpartition(b"/")[2].partition(b".")[0]
        if not name.isdigit():
            head = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
            self._write([head])
            return
        picture = self.pictures[int(name) % len(self.pictures)]
        tail = name.rjust(16, b"0")
        head = b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n"
        self._write([head % (len(picture) + len(tail)), picture, tail])

    def _write(self, parts: list[bytes]) -> None:
        assert isinstance(self._transport, asyncio.Transport)
        self._transport.writelines(parts)


def serve() -> None:
    """Serve until killed; prints the port."""

    async def run() -> None:
        StaticServer.pictures = tuple(make_jpegs(_DISTINCT))
        server = await asyncio.get_running_loop().create_server(StaticServer, "127.0.0.1", 0)
        print(server.sockets[0].getsockname()[1], flush=True)
        await server.serve_forever()

    asyncio.run(run())


def fetch(case: str, urls: Path, folder: Path) -> None:
    """One of the project's cases, in this process."""
    if case == _FETCHED[0]:
        _fetch_to_spool(urls, folder)
    else:
        _build_slices(urls, folder, "header" if "header" in case else "decode")


def _fetch_to_spool(urls: Path, folder: Path) -> None:
    from vlm_assets.settings import Settings
    from vlm_assets.transfer.download import UrlItem, fetch_urls
    from vlm_assets.transfer.politeness import HostLimits
    from vlm_assets.words.contexts import FetchContext
    from vlm_assets.words.errors import Reject

    settings = Settings(_env_file=None, allow_private_hosts=("127.0.0.1",))
    context = FetchContext(settings, "web", "s", "r", {}, folder / "c", folder / "s", folder / "l")
    items = [UrlItem(url, url) for url in urls.read_text().split()[1:]]
    for result in fetch_urls(items, context, HostLimits()):
        if isinstance(result, Reject):
            raise TypeError(f"the benchmark's own server was rejected: {result}")
        sha256(result.body if isinstance(result.body, bytes) else result.body.read_bytes()).digest()


def _build_slices(urls: Path, folder: Path, verify: str) -> None:
    from vlm_assets_tests.workplace import ingest, install

    source = {
        "name": "web", "kind": "image_urls", "category": "photos", "subcategory": "street", "licence": "CC0-1.0",
        "urls": urls, "verify": verify,
    }  # fmt: skip
    installation = install(folder, source, allow_private_hosts="127.0.0.1")
    outcomes = ingest(installation, "web").values()
    if any(outcome.manifest.rows != outcome.manifest.items for outcome in outcomes):
        raise TypeError(f"not every URL became a row: {[outcome.manifest.rejects for outcome in outcomes]}")


@dataclass
class Figures:
    """Of one run of one case."""

    wall_s: float
    cpu_s: float
    anonymous_mib: float


def measure(command: list[str]) -> Figures:
    """Wall and CPU seconds of a command and its children, and its largest anonymous memory."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    peak = [0]
    watch = threading.Thread(target=_watch, args=(process, peak))
    watch.start()
    _, errors = process.communicate()
    wall_s = time.perf_counter() - start
    watch.join()
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}\n{errors.decode()[-3000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Figures(wall_s, cpu_s, peak[0] / 1024)


def _watch(process: subprocess.Popen[bytes], peak: list[int]) -> None:
    status = Path(f"/proc/{process.pid}/status")
    while process.poll() is None:
        try:
            line = next(row for row in status.read_text().splitlines() if row.startswith("RssAnon"))
            peak[0] = max(peak[0], int(line.split()[1]))
        except (OSError, StopIteration):
            pass
        time.sleep(0.05)


def install_peer(folder: Path) -> Path:
    """An environment with the peer; its python."""
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", "setuptools<81", PEER], check=True)
    return python


def command_of(case: str, urls: Path, folder: Path, peer_python: Path | None) -> list[str]:
    """The command line of one case."""
    if case in _PEERS:
        return [
            str(peer_python),
            str(folder.parent / "peer.py"),
            str(urls),
            str(folder),
            "1" if "disabled" in case else "0",
        ]
    return [sys.executable, "-m", __spec__.name, "--run", case, str(urls), str(folder)]


def run_cases(
    cases: list[str], images: int, repeats: int, peer_python: Path | None
) -> dict[str, list[Figures]]:
    """Every case `repeats` times, interleaved: a busy machine slows all alike."""
    figures: dict[str, list[Figures]] = {case: [] for case in cases}
    work = Path(tempfile.mkdtemp(prefix="bench-image-urls-"))
    server = subprocess.Popen(
        [sys.executable, "-m", __spec__.name, "--serve"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        urls = work / "urls.csv"
        urls.write_text("url\n" + "".join(f"http://127.0.0.1:{port}/{n}.jpg\n" for n in range(images)))
        (work / "peer.py").write_text(_PEER_SCRIPT)
        for _ in range(repeats):
            for case in cases:
                folder = work / "out"
                figures[case].append(measure(command_of(case, urls, folder, peer_python)))
                shutil.rmtree(folder)
                os.sync()
    finally:
        server.kill()
        server.communicate()
        shutil.rmtree(work)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=3000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--install-peer", type=Path)
    parser.add_argument("--peer-python", type=Path)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--run", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve()
        return
    if options.run:
        fetch(options.run[0], Path(options.run[1]), Path(options.run[2]))
        return
    peer_python = install_peer(options.install_peer) if options.install_peer else options.peer_python
    cases = [*_FETCHED, *(_PEERS if peer_python else ())]
    figures = run_cases(cases, options.images, options.repeats, peer_python)
    print(f"{options.images} JPEGs of 800x600, about 107 kB; {options.repeats} repeats, medians")
    print(
        f"{'case':36s} {'images/s':>9s} {'per CPU-s':>10s}"
        + (f" {'RssAnon MiB':>12s}" if options.memory else "")
    )
    per_wall, per_cpu = {}, {}
    for case, runs in figures.items():
        per_wall[case] = options.images / statistics.median(run.wall_s for run in runs)
        per_cpu[case] = options.images / statistics.median(run.cpu_s for run in runs)
        memory = f" {max(run.anonymous_mib for run in runs):12,.0f}" if options.memory else ""
        print(f"{case:36s} {per_wall[case]:9,.0f} {per_cpu[case]:10,.0f}{memory}")
    for peer in _PEERS if peer_python else ():
        for case in _FETCHED:
            wall, cpu = per_wall[case] / per_wall[peer], per_cpu[case] / per_cpu[peer]
            print(f"{case} : {peer}: {wall:.1f}x in wall time, {cpu:.1f}x per CPU-second")


if __name__ == "__main__":
    main()
