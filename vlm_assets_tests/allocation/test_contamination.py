"""Rows that match a benchmark: which are excluded, how they are counted, and that nothing else moves."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vlm_assets.allocation import gram_memory
from vlm_assets.allocation.benchmarks import LISTS
from vlm_assets.allocation.files import AllocationPlan
from vlm_assets.allocation.gram_memory import GramMemory
from vlm_assets.allocation.inputs import inputs_hash
from vlm_assets.allocation.plan import plan_allocation
from vlm_assets.catalog.spec import SourceSpec
from vlm_assets.words.errors import AllocationError
from vlm_assets.words.layout import DataRoot
from vlm_assets.words.tombstones import Tombstones
from vlm_assets_tests.allocation.builders import catalog, commit, hex_of, row, source

PICTURE = 0x0F0F_0F0F_3333_5555
SAID = "Hangi şehir Türkiye'nin başkentidir ve hangi yıl başkent ilan edilmiştir, aşağıdakilerden hangisi doğrudur"
QUOTED = f"Dün şöyle sordu: {SAID.upper()} diye"
HALVES = [" ".join(SAID.split()[:6]), " ".join(SAID.split()[6:])]


def exam(name: str = "exam", **keys: Any) -> SourceSpec:
    return source(name, "benchmark", subcategory=name, **keys)


def plan(cat, supply, target="t", *, stones=None, base_dir=None) -> AllocationPlan:
    return plan_allocation(cat, target, supply, stones or Tombstones(), base_dir=base_dir)


def matrix(result: AllocationPlan) -> dict[tuple[str, str], tuple[int, int, int, int]]:
    return {
        (one.source, one.benchmark): (one.exact, one.near, one.text, one.rows)
        for one in result.certificate.contamination
    }


BESIDE = [None, PICTURE]
ROW_CASES = {
    "another image": (row("a"), row("z"), (0, 0, 0)),
    "its image": (row("a"), row("a"), (1, 0, 0)),
    "its image among several": (row("a"), row("x", images=["x", "a"]), (1, 0, 0)),
    "an image of a record of several": (row("x", images=["a", "b"]), row("b"), (1, 0, 0)),
    "its picture": (row("a", dhash=PICTURE), row("z", dhash=PICTURE ^ 1), (0, 1, 0)),
    "its picture among some": (row("a", dhash=PICTURE), row("z", images=["x", "y"], dhash=BESIDE), (0, 1, 0)),
    "a picture of some": (row("a", images=["a", "b"], dhash=BESIDE), row("z", dhash=PICTURE), (0, 1, 0)),
    "too far": (row("a", dhash=PICTURE), row("z", dhash=PICTURE ^ 0b111), (0, 0, 0)),
    "flat": (row("a", dhash=1), row("z", dhash=1), (0, 0, 0)),
    "image and picture": (row("a", dhash=PICTURE), row("a", dhash=PICTURE), (1, 0, 0)),
    "its words": (row("a", text=SAID), row("z", text=QUOTED), (0, 0, 1)),
    "its words in a conversation": (row("a", text=SAID), row("z", messages=["Merhaba", QUOTED]), (0, 0, 1)),
    "words of its conversation": (row("a", messages=HALVES), row("z", text=QUOTED), (0, 0, 1)),
    "twelve words": (row("a", text=SAID), row("z", text=" ".join(SAID.split()[:11])), (0, 0, 0)),
    "half text, half conversation": (row("a", text=SAID), row("z", text=HALVES[0], messages=HALVES[1:]), (0, 0, 0)),
    "all": (row("a", text=SAID, dhash=PICTURE), row("a", text=SAID, dhash=PICTURE), (1, 0, 1)),
}  # fmt: skip


@pytest.mark.parametrize(("held", "given", "found"), ROW_CASES.values(), ids=ROW_CASES)
def test_what_matches(tmp_path, held, given, found):
    supply = [
        commit(tmp_path, "exam", "test", [row("other"), held]),
        commit(tmp_path, "a", "s", [row(1), row(2), row(3), given, row(5)]),
    ]
    result = plan(catalog([source("a")], benchmarks=[exam()], decontaminate_bits=2), supply)
    rows = int(any(found))
    assert matrix(result) == ({("a", "exam"): (*found, 1)} if rows else {})
    assert result.excluded["decontaminate"] == rows
    assert sum(len(one.row) for one in result.slices) == 5 - rows
    assert {one.supply.source for one in result.slices} == {"a"}
    [facts] = result.certificate.benchmarks
    assert (facts.name, facts.images) == ("exam", 1 + len(held.get("images", [0])))


def test_a_row_counts_for_each_benchmark_and_way_and_is_excluded_once(tmp_path):
    pq.write_table(pa.table({"image_sha256": [hex_of("b")]}), tmp_path / "list.parquet")
    supply = [
        commit(tmp_path, "exam", "x", [row("a"), row("b")]),
        commit(tmp_path, "quiz", "x", [row("b", dhash=PICTURE), row("q", text=SAID)]),
        commit(tmp_path, "a", "s", [row("a"), row("b", text=SAID), row(3), row("like", dhash=PICTURE)]),
        commit(tmp_path, "b", "s", [row("b", dhash=PICTURE), row(5)]),
    ]
    cat = catalog(
        [source("a"), source("b")], benchmarks=[exam(), exam("quiz")], decontaminate=(Path("list.parquet"),)
    )
    result = plan(cat, supply, base_dir=tmp_path)
    assert matrix(result) == {
        ("a", "exam"): (2, 0, 0, 2),
        ("a", LISTS): (1, 0, 0, 1),
        ("a", "quiz"): (1, 1, 1, 2),
        ("b", "exam"): (1, 0, 0, 1),
        ("b", LISTS): (1, 0, 0, 1),
        ("b", "quiz"): (1, 0, 0, 1),
    }
    assert {one.source: one.excluded for one in result.certificate.sources} == {
        "a": {"decontaminate": 3},
        "b": {"decontaminate": 1},
    }
    examples = {(one.source, one.benchmark): one.examples for one in result.certificate.contamination}
    assert examples["b", "exam"] == ("b/s/b",)
    assert set(examples["a", "quiz"]) == {"a/s/b", "a/s/like"}


@pytest.mark.parametrize(
    ("keys", "stones"),
    [
        ({"licences": {"deny": ["CC0-1.0"]}}, Tombstones()),
        ({"min_side_px": 200}, Tombstones()),
        ({}, Tombstones(ids=frozenset({"a/s/a", "a/s/said"}), hashes=("x",))),
    ],
    ids=["licence", "min_side", "tombstone"],
)
def test_rows_of_an_earlier_reason_are_not_counted(tmp_path, keys, stones):
    supply = [
        commit(tmp_path, "exam", "x", [row("a", dhash=PICTURE, text=SAID)]),
        commit(tmp_path, "a", "s", [row("a", dhash=PICTURE), row("said", text=SAID)]),
    ]
    result = plan(catalog([source("a")], benchmarks=[exam()], **keys), supply, stones=stones)
    assert matrix(result) == {}
    assert result.excluded["decontaminate"] == 0


def ids_of(result: AllocationPlan) -> set[tuple[str, int]]:
    return {(one.supply.slice, int(number)) for one in result.slices for number in one.row}


def test_a_new_benchmark_takes_its_rows_and_moves_no_other(tmp_path):
    supply = [commit(tmp_path, "a", f"s{n}", [row(f"{n}-{i}") for i in range(40)]) for n in range(3)]
    held = commit(tmp_path, "exam", "x", [row("1-7"), row("2-9")])
    targets = {"small": 20, "large": 60, "all": 1000}
    bare, clean = (catalog([source("a")], targets=targets, benchmarks=b) for b in ([], [exam()]))
    before = {name: ids_of(plan(bare, supply, name)) for name in targets}
    after = {name: ids_of(plan(clean, [*supply, held], name)) for name in targets}
    assert before["all"] - after["all"] == {("s1", 7), ("s2", 9)}
    assert after["small"] < after["large"] < after["all"]
    for name in ("small", "large"):
        assert len(after[name]) == targets[name]
        assert len(before[name] - after[name]) == len(after[name] - before[name]) <= 2


def test_duplicates_of_what_a_benchmark_has_do_not_stay_in_its_place(tmp_path):
    supply = [
        commit(tmp_path, "exam", "x", [row("a")]),
        commit(tmp_path, "a", "s", [row("a", key="1"), row("a", key="2", text="else"), row("b")]),
    ]
    result = plan(catalog([source("a")], benchmarks=[exam()]), supply)
    assert ids_of(result) == {("s", 2)}


def hashed(cat, supply) -> str:
    return inputs_hash(cat, "t", supply, Tombstones())


def test_the_inputs_hash_follows_what_the_benchmarks_hold(tmp_path):
    supply = [commit(tmp_path, "a", "s", [row(1)])]
    one, other = (commit(tmp_path, f"exam{n}", "x", [row(n)]) for n in range(2))
    bare = catalog([source("a")])
    both = catalog([source("a")], benchmarks=[exam("exam0"), exam("exam1")])
    off = catalog([source("a")], benchmarks=[exam("exam0", enabled=False)])
    assert hashed(off, supply) == hashed(bare, supply)
    assert (
        len(
            {
                hashed(bare, supply),
                hashed(both, supply),
                hashed(both, [*supply, one]),
                hashed(both, [*supply, one, other]),
            }
        )
        == 4
    )
    renamed = catalog(
        [source("a")], benchmarks=[exam("exam0", licence="CC-BY-4.0", hold=True), exam("exam1")]
    )
    assert hashed(renamed, [*supply, one]) == hashed(both, [one, *supply])


def test_a_disabled_benchmark_is_no_input(tmp_path):
    supply = [commit(tmp_path, "exam", "x", [row("a")])]
    with pytest.raises(AllocationError, match="not enabled: exam"):
        plan(catalog([source("a")], benchmarks=[exam(enabled=False)]), supply)


@pytest.mark.parametrize("broken", ["exam", "a"])
def test_damaged_words_are_named(tmp_path, broken):
    supply = [
        commit(tmp_path, "exam", "x", [row("a", text=SAID)]),
        commit(tmp_path, "a", "s", [row(1, text=SAID)]),
    ]
    path = next((tmp_path / broken).rglob("data-00000.arrow"))
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(AllocationError, match=r"data-00000\.arrow is damaged"):
        plan(catalog([source("a")], benchmarks=[exam()]), supply)
    path.unlink()
    with pytest.raises(AllocationError, match="the data files have 0 rows, the manifest 1"):
        plan(catalog([source("a")], benchmarks=[exam()]), supply)


def test_a_list_may_have_words_and_nothing_else(tmp_path):
    pq.write_table(pa.table({"text": [SAID, None]}), tmp_path / "list.parquet")
    supply = [commit(tmp_path, "a", "s", [row(1, text=QUOTED), row(2, text="başka"), row(3)])]
    cat = catalog([source("a")], decontaminate=(Path("list.parquet"),))
    result = plan(cat, supply, base_dir=tmp_path)
    assert matrix(result) == {("a", LISTS): (0, 0, 1, 1)}
    pq.write_table(pa.table({"words": [SAID]}), tmp_path / "list.parquet")
    with pytest.raises(AllocationError, match="expected a column image_sha256 or dhash or text, got words"):
        plan(cat, supply, base_dir=tmp_path)


def test_words_are_read_once_and_again_where_nothing_whole_is_kept(tmp_path, monkeypatch):
    supply = [
        commit(tmp_path, "exam", "x", [row("a", text=SAID)]),
        commit(tmp_path, "a", "s", [row(n, text=QUOTED if n == 3 else "az") for n in range(5)]),
    ]
    cat, root = catalog([source("a")], benchmarks=[exam()]), DataRoot(tmp_path / "root")

    def planned(*, keep: bool = False) -> dict[tuple[str, str], tuple[int, int, int, int]]:
        memory = GramMemory(root, keep=keep)
        return matrix(plan_allocation(cat, "t", supply, Tombstones(), base_dir=None, memory=memory))

    found = {("a", "exam"): (0, 0, 1, 1)}
    assert planned() == found
    assert not root.path.exists()
    assert planned(keep=True) == found
    [kept] = root.cache_of("a").rglob("*.*")
    data = (tmp_path / "a" / "s" / "data-00000.arrow").rename(tmp_path / "away")
    assert planned() == found
    data.rename(tmp_path / "a" / "s" / "data-00000.arrow")
    kept.write_bytes(bytes(16) + kept.read_bytes()[16:])
    monkeypatch.setattr(gram_memory, "_said_too", lambda *_: (np.empty(0, np.uint64), np.empty(0, np.int64)))
    assert planned() == {}, "what is damaged is not taken for whole"
