"""One S3 server for the tests of this folder, one small corpus to back up, a proxy a test."""

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from vlm_assets.allocation.step import allocate, tombstones_in_force
from vlm_assets.corpus.build import build_corpus
from vlm_assets.installation.opening import Installation
from vlm_assets.remote import bucket as bucket_module
from vlm_assets.settings import Settings
from vlm_assets.words.layout import DataRoot
from vlm_assets_tests.remote.s3 import REMOTE, FaultProxy, S3Server
from vlm_assets_tests.workplace import STREET, fill, ingest, install

NewRoot = Callable[..., Installation]


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    with S3Server() as server:
        yield server


@pytest.fixture
def s3(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> S3Server:
    """An empty, versioned bucket; waits between retries are short."""
    s3_server.new_bucket()
    monkeypatch.setattr(bucket_module, "_FIRST_WAIT_S", 0.01)
    monkeypatch.setattr("botocore.endpoint.time", SimpleNamespace(sleep=lambda _: None, time=time.time))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster_home"))
    return s3_server


@pytest.fixture(scope="session")
def running_proxy(s3_server: S3Server) -> Iterator[FaultProxy]:
    with FaultProxy(s3_server) as proxy:
        yield proxy


@pytest.fixture
def proxy(s3: S3Server, running_proxy: FaultProxy) -> FaultProxy:  # noqa: ARG001 - the bucket is empty by then
    """The way to the bucket; does no harm until it is told to."""
    running_proxy.fault = lambda _: None
    running_proxy.log.clear()
    return running_proxy


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """A data root with two slices, two plans and two corpora; copied, never changed."""
    base = tmp_path_factory.mktemp("made")
    fill(base / "pictures" / "a", 12)
    fill(base / "pictures" / "b", 14, start=100)
    installation = install(base, {**STREET, "path": base / "pictures"})
    ingest(installation)
    for target in ("10", "20"):
        plan = allocate(installation, target)
        build_corpus(plan.path, installation.root, tombstones_in_force(installation.root))
    return installation


@pytest.fixture
def machine(made: Installation, proxy: FaultProxy, tmp_path: Path) -> NewRoot:
    """Makes machines: `machine("a")` has a copy of the made data root, `machine("b", empty=True)` an empty one."""

    def new(name: str, *, empty: bool = False, **settings: object) -> Installation:
        root = tmp_path / name
        if not root.exists():
            if empty:
                root.mkdir()
                (root / ".vlm_root").touch()
            else:
                shutil.copytree(made.root.path, root, symlinks=True)
        changed = made.settings.model_dump() | {
            "data_root": root, "remote": REMOTE, "remote_endpoint": proxy.endpoint, "remote_concurrency": 4,
            **settings,
        }  # fmt: skip
        return replace(made, settings=Settings(_env_file=None, **changed), root=DataRoot(root))

    return new


def tree(root: DataRoot) -> dict[str, bytes | str]:
    """Everything a backup is about, by path: links by their target, files by content."""
    found: dict[str, bytes | str] = {}
    for area in ("listings", "datasets", "allocations", "corpora", "tombstones", ".catalogs"):
        for path in sorted((root.path / area).rglob("*")):
            relative = path.relative_to(root.path).as_posix()
            if path.is_symlink():
                found[relative] = str(path.readlink())
            elif path.is_file():
                found[relative] = path.read_bytes()
    return found
