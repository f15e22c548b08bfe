"""Backup to an S3 server, beside s3transfer (what `aws s3 cp` is made of) uploading the same files to it.

    python -m vlm_assets_tests.benchmarks.bench_backup [--files N] [--mb N] [--repeats N] [--slices N]
        [--endpoint URL]

Each way runs in a process of its own, interleaved, each into an empty prefix. Ours hashes every file twice on the way
(blake3 against the manifest, SHA-256 for the store) and writes manifests and pointers too. Without `--endpoint` the
server is moto in a process of its own: slow, so wall times are mostly the server's, CPU-seconds are the client's.
Then `--slices` small slices are backed up twice: the second time nothing may be sent. Prints medians and ratios.
"""

import argparse
import json
import os
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
from blake3 import blake3

from vlm_assets.remote.local import version_of_manifest
from vlm_assets_tests.remote.s3 import CREDENTIALS

BUCKET = "benchmark"
WAYS = ("peer", "ours")


def make_slice(root: Path, name: str, files: dict[str, bytes]) -> None:
    """A committed slice as far as a backup looks: files, a manifest that names them, the link."""
    entries = {
        file: {"size_bytes": len(data), "blake3": blake3(data).hexdigest()} for file, data in files.items()
    }
    manifest = orjson.dumps({"slice": name, "files": entries}, option=orjson.OPT_SORT_KEYS)
    folder = root / "datasets" / "made"
    version = folder / ".versions" / version_of_manifest(manifest)
    version.mkdir(parents=True)
    for file, data in files.items():
        (version / file).write_bytes(data)
    (version / "metadata.json").write_bytes(manifest)
    (folder / name).symlink_to(Path(".versions") / version.name)


def made_root(base: Path) -> Path:
    """An empty data root with a catalogue beside it."""
    from vlm_assets_tests.workplace import STREET, fill, install

    install(base, {**STREET, "path": fill(base / "pictures", 1)})
    return base / "data"


def ours(base: Path, endpoint: str, prefix: str) -> dict[str, Any]:
    """Backs the root up."""
    from vlm_assets.installation.opening import open_installation
    from vlm_assets.remote.backup import backup
    from vlm_assets.settings import load_settings

    settings = load_settings(
        None, catalog=base / "catalog", data_root=base / "data", remote=f"s3://{BUCKET}/{prefix}",
        remote_endpoint=endpoint, remote_concurrency=10,
    )  # fmt: skip
    report = backup(open_installation(settings), storage=False)
    if report.failed:
        raise SystemExit(str(report.failed))
    return {"objects": report.objects, "requests": sum(report.requests.values())}


def peer(base: Path, endpoint: str, prefix: str) -> dict[str, Any]:
    """Uploads the same files with s3transfer as the AWS CLI sets it: ten threads, parts of 8 MB."""
    import boto3
    from boto3.s3.transfer import TransferConfig
    from s3transfer.manager import TransferManager

    client = boto3.client("s3", endpoint_url=endpoint)
    config = TransferConfig(max_concurrency=10, multipart_threshold=8 * 2**20, multipart_chunksize=8 * 2**20)
    with TransferManager(client, config) as manager:
        futures = [
            manager.upload(str(path), BUCKET, f"{prefix}/{path.parent.name}/{path.name}")
            for path in sorted((base / "data/datasets").glob("*/.versions/*/*"))
        ]
        for future in futures:
            future.result()
    return {}


def measured(way: str, base: Path, endpoint: str, prefix: str) -> dict[str, Any]:
    """One way in a process of its own: seconds, CPU-seconds (start-up left out), what it told."""
    command = [sys.executable, "-m", __spec__.name, "--one", way, str(base), endpoint, prefix]
    out = subprocess.run(
        command, check=True, capture_output=True, text=True, env={**os.environ, **CREDENTIALS}
    )
    result: dict[str, Any] = json.loads(out.stdout.splitlines()[-1])
    return result


def one(way: str, base: Path, endpoint: str, prefix: str) -> None:
    """Runs a way and prints its figures."""
    import s3transfer.manager  # noqa: F401 - what both ways import is start-up, not what is measured

    import vlm_assets.installation.opening
    import vlm_assets.remote.backup  # noqa: F401 - the same

    usage, clock = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    told = {"ours": ours, "peer": peer}[way](base, endpoint, prefix)
    seconds, after = time.perf_counter() - clock, resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - usage.ru_utime - usage.ru_stime
    print(json.dumps({"seconds": seconds, "cpu_s": cpu, "rss_mb": after.ru_maxrss / 1024, **told}))


@contextmanager
def server(endpoint: str | None) -> Iterator[str]:
    """The endpoint given, or moto in a process of its own."""
    import boto3

    os.environ.update({k: v for k, v in CREDENTIALS.items() if k not in os.environ})
    process = None
    if endpoint is None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        moto = Path(sys.executable).parent / "moto_server"
        process = subprocess.Popen([moto, "-H", "127.0.0.1", "-p", str(port)], stderr=subprocess.DEVNULL)
        endpoint = f"http://127.0.0.1:{port}"
        _wait(endpoint)
    try:
        boto3.client("s3", endpoint_url=endpoint).create_bucket(Bucket=BUCKET)
        yield endpoint
    finally:
        if process is not None:
            process.terminate()
            process.wait(30)


def _wait(endpoint: str) -> None:
    for _ in range(300):
        try:
            urllib.request.urlopen(endpoint, timeout=5).close()
        except OSError:
            time.sleep(0.2)
        else:
            return
    raise SystemExit("the server does not come up")


def empty(endpoint: str, prefix: str) -> None:
    """Removes what a run left at the server: moto keeps objects in memory."""
    import boto3

    bucket = boto3.resource("s3", endpoint_url=endpoint).Bucket(BUCKET)
    bucket.objects.filter(Prefix=f"{prefix}/").delete()


def throughput(base: Path, endpoint: str, files: int, size: int, repeats: int) -> None:
    """Prints the comparison on large files."""
    root = made_root(base)
    for number in range(files):
        make_slice(root, f"s{number:04d}", {"data-00000.arrow": os.urandom(size)})
    gigabytes = files * size / 1e9
    runs: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
    for repeat in range(repeats):
        for way in WAYS if repeat % 2 == 0 else reversed(WAYS):
            prefix = f"{way}-{repeat}"
            runs[way].append(measured(way, base, endpoint, prefix))
            empty(endpoint, prefix)
            shutil.rmtree(root / ".remote", ignore_errors=True)
    medians = {
        way: {key: statistics.median(run[key] for run in runs[way]) for key in ("seconds", "cpu_s", "rss_mb")}
        for way in WAYS
    }
    print(f"{files} files of {size / 1e6:.0f} MB, medians of {repeats}")
    for way, figures in medians.items():
        print(
            f"  {way:5} {gigabytes / figures['seconds'] * 1e3:7.1f} MB/s"
            f"  {figures['cpu_s'] / gigabytes:6.2f} CPU-s/GB  {figures['rss_mb']:6.0f} MB peak"
        )
    wall, cpu = (medians["peer"][key] / medians["ours"][key] for key in ("seconds", "cpu_s"))
    print(f"  ours beside peer: {wall:.2f}x in wall time, {cpu:.2f}x in CPU (above 1 is better)")


def second_backup(base: Path, endpoint: str, slices: int) -> None:
    """Prints how long a backup takes that has nothing to send."""
    root = made_root(base)
    shared = b"{}"
    for number in range(slices):
        data = {
            f"{file}": f"{file} {number}".encode()
            for file in ("data-00000.arrow", "index.arrow", "state.json")
        }
        make_slice(root, f"s{number:05d}", {**data, "dataset_info.json": shared})
    for label in ("first", "second"):
        run = measured("ours", base, endpoint, "many")
        print(
            f"{slices} slices, {label} backup: {run['seconds']:.1f} s, {run['objects']} objects sent, "
            f"{run['requests']} requests, {run['cpu_s']:.1f} CPU-s"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--files", type=int, default=4)
    parser.add_argument("--mb", type=int, default=48)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--slices", type=int, default=200)
    parser.add_argument("--endpoint")
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        way, base, endpoint, prefix = given.one
        one(way, Path(base), endpoint, prefix)
        return
    with tempfile.TemporaryDirectory() as folder, server(given.endpoint) as endpoint:
        print(f"server: {given.endpoint or 'moto'}")
        throughput(Path(folder) / "large", endpoint, given.files, given.mb * 1_000_000, given.repeats)
        second_backup(Path(folder) / "small", endpoint, given.slices)


if __name__ == "__main__":
    main()
