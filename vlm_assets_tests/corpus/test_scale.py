"""Promises that only show with many rows: growth, nested targets, kills at any moment, takedowns.

Through the real allocation and corpus. 20,000 rows in the default run, but for the kills; a million behind the
marker `slow`.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from vlm_assets.allocation.churn import churn
from vlm_assets.allocation.files import read_plan
from vlm_assets.allocation.step import allocate
from vlm_assets.audit.run import audit_corpus
from vlm_assets.corpus.build import build_corpus
from vlm_assets.corpus.manifest import CorpusManifest, data_name, index_name
from vlm_assets.installation.opening import Installation
from vlm_assets.operate.takedown.order import TakedownOrder
from vlm_assets.operate.takedown.run import take_down
from vlm_assets.store.versions import read_manifest
from vlm_assets_tests.benchmarks.made_installation import Made, install, make_slice, opened, pieces

KILLED = """
import sys
from pathlib import Path
from vlm_assets.corpus.build import build_corpus
from vlm_assets.words.layout import DataRoot
print(build_corpus(Path(sys.argv[1]), DataRoot(Path(sys.argv[2])), workers=int(sys.argv[3])).root_hash)
"""

SIZES = [
    pytest.param((10_000, "100KB"), id="10k"),
    pytest.param((1_000_000, "1MB"), id="1M", marks=[pytest.mark.slow, pytest.mark.timeout(3_600)]),
]


@pytest.fixture(scope="module", params=SIZES)
def made_once(request, tmp_path_factory) -> tuple[Path, Made]:
    """Slices of so many rows, made once."""
    rows, max_bytes = request.param
    folder = tmp_path_factory.mktemp("scale") / "made"
    made = Made(rows, image_bytes=64)
    install(folder, {"half": rows // 2, **nested(rows)}, max_bytes=max_bytes)
    for piece in pieces(made):
        make_slice(folder, made, piece)
    return folder, made


@pytest.fixture
def made(made_once, tmp_path) -> tuple[Installation, Made]:
    """The slices in a data root of the test's own, by hard links."""
    folder, made = made_once
    shutil.copytree(folder, tmp_path / "root", symlinks=True, copy_function=os.link)
    return opened(tmp_path / "root"), made


def nested(rows: int) -> dict[str, int]:
    """Five targets of which the last is more than there is."""
    return {f"t{n}": rows // 2_000 * 5**n for n in range(5)} | {"t5": 2 * rows}


def corpus_dir(installation: Installation, target: str = "half") -> Path:
    return installation.root.corpus("bench", target).resolve()


def ids_of(version: Path, bits: str) -> frozenset[str]:
    return frozenset(pa.ipc.open_file(str(version / index_name(bits))).read_all().column("id").to_pylist())


def test_growth_by_a_hundredth_changes_no_more_than_it_must(made):
    installation, size = made
    old_plan = allocate(installation, "half").path
    before = build_corpus(old_plan, installation.root)
    old = corpus_dir(installation)
    for piece in pieces(size):
        make_slice(installation.root.path.parent, Made(size.rows, size.image_bytes, grown=1), piece)
    new_plan = allocate(opened(installation.root.path.parent), "half").path
    after = build_corpus(new_plan, installation.root)
    new = corpus_dir(installation)
    change = churn(read_plan(old_plan), read_plan(new_plan)).total
    assert before.rows == after.rows == size.rows // 2
    assert 0 < change.removed == change.added <= 0.015 * after.rows
    for bits in after.shards.keys() & before.shards.keys():
        same_file = (new / data_name(bits)).stat().st_ino == (old / data_name(bits)).stat().st_ino
        assert same_file == (ids_of(new, bits) == ids_of(old, bits))
    for bits in after.shards.keys() - before.shards.keys():
        split, merged = (
            (bits.startswith(one) for one in before.shards),
            (one.startswith(bits) for one in before.shards),
        )
        assert any(split) or any(merged) or ids_of(new, bits)
    print(f"churn {change.removed / after.rows:.2%} of {after.rows} rows, {len(after.shards)} shards")


def test_targets_are_nested_and_exact_or_say_why_not(made):
    installation, size = made
    before = np.empty(0, np.uint64)
    for target, rows in nested(size.rows).items():
        plan = read_plan(allocate(installation, target).path)
        parts = [
            (np.uint64(one.ordinal) << np.uint64(32)) | one.row.astype(np.uint64) for one in plan.slices()
        ]
        chosen = np.unique(np.concatenate(parts))
        manifest = plan.manifest
        assert len(chosen) == manifest.granted_rows
        assert np.isin(before, chosen).all()
        if target == "t5":
            assert manifest.granted_rows < rows
            grants = (allocate(installation, target).path / "grants.json").read_text()
            assert "shortfall" in grants
        else:
            assert manifest.granted_rows == rows
        before = chosen


@pytest.mark.slow  # `test_build` has the short form
def test_killed_at_any_moment_with_any_workers_it_is_the_same_corpus(made):
    installation, size = made
    plan = allocate(installation, "half").path
    begun = time.monotonic()
    undisturbed = build_corpus(plan, installation.root)
    took_s = time.monotonic() - begun
    draw = random.Random(size.rows)
    script = installation.root.path.parent / "killed.py"
    script.write_text(KILLED)
    kills = 0
    for workers in (1, 2, 4):
        shutil.rmtree(installation.root.path / "corpora")
        wanted, done = (7 if size.rows > 100_000 else 1), 0
        while done < wanted:
            done += killed(script, plan, installation.root.path, workers, draw.uniform(0.3, 1.5 + took_s))
            kills += 1
            assert kills < 200
        again = subprocess.run(
            [sys.executable, script, plan, installation.root.path, str(workers)],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert again.stdout.strip() == undisturbed.root_hash
        assert read_manifest(corpus_dir(installation), CorpusManifest) == undisturbed


def killed(script: Path, plan: Path, root: Path, workers: int, after_s: float) -> bool:
    """Whether the build was still under way when it and all its workers were killed."""
    process = subprocess.Popen(
        [sys.executable, script, plan, root, str(workers)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        process.wait(after_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
    return process.wait() == -signal.SIGKILL


@pytest.mark.slow  # `operate/takedown/test_takedown` has the short form
def test_a_takedown_of_five_samples_rewrites_only_the_shards_that_hold_them(made):
    installation, _ = made
    before = build_corpus(allocate(installation, "half").path, installation.root)
    old = corpus_dir(installation)
    inodes = {path.name: path.stat().st_ino for path in old.iterdir()}
    held = {bits: sorted(ids_of(old, bits)) for bits in before.shards}
    gone = [ids[len(ids) // 2] for _, ids in sorted(held.items())[:5]]
    for one in gone:
        take_down(installation, TakedownOrder(id=one))
    new = corpus_dir(installation)
    after = read_manifest(new, CorpusManifest)
    assert after.holes == before.rows - after.rows >= 5
    for bits, ids in held.items():
        touched = ids_of(new, bits) != frozenset(ids)
        for name in (data_name(bits), index_name(bits)):
            assert ((new / name).stat().st_ino != inodes[name]) == touched
    assert not {*gone} & frozenset().union(*(ids_of(new, bits) for bits in after.shards))
    failed = {
        one.name for one in audit_corpus(installation, "half") if one.failed and one.severity == "error"
    }
    assert failed == {"decodes", "loadable"}  # made images are random bytes
