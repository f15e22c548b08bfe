"""The corpus as a whole: same bytes whoever writes them, what is unchanged stays, nothing is left half done."""

import os
import shutil
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from vlm_assets.corpus import build, planned_rows, writer
from vlm_assets.corpus.build import BuildProgress, build_corpus
from vlm_assets.corpus.manifest import CorpusManifest, data_name
from vlm_assets.corpus.shards import plan_shards
from vlm_assets.corpus.staging import Staging
from vlm_assets.corpus.writer import ShardProgress
from vlm_assets.store.slices import file_hash
from vlm_assets.store.versions import current_version, read_manifest
from vlm_assets.words.errors import CorpusError, StoreError
from vlm_assets.words.layout import DataRoot
from vlm_assets_tests.builders import CELL, commit_plan, commit_slice, sample
from vlm_assets_tests.corpus.small_corpus import (
    SHARD,
    SLICES,
    commit_sources,
    make_rows,
    plan_rows,
    slice_version,
    version_of,
    write_shard,
)


def test_manifest_says_what_lies_there(root):
    plan_dir = plan_rows(root, commit_sources(root))
    manifest = build_corpus(plan_dir, root)
    version = version_of(root)
    assert read_manifest(version, CorpusManifest) == manifest
    assert manifest.rows == 1_200
    assert manifest.holes == 0
    assert manifest.sources == {"src": 1_200}
    assert manifest.categories == {"photos": {"street": 1_200}}
    assert len(manifest.shards) > 4
    assert {path.name for path in version.iterdir()} == {*manifest.files, "metadata.json"}
    for name, entry in manifest.files.items():
        path = version / name
        assert (path.stat().st_size, file_hash(path)) == (entry.size_bytes, entry.blake3)
        assert path.stat().st_mode & 0o777 == 0o444
    for bits, shard in manifest.shards.items():
        assert shard.data == manifest.files[data_name(bits)]
        assert shard.data.size_bytes <= shard.planned_bytes <= SHARD.max_bytes


def test_opens_with_datasets(root, tmp_path, monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    plan_dir = plan_rows(root, commit_sources(root))
    manifest = build_corpus(plan_dir, root)
    version = version_of(root)
    opened = datasets.load_from_disk(str(root.corpus("corpus", "t")))
    assert opened.num_rows == manifest.rows
    assert opened.features["images"] == datasets.List(datasets.Image())
    undecoded = opened.cast_column("images", datasets.List(datasets.Image(decode=False)))
    expected = {
        row["id"]: row["images"] for source, name, _ in SLICES for row in make_rows(source, name, range(400))
    }
    for place in (0, manifest.rows - 1, 617, 3):
        row = undecoded[place]
        assert row["images"] == [{"bytes": one, "path": None} for one in expected[row["id"]]]
        assert (row["category"], row["subcategory"], row["licence"]) == (
            CELL.category,
            CELL.subcategory,
            CELL.licence,
        )
    files = [str(version / name) for name in manifest.data_files()]
    loaded = datasets.load_dataset(
        "arrow", data_files=files, split="train", cache_dir=str(tmp_path / "cache")
    )
    assert loaded.num_rows == manifest.rows
    assert loaded.features == opened.features
    assert loaded["id"][617] == undecoded[617]["id"]


def test_same_hashes_whatever_the_workers(root, monkeypatch):
    plan_dir = plan_rows(root, commit_sources(root))
    first = build_corpus(plan_dir, root)
    for workers, direct_from in ((1, 0), (2, 0), (2, 2**40), (4, 0), (4, 2**40)):
        monkeypatch.setattr(writer, "_DIRECT_BYTES", direct_from)
        shutil.rmtree(root.path / "corpora")
        seen: list[tuple[int, int]] = []

        def note(progress: BuildProgress, seen: list[tuple[int, int]] = seen) -> None:
            seen.append((progress.rows, progress.total_rows))

        assert build_corpus(plan_dir, root, workers=workers, on_progress=note) == first
        assert seen
        assert all(rows <= total == first.rows for rows, total in seen)


def test_progress_says_what_is_done_of_what_is_to_do(root):
    plan_dir = plan_rows(root, commit_sources(root))
    last: list[BuildProgress] = []
    manifest = build_corpus(plan_dir, root, workers=2, on_progress=last.append)
    done = last[-1]
    assert done.rows == done.total_rows == manifest.rows
    written = sum(path.stat().st_size for path in version_of(root).glob("*-r*.arrow"))
    assert 0 < done.size_bytes <= done.total_bytes
    assert written <= done.total_bytes <= 3 * written


def test_progress_counts_a_shard_by_its_last_word(monkeypatch):
    monkeypatch.setattr(build, "time", SimpleNamespace(monotonic=lambda: 110.0))
    progress = BuildProgress(total_rows=90, started_s=100.0)
    assert progress.left_s is None
    for bits, rows, size_bytes in (("0", 10, 1_000), ("1", 5, 400), ("0", 25, 2_500)):
        progress.take(ShardProgress(bits, rows, size_bytes))
    assert (progress.rows, progress.size_bytes) == (30, 2_900)
    assert progress.rows_per_s == pytest.approx(3)
    assert progress.left_s == pytest.approx(20)


def test_batches_of_the_slices_do_not_show(tmp_path):
    hashes = set()
    for number, (batch_rows, index_batch_rows) in enumerate([(1_000, 65_536), (1, 1), (7, 13)]):
        other = DataRoot(tmp_path / str(number))
        other.path.mkdir()
        for source, name, container in SLICES:
            commit_slice(
                other, source, name, make_rows(source, name, range(60)), container=container, items_per_slice=64,
                batch_rows=batch_rows, index_batch_rows=index_batch_rows,
            )  # fmt: skip
        selection = {(s, n): dict.fromkeys(range(1, 60, 2), 0) for s, n, _ in SLICES}
        hashes.add(build_corpus(commit_plan(other, selection, shard=SHARD), other).root_hash)
    assert len(hashes) == 1


def test_an_emptied_row_that_no_takedown_covers_is_an_error(root):
    rows = make_rows("a", "loose", range(40))
    rows[7] |= {"images": None}
    commit_slice(root, "a", "loose", rows, items_per_slice=64)
    with pytest.raises(CorpusError, match=r"a/loose, row \d+: index and data disagree"):
        build_corpus(commit_plan(root, {("a", "loose"): dict.fromkeys(range(40), 0)}), root)


@pytest.mark.parametrize("size", [100, 9_000], ids=["small_images", "large_images"])
@pytest.mark.parametrize("change", [{"sha256": "0" * 64}, {"size_bytes": 99}], ids=lambda c: next(iter(c)))
def test_index_and_data_that_disagree_stop_the_shard(root, size, change):
    rows = [sample("a", "s", f"i{n}", image=bytes([n]) * size) for n in range(20)]
    commit_slice(root, "a", "s", rows)
    plan_dir = commit_plan(root, {("a", "s"): dict.fromkeys(range(20), 0)})
    planned = slice_version(root, "a", "s")
    other = {**rows[0], "image_facts": [rows[0]["image_facts"][0] | change]}
    commit_slice(root, "a", "s", [other, *rows[1:]])
    (planned / "index.arrow").unlink()
    shutil.copy(slice_version(root, "a", "s") / "index.arrow", planned / "index.arrow")
    with pytest.raises(CorpusError, match=r"a/s, row \d+: index and data disagree"):
        build_corpus(plan_dir, root)


def test_a_slice_that_moved_on_stops_the_plan(root):
    plan_dir = plan_rows(root, commit_sources(root, range(10)))
    shutil.rmtree(root.source("b") / ".versions")
    commit_slice(root, "b", "loose", make_rows("b", "loose", range(11)))
    with pytest.raises(CorpusError, match=r"b/loose: the version .* is gone"):
        build_corpus(plan_dir, root)


def test_never_committed_is_an_error(root):
    with pytest.raises(StoreError):
        build_corpus(root.path / "nothing", root)


def test_a_row_over_the_cap_is_named(root):
    commit_slice(root, "a", "s", [sample("a", "s", "big", image=bytes(500_000))])
    plan_dir = commit_plan(root, {("a", "s"): {0: 0}}, shard=SHARD)
    with pytest.raises(CorpusError, match=r"a/s, row 0"):
        build_corpus(plan_dir, root)


def test_no_row_is_longer_than_the_offsets_of_its_column():
    assert np.iinfo(np.int32).max == planned_rows._MAX_ROW_BYTES


def test_a_shard_larger_than_planned_is_refused_and_leaves_nothing_that_counts(root):
    plan_dir = plan_rows(root, commit_sources(root))
    staging = Staging(plan_shards(plan_dir, root)[0])
    plan = staging.read_plan()
    first, second = plan.shards[:2]
    size = {one.bits: write_shard(staging.path, one.bits).data.entry.size_bytes for one in (first, second)}
    for shard in (first, second):
        staging.done(shard.bits).unlink()
    shards = (
        first.model_copy(update={"planned_bytes": size[first.bits] - 1}),
        second.model_copy(update={"planned_bytes": size[second.bits]}),
        *plan.shards[2:],
    )
    staging.write_plan(plan.model_copy(update={"shards": shards}))
    told = rf"r{first.bits}: {size[first.bits]} bytes, planned at most {size[first.bits] - 1}\. .*fetch"
    with pytest.raises(CorpusError, match=told):
        write_shard(staging.path, first.bits)
    assert not staging.data(first.bits).exists()
    assert not staging.index(first.bits).exists()
    assert not staging.done(first.bits).exists()
    assert write_shard(staging.path, second.bits).data.entry.size_bytes == size[second.bits]


def test_an_index_that_says_too_little_of_its_rows_stops_the_shard(root):
    rows = [sample("a", "s", f"i{n}", image=bytes([n]) * 20_000) | {"row_bytes": 1} for n in range(12)]
    commit_slice(root, "a", "s", rows)
    plan_dir = commit_plan(root, {("a", "s"): dict.fromkeys(range(12), 0)}, shard=SHARD)
    with pytest.raises(CorpusError, match=r"bytes, planned at most \d+\. A slice's row_bytes are wrong"):
        build_corpus(plan_dir, root)
    assert current_version(root.corpus("corpus", "t")) is None


def test_what_memory_holds_before_does_not_show(root):
    """malloc hands out memory full of one byte and, freed, of another (mallopt(3), MALLOC_PERTURB_)."""
    plan_dir = plan_rows(root, commit_sources(root))
    expected = build_corpus(plan_dir, root).root_hash
    for poison in ("85", "170"):
        shutil.rmtree(root.path / "corpora")
        found = subprocess.run(
            [sys.executable, "-m", "vlm_assets_tests.corpus.killed_build", root.path, plan_dir, "0"],
            env={**os.environ, "MALLOC_PERTURB_": poison}, capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert found.stdout.split()[0] == expected
