"""Filters in a plan: who is excluded under which name, what stays nested, and what is planned anew."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from vlm_assets.allocation.inputs import inputs_hash
from vlm_assets.allocation.plan import plan_allocation
from vlm_assets.allocation.supply import SliceValues, SupplySlice
from vlm_assets.annotate.files import Header, write_annotation
from vlm_assets.catalog.annotations import AnnotationSpec
from vlm_assets.catalog.base import OnlySpec
from vlm_assets.catalog.filters import FilterSpec
from vlm_assets.words.errors import AllocationError
from vlm_assets.words.tombstones import Tombstones
from vlm_assets_tests.allocation.builders import catalog, commit, hex_of, quota, row, source
from vlm_assets_tests.allocation.plans import ids_of

BLUR = (AnnotationSpec(name="blur"),)
SHARP = {"sharp": FilterSpec(keep="min(blur.laplacian) >= 30", missing="keep")}


def annotated(entry: SupplySlice, values: Sequence[Any]) -> SupplySlice:
    """The slice with values of `blur`: of each row a list, or None."""
    with pa.OSFile(str(entry.path / "index.arrow")) as file:
        ids = pa.ipc.open_file(file).read_all().column("id").combine_chunks()
    table = pa.table({"id": ids, "laplacian": pa.array(values, pa.list_(pa.float32()))})
    header = Header(
        annotator="blur", version="1", source=entry.source, slice=entry.slice, content_hash=entry.content_hash,
        rows=0, values_hash="",
    )  # fmt: skip
    path = entry.path / "blur.parquet"
    written = write_annotation(path, header, table)
    return replace(entry, values=(SliceValues("blur", written.values_hash, path),))


def world(*sources: Any, target: int = 100, **corpus: Any):
    return catalog(
        sources or [source("a")], targets={"t": target, "u": target // 2}, annotations=BLUR, **corpus
    )


def plan(cat, *supply: SupplySlice, target: str = "t", stones: Tombstones | None = None):
    return plan_allocation(cat, target, supply, stones or Tombstones(), base_dir=None)


def left_out(result: Any) -> dict[str, int]:
    return {reason: rows for reason, rows in result.excluded.items() if rows}


def ten(root: Path, name: str = "a", **keys: Any) -> SupplySlice:
    return commit(root, name, "s", [row(f"{name}{n}", **keys) for n in range(10)])


@pytest.mark.parametrize(
    ("keep", "gone"),
    [
        ("min(blur.laplacian) >= 30", 3),
        ("max(blur.laplacian) >= 30", 2),
        ("any(blur.laplacian == 29.5)", 7),
        ("min(image_facts.width_px) >= 100 and image_count <= 2", 0),
        ("all(image_facts.width_px > 100)", 10),
        ("image_count == 1", 1),
        ("has_text or label != 'x'", 0),
    ],
)
def test_rows_that_fail_are_excluded_under_its_name(tmp_path, keep, gone):
    rows = [row(0, images=["p", "q"]), *(row(n) for n in range(1, 10))]
    entry = annotated(
        commit(tmp_path, "a", "s", [{**one, "label": "y"} for one in rows]),
        [[29.5, 31], [29.5], [29.5], *([[40]] * 7)],
    )
    filters = {"f": FilterSpec(keep=keep)}
    result = plan(world(filters=filters), entry)
    assert left_out(result) == ({"filter:f": gone} if gone else {})
    assert result.certificate.sources[0].excluded == left_out(result)
    assert result.certificate.nodes[-1].supply == len(ids_of(result)) == 10 - gone


@pytest.mark.parametrize(
    ("missing", "excluded"), [("keep", {"filter:sharp": 1}), ("drop", {"filter:sharp": 4}), ("error", None)]
)
def test_what_is_missing_is_treated_as_it_is_said(tmp_path, missing, excluded):
    annotated_one = annotated(ten(tmp_path), [[20], None, [None], *([[40]] * 7)])
    bare = commit(tmp_path, "a", "bare", [row("x")])
    cat = world(filters={"sharp": FilterSpec(keep="min(blur.laplacian) >= 30", missing=missing)})
    if excluded is None:
        with pytest.raises(AllocationError) as caught:
            plan(cat, annotated_one, bare)
        told = str(caught.value)
        assert (
            "filter:sharp: `min(blur.laplacian) >= 30` has no answer for 3 rows of a, among them a/bare/x"
            in told
        )
        assert "vlm-assets annotate" in told
        return
    result = plan(cat, annotated_one, bare)
    assert left_out(result) == excluded
    assert result.certificate.nodes[-1].missing == {"filter:sharp": 3}


def test_a_row_that_was_taken_down_need_have_no_value(tmp_path):
    entry = annotated(ten(tmp_path), [None, *([[40]] * 9)])
    cat = world(filters={"sharp": FilterSpec(keep="min(blur.laplacian) >= 30", missing="error")})
    result = plan(cat, entry, stones=Tombstones(ids=frozenset({"a/s/a0"}), hashes=("h",)))
    assert left_out(result) == {"tombstone": 1}


def test_reasons_are_tested_in_order_and_filters_by_name(tmp_path):
    rows = [
        row(n, min_side_px=10 if n < 2 else 100, row_bytes=10**12 if n in (2, 9) else 1200) for n in range(10)
    ]
    filters = {
        "z": FilterSpec(keep="max(blur.laplacian) < 9"),
        "b": FilterSpec(keep="max(blur.laplacian) < 7"),
    }
    entry = annotated(commit(tmp_path, "a", "s", rows), [[n] for n in (9, 0, 8, 3, 4, 5, 6, 7, 9, 1)])
    result = plan(world(filters=filters, min_side_px=50), entry)
    assert left_out(result) == {"min_side": 2, "filter:b": 3, "too_large": 1}
    assert list(result.excluded)[3:7] == ["min_side", "filter:b", "filter:z", "too_large"]


@pytest.mark.parametrize(
    ("only", "gone"),
    [
        (OnlySpec(), {"a": 10, "b": 10, "c": 10}),
        (OnlySpec(category=("photos",)), {"a": 10, "b": 10}),
        (OnlySpec(source=("b", "c")), {"b": 10, "c": 10}),
        (OnlySpec(category=("photos",), source=("b", "c")), {"b": 10}),
    ],
    ids=["all", "category", "source", "both"],
)
def test_only_the_sources_that_it_names(tmp_path, only, gone):
    quotas = {name: quota("1/2", subcategories={"street": quota(1)}) for name in ("photos", "pages")}
    cat = catalog(
        [source("a"), source("b"), source("c", "pages")], quotas, targets={"t": 30},
        filters={"none": FilterSpec(keep="false", only=only)},
    )  # fmt: skip
    result = plan(cat, *(ten(tmp_path, name) for name in "abc"))
    assert {
        one.source: one.excluded["filter:none"] for one in result.certificate.sources if one.excluded
    } == gone


def test_targets_stay_nested_and_growth_moves_little(tmp_path):
    def supply(root: Path, count: int) -> SupplySlice:
        entry = commit(root, "a", "s", [row(n) for n in range(count)], batch_rows=64)
        return annotated(entry, [[n * 37 % 100] for n in range(count)])

    before, after = supply(tmp_path / "1", 1000), supply(tmp_path / "2", 1010)
    cat = world(target=300, filters=SHARP)
    large, small, grown = (set(ids_of(one)) for one in (
        plan(cat, before), plan(cat, before, target="u"), plan(cat, after)
    ))  # fmt: skip
    assert small < large
    assert (len(small), len(large), len(grown)) == (150, 300, 300)
    assert 0 < len(large - grown) <= 9


def hash_of(cat, *supply: SupplySlice) -> str:
    return inputs_hash(cat, "t", supply, Tombstones(), base_dir=None)


def test_filters_and_the_values_they_read_are_inputs(tmp_path):
    plain = ten(tmp_path)
    entry = annotated(plain, [[40]] * 10)
    other = annotated(plain, [[41]] * 10)
    cat = world(filters=SHARP)
    hashes = [
        hash_of(world(), entry),
        hash_of(cat, entry),
        hash_of(cat, other),
        hash_of(cat, plain),
        hash_of(
            world(filters={"sharp": FilterSpec(keep="min(blur.laplacian) >= 31", missing="keep")}), entry
        ),
        hash_of(
            world(filters={"sharp": FilterSpec(keep="min(blur.laplacian) >= 30", missing="drop")}), entry
        ),
        hash_of(world(filters={"dull": SHARP["sharp"]}), entry),
        hash_of(
            world(filters={"sharp": SHARP["sharp"].model_copy(update={"only": OnlySpec(source=("a",))})}),
            entry,
        ),
    ]
    assert len(set(hashes)) == len(hashes)
    assert hash_of(world(), entry) == hash_of(catalog([source("a")], targets={"t": 100}), plain)


def test_values_that_changed_or_are_of_other_rows_are_refused(tmp_path):
    entry = annotated(ten(tmp_path), [[40]] * 10)
    cat = world(filters=SHARP)
    with pytest.raises(AllocationError, match="was annotated anew while a plan was made"):
        plan(cat, replace(entry, values=(replace(entry.values[0], values_hash=hex_of("x")),)))
    path = entry.values[0].path
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(AllocationError, match="run `vlm-assets annotate`"):
        plan(cat, entry)


def test_a_filter_over_what_no_annotation_has_plans_nothing(tmp_path):
    cat = catalog([source("a")], filters=SHARP)
    with pytest.raises(AllocationError, match="the values of blur are not among `annotations`"):
        plan(cat, ten(tmp_path))
