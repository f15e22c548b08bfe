"""Three small slices, a plan over them, and what lies on disk of the corpus that is built."""

import random
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa

from vlm_assets.allocation.manifest import AllocatedShard
from vlm_assets.corpus.build import write_shards
from vlm_assets.corpus.manifest import CorpusManifest, index_name
from vlm_assets.corpus.staging import ShardResult, Staging
from vlm_assets.store.versions import current_version
from vlm_assets.words.layout import DataRoot
from vlm_assets.words.schema import Row
from vlm_assets_tests.builders import commit_plan, commit_slice, sample

SHARD = AllocatedShard(max_bytes=400_000, block_rows=4, window_bytes=60_000)
SLICES = (("a", "loose", False), ("a", "zip", True), ("b", "loose", False))


def make_rows(source: str, name: str, items: Iterable[int]) -> list[Row]:
    rng = random.Random(f"{source}/{name}")
    images = {item: rng.randbytes(rng.randint(200, 3_000)) for item in range(1_000)}
    return [
        sample(
            source,
            name,
            f"{item // 50 if name == 'zip' else item}",
            item,
            image=images[item],
            text=f"satır {item}",
        )
        for item in items
    ]


def commit_sources(root: DataRoot, items: Iterable[int] = range(400)) -> dict[str, list[str]]:
    """Commits the three slices; returns for each the row ids in slice order."""
    ids = {}
    for source, name, container in SLICES:
        rows = make_rows(source, name, items)
        commit_slice(root, source, name, rows, container=container, items_per_slice=64, batch_rows=50)
        index = pa.ipc.open_file(str(slice_version(root, source, name) / "index.arrow")).read_all()
        ids[f"{source}/{name}"] = index.column("id").to_pylist()
    return ids


def slice_version(root: DataRoot, source: str, name: str) -> Path:
    version = current_version(root.slice(source, name))
    assert version is not None
    return version


def plan_rows(root: DataRoot, chosen: dict[str, list[str]], left_out: frozenset[str] = frozenset()) -> Path:
    """A plan over all rows but those."""
    selection = {
        (name.split("/")[0], name.split("/")[1]): {i: 0 for i, one in enumerate(ids) if one not in left_out}
        for name, ids in chosen.items()
    }
    return commit_plan(root, selection, shard=SHARD)


def version_of(root: DataRoot) -> Path:
    version = current_version(root.corpus("corpus", "t"))
    assert version is not None
    return version


def write_shard(staging: Path, bits: str) -> ShardResult:
    """Writes one shard; what its sidecar says."""
    write_shards(staging, [bits])
    result = Staging(staging).result(Staging(staging).read_plan().find(bits))
    assert result is not None
    return result


def shard_files(version: Path) -> dict[str, int]:
    """Data and index files with their inodes."""
    return {path.name: path.stat().st_ino for path in version.glob("*-r*.arrow")}


def ids_by_shard(version: Path, manifest: CorpusManifest) -> dict[str, frozenset[str]]:
    return {
        bits: frozenset(pa.ipc.open_file(str(version / index_name(bits))).read_all().column("id").to_pylist())
        for bits in manifest.shards
    }


def run_killed(root: DataRoot, plan_dir: Path, step: int) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-m",
        "vlm_assets_tests.corpus.killed_build",
        str(root.path),
        str(plan_dir),
        str(step),
    ]
    return subprocess.run(command, capture_output=True, text=True, check=False)
