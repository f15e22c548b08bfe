"""Rows by range from an S3 server, beside s3transfer (what `aws s3 cp` is made of) fetching as many bytes from it.

    python -m vlm_assets_tests.benchmarks.bench_ranges [--rows N] [--image-bytes N] [--share F] [--repeats N]
        [--latency-ms N] [--endpoint URL] [--dir DIR]

Ours reads the selected rows window by window, as writers of shards do, as many windows at once, each image held to
its sha256 and each row to its digest. The peer downloads objects that have as many bytes in all, whole, as the AWS
CLI sets it: ten threads, parts of 8 MB. Neither writes its bytes to a disk. Each way runs in a process of its own, in
turns.
Without `--endpoint` the server is a small one of this file that answers ranges with `sendfile`, in a process of its
own: a real one is on another machine, and its work no part of a client's. Prints medians and ratios.
"""

import argparse
import json
import os
import random
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from vlm_assets_tests.benchmarks.bench_backup import BUCKET
from vlm_assets_tests.remote.s3 import CREDENTIALS

WAYS = ("peer", "ours")
SLICES = 8
WINDOW_BYTES = 32_000_000
BATCH_ROWS = 320
"""Of 100 KB: a batch of the store's size."""


def make(base: Path, rows: int, image_bytes: int) -> None:
    """Committed slices, and their files as objects beside them."""
    from vlm_assets.remote.names import object_key
    from vlm_assets.store.versions import read_manifest
    from vlm_assets.words.layout import DataRoot
    from vlm_assets.words.manifest import SliceManifest
    from vlm_assets_tests.builders import commit_slice, sample

    root, draw = DataRoot(base / "data"), random.Random(7)
    for number in range(SLICES):
        name = f"s{number:02d}"
        some = [
            sample(
                "made",
                name,
                f"{n:06d}",
                image=draw.randbytes(draw.randrange(image_bytes // 2, image_bytes * 3 // 2)),
                text=f"row {n} of {name}",
            )
            for n in range(rows // SLICES)
        ]
        commit_slice(root, "made", name, some, items_per_slice=len(some), batch_rows=BATCH_ROWS)
        version = root.slice("made", name).resolve()
        for file, entry in read_manifest(version, SliceManifest).files.items():
            place = base / "objects" / BUCKET / object_key(entry.blake3)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.unlink(missing_ok=True)
            os.link(version / file, place)


def selected(base: Path, share: float) -> tuple[Any, Any, Any]:
    """Slices by number; slice and row of what is selected, in the order of a shard: blocks of all slices mixed."""
    import numpy as np

    from vlm_assets.corpus.slice_files import SliceFiles
    from vlm_assets.store.slices import data_file_names
    from vlm_assets.store.versions import read_manifest
    from vlm_assets.words.layout import DataRoot
    from vlm_assets.words.manifest import SliceManifest

    root, draw = DataRoot(base / "data"), np.random.default_rng(3)
    slices, places = {}, []
    for number in range(SLICES):
        version = root.slice("made", f"s{number:02d}").resolve()
        manifest = read_manifest(version, SliceManifest)
        names = tuple(data_file_names(manifest.files))
        objects = tuple(manifest.files[one] for one in names)
        slices[number] = SliceFiles("made", manifest.slice, version, names, manifest.rows, objects=objects)
        rows = np.flatnonzero(draw.random(manifest.rows) < share)
        places.append(np.stack([np.full(len(rows), number), rows, rows // 64]))
    every = np.concatenate(places, axis=1)
    blocks, of_block = np.unique(every[[0, 2]], axis=1, return_inverse=True)
    order = np.argsort(draw.permutation(blocks.shape[1])[of_block.ravel()], kind="stable")
    return slices, every[0][order].astype(np.uint32), every[1][order].astype(np.uint32)


def ours(base: Path, endpoint: str, share: float, image_bytes: int) -> dict[str, Any]:
    """Reads the selected rows by range, window by window."""
    from vlm_assets.corpus.gather import THREADS_AWAY, WINDOWS_AHEAD
    from vlm_assets.corpus.ranged_rows import RangedRows
    from vlm_assets.remote.bucket import Bucket, s3_client
    from vlm_assets.remote.names import RemoteAddress
    from vlm_assets.remote.ranges import BucketRanges
    from vlm_assets.store.ahead import ahead

    bucket = Bucket(RemoteAddress(BUCKET, ""), s3_client(endpoint, 10), concurrency=10)
    objects = BucketRanges(bucket)
    slices, numbers, rows = selected(base, share)
    reader = RangedRows(slices, objects)
    step = max(WINDOW_BYTES // image_bytes, 1)
    windows = [slice(start, start + step) for start in range(0, len(rows), step)]
    size = 0
    for found in ahead(
        lambda one: reader.read(numbers[one], rows[one]), windows, THREADS_AWAY, WINDOWS_AHEAD
    ):
        size += found.images.total
    return {"bytes": size, "requests": objects.requests, "received": objects.received_bytes}


def peer(base: Path, endpoint: str, share: float, _: int) -> dict[str, Any]:
    """Downloads whole objects of as many bytes with s3transfer, to where bytes go that nobody wants."""
    import boto3
    from boto3.s3.transfer import TransferConfig
    from s3transfer.manager import TransferManager

    client = boto3.client("s3", endpoint_url=endpoint)
    config = TransferConfig(max_concurrency=10, multipart_threshold=8 * 2**20, multipart_chunksize=8 * 2**20)
    files = sorted(
        (base / "data/datasets/made/.versions").glob("*/data-*"), key=lambda path: path.parent.name
    )
    left = share * sum(path.stat().st_size for path in files)
    keys, size = [], 0
    from vlm_assets.store.versions import read_manifest
    from vlm_assets.words.manifest import SliceManifest

    for path in files:
        if size >= left:
            break
        entry = read_manifest(path.parent, SliceManifest).files[path.name]
        keys.append(f"objects/{entry.blake3}")
        size += entry.size_bytes
    clock = time.perf_counter()
    with TransferManager(client, config) as manager, tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        futures = [manager.download(BUCKET, key, str(Path(folder) / key[-8:])) for key in keys]
        for future in futures:
            future.result()
    return {"bytes": size, "requests": 0, "received": size, "inside_s": time.perf_counter() - clock}


class _Objects(BaseHTTPRequestHandler):
    """GET and HEAD of files, with ranges."""

    protocol_version = "HTTP/1.1"
    folder: Path
    latency_s: float

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        path = self.folder / self.path.partition("?")[0].lstrip("/")
        time.sleep(self.latency_s)
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            begin, end = 0, size
            if (asked := self.headers.get("Range")) is not None:
                first, last = asked.removeprefix("bytes=").split("-")
                begin, end = int(first), min(int(last or size) + 1, size)
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {begin}-{end - 1}/{size}")
            else:
                self.send_response(200)
            self.send_header("Content-Length", str(end - begin))
            self.send_header("ETag", f'"{path.name[:32]}"')
            self.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
            self.end_headers()
            self.wfile.flush()
            while body and begin < end:
                begin += os.sendfile(self.connection.fileno(), file.fileno(), begin, end - begin)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


def serve(folder: Path, port: int, latency_ms: float) -> None:
    """The small server, until it is ended."""
    _Objects.folder, _Objects.latency_s = folder, latency_ms / 1e3
    server = ThreadingHTTPServer(("127.0.0.1", port), _Objects)
    server.daemon_threads = True
    server.serve_forever()


@contextmanager
def server(base: Path, endpoint: str | None, latency_ms: float) -> Iterator[str]:
    """The endpoint given, with the objects put there; or the small server."""
    os.environ.update({k: v for k, v in CREDENTIALS.items() if k not in os.environ})
    if endpoint is not None:
        import boto3

        client = boto3.client("s3", endpoint_url=endpoint)
        client.create_bucket(Bucket=BUCKET)
        for path in sorted((base / "objects" / BUCKET / "objects").iterdir()):
            client.upload_file(str(path), BUCKET, f"objects/{path.name}")
        yield endpoint
        return
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        __spec__.name,
        "--serve",
        str(base / "objects"),
        str(port),
        str(latency_ms),
    ]
    process = subprocess.Popen(command)
    try:
        _wait(port)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


def _wait(port: int) -> None:
    for _ in range(300):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
        except OSError:
            threading.Event().wait(0.1)
        else:
            return
    raise SystemExit("the server does not come up")


def one(way: str, base: Path, endpoint: str, share: float, image_bytes: int) -> None:
    """Runs a way and prints its figures; what both import is start-up, not what is measured."""
    import boto3  # noqa: F401 - loaded before the clock starts
    import s3transfer.manager  # noqa: F401 - loaded before the clock starts

    import vlm_assets.corpus.ranged_rows
    import vlm_assets.remote.ranges  # noqa: F401 - loaded before the clock starts

    usage, clock = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    told = {"ours": ours, "peer": peer}[way](base, endpoint, share, image_bytes)
    seconds, after = time.perf_counter() - clock, resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - usage.ru_utime - usage.ru_stime
    print(json.dumps({"seconds": seconds, "cpu_s": cpu, "rss_mb": after.ru_maxrss / 1024, **told}))


def measured(way: str, base: Path, endpoint: str, given: argparse.Namespace) -> dict[str, Any]:
    """One way in a process of its own."""
    arguments = [way, str(base), endpoint, str(given.share), str(given.image_bytes)]
    out = subprocess.run(
        [sys.executable, "-m", __spec__.name, "--one", *arguments], check=True, capture_output=True, text=True,
        env={**os.environ, **CREDENTIALS},
    )  # fmt: skip
    result: dict[str, Any] = json.loads(out.stdout.splitlines()[-1])
    return result


def compare(base: Path, endpoint: str, given: argparse.Namespace) -> None:
    """Prints the comparison."""
    runs: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
    for repeat in range(given.repeats):
        for way in WAYS if repeat % 2 == 0 else reversed(WAYS):
            runs[way].append(measured(way, base, endpoint, given))
    rates, cpus = {}, {}
    for way in WAYS:
        rates[way] = statistics.median(run["bytes"] / run["seconds"] / 1e6 for run in runs[way])
        cpus[way] = statistics.median(run["cpu_s"] / run["bytes"] * 1e9 for run in runs[way])
        first = runs[way][0]
        print(
            f"  {way:5} {rates[way]:7.1f} MB/s of {first['bytes'] / 1e6:.0f} MB  {cpus[way]:6.2f} CPU-s/GB"
            f"  {first['requests']} requests for {first['received'] / first['bytes']:.2f}x the bytes"
            f"  {max(run['rss_mb'] for run in runs[way]):6.0f} MB peak"
        )
    print(
        f"  ours beside peer: {rates['ours'] / rates['peer']:.2f}x in wall time, "
        f"{cpus['peer'] / cpus['ours']:.2f}x in CPU (above 1 is better)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=8_000)
    parser.add_argument("--image-bytes", type=int, default=100_000)
    parser.add_argument("--share", type=float, default=0.5)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--latency-ms", type=float, default=0.0)
    parser.add_argument("--endpoint")
    parser.add_argument("--dir", type=Path)
    parser.add_argument("--one", nargs=5, help=argparse.SUPPRESS)
    parser.add_argument("--serve", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        folder, port, latency_ms = given.serve
        serve(Path(folder), int(port), float(latency_ms))
    elif given.one:
        way, base, endpoint, share, image_bytes = given.one
        one(way, Path(base), endpoint, float(share), int(image_bytes))
    else:
        with tempfile.TemporaryDirectory(dir=given.dir) as folder:
            make(Path(folder), given.rows, given.image_bytes)
            with server(Path(folder), given.endpoint, given.latency_ms) as endpoint:
                told = f"{given.rows} rows of {given.image_bytes / 1e3:.0f} kB, {given.share:.0%} selected"
                print(f"server: {given.endpoint or 'sendfile'}, {given.latency_ms} ms; {told}")
                compare(Path(folder), endpoint, given)


if __name__ == "__main__":
    main()
