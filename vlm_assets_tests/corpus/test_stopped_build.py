"""A build that is killed, interrupted, out of disk or told to wait, and goes on later as if nothing had been."""

import os
import random
import shutil
import signal

import pytest

from vlm_assets.corpus import build, writer
from vlm_assets.corpus.build import BuildProgress, build_corpus, corpus_lock, pending_shards, write_shards
from vlm_assets.corpus.manifest import CorpusManifest, data_name, index_name
from vlm_assets.corpus.seal import seal
from vlm_assets.corpus.shards import plan_shards
from vlm_assets.corpus.staging import ShardPlan, Staging
from vlm_assets.corpus.writer import ShardProgress, ShardWriter
from vlm_assets.locks import hold_lock
from vlm_assets.store.versions import current_version, read_manifest
from vlm_assets.words.errors import CorpusError, DiskFullError, LockHeldError
from vlm_assets.words.tombstones import Tombstones
from vlm_assets_tests.corpus.small_corpus import (
    commit_sources,
    plan_rows,
    run_killed,
    version_of,
    write_shard,
)


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


def test_a_second_builder_is_told_who_works(root):
    plan_dir = plan_rows(root, commit_sources(root, range(10)))
    with (
        hold_lock(corpus_lock(root, "corpus", "t"), "testing"),
        pytest.raises(LockHeldError, match="testing"),
    ):
        build_corpus(plan_dir, root)


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
