"""The audit recounts filters: a right plan has no finding, and each way to break its values has its own."""

from collections.abc import Callable
from hashlib import sha256
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from vlm_assets.allocation.filters import RowFilters
from vlm_assets.annotate.files import Header, read_annotation, write_annotation
from vlm_assets.audit.findings import Finding
from vlm_assets.audit.run import audit_corpus
from vlm_assets.installation.opening import Installation
from vlm_assets.operate.takedown import finish_takedowns
from vlm_assets.store.tombstones import Tombstone, write_tombstone
from vlm_assets_tests.annotate.made import write_blur
from vlm_assets_tests.audit.breaking import TARGET, Broken, build, copy_of, failed, good_once
from vlm_assets_tests.workplace import expect_error, picture

FILTERS = {
    "sharp": {"keep": "min(blur.laplacian) >= 30", "missing": "drop"},
    "light": {"keep": "all(image_facts.size_bytes < 1000000) and image_bytes > 916", "missing": "keep"},
    "said": {
        "keep": "has_text or max(blur.laplacian) > 50",
        "missing": "keep",
        "only": {"source": ["street"]},
    },
}


def annotate(installation: Installation, *, shift: int = 0) -> None:
    """One row in nine has no value."""
    write_blur(installation, lambda n: None if n % 9 == 8 else float((n * 37 + shift) % 100))


def declare(broken: Broken, filters: dict[str, Any], size: int = 1000) -> None:
    """A catalogue with these filters, and a target that takes all there is."""
    path = broken.base / "catalog" / "corpus.yaml"
    content = yaml.safe_load(path.read_text("utf-8"))
    content |= {"annotations": [{"name": "blur"}], "filters": filters, "targets": {TARGET: size, "t12": 12}}
    path.write_text(yaml.safe_dump(content), "utf-8")


@pytest.fixture(scope="module")
def filtered(tmp_path_factory) -> Broken:
    """A corpus built under three filters; only to be copied or read."""
    broken = copy_of(good_once(tmp_path_factory), tmp_path_factory.mktemp("filtered"))
    declare(broken, FILTERS)
    told = expect_error(lambda: build(broken.installation), Exception)
    assert "annotation blur: the values of 1 slice of murky, which a filter reads, are missing" in told
    annotate(broken.installation)
    build(broken.installation)
    return broken


def found(broken: Broken) -> dict[str, Finding]:
    return {str(one.name): one for one in audit_corpus(broken.installation, TARGET, full=True)}


def test_a_right_plan_has_no_finding_and_the_same_counts(filtered):
    findings = found(filtered)
    assert [(f.name, f.observed, f.examples) for f in findings.values() if not (f.passed and f.judged)] == []
    told = orjson.loads((filtered.plan / "metadata.json").read_bytes())["excluded"]
    counted = findings["filters"].figures["excluded"]
    assert counted == {name: rows for name, rows in told.items() if name.startswith("filter:")}
    assert min(counted.values()) > 0


def values_of(broken: Broken, source: str = "street") -> Any:
    return next((broken.base / "data" / "annotations" / "blur" / source).glob("*.parquet"))


def tampered(broken: Broken) -> None:
    """Another value, under the header of those that were there."""
    path = values_of(broken)
    table = pq.read_table(path)
    values = table.column("laplacian").to_pylist()
    values[0] = [99.0]
    column = pa.array(values, pa.list_(pa.float32()))
    pq.write_table(table.set_column(1, "laplacian", column), path)


def other_content(broken: Broken) -> None:
    _rewrite(broken, content_hash="0" * 64)


def gone(broken: Broken) -> None:
    values_of(broken).unlink()


def cut(broken: Broken) -> None:
    path = values_of(broken)
    path.write_bytes(path.read_bytes()[:-9])


def annotated_again(broken: Broken) -> None:
    annotate(broken.installation, shift=1)


def turned_round(broken: Broken) -> None:
    """Rows in another order, and the plan made to name them."""
    header = _rewrite(broken, order=-1)

    def change(content: dict[str, Any]) -> None:
        for one in content["values"]:
            if one[1] == header.source:
                one[3] = header.values_hash

    broken.edit_plan_file("inputs.json", change)
    digest = _sha256(broken.plan / "inputs.json")
    broken.edit_plan(lambda manifest: manifest.update(inputs_hash=digest))
    broken.edit_plan_file("grants.json", lambda grants: grants.update(inputs_hash=digest))
    broken.edit_manifest(lambda manifest: manifest.update(inputs_hash=digest))


def _sha256(path: Any) -> str:
    return sha256(path.read_bytes()).hexdigest()


def _rewrite(broken: Broken, *, order: int = 1, **changes: Any) -> Header:
    path = values_of(broken)
    annotation = read_annotation(path)
    assert annotation is not None
    rows = np.arange(annotation.table.num_rows)[::order]
    return write_annotation(path, annotation.header.model_copy(update=changes), annotation.table.take(rows))


@pytest.mark.parametrize(
    ("break_it", "told"),
    [
        (tampered, "its values are not those that it was written with"),
        (other_content, "values of other content than the slice's"),
        (gone, "the plan read its values, and it is gone"),
        (cut, "is damaged"),
        (annotated_again, "other values than those that the plan read"),
        (turned_round, "its ids are not those of the slice"),
    ],
)
def test_values_that_are_not_the_plans_are_a_finding(
    filtered, tmp_path, break_it: Callable[[Broken], None], told
):
    broken = copy_of(filtered.installation, tmp_path)
    break_it(broken)
    findings = found(broken)
    assert told in findings["filters"].examples[0]
    assert {name for name, one in findings.items() if one.failed} - {"staleness"} == {"filters"}
    assert not findings["quotas"].judged


def test_a_filter_that_the_allocator_forgets_is_a_finding(filtered, tmp_path, monkeypatch):
    broken = copy_of(filtered.installation, tmp_path)
    right = RowFilters.tests

    def wrong(self: RowFilters, *args: Any) -> dict[str, Any]:
        return {name: fails & (name != "filter:sharp") for name, fails in right(self, *args).items()}

    monkeypatch.setattr(RowFilters, "tests", wrong)
    declare(broken, FILTERS, size=999)
    build(broken.installation)
    # Of rows that the filter should have left out one is a benchmark image: it counts there.
    assert failed(broken.installation) == {"allocation_sums", "decontamination", "filters", "quotas"}


def test_a_takedown_since_is_none(filtered, tmp_path):
    broken = copy_of(filtered.installation, tmp_path)
    for number in (3, 8, 14):  # selected, without a value, failed
        digest = sha256(picture(number)).hexdigest()
        order = Tombstone(asked=f"sha256:{digest}", image_sha256=(digest,))
        write_tombstone(broken.installation.root, order)
    finish_takedowns(broken.installation)
    header = read_annotation(values_of(broken)).header  # type: ignore[union-attr]
    assert header.values_hash not in (broken.plan / "inputs.json").read_text("utf-8")
    assert {
        name: one.examples for name, one in found(broken).items() if one.failed and name != "staleness"
    } == {}


def test_scores_that_changed_are_stale_until_they_are_planned_with(filtered, tmp_path):
    broken = copy_of(filtered.installation, tmp_path)
    before = sorted(path.name for path in (tmp_path / "data" / "datasets").glob("*/.versions/*"))
    annotate(broken.installation, shift=50)
    findings = found(broken)
    assert any("annotated again, with other values" in one for one in findings["staleness"].examples)
    build(broken.installation)
    assert failed(broken.installation) == set()
    assert sorted(path.name for path in (tmp_path / "data" / "datasets").glob("*/.versions/*")) == before
