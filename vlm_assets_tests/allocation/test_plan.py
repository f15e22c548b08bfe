"""The rules of the allocation one by one."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vlm_assets.allocation.benchmarks import read_decontamination
from vlm_assets.catalog.labels import SubcategoryFrom
from vlm_assets.catalog.spec import DedupSpec, LicencePolicy, ShardSpec
from vlm_assets.words.errors import AllocationError
from vlm_assets.words.keys import ranks_of
from vlm_assets.words.schema import INDEX_SCHEMA
from vlm_assets.words.tombstones import Tombstones
from vlm_assets_tests.allocation.builders import catalog, commit, hex_of, index_row, quota, row, source
from vlm_assets_tests.allocation.plans import PICTURE, ids_of, plan


def test_selects_the_rows_of_lowest_rank(tmp_path):
    cat = catalog([source("a")], targets={"t": 4})
    supply = [commit(tmp_path, "a", "s", [row(n) for n in range(20)])]
    keys = {n: index_row("a", "s", n, row(n))["content_sha256"] for n in range(20)}
    by_rank = sorted(range(20), key=lambda n: ranks_of(np.frombuffer(keys[n][:8], "<u8"), 7)[0])
    assert sorted(ids_of(plan(cat, supply))) == sorted(f"a/s/{n}" for n in by_rank[:4])


def same_prefix(tails):
    """Images whose hashes agree in the first 8 bytes, so that their ranks are equal."""
    return [("ab" * 8 + tail * 48)[:64] for tail in tails]


def test_equal_ranks_are_settled_by_id(tmp_path):
    images = same_prefix("312")
    rows = [row(n, sha256=image, key=f"k{n}") for n, image in enumerate(images)]
    supply = [commit(tmp_path, "a", "z", rows[:1]), commit(tmp_path, "a", "b", [rows[2], rows[1]])]
    for wanted in (1, 2, 3):
        cat = catalog([source("a")], targets={"t": wanted}, dedup=DedupSpec(exact="image"))
        assert sorted(ids_of(plan(cat, supply))) == ["a/b/k1", "a/b/k2", "a/z/k0"][:wanted]


@pytest.mark.parametrize(
    ("count", "kept", "over"), [(1, ["a/s/a"], 2), (2, ["a/s/b", "a/s/a"], 1)], ids=["one key", "two keys"]
)
def test_max_samples_counts_keys_and_settles_equal_ranks_by_id(tmp_path, count, kept, over):
    one, two, three = same_prefix("312")
    rows = [
        row(1, sha256=two, key="c"),
        row(0, sha256=one, key="b"),
        row(2, sha256=three, key="d"),
        row(3, sha256=two, key="a"),
    ]
    cat = catalog([source("a", max_samples=count)], targets={"t": 9}, dedup=DedupSpec(exact="image"))
    result = plan(cat, [commit(tmp_path, "a", "s", rows)])
    assert ids_of(result) == kept
    assert result.excluded["max_samples"] == over
    assert result.excluded["duplicate"] == 1


def test_slices_stand_by_the_bytes_of_their_ids(tmp_path):
    """`x-1/…` sorts before `x/…`, for "-" comes before "/"."""
    supply = [commit(tmp_path, "a", name, [row("same", key="k")]) for name in ("x", "x-1")]
    assert ids_of(plan(catalog([source("a")]), supply)) == ["a/x-1/k"]


def test_one_image_takes_its_whole_record_down(tmp_path):
    rows = [row("r", images=["a", "b"], key="1"), row("r", images=["c", "d"], key="2"), row("b", key="3")]
    stones = Tombstones(image_sha256=frozenset({hex_of("b")}))
    assert ids_of(plan(catalog([source("a")]), [commit(tmp_path, "a", "s", rows)], stones)) == ["a/s/2"]


def test_listed_hashes_that_begin_alike_are_told_apart(tmp_path):
    images = same_prefix("12345")
    rows = [row(n, sha256=image) for n, image in enumerate(images)]
    stones = Tombstones(image_sha256=frozenset(images[1:4]))
    result = plan(catalog([source("a")]), [commit(tmp_path, "a", "s", rows)], stones)
    assert ids_of(result) == ["a/s/0", "a/s/4"]


def test_reasons_stand_in_their_order(tmp_path):
    """Each row breaks all rules from one on; it counts under the first."""
    tiny = {"min_side_px": 5}
    huge = {"row_bytes": 10**9, **tiny}
    rows = [
        row("t", **huge, label="none"),
        row("u", **huge, label="none"),
        row("l", **huge, label="ok"),
    ]
    plain = [row("m", **huge), row("l2", row_bytes=10**9), row("bench"), row("m1"), row("m2"), row("fine")]
    rule = SubcategoryFrom(column="x", map={"ok": "street"})
    cat = catalog(
        [
            source("a", licence="unknown", subcategory_from=rule),
            source("b"),
            source("c", max_samples=1),
        ],
        licences=LicencePolicy(deny=("unknown",)),
        min_side_px=10,
        shard=ShardSpec(max_bytes=10**6),
        dedup=DedupSpec(exact="image"),
        decontaminate=(Path("lists/bench.parquet"),),
    )
    (tmp_path / "lists").mkdir()
    pq.write_table(pa.table({"image_sha256": [hex_of("bench"), None]}), tmp_path / "lists" / "bench.parquet")
    supply = [
        commit(tmp_path, "a", "s", rows),
        commit(tmp_path, "b", "s", plain),
        commit(tmp_path, "c", "s", [row("m1"), row("m1", key="again"), row("c2")]),
    ]
    result = plan(cat, supply, Tombstones(image_sha256=frozenset({hex_of("t")})), base_dir=tmp_path)
    left = {str(reason): rows for reason, rows in result.excluded.items() if rows}
    assert left["tombstone"] == left["unmapped_label"] == left["licence"] == 1
    assert left["min_side"] == left["too_large"] == left["decontaminate"] == 1
    assert left["max_samples"] + left["duplicate"] == 3
    totals = {line.source: line for line in result.certificate.sources}
    assert (
        totals["a"].cause == "all rows excluded (tombstone 0, unmapped_label 0, licence 1)"
        or totals["a"].cause
    )
    for line in totals.values():
        assert line.admitted == line.selected + sum(line.excluded.values()) + line.not_selected


def test_too_large_counts_the_names_that_the_catalogue_gives(tmp_path):
    room = 10**6 - 16384 - 65536 - len("photos") - len("street") - len("CC0-1.0")
    cat = catalog([source("a")], shard=ShardSpec(max_bytes=10**6))
    supply = [commit(tmp_path, "a", "s", [row(1, row_bytes=room), row(2, row_bytes=room + 1)])]
    assert ids_of(plan(cat, supply)) == ["a/s/1"]


def test_a_record_is_too_small_where_one_of_its_images_is(tmp_path):
    rows = [row(1, min_side_px=64), row(2, min_side_px=63), row(4, min_side_px=65)]
    supply = [commit(tmp_path, "a", "s", rows)]
    assert ids_of(plan(catalog([source("a")], min_side_px=64), supply)) == ["a/s/1", "a/s/4"]


@pytest.mark.parametrize(("bits", "left"), [(0, 3), (2, 2)])
def test_benchmark_pictures_by_dhash(tmp_path, bits, left):
    pq.write_table(pa.table({"dhash": pa.array([PICTURE, 0], pa.uint64())}), tmp_path / "b.parquet")
    rows = [row(1, dhash=PICTURE), row(2, dhash=PICTURE ^ 0b11), row(3, dhash=0), row(4)]
    cat = catalog([source("a")], decontaminate=(Path("b.parquet"),), decontaminate_bits=bits)
    result = plan(cat, [commit(tmp_path, "a", "s", rows)], base_dir=tmp_path)
    assert len(ids_of(result)) == left
    assert result.excluded["decontaminate"] == 4 - left


def test_a_benchmark_list_that_changes_while_it_is_read_is_no_input(tmp_path, monkeypatch):
    path = tmp_path / "b.parquet"
    pq.write_table(pa.table({"image_sha256": [hex_of("a")]}), path)
    read = read_decontamination

    def and_change(paths):
        found = read(paths)
        pq.write_table(pa.table({"image_sha256": [hex_of("b")]}), path)
        return found

    monkeypatch.setattr("vlm_assets.allocation.benchmarks.read_decontamination", and_change)
    cat = catalog([source("a")], decontaminate=(Path("b.parquet"),))
    with pytest.raises(AllocationError, match="`decontaminate` changed while it was read"):
        plan(cat, [commit(tmp_path, "a", "s", [row("a"), row("b")])], base_dir=tmp_path)


def test_a_tombstoned_id_spares_other_rows_with_the_image(tmp_path):
    supply = [commit(tmp_path, "a", name, [row("same", key="k")]) for name in ("s", "t")]
    stones = Tombstones(ids=frozenset({"a/s/k"}), hashes=("x",))
    result = plan(catalog([source("a")]), supply, stones)
    assert ids_of(result) == ["a/t/k"]
    assert result.excluded["tombstone"] == 1
    assert result.tombstones == ("x",)


def test_labels_follow_the_present_catalogue(tmp_path):
    quotas = {"photos": quota(1, subcategories={"cat": quota("0.5"), "dog": quota("0.5")})}
    rows = [row(1, label="0"), row(2, label="1"), row(3, label="2"), row(4, label=None), row(5, label="dog")]
    supply = [commit(tmp_path, "a", "s", rows)]
    mapped = SubcategoryFrom(column="label", map={"0": "cat", "1": "dog"})
    result = plan(catalog([source("a", subcategory_from=mapped)], quotas), supply)
    assert [(cell.subcategory, grant) for cell, grant in zip(result.cells, result.grants, strict=True)] == [
        ("cat", 1), ("dog", 1)]  # fmt: skip
    plain = plan(catalog([source("a", subcategory_from=SubcategoryFrom(column="label"))], quotas), supply)
    assert ids_of(plain) == ["a/s/5"]
    assert plain.excluded["unmapped_label"] == 4


@pytest.mark.parametrize("mode", ["redistribute", "report", "fail"])
def test_shortfall(tmp_path, mode):
    quotas = {"photos": quota(1, subcategories={"street": quota("0.5"), "nature": quota("0.5")})}
    cat = catalog([source("a"), source("b", subcategory="nature")], quotas, shortfall=mode)
    supply = [commit(tmp_path, "a", "s", [row(n) for n in range(2)]),
              commit(tmp_path, "b", "s", [row(n) for n in range(10, 30)])]  # fmt: skip
    if mode == "fail":
        with pytest.raises(AllocationError, match=r"photos/street: asked 5, granted 2, short 3: supply"):
            plan(cat, supply)
        return
    result = plan(cat, supply)
    nodes = {"/".join(node.path): node for node in result.certificate.nodes}
    assert (nodes["photos/street"].shortfall, nodes["photos/street"].cause) == (3, "supply")
    assert nodes["photos/nature"].granted == (8 if mode == "redistribute" else 5)
    assert result.certificate.granted_rows == len(ids_of(result)) == (10 if mode == "redistribute" else 7)


@pytest.mark.parametrize("mode", [None, "redistribute", "report", "fail"])
def test_all_takes_every_row_and_lacks_none(tmp_path, mode):
    quotas = {"photos": quota("0.9", subcategories={"street": quota(1)}),
              "pages": quota("0.1", subcategories={"scans": quota(1, max=4)})}  # fmt: skip
    cat = catalog(
        [source("a"), source("b", "pages", subcategory="scans")], quotas, targets={"t": "all"}, shortfall=mode
    )
    supply = [commit(tmp_path, "a", "s", [row(n) for n in range(2)]),
              commit(tmp_path, "b", "s", [row(n) for n in range(10, 30)])]  # fmt: skip
    result = plan(cat, supply)
    assert result.target_rows == result.certificate.granted_rows == len(ids_of(result)) == 2 + 4
    assert [node.path for node in result.certificate.nodes if node.shortfall] == []


def test_all_lacks_what_a_count_asks_for(tmp_path):
    quotas = {"photos": quota(1, subcategories={"street": quota(count=5)})}
    result = plan(
        catalog([source("a")], quotas, targets={"t": "all"}), [commit(tmp_path, "a", "s", [row(1), row(2)])]
    )
    nodes = {"/".join(node.path): node for node in result.certificate.nodes}
    assert nodes["photos/street"].shortfall == 3


def test_the_certificate_says_why_a_source_has_nothing(tmp_path):
    quotas = {"photos": quota(1, subcategories={"street": quota(1), "odd": quota(0)})}
    sources = [
        source("a", weight=Fraction(1)),
        source("b", weight=Fraction(0)),
        source("c", weight=Fraction(1)),
        source("d", weight=Fraction(1), licence="unknown"),
        source("e", subcategory="odd"),
        source("f", weight=Fraction(1, 1000)),
        source("g", subcategory_from=SubcategoryFrom(column="x", map={}), weight=Fraction(1)),
    ]
    cat = catalog(sources, quotas, licences=LicencePolicy(deny=("unknown",)), targets={"t": 5})
    supply = [commit(tmp_path, name, "s", [row((name, n), label="x") for n in range(9)]) for name in "abdefg"]
    causes = {line.source: line.cause for line in plan(cat, supply).certificate.sources}
    assert causes == {
        "a": "",
        "b": "share 0",
        "c": "no committed rows",
        "d": "all rows excluded (licence 9)",
        "e": "nothing granted to odd",
        "f": "target too small for a seat",
        "g": "no row leads to a quota",
    }


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda path: path.unlink(), "index.arrow"),
        (lambda path: path.write_bytes(b"no arrow"), "index.arrow"),
        (lambda path: commit_again(path, 3), "rows, the manifest"),
        (lambda path: commit_again(path, 7), "rows, the manifest"),
    ],
    ids=["missing", "not arrow", "too few rows", "too many rows"],
)
def test_damaged_indexes_are_told(tmp_path, break_it, message):
    entry = commit(tmp_path, "a", "s", [row(n) for n in range(5)])
    break_it(entry.path / "index.arrow")
    with pytest.raises(AllocationError, match=message):
        plan(catalog([source("a")]), [entry])


def commit_again(path, rows):
    table = pa.Table.from_pylist([index_row("a", "s", n, row(n)) for n in range(rows)], schema=INDEX_SCHEMA)
    with pa.ipc.new_file(str(path), INDEX_SCHEMA) as writer:
        writer.write_table(table)


@pytest.mark.parametrize(
    ("sources", "target", "message"),
    [(["b"], "t", "not enabled: a"), (["a"], "nope", "no target 'nope'; there are: t")],
    ids=["foreign supply", "unknown target"],
)
def test_refused_inputs(tmp_path, sources, target, message):
    supply = [commit(tmp_path, "a", "s", [row(1)])]
    with pytest.raises(AllocationError, match=message):
        plan(catalog([source(name) for name in sources]), supply, target=target)


def test_an_empty_supply_is_a_plan_of_nothing():
    result = plan(catalog([source("a")]), [])
    assert (result.certificate.granted_rows, result.certificate.sources[0].cause) == (0, "no committed rows")
