"""Two workers in two processes that share an S3 server and a Postgres, and nothing else, make the corpus of one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from vlm_assets.allocation.step import allocate, tombstones_in_force
from vlm_assets.corpus.build import build_corpus
from vlm_assets.corpus.manifest import CorpusManifest
from vlm_assets.store.versions import read_manifest
from vlm_assets.words.layout import DataRoot
from vlm_assets_tests.deploy.test_services import postgres
from vlm_assets_tests.remote.s3 import CREDENTIALS, REMOTE, S3Server
from vlm_assets_tests.workplace import STREET, fill, ingest, install

_INSTANCE = """
storage:
  postgres:
    postgres_db:
      scheme: postgresql+psycopg2
      hostname: 127.0.0.1
      port: {port}
      username: vlm
      password: x
      db_name: postgres
telemetry: {{enabled: false}}
"""

_BUILD = """
import sys
from vlm_assets.cli import main
sys.argv = ["vlm-assets", "build", *sys.argv[1:]]
main()
"""

_SEEN = """
import json
import dagster as dg
with dg.DagsterInstance.get() as instance:
    print(json.dumps(sorted(key.to_user_string() for key in instance.all_asset_keys())))
"""


class _Worker:
    """A working directory, a data root and a DAGSTER_HOME of its own."""

    def __init__(self, folder: Path, catalog: Path, endpoint: str, port: int) -> None:
        for name in ("work", "home", "data"):
            (folder / name).mkdir(parents=True)
        (folder / "data/.vlm_root").touch()
        (folder / "home/dagster.yaml").write_text(_INSTANCE.format(port=port), "utf-8")
        self.folder = folder
        self._environment = {
            **os.environ, **CREDENTIALS, "DAGSTER_HOME": str(folder / "home"), "VLM_DATA_ROOT": str(folder / "data"),
            "VLM_CATALOG": str(catalog), "VLM_REMOTE": REMOTE, "VLM_REMOTE_ENDPOINT": endpoint,
            "PYTHONWARNINGS": "ignore", "PYTHONPATH": os.pathsep.join(sys.path),
        }  # fmt: skip

    def run(self, code: str, *arguments: str) -> str:
        result = subprocess.run(
            [sys.executable, "-c", code, *arguments], cwd=self.folder / "work", env=self._environment,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout


@pytest.mark.slow
def test_slices_by_one_shards_by_the_other(tmp_path: Path):
    """By the command as a user gives it: one fetches the source, the other builds the target."""
    for number, folder in enumerate(("a", "b")):
        fill(tmp_path / "pictures" / folder, 14, start=100 * number)
    alone = install(tmp_path / "alone", {**STREET, "path": tmp_path / "pictures"})
    ingest(alone)
    wanted = build_corpus(allocate(alone, "20").path, alone.root, tombstones_in_force(alone.root))
    catalog = tmp_path / "alone/catalog"
    with S3Server() as s3, postgres() as port:
        s3.new_bucket()
        fetcher = _Worker(tmp_path / "fetcher", catalog, s3.endpoint, port)
        fetcher.run(_BUILD, "--source", "street")
        builder = _Worker(tmp_path / "builder", catalog, s3.endpoint, port)
        builder.run(_BUILD, "--target", "20")
        seen = set(json.loads(builder.run(_SEEN)))
    found = read_manifest(DataRoot(builder.folder / "data").corpus("small", "20").resolve(), CorpusManifest)
    assert (found.root_hash, found.rows_hash) == (wanted.root_hash, wanted.rows_hash)
    assert {"listing/street", "dataset/street", "allocation", "corpus", "report"} <= seen
    assert not (fetcher.folder / "data/corpora").exists()
    for key in ("a", "b"):
        runs = {
            (worker.folder / f"data/datasets/street/{key}/run.json").read_bytes()
            for worker in (fetcher, builder)
        }
        assert len(runs) == 1  # the builder has that fetch, and made none of its own
