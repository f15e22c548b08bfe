"""The whole allocation against the slow reference, and its rules one by one."""

import tempfile
from fractions import Fraction
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlm_assets.allocation.benchmarks import read_decontamination
from vlm_assets.allocation.plan import plan_allocation
from vlm_assets.allocation.reasons import ExclusionReason
from vlm_assets.catalog.labels import SubcategoryFrom
from vlm_assets.catalog.spec import DedupSpec, LicencePolicy, ShardSpec
from vlm_assets.words.errors import AllocationError
from vlm_assets.words.keys import ranks_of
from vlm_assets.words.schema import INDEX_SCHEMA
from vlm_assets.words.tombstones import Tombstones
from vlm_assets_tests.allocation import reference
from vlm_assets_tests.allocation.builders import catalog, commit, hex_of, index_row, quota, row, source

QUOTAS = {
    "photos": quota("2/3", subcategories={"street": quota("0.5"), "nature": quota("0.5", min=3)}),
    "pages": quota("1/3", subcategories={"news": quota(1, subcategories={"old": quota(1, max=9)})}),
}


def ids_of(plan):
    """Selected ids, through the row numbers that the plan stores."""
    found = []
    for one in plan.slices:
        with pa.OSFile(str(one.supply.path / "index.arrow")) as file:
            ids = pa.ipc.open_file(file).read_all().column("id").to_pylist()
        assert (np.diff(one.row.astype(np.int64)) > 0).all()
        found += [ids[number] for number in one.row]
    return found


def plan(cat, supply, tombstones=None, target="t", base_dir=None):
    return plan_allocation(cat, target, supply, tombstones or Tombstones(), base_dir=base_dir)


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


@pytest.mark.parametrize(
    ("precedence", "kept"), [((), "a/s/x"), (("b",), "b/s/x")], ids=["by name", "as declared"]
)
def test_of_equal_images_the_row_of_precedence_stays(tmp_path, precedence, kept):
    cat = catalog([source("a"), source("b")], dedup=DedupSpec(precedence=precedence))
    supply = [commit(tmp_path, name, "s", [row("same", key="x")]) for name in ("b", "a")]
    assert ids_of(plan(cat, supply)) == [kept]


def test_of_equal_images_in_one_slice_the_lowest_id_stays(tmp_path):
    rows = [row("same", key=key) for key in ("m", "b", "z", "é")]
    supply = [commit(tmp_path, "a", "s", rows), commit(tmp_path, "a", "t", [row("same", key="a")])]
    assert ids_of(plan(catalog([source("a")]), supply)) == ["a/s/b"]


def test_slices_stand_by_the_bytes_of_their_ids(tmp_path):
    """`x-1/…` sorts before `x/…`, for "-" comes before "/"."""
    supply = [commit(tmp_path, "a", name, [row("same", key="k")]) for name in ("x", "x-1")]
    assert ids_of(plan(catalog([source("a")]), supply)) == ["a/x-1/k"]


@pytest.mark.parametrize(
    ("exact", "expected"),
    [("image", ["1"]), ("record", ["1", "2", "4"]), ("none", ["1", "2", "3", "4"])],
)
def test_what_counts_as_the_same_sample(tmp_path, exact, expected):
    rows = [row("same", key="1", text="x"), row("same", key="2", text="y"), row("same", key="3", text="x"),
            row("same", key="4", text="x", messages="m")]  # fmt: skip
    cat = catalog([source("a")], dedup=DedupSpec(exact=exact))
    assert ids_of(plan(cat, [commit(tmp_path, "a", "s", rows)])) == [f"a/s/{key}" for key in expected]


PICTURE = 0x00FF00FF00FF00FF


@pytest.mark.parametrize(
    ("other", "bits", "near"),
    [
        (PICTURE ^ 0b1111, 4, True),
        (PICTURE ^ 0b11111, 4, False),
        (PICTURE, 1, True),
        (PICTURE, 0, False),
        (PICTURE ^ 0b1111, {"photos": 4}, True),
        (PICTURE ^ 0b1111, {"photos": 3}, False),
    ],
    ids=["4 of 4", "5 of 4", "the same picture", "off", "of the category", "fewer in the category"],
)
def test_near_pictures(tmp_path, other, bits, near):
    rows = [row(1, dhash=PICTURE), row(2, dhash=other)]
    cat = catalog([source("a")], dedup=DedupSpec(exact="image", near_bits=bits))
    assert len(ids_of(plan(cat, [commit(tmp_path, "a", "s", rows)]))) == (1 if near else 2)


@pytest.mark.parametrize("dhash", [None, 0, 0b1111, 2**64 - 1], ids=["null", "black", "4 bits", "all bits"])
def test_flat_pictures_are_near_nothing(tmp_path, dhash):
    cat = catalog([source("a")], dedup=DedupSpec(exact="image", near_bits=8))
    supply = [commit(tmp_path, "a", "s", [row(1, dhash=dhash), row(2, dhash=dhash)])]
    assert len(ids_of(plan(cat, supply))) == 2


def test_a_duplicate_still_stands_for_its_likeness(tmp_path):
    """b is near a and out; c is near b only, and out as well: what is dropped does not depend on an order."""
    rows = [row(1, key="a", dhash=PICTURE), row(2, key="b", dhash=PICTURE ^ 0b1111),
            row(3, key="c", dhash=PICTURE ^ 0b11111111)]  # fmt: skip
    cat = catalog([source("a")], dedup=DedupSpec(exact="image", near_bits=4))
    assert ids_of(plan(cat, [commit(tmp_path, "a", "s", rows)])) == ["a/s/a"]


@pytest.mark.parametrize(
    "other",
    [
        {"image": 2, "messages": "m", "dhash": PICTURE},
        {"image": 2, "images": [2, 3], "dhash": [PICTURE, PICTURE]},
    ],
    ids=["with messages", "of several images"],
)
def test_conversations_and_records_of_several_images_are_near_nothing(tmp_path, other):
    cat = catalog([source("a")], dedup=DedupSpec(exact="image", near_bits=8))
    rows = [row(1, dhash=PICTURE), row(**other)]
    assert len(ids_of(plan(cat, [commit(tmp_path, "a", "s", rows)]))) == 2


def test_of_equal_images_those_with_other_words_are_told_apart(tmp_path):
    rows = [row("same", key="1", text="x"), row("same", key="2", text="y"), row("same", key="3", text="x"),
            row("same", key="4", messages="m"), row("else", key="5")]  # fmt: skip
    cat = catalog([source("a")], dedup=DedupSpec(exact="image"))
    result = plan(cat, [commit(tmp_path, "a", "s", rows)])
    assert ids_of(result) == ["a/s/1", "a/s/5"]
    assert result.excluded[ExclusionReason.DUPLICATE] == 1
    assert result.excluded[ExclusionReason.DUPLICATE_OTHER_WORDS] == 2


def test_records_are_equal_where_all_their_images_are_in_one_order(tmp_path):
    rows = [row("r", images=["a", "b"], key="1"), row("r", images=["b", "a"], key="2"),
            row("r", images=["a"], key="3"), row("r", images=["a", "b"], key="4")]  # fmt: skip
    assert ids_of(plan(catalog([source("a")]), [commit(tmp_path, "a", "s", rows)])) == [
        "a/s/1",
        "a/s/2",
        "a/s/3",
    ]


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


@st.composite
def worlds(draw):
    """A small catalogue with rows that collide, are alike, break rules, and lie in any slice."""
    near = draw(st.sampled_from([0, 0, 3, {"photos": 4, "pages": 2}, {"photos": 3}]))
    exact = draw(st.just("image") if near else st.sampled_from(["image", "record", "none"]))
    weighted = draw(st.booleans())
    labels = SubcategoryFrom(
        column="l", map=draw(st.sampled_from([None, {"street": "street", "x": "nature"}]))
    )
    names = ("a", "b", "c", "d")
    keys = {
        name: {
            "max_samples": draw(st.sampled_from([None, None, 0, 3, 8])),
            "weight": draw(st.fractions(0, 3, max_denominator=4)) if weighted else None,
            "licence": draw(st.sampled_from(["CC0-1.0", "CC0-1.0", "unknown"])),
        }
        for name in names
    }
    sources = [
        source("a", **keys["a"], subcategory="street"),
        source("b", **keys["b"], subcategory_from=labels),
        source("c", "pages", **keys["c"], subcategory="news/old"),
        source("d", **keys["d"], subcategory="nature"),
    ]
    cat = catalog(
        sources,
        QUOTAS,
        seed=draw(st.integers(0, 2**63 - 1)),
        targets={"t": draw(st.integers(1, 40))},
        dedup=DedupSpec(
            exact=exact, near_bits=near, precedence=draw(st.permutations(names))[: draw(st.integers(0, 4))]
        ),
        licences=LicencePolicy(deny=draw(st.sampled_from([(), ("unknown",)]))),
        min_side_px=draw(st.sampled_from([0, 50])),
        shard=ShardSpec(max_bytes=90_000),
    )
    rows = {}
    for name in names:
        for piece in ("s", "s-1", "t")[: draw(st.integers(0, 3))]:
            rows[name, piece] = [draw(worldly_rows(number)) for number in range(draw(st.integers(0, 12)))]
    return cat, rows


@st.composite
def worldly_rows(draw, number):
    image = draw(st.integers(0, 25))
    picture = PICTURE * (image % 3 + 1) & (2**64 - 1)
    flipped = picture ^ draw(st.sampled_from([0, 1, 0b11, 0b111, 0b11111, 1 << 40]))
    images = [image, *draw(st.sampled_from([[], [], [], [image + 1], [image, 3]]))]
    return row(
        image,
        images=images,
        messages=draw(st.sampled_from(["", "", "m"])),
        key=f"{draw(st.sampled_from('zyxé'))}{number}",
        text=draw(st.sampled_from(["", "p", "q"])),
        label=draw(st.sampled_from([None, "street", "x", "nature"])),
        dhash=[draw(st.sampled_from([None, 0, flipped, flipped])) for _ in images],
        min_side_px=draw(st.sampled_from([100, 100, 20])),
        row_bytes=draw(st.sampled_from([100, 100, 100_000])),
    )


@given(worlds(), st.integers(0, 25), st.booleans())
@settings(max_examples=60, deadline=None)
def test_agrees_with_the_slow_reference(world, taken_down, by_id):
    cat, rows = world
    with tempfile.TemporaryDirectory() as directory:
        supply = [
            commit(Path(directory), name, piece, given_rows) for (name, piece), given_rows in rows.items()
        ]
        full = [
            index_row(name, piece, number, one)
            for (name, piece), given_rows in rows.items()
            for number, one in enumerate(given_rows)
        ]
        images = frozenset() if by_id else frozenset({hex_of(taken_down)})
        ids = frozenset(one["id"] for one in full[:2]) if by_id else frozenset()
        result = plan(cat, supply, Tombstones(images, ids))
        selected, reasons, grants = reference.allocate(
            cat, cat.corpus.targets["t"], full, tombstoned_images=images, tombstoned_ids=ids
        )
        assert set(ids_of(result)) == selected
    counted: dict = {}
    for reason in reasons.values():
        counted[reason] = counted.get(reason, 0) + 1
    assert {str(reason): count for reason, count in result.excluded.items() if count} == counted
    for node in result.certificate.nodes:
        assert node.granted == grants.get(node.path, 0)
