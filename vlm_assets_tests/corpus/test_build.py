"""The corpus as a whole: same bytes whoever writes them, what is unchanged stays, nothing is left half done."""

import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from vlm_assets.allocation.manifest import AllocatedShard, AllocationManifest
from vlm_assets.corpus import build, planned_rows, writer
from vlm_assets.corpus.build import BuildProgress, build_corpus, corpus_lock, pending_shards, write_shards
from vlm_assets.corpus.manifest import CorpusManifest, data_name, index_name
from vlm_assets.corpus.seal import PINS, seal
from vlm_assets.corpus.shards import plan_shards
from vlm_assets.corpus.staging import ShardPlan, ShardResult, Staging
from vlm_assets.corpus.writer import ShardProgress, ShardWriter
from vlm_assets.locks import hold_lock
from vlm_assets.store.slices import file_hash
from vlm_assets.store.versions import current_version, read_manifest
from vlm_assets.words.errors import CorpusError, DiskFullError, LockHeldError, StoreError
from vlm_assets.words.layout import DataRoot
from vlm_assets.words.schema import Row
from vlm_assets.words.tombstones import Tombstones
from vlm_assets_tests.builders import CELL, commit_plan, commit_slice, sample

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


@pytest.fixture
def root(tmp_path: Path) -> DataRoot:
    root = DataRoot(tmp_path)
    root.marker.touch()
    return root


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


@pytest.mark.parametrize(
    ("kills", "twice"),
    [(3, False), pytest.param(20, True, marks=[pytest.mark.slow, pytest.mark.timeout(1_200)])],
)
def test_killed_anywhere_and_run_again_it_is_the_same_corpus(root, kills, twice):
    plan_dir = plan_rows(root, commit_sources(root))
    undisturbed = build_corpus(plan_dir, root)
    shutil.rmtree(root.path / "corpora")
    whole = run_killed(root, plan_dir, 0)
    root_hash, steps = whole.stdout.split()
    assert root_hash == undisturbed.root_hash, whole.stderr
    rng = random.Random(kills)
    for _ in range(kills):
        shutil.rmtree(root.path / "corpora")
        killed = run_killed(root, plan_dir, rng.randint(1, int(steps)))
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        if twice:  # may be killed once more, or come to the end
            again = run_killed(root, plan_dir, rng.randint(1, int(steps) * 2))
            assert again.returncode in (0, -signal.SIGKILL), again.stderr
        assert build_corpus(plan_dir, root) == undisturbed
        assert sorted(p.name for p in version_of(root).iterdir()) == sorted(
            [*undisturbed.files, "metadata.json"]
        )


def test_what_is_done_is_not_done_again(root):
    plan_dir = plan_rows(root, commit_sources(root))
    staging, plan = plan_shards(plan_dir, root)
    first, second = plan.shards[0].bits, plan.shards[1].bits
    written = write_shard(staging, first)
    damaged = write_shard(staging, second)
    assert written.how == "written"
    assert write_shard(staging, first) == written
    path = Staging(staging).data(second)
    path.write_bytes(path.read_bytes()[:-8] + b"12345678")  # same size, other bytes
    assert write_shard(staging, second).data.entry == damaged.data.entry
    assert file_hash(path) == damaged.data.entry.blake3
    assert [shard.bits for shard in pending_shards(staging)] == [shard.bits for shard in plan.shards[2:]]
    with pytest.raises(CorpusError, match="shards are not complete"):
        seal(staging)
    assert write_shards(staging) == len(plan.shards) - 2
    assert write_shards(staging) == 0
    assert seal(staging).rows == 1_200
    assert not staging.exists()


def test_growth_rewrites_only_shards_where_rows_came_or_went(root):
    before = build_corpus(plan_rows(root, commit_sources(root, range(400))), root)
    old = version_of(root)
    after = build_corpus(plan_rows(root, commit_sources(root, range(404))), root)
    new = version_of(root)
    assert after.rows == before.rows + 12
    old_ids, new_ids = ids_by_shard(old, before), ids_by_shard(new, after)
    old_inodes, new_inodes = shard_files(old), shard_files(new)
    same = [bits for bits, ids in new_ids.items() if old_ids.get(bits) == ids]
    assert len(same) > len(new_ids) // 3
    for bits in same:
        for name in (data_name(bits), index_name(bits)):
            assert new_inodes[name] == old_inodes[name]
    for bits in set(new_ids) - set(same):
        assert new_inodes[data_name(bits)] not in old_inodes.values()


def test_a_takedown_rewrites_only_the_shards_that_hold_it(root):
    ids = commit_sources(root)
    plan_dir = plan_rows(root, ids)
    before = build_corpus(plan_dir, root)
    old = version_of(root)
    gone = [make_rows("a", "loose", [n])[0] for n in (3, 77, 200)]
    taken = Tombstones(
        image_sha256=frozenset(row["image_facts"][0]["sha256"] for row in gone[:2]),
        ids=frozenset([gone[2]["id"]]),
        hashes=("h",),
    )
    after = build_corpus(plan_dir, root, taken)
    assert (after.rows, after.holes, after.tombstones) == (before.rows - 3, 3, ("h",))
    old_ids, inodes = ids_by_shard(old, before), shard_files(version_of(root))
    assert set(after.shards) == set(before.shards)
    for bits, held in old_ids.items():
        touched = any(row["id"] in held for row in gone)
        assert (inodes[data_name(bits)] == shard_files(old)[data_name(bits)]) == (not touched)
        assert after.shards[bits].holes == sum(row["id"] in held for row in gone)
    assert not {row["id"] for row in gone} & frozenset().union(
        *ids_by_shard(version_of(root), after).values()
    )


def test_a_takedown_in_the_slice_changes_no_other_shard(root):
    """The slice has a new version then, with the same content hash, its row emptied."""
    plan_dir = plan_rows(root, commit_sources(root))
    before = build_corpus(plan_dir, root)
    old = version_of(root)
    rows = make_rows("a", "loose", range(400))
    victim = rows[5]
    victim |= {"images": None, "text": ""}
    shutil.rmtree(root.source("a") / ".versions" / read_plan_version(plan_dir, "a", "loose"))
    commit_slice(root, "a", "loose", rows, items_per_slice=64)
    taken = Tombstones(image_sha256=frozenset([victim["image_facts"][0]["sha256"]]), hashes=("h",))
    after = build_corpus(plan_dir, root, taken)
    changed = {
        name for name, inode in shard_files(version_of(root)).items() if shard_files(old)[name] != inode
    }
    assert len(changed) == 2
    assert after.rows == before.rows - 1


def read_plan_version(plan_dir: Path, source: str, name: str) -> str:

    plan = read_manifest(plan_dir, AllocationManifest)
    return next(one.version for one in plan.slices if (one.source, one.slice) == (source, name))


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


def test_a_full_disk_stops_before_and_while_writing(root, monkeypatch):
    plan_dir = plan_rows(root, commit_sources(root))
    with pytest.raises(DiskFullError, match="bytes beside a reserve of"):
        build_corpus(plan_dir, root, reserve_bytes=2**62)
    staging, plan = plan_shards(plan_dir, root)
    done = write_shard(staging, plan.shards[0].bits)
    free = iter([2**60, 2**60, 2**60, 0])

    class Stat:
        f_frsize = 1

        @property
        def f_bavail(self) -> int:
            return next(free)

    monkeypatch.setattr(os, "statvfs", lambda _: Stat())
    with pytest.raises(DiskFullError):
        write_shard(staging, plan.shards[1].bits)
    monkeypatch.undo()
    assert sorted(p.name for p in Staging(staging).files.iterdir()) == sorted(
        [data_name(done.bits), index_name(done.bits)]
    )
    assert build_corpus(plan_dir, root).rows == 1_200


def test_old_versions_go_but_pinned_ones_and_other_targets_stay(root):
    ids = commit_sources(root, range(40))
    first = build_corpus(plan_rows(root, ids), root)
    folder = root.corpus("corpus", "t").parent
    (folder / PINS).mkdir()
    (folder / PINS / first.version).touch()
    other = build_corpus(commit_plan(root, {("b", "loose"): {0: 0}}, target="u", shard=SHARD), root)
    kept = []
    for left_out in range(4):
        gone = frozenset(ids["a/loose"][: left_out + 1])
        kept.append(build_corpus(plan_rows(root, ids, gone), root, keep_versions=2).version)
    assert {p.name for p in (folder / ".versions").iterdir()} == {first.version, other.version, *kept[-2:]}


def test_a_second_builder_is_told_who_works(root):
    plan_dir = plan_rows(root, commit_sources(root, range(10)))
    with (
        hold_lock(corpus_lock(root, "corpus", "t"), "testing"),
        pytest.raises(LockHeldError, match="testing"),
    ):
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


@pytest.mark.parametrize("workers", [1, 2])
def test_interrupted_the_threads_stop_at_their_next_window(root, monkeypatch, workers):
    staging, plan = plan_shards(plan_rows(root, commit_sources(root)), root)
    told: list[str] = []

    def write_for_ever(writer: ShardWriter, shard: ShardPlan) -> None:
        try:
            while True:
                writer._window_done(ShardProgress(shard.bits, 1, 1))
        except CorpusError as error:
            told.append(str(error))
            raise

    def interrupted(_: BuildProgress) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(ShardWriter, "write", write_for_ever)
        with pytest.raises(KeyboardInterrupt):
            write_shards(staging, workers=workers, on_progress=interrupted)
    assert len(told) == workers
    assert all("the build was stopped" in one for one in told)
    assert write_shards(staging, workers=workers) == len(plan.shards)


def test_a_shard_that_another_process_writes_is_waited_for_until_the_build_is_stopped(root, monkeypatch):
    monkeypatch.setattr(build, "_TOLD_EVERY_S", 0.01)
    monkeypatch.setattr(writer, "_TURN_S", 0.01)
    staging, plan = plan_shards(plan_rows(root, commit_sources(root)), root)
    others = Staging(staging).lock(plan.shards[0].bits)
    looked: list[int] = []

    def look(progress: BuildProgress) -> None:
        looked.append(progress.rows)
        if progress.rows == progress.total_rows - plan.shards[0].rows and len(looked) > 20:
            raise KeyboardInterrupt

    with hold_lock(others, "testing"), pytest.raises(KeyboardInterrupt):
        write_shards(staging, workers=2, on_progress=look)
    assert pending_shards(staging) == plan.shards[:1]
    assert write_shards(staging) == 1


def test_an_error_in_one_shard_is_raised_and_what_is_complete_stays(root):
    staging, plan = plan_shards(plan_rows(root, commit_sources(root)), root)
    broken = plan.shards[3].bits
    path = Staging(staging).windows(broken)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CorpusError, match=f"shard r{broken}.* is damaged; plan the shards again"):
        write_shards(staging, workers=2)
    written = {path.stem for path in (staging / "done").iterdir()}
    assert f"r{broken}" not in written


@pytest.mark.parametrize(
    "cut",
    ["vlm_assets.store.versions.swap_link", "vlm_assets.corpus.seal._clean_up"],
    ids=["placed", "shown"],
)
def test_a_seal_that_was_cut_after_it_had_placed_the_version_goes_on(root, monkeypatch, cut):
    """The step is tried again alone, and the files are no longer where shards are written."""
    plan = plan_rows(root, commit_sources(root, range(40)))
    staging, _ = plan_shards(plan, root, Tombstones())
    write_shards(staging, workers=1)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(cut, stop)
        with pytest.raises(KeyboardInterrupt):
            seal(staging)
    manifest = seal(staging)
    shown = current_version(root.corpus("corpus", "t"))
    assert shown is not None
    assert read_manifest(shown, CorpusManifest) == manifest
    assert not staging.exists()
    with pytest.raises(CorpusError):
        seal(staging)
