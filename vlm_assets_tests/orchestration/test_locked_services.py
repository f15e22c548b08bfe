"""`build --locked` through a live code server and daemon: the same corpus, and what upstream changed is named."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from vlm_assets.allocation.step import allocate
from vlm_assets.corpus.build import build_corpus
from vlm_assets.installation.opening import Installation
from vlm_assets_tests.orchestration.services import Services
from vlm_assets_tests.waiting import LONG_HANG_S
from vlm_assets_tests.workplace import STREET, fill, ingest, install, picture

pytestmark = [pytest.mark.slow, pytest.mark.timeout(LONG_HANG_S)]


def command(installation: Installation, services: Services, *words: str) -> tuple[int, str]:
    """Exit code and output of a command on the services' DAGSTER_HOME."""
    variables = {
        "VLM_CATALOG": str(installation.catalog_dir), "VLM_DATA_ROOT": str(installation.root.path), "COLUMNS": "200"
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", "from vlm_assets.cli import main; main()", *words],
        env={**services.environment, **variables}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.returncode, " ".join((done.stdout + done.stderr).split())


def test_runs_that_a_daemon_launches_work_by_the_lock(tmp_path: Path) -> None:
    for number in range(2):
        fill(tmp_path / "in" / f"s{number}", 4, start=10 * number)
    source = {**STREET, "path": tmp_path / "in"}
    owner = install(tmp_path / "owner", source, corpus={"targets": {"5": 5}})
    ingest(owner)
    built = build_corpus(allocate(owner, "5").path, owner.root)
    shutil.copytree(owner.catalog_dir, tmp_path / "reader" / "catalog")
    reader = install(tmp_path / "reader", source, corpus={"targets": {"5": 5}})
    with Services(reader, tmp_path / "services") as services:
        assert command(owner, services, "lock")[0] == 0
        for name in ("corpus.lock", "corpus.lock.items.parquet"):
            shutil.copy(owner.catalog_dir / name, reader.catalog_dir / name)
        fill(tmp_path / "in" / "later", 1, start=50)
        code, told = command(reader, services, "build", "--locked")
        assert code == 0, told
        assert "A daemon is at work: the runs are queued" in told
        assert f"5: the corpus of the lock, root hash {built.root_hash}" in told

        (tmp_path / "in" / "s1" / "0012.jpeg").write_bytes(picture(77))
        (reader.root.path / "datasets" / "street" / "s1").unlink()
        code, told = command(reader, services, "build", "--locked")
        assert code == 1, told
        assert "NOT AS LOCKED street/s1: not committed as locked" in told
        assert "s1/0012.jpeg: another image" in told
