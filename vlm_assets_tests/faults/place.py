"""A tiny installation of every durable step: a folder with words, an archive, a list of URLs; a bucket beside it."""

import os
import shutil
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

import boto3
import pyarrow.parquet as pq

from vlm_assets import cli
from vlm_assets.installation.opening import Installation, open_installation
from vlm_assets.settings import load_settings
from vlm_assets.words.errors import VlmAssetsError
from vlm_assets.words.layout import STAGING
from vlm_assets_tests.remote.s3 import BUCKET, CREDENTIALS, S3Server
from vlm_assets_tests.servers import FaultServer, Reply
from vlm_assets_tests.workplace import STREET, fill, picture, write_catalog

SECRET = "the name was Ayse Yilmaz"
GONE = 1
"""Number of the picture that is taken down; `SECRET` is its caption."""
TARGET = "8"
_URLS = 3
_HISTORY = (
    "run.json",
    "report.html",
    ".versions/*/summary.json",
    ".versions/*/README.md",
    "tombstones/*.json",
    "receipts/*.json",
    "done/*.json",
    "locks/*",
)
_NOT_CONTENT = ("logs", ".locks", ".budgets", ".dagster", "verify.progress.jsonl")


@dataclass(frozen=True, slots=True)
class Servers:
    """Where the pictures of the list, and the bucket, are served."""

    pictures: str
    s3: str


@contextmanager
def served() -> Iterator[Servers]:
    """Both servers in a process of their own: whoever forks has no threads."""
    os.environ.update(CREDENTIALS)
    told, tell = os.pipe()
    end, hold = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(hold)
        _serve(tell, end)
        os._exit(0)
    os.close(tell)
    os.close(end)
    with open(told) as lines:  # noqa: PTH123 - a pipe
        pictures, s3 = lines.readline().split()
    try:
        yield Servers(pictures, s3)
    finally:
        os.close(hold)
        os.waitpid(child, 0)


def _serve(tell: int, end: int) -> None:
    script = {f"/{number}.jpg": Reply(body=picture(100 + number)) for number in range(_URLS)}
    with FaultServer(script) as server, S3Server() as s3:
        s3.new_bucket()
        os.write(tell, f"{server.url('/')} {s3.endpoint}\n".encode())
        os.read(end, 1)


@dataclass(slots=True)
class Place:
    """One base folder: what sources read in `in`, the catalogue, the data root that is at work now."""

    base: Path
    servers: Servers
    remote: str = ""
    """Prefix in the bucket; empty: no remote."""
    data: str = "data"
    """Name of the data root's folder."""
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def root(self) -> Path:
        return self.base / self.data

    @property
    def said(self) -> Path:
        return self.base / "said.txt"

    def make(self) -> None:
        """Pictures, words, archive, list and catalogue; an empty data root."""
        folder = fill(self.base / "in", 5)
        lines = [f"{number:04d}.jpeg,{SECRET if number == GONE else 'a tram'}" for number in range(5)]
        (folder / "metadata.csv").write_text("\n".join(["file_name,text", *lines]), "utf-8")
        with zipfile.ZipFile(folder / "more.zip", "w") as archive:
            for number in range(10, 13):
                archive.writestr(f"{number}.jpeg", picture(number))
        urls = self.base / "urls.txt"
        urls.write_text("".join(f"{self.servers.pictures}{number}.jpg\n" for number in range(_URLS)), "utf-8")
        street = {**STREET, "path": folder, "text": "metadata.csv"}
        web = {**STREET, "name": "web", "kind": "image_urls", "urls": urls}
        corpus = {
            "name": "tiny",
            "targets": {TARGET: int(TARGET)},
            "shard": {"max_bytes": 90_000, "block_rows": 1},
        }
        write_catalog(self.base / "catalog", street, web, corpus=corpus)
        self.empty()

    def empty(self) -> None:
        """A data root with nothing in it."""
        shutil.rmtree(self.root, ignore_errors=True)
        self.root.mkdir(parents=True)
        (self.root / ".vlm_root").touch()

    def keep(self, name: str) -> Path:
        """The data root as it is, to be taken again by `take`."""
        return _copy(self.root, self.base / "kept" / name)

    def take(self, name: str) -> None:
        """The data root as it was kept."""
        shutil.rmtree(self.root)
        _copy(self.base / "kept" / name, self.root)

    def settle(self) -> None:
        """The environment that commands read; for a fork."""
        os.environ.update(
            {
                "VLM_CATALOG": str(self.base / "catalog"), "VLM_DATA_ROOT": str(self.root), "VLM_PROFILE": "local",
                "VLM_ALLOW_PRIVATE_HOSTS": "127.0.0.1", "VLM_CONTACT": "a@b.example", "VLM_WORKERS": "1",
                "VLM_HTTP_PER_HOST": "2", "DAGSTER_HOME": str(self.root / ".dagster"),
                **self.environment,
            }
        )  # fmt: skip
        if self.remote:
            os.environ["VLM_REMOTE"] = f"s3://{BUCKET}/{self.remote}"
            os.environ["VLM_REMOTE_ENDPOINT"] = self.servers.s3
        os.chdir(self.base)

    def installation(self) -> Installation:
        """Opened as commands do."""
        return open_installation(load_settings())


def _copy(source: Path, target: Path) -> Path:
    shutil.copytree(source, target, symlinks=True)
    return target


def copy_takedowns(source: Path, target: Path) -> None:
    """Brings what is on record to another data root: ids that it names stay out there too, whatever they show now."""
    (target / "tombstones").mkdir(exist_ok=True)
    for path in source.glob("tombstones/*.json"):
        shutil.copy(path, target / "tombstones")


Act = Callable[[Place], int]


def command(*words: str) -> Act:
    """A command of `vlm-assets`, as its entry point runs it."""

    def act(place: Place) -> int:
        place.settle()
        sys.argv = ["vlm-assets", *words]
        cli.main()
        return 0

    return act


def core(step: Callable[[Installation], Any]) -> Act:
    """A function of the core behind what all commands have around them."""

    def act(place: Place) -> int:
        place.settle()
        try:
            step(place.installation())
        except VlmAssetsError as error:
            print(f"{type(error).__name__}: {error}")
            return 1
        return 0

    return act


def contents(root: Path) -> dict[str, str]:
    """What lies in the data root, but for histories: links by target, files by hash, folders that are empty."""
    found: dict[str, str] = {}
    for folder, names, files in os.walk(root):
        below = Path(folder).relative_to(root)
        names[:] = sorted(name for name in names if str(below / name) not in _NOT_CONTENT)
        for name in (*names, *files):
            path, shown = Path(folder, name), (below / name).as_posix()
            if {STAGING, "windows"} <= set(path.parts):
                continue  # of shards that are still to be written, and no others
            if path.is_symlink():
                found[shown] = f"-> {path.readlink()}"
            elif path.is_file() and shown not in _NOT_CONTENT:
                if shown.startswith(".remote/") and path.suffix in {".json", ".lock"}:
                    continue  # what this machine has seen, by the address of the remote
                history = any(Path(shown).match(pattern) for pattern in _HISTORY)
                found[shown] = "" if history else sha256(path.read_bytes()).hexdigest()
            elif path.is_dir() and not any(path.iterdir()):
                found[f"{shown}/"] = ""
    return found


def bucket_of(servers: Servers, prefix: str) -> dict[str, bytes]:
    """Every object below a prefix, old versions too."""
    client = boto3.client("s3", endpoint_url=servers.s3)
    pages = client.get_paginator("list_object_versions").paginate(Bucket=BUCKET, Prefix=f"{prefix}/")
    found = {}
    for page in pages:
        for one in page.get("Versions", ()):
            got = client.get_object(Bucket=BUCKET, Key=one["Key"], VersionId=one["VersionId"])
            shown = one["Key"].removeprefix(f"{prefix}/")
            found[shown if one["IsLatest"] else f"{shown} {one['VersionId']}"] = got["Body"].read()
    return found


def empty_bucket(servers: Servers, prefix: str) -> None:
    """Removes every object below a prefix, old versions too."""
    client = boto3.client("s3", endpoint_url=servers.s3)
    pages = client.get_paginator("list_object_versions").paginate(Bucket=BUCKET, Prefix=f"{prefix}/")
    for page in pages:
        for one in (*page.get("Versions", ()), *page.get("DeleteMarkers", ())):
            client.delete_object(Bucket=BUCKET, Key=one["Key"], VersionId=one["VersionId"])


def files_that_say(root: Path) -> list[str]:
    """Files below a folder with bytes of the picture that is taken down, or its words, packed ones included."""
    return [
        path.relative_to(root).as_posix()
        for path in sorted(root.rglob("*"))
        if path.is_file() and not path.is_symlink() and says(path.read_bytes())
    ]


def says(content: bytes) -> bool:
    """Whether these bytes hold the picture or its words."""
    image = picture(GONE)
    if image[-80:-16] in content or SECRET.encode() in content:
        return True
    if content[:4] == content[-4:] == b"PAR1":
        return SECRET in str(pq.read_table(BytesIO(content)).to_pylist())
    return False
