"""Two workers in two processes that share an S3 server and a Postgres, and nothing else, make the corpus of one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from vlm_assets.allocation.step import allocate, tombstones_in_force
from vlm_assets.corpus.build import build_corpus
from vlm_assets_tests.deploy.test_services import postgres
from vlm_assets_tests.store.s3 import CREDENTIALS, REMOTE, S3Server
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

_START = """
import json, sys
import dagster as dg
from vlm_assets.orchestration.preview import ignore_preview_notices
ignore_preview_notices()
from vlm_assets.installation import open_installation
from vlm_assets.orchestration.assets_allocation import allocation_asset
from vlm_assets.orchestration.assets_corpus import corpus_asset
from vlm_assets.orchestration.assets_dataset import dataset_asset
from vlm_assets.orchestration.assets_listing import listing_asset
from vlm_assets.orchestration.resources import line_resources
from vlm_assets.store.remote.backup import backup
from vlm_assets.store.remote.hydrate import hydrate_sources
from vlm_assets.store.remote.on_commit import push_slice, push_target

installation = open_installation()
catalog = installation.catalog
instance = dg.DagsterInstance.get()

def run(asset, partition=None):
    resources = line_resources(installation)
    assert dg.materialize([asset], instance=instance, partition_key=partition, resources=resources).success
"""

_FETCHER = (
    _START
    + """
run(listing_asset(catalog))
spec = catalog.source("street")
for key in instance.get_dynamic_partitions("street__slices"):
    run(dataset_asset(spec, 1), key)
    assert push_slice(installation, "street", key)
assert not backup(installation, sources=["street"]).failed
"""
)

_BUILDER = (
    _START
    + """
hydrate_sources(installation)
run(allocation_asset(catalog), "20")
run(corpus_asset(catalog), "20")
assert push_target(installation, "20")
from vlm_assets.corpus.manifest import CorpusManifest
from vlm_assets.store.versions import read_manifest
manifest = read_manifest(installation.root.corpus("small", "20").resolve(), CorpusManifest)
seen = {key.to_user_string() for key in instance.all_asset_keys()}
print(json.dumps({"root_hash": manifest.root_hash, "rows_hash": manifest.rows_hash, "seen": sorted(seen)}))
"""
)


def _worker(folder: Path, code: str, catalog: Path, endpoint: str, port: int) -> str:
    """Runs a worker with a working directory, a data root and a DAGSTER_HOME of its own."""
    for name in ("work", "home", "data"):
        (folder / name).mkdir(parents=True)
    (folder / "data/.vlm_root").touch()
    (folder / "home/dagster.yaml").write_text(_INSTANCE.format(port=port), "utf-8")
    environment = {
        **os.environ, **CREDENTIALS, "DAGSTER_HOME": str(folder / "home"), "VLM_DATA_ROOT": str(folder / "data"),
        "VLM_CATALOG": str(catalog), "VLM_REMOTE": REMOTE, "VLM_REMOTE_ENDPOINT": endpoint,
        "PYTHONWARNINGS": "ignore", "PYTHONPATH": os.pathsep.join(sys.path),
    }  # fmt: skip
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=folder / "work", env=environment, capture_output=True, text=True,
        timeout=250, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.slow
def test_slices_by_one_shards_by_the_other(tmp_path: Path):
    for number, folder in enumerate(("a", "b")):
        fill(tmp_path / "pictures" / folder, 14, start=100 * number)
    alone = install(tmp_path / "alone", {**STREET, "path": tmp_path / "pictures"})
    ingest(alone)
    wanted = build_corpus(allocate(alone, "20").path, alone.root, tombstones_in_force(alone.root))
    catalog = tmp_path / "alone/catalog"
    with S3Server() as s3, postgres() as port:
        s3.new_bucket()
        _worker(tmp_path / "fetcher", _FETCHER, catalog, s3.endpoint, port)
        told = _worker(tmp_path / "builder", _BUILDER, catalog, s3.endpoint, port)
    found = json.loads(told.splitlines()[-1])
    assert (found["root_hash"], found["rows_hash"]) == (wanted.root_hash, wanted.rows_hash)
    assert {"listing/street", "dataset/street", "allocation", "corpus"} <= set(found["seen"])
    assert not (tmp_path / "fetcher/data/corpora").exists()
