from itertools import pairwise

import orjson
import pyarrow as pa
import pytest

from vlm_assets.allocation.churn import Change, churn
from vlm_assets.allocation.examples import EXAMPLES, read_examples
from vlm_assets.allocation.files import PLAN_SCHEMA, read_plan, write_plan
from vlm_assets.allocation.manifest import AllocationManifest
from vlm_assets.allocation.plan import plan_allocation
from vlm_assets.catalog.labels import SubcategoryFrom
from vlm_assets.catalog.spec import DedupSpec
from vlm_assets.words.errors import AllocationError, StoreError
from vlm_assets.words.tombstones import Tombstones
from vlm_assets_tests.allocation.builders import catalog, commit, quota, row, source


def stored(cat, supply, directory, target="t"):
    directory.mkdir()
    manifest = write_plan(plan_allocation(cat, target, supply, Tombstones(), base_dir=None), directory)
    (directory / "metadata.json").write_bytes(manifest.to_bytes())
    return read_plan(directory)


def rows(first, last):
    return [row(number) for number in range(first, last)]


def test_a_plan_reads_back_as_it_was_written(tmp_path):
    cat = catalog([source("b"), source("a"), source("z")], targets={"t": 25})
    supply = [
        commit(tmp_path, "b", "t", rows(0, 20)),
        commit(tmp_path, "a", "s", rows(20, 40)),
        commit(tmp_path, "a", "dup", rows(20, 40)),
        commit(tmp_path, "b", "s", []),
    ]
    plan = stored(cat, supply, tmp_path / "plan")
    assert [(entry.source, entry.slice) for entry in plan.manifest.slices] == [
        ("a", "dup"), ("a", "s"), ("b", "s"), ("b", "t")]  # fmt: skip
    read = list(plan.slices())
    assert [one.ordinal for one in read] == [0, 3]
    assert [len(one.row) for one in read] == [
        entry.selected for entry in plan.manifest.slices if entry.selected
    ]
    assert sum(len(one.row) for one in read) == plan.manifest.granted_rows == 25
    for one in read:
        assert one.row.tolist() == sorted(set(one.row.tolist()))
        names = {plan.manifest.cells[cell].source for cell in one.cell.tolist()}
        assert names == {plan.manifest.slices[one.ordinal].source}
    table = pa.ipc.open_file(str(plan.directory / "plan.arrow")).read_all()
    assert table.schema.equals(PLAN_SCHEMA)
    assert plan.certificate().granted_rows == 25
    assert AllocationManifest.from_bytes(plan.manifest.to_bytes()) == plan.manifest


def test_a_few_rows_of_each_reason_are_named(tmp_path):
    cat = catalog([source("a", max_samples=30), source("b")], targets={"t": 25})
    supply = [
        commit(tmp_path, "a", "s", rows(0, 50)),
        commit(tmp_path, "b", "s", [*rows(60, 62), *rows(0, 50)]),  # all but the first two again
    ]
    plan = stored(cat, supply, tmp_path / "plan")
    found = read_examples(plan.directory)
    assert {name: len(some) for name, some in found.items()} == {
        "max_samples": EXAMPLES,
        "duplicate": EXAMPLES,
    }
    assert {one[:2] for one in found["max_samples"]} == {("a", "s")}
    assert {one[:2] for one in found["duplicate"]} == {("b", "s")}
    assert min(row for _, _, row in found["duplicate"]) >= 2
    chosen = {("a", "s", row) for one in plan.slices() for row in one.row.tolist() if one.ordinal == 0}
    assert not chosen & set(found["max_samples"])
    (plan.directory / "excluded.json").unlink()
    assert read_examples(plan.directory) == {}


def test_equal_inputs_give_equal_bytes_and_no_floats(tmp_path):
    cat = catalog([source("a", weight="1/3"), source("b", weight="2")], targets={"t": 7})
    supply = [commit(tmp_path, "b", "t", rows(0, 20)), commit(tmp_path, "a", "s", rows(10, 40))]
    one, other = stored(cat, supply, tmp_path / "1"), stored(cat, supply[::-1], tmp_path / "2")
    for name in ("plan.arrow", "grants.json", "excluded.json", "metadata.json"):
        assert (one.directory / name).read_bytes() == (other.directory / name).read_bytes()

    def kinds(value):
        if isinstance(value, dict):
            value = list(value.values())
        return set().union(*map(kinds, value)) if isinstance(value, list) else {type(value)}

    for name in ("grants.json", "metadata.json"):
        assert float not in kinds(orjson.loads((one.directory / name).read_bytes()))


def test_larger_targets_hold_smaller_ones(tmp_path):
    quotas = {
        "photos": quota("0.6", subcategories={"street": quota("0.9"), "nature": quota("0.1", min=4)}),
        "pages": quota("0.4", subcategories={"news": quota(1, max=20)}),
    }
    cat = catalog(
        [source("a"), source("b", subcategory="nature"), source("c", "pages", subcategory="news")],
        quotas,
        targets={"1": 1, "10": 10, "50": 50, "200": 200},
    )
    supply = [
        commit(tmp_path, "a", "s", rows(0, 60)),
        commit(tmp_path, "b", "s", rows(50, 90)),
        commit(tmp_path, "c", "s", rows(80, 120)),
    ]
    chosen = []
    for target in cat.corpus.targets:
        plan = stored(cat, supply, tmp_path / f"plan{target}", target)
        chosen.append({(one.ordinal, number) for one in plan.slices() for number in one.row.tolist()})
    assert [len(one) for one in chosen] == [1, 10, 50, 60 + 30 + 20]
    assert all(small < large for small, large in pairwise(chosen))


def test_churn_of_a_source_that_grows(tmp_path):
    cat = catalog([source("a"), source("b")], targets={"t": 500})
    fixed = commit(tmp_path, "b", "s", rows(5000, 6000))
    old = stored(cat, [commit(tmp_path, "a", "s", rows(0, 1000), batch_rows=300), fixed], tmp_path / "old")
    new = stored(cat, [commit(tmp_path, "a", "t", rows(0, 1010), batch_rows=300), fixed], tmp_path / "new")
    changes = churn(old, new)
    assert changes.total.added == changes.total.removed
    assert 0 < changes.total.added <= 0.03 * 500
    assert changes.total.kept + changes.total.added == 500
    assert changes.by_source.keys() == {"a", "b"}
    assert churn(new, new).total == Change(0, 0, 500)


def test_churn_tells_rows_that_only_moved(tmp_path):
    quotas = {"photos": quota(1, subcategories={"cat": quota("0.5"), "dog": quota("0.5")})}
    supply = [commit(tmp_path, "a", "s", [row(n, label=str(n % 2)) for n in range(10)])]
    plans = [
        stored(
            catalog(
                [source("a", subcategory_from=SubcategoryFrom(column="l", map=mapping))], quotas,
                dedup=DedupSpec(exact="none"),
            ),
            supply, tmp_path / name,
        )
        for name, mapping in (("old", {"0": "cat", "1": "dog"}), ("new", {"0": "dog", "1": "dog"}))
    ]  # fmt: skip
    changes = churn(*plans)
    assert changes.total == Change(0, 0, 10)
    assert changes.by_cell["photos", "cat", "a"] == Change(0, 5, 0)
    assert changes.by_cell["photos", "dog", "a"] == Change(5, 0, 5)


def test_a_plan_that_is_not_its_manifest_is_refused(tmp_path):
    cat = catalog([source("a")], targets={"t": 5})
    supply = [
        commit(tmp_path, "a", name, rows(10 * number, 10 * number + 9)) for number, name in enumerate("st")
    ]
    plan = stored(cat, supply, tmp_path / "plan")
    batch = pa.ipc.open_file(str(plan.directory / "plan.arrow")).get_batch(0)
    for batches in ([batch], [batch, batch]):
        with pa.ipc.new_file(str(plan.directory / "plan.arrow"), PLAN_SCHEMA) as writer:
            for one in batches:
                writer.write_batch(one)
        with pytest.raises(AllocationError, match="allocate again"):
            list(plan.slices())
    with pytest.raises(StoreError, match="never committed"):
        read_plan(tmp_path)
