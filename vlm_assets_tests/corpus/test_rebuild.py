"""A corpus built again: what is done is kept, and only shards where rows came or went are written."""

import shutil
from pathlib import Path

import pytest

from vlm_assets.allocation.manifest import AllocationManifest
from vlm_assets.corpus.build import build_corpus, pending_shards, write_shards
from vlm_assets.corpus.manifest import data_name, index_name
from vlm_assets.corpus.seal import PINS, seal
from vlm_assets.corpus.shards import plan_shards
from vlm_assets.corpus.staging import Staging
from vlm_assets.store.slices import file_hash
from vlm_assets.store.versions import read_manifest
from vlm_assets.words.errors import CorpusError
from vlm_assets.words.tombstones import Tombstones
from vlm_assets_tests.builders import commit_plan, commit_slice
from vlm_assets_tests.corpus.small_corpus import (
    SHARD,
    commit_sources,
    ids_by_shard,
    make_rows,
    plan_rows,
    shard_files,
    version_of,
    write_shard,
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
    with pytest.raises(CorpusError, match="shards not complete"):
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
