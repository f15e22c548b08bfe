"""The written corpus is, row for row and batch for batch, what the slow reference says."""

import random
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from vlm_assets.allocation.manifest import AllocatedCell, AllocatedShard
from vlm_assets.corpus.build import build_corpus
from vlm_assets.corpus.manifest import data_name, index_name
from vlm_assets.store.versions import current_version
from vlm_assets.words.layout import DataRoot
from vlm_assets.words.schema import Row
from vlm_assets.words.tombstones import Tombstones
from vlm_assets_tests.builders import commit_plan, commit_slice, sample
from vlm_assets_tests.corpus.reference import data_row, index_row, reference_corpus

CELLS = (
    AllocatedCell(category="photos", subcategory="street/gece", source="a", licence="CC0-1.0", grant=0),
    AllocatedCell(category="belgeler", subcategory="ışık", source="b", licence="unknown", grant=0),
)


def random_rows(rng: random.Random, source: str, name: str, items: int, most_records: int) -> list[Row]:
    """Rows of one image or several, with nulls, empty texts, Turkish, images from one byte to a few windows."""
    rows = []
    for item in range(items):
        for record in sorted(rng.sample(range(most_records * 2), rng.randint(1, most_records))):
            sizes = rng.choice([[1], [5], [300], [5_000], [40_000], [40, 1, 9_000], [3_000, 20_000]])
            images = [rng.randbytes(size) for size in sizes]
            rows.append(
                sample(
                    source, name, f"öğe{item}", record,
                    images=images,
                    messages=rng.choice([None, None, conversation(rng, len(images))]),
                    text=rng.choice([None, "", "ışık İstanbul", "x" * rng.randint(1, 500)]),
                    extra=rng.choice([None, '{"a":1}']),
                    label=rng.choice([None, "sokak"]),
                    fact={
                        "dhash": rng.choice([None, rng.getrandbits(64)]), "orientation": rng.choice([None, 3]),
                        "dpi": rng.choice([None, 300]), "name": rng.choice([None, "sayfa.jpg"]),
                    },
                )
            )  # fmt: skip
    return rows


def conversation(rng: random.Random, images: int) -> list[dict[str, Any]]:
    asked = [{"type": "image", "text": None}] * images + [
        {"type": "text", "text": "bu ne?" * rng.randint(1, 9)}
    ]
    said = [{"type": "text", "text": rng.choice(["ışık", ""])}]
    return [{"role": "user", "content": asked}, {"role": "assistant", "content": said}][: rng.randint(1, 2)]


def random_inputs(root: DataRoot, rng: random.Random, shard: AllocatedShard) -> Path:
    """A few slices of both sorts and a plan over a random part of their rows."""
    selection: dict[tuple[str, str], dict[int, int]] = {}
    for number in range(rng.randint(1, 4)):
        source, name = rng.choice("ab"), f"s{number}"
        container = rng.random() < 0.4
        rows = random_rows(rng, source, name, rng.randint(0, 30), rng.choice([1, 1, 7]))
        commit_slice(
            root, source, name, rows, container=container, items_per_slice=rng.choice([1, 5, 20, 100]),
            batch_rows=rng.choice([1, 3, 50]), index_batch_rows=rng.choice([2, 1_000]),
        )  # fmt: skip
        part = rng.choice([0.0, 0.3, 1.0, 1.0])
        selection[source, name] = {i: rng.randrange(2) for i in range(len(rows)) if rng.random() < part}
    return commit_plan(root, selection, cells=CELLS, shard=shard, seed=rng.randrange(2**63))


def read_corpus(version: Path, bits: Sequence[str]) -> dict[str, list[tuple[list[Row], list[Row]]]]:
    """Bits → windows → (data rows, index rows)."""
    found = {}
    for one in bits:
        data = pa.ipc.open_stream(str(version / data_name(one))).read_all().to_batches()
        reader = pa.ipc.open_file(str(version / index_name(one)))
        index = [reader.get_batch(i) for i in range(reader.num_record_batches)]
        found[one] = [(d.to_pylist(), i.to_pylist()) for d, i in zip(data, index, strict=True)]
    return found


def open_root(path: Path) -> DataRoot:
    root = DataRoot(path)
    root.marker.touch()
    return root


def compare(plan_dir: Path, root: DataRoot, taken_down: frozenset[str] = frozenset()) -> None:
    expected = reference_corpus(plan_dir, root, taken_down)
    manifest = build_corpus(plan_dir, root, Tombstones(taken_down, hashes=tuple(sorted(taken_down))))
    version = current_version(root.corpus("corpus", "t"))
    assert version is not None
    assert sorted(manifest.shards) == sorted(expected)
    written = read_corpus(version, sorted(manifest.shards))
    for bits, windows in expected.items():
        as_files = [([data_row(r) for r in rows], [index_row(r) for r in rows]) for rows in windows]
        assert written[bits] == as_files, bits
        entry = manifest.shards[bits]
        assert entry.rows == sum(len(rows) for rows in windows)
        assert entry.data.size_bytes <= entry.planned_bytes <= manifest.shard.max_bytes


# A seed has nothing to shrink.
@settings(
    max_examples=15, deadline=None, phases=[Phase.generate], suppress_health_check=[HealthCheck.too_slow]
)
@given(
    seed=st.integers(0, 2**32),
    block_rows=st.sampled_from([1, 2, 4, 64]),
    limits=st.sampled_from(
        [(150_000, 60_000), (250_000, 30_000), (150_000, 10**7), (10**9, 1), (10**9, 3_000)]
    ),
)
def test_random_corpora_agree_with_the_reference(seed, block_rows, limits):
    rng = random.Random(seed)
    max_bytes, window_bytes = limits
    shard = AllocatedShard(max_bytes=max_bytes, block_rows=block_rows, window_bytes=window_bytes)
    with TemporaryDirectory() as folder, patch("os.fsync"):  # what is written matters here, not that it stays
        root = open_root(Path(folder))
        plan_dir = random_inputs(root, rng, shard)
        compare(plan_dir, root)


def _one_slice(root: DataRoot, rows: list[Row], **keys: Any) -> Path:
    shard = keys.pop("shard", AllocatedShard(max_bytes=10**9, block_rows=4, window_bytes=50_000))
    commit_slice(root, "a", "s", rows, **keys)
    return commit_plan(root, {("a", "s"): dict.fromkeys(range(len(rows)), 0)}, cells=CELLS, shard=shard)


@pytest.mark.parametrize(
    ("rows", "keys"),
    [
        pytest.param([("i", n, 10) for n in range(200)], {"container": True}, id="adjacent_blocks_that_descend"),
        pytest.param([(f"i{n % 9}", n, 10) for n in range(300)], {"items_per_slice": 8}, id="interleaved_blocks"),
        pytest.param([("i", 0, 400_000), ("j", 0, 9)], {}, id="row_larger_than_a_window"),
        pytest.param(
            [("i", n, 30_000) for n in range(30)],
            {"container": True, "shard": AllocatedShard(max_bytes=200_000, block_rows=64, window_bytes=50_000)},
            id="block_larger_than_the_cap",
        ),
        pytest.param([], {}, id="no_rows"),
    ],
)  # fmt: skip
def test_shapes_that_went_wrong_before(tmp_path, rows, keys):
    root = open_root(tmp_path)
    made = [
        sample("a", "s", item, record, image=bytes([n % 251]) * size)
        for n, (item, record, size) in enumerate(rows)
    ]
    compare(_one_slice(root, made, **keys), root)


def test_takedowns_leave_holes_and_every_other_row_in_its_place(tmp_path):
    rng = random.Random(5)
    root = open_root(tmp_path)
    shard = AllocatedShard(max_bytes=250_000, block_rows=4, window_bytes=60_000)
    rows = random_rows(rng, "a", "s", 60, 2)
    plan_dir = _one_slice(root, rows, shard=shard)
    compare(plan_dir, root, frozenset(row["image_facts"][0]["sha256"] for row in rng.sample(rows, 7)))
