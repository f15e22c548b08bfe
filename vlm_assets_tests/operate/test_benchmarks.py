"""Benchmarks under the commands that look at what lies there: they are fetched, and nothing is drawn from them."""

from io import StringIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from vlm_assets.allocation.committed import gather_supply
from vlm_assets.allocation.step import allocate
from vlm_assets.audit.run import audit_corpus
from vlm_assets.corpus.build import build_corpus
from vlm_assets.ingest.summary import summarise_source
from vlm_assets.installation.opening import Installation
from vlm_assets.operate.forecast import forecast
from vlm_assets.operate.lock import check_lock, write_lock
from vlm_assets.operate.prune import prune_data_root
from vlm_assets.operate.status import read_status, uncommitted_slices
from vlm_assets.operate.tables import show_forecast, show_status
from vlm_assets.operate.takedown import TakedownOrder, take_down
from vlm_assets.operate.what_if import what_if
from vlm_assets.store.slices import data_file_names, read_rows
from vlm_assets.words.errors import AllocationError, ConfigError
from vlm_assets.words.tombstones import Tombstones
from vlm_assets_tests.workplace import STREET, expect_error, fill, ingest, install, picture

EXAM: dict[str, Any] = {"name": "exam", "kind": "client_folder"}
IMAGELESS = {"image_column": [], "category": "photos", "subcategory": "street", "licence": "MIT"}


def city(base: Path, *, held: bool = True, **keys: Any) -> Installation:
    """Twenty pictures; two of them are in an exam."""
    fill(base / "street", 20)
    fill(base / "exam", 2, start=4)
    benchmarks = [{**EXAM, "path": base / "exam", **keys}] if held else []
    return install(base, {**STREET, "path": base / "street"}, benchmarks=benchmarks)


def corpus_of(installation: Installation, target: str = "1k") -> int:
    plan = allocate(installation, target)
    return build_corpus(plan.path, installation.root, Tombstones()).rows


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    installation = city(tmp_path_factory.mktemp("city"))
    for name in ("street", "exam"):
        ingest(installation, name)
    corpus_of(installation)
    return installation


def test_it_stands_apart_in_status_and_plan(built):
    status, plan = read_status(built), forecast(built, "1k")
    for told in (status, plan):
        assert [one.name for one in told.sources] == ["street"]
        assert [(one.name, one.rows) for one in told.benchmarks] == [("exam", 2)]
    assert plan.exact
    assert {"exam" in node.path for node in plan.nodes} == {False}
    [target] = [one for one in status.targets if one.name == "1k"]
    assert target.excluded == {"decontaminate": 2}
    out = StringIO()
    show_status(Console(file=out, width=220), status)
    show_forecast(Console(file=out, width=220), plan)
    assert "Benchmarks: in no corpus" in out.getvalue()


def test_what_is_due_of_it_is_due(tmp_path):
    installation = city(tmp_path)
    ingest(installation)
    assert uncommitted_slices(installation) == 0
    [exam] = forecast(installation, "10").benchmarks
    assert (exam.slices, exam.due, exam.rows) == (1, 1, 2)
    assert not forecast(installation, "10").exact


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({}, "benchmark exam: never listed"),
        ({"hold": True}, ""),
        ({"enabled": False}, ""),
    ],
    ids=["active", "held", "disabled"],
)
def test_a_benchmark_that_was_never_fetched_stops_the_plan(tmp_path, keys, told):
    installation = city(tmp_path, **keys)
    ingest(installation)
    if told:
        assert told in expect_error(lambda: allocate(installation, "10"), AllocationError)
    else:
        assert allocate(installation, "10").manifest.granted_rows == 10


def test_a_new_benchmark_touches_no_slice(tmp_path):
    installation = city(tmp_path, held=False)
    ingest(installation)
    assert corpus_of(installation) == 20
    before = summarise_source(installation.root, "street").slices
    installation = city(tmp_path)
    ingest(installation, "exam")
    assert summarise_source(installation.root, "street").slices == before
    assert uncommitted_slices(installation) == 0
    assert corpus_of(installation) == 18
    assert corpus_of(installation, "10") == 10
    assert {one.source for one in gather_supply(installation).slices} == {"street"}


def test_a_benchmark_of_words_alone_is_held_against_what_is_said(tmp_path):
    asked = (
        "Aşağıdakilerden hangisi Türkiye Büyük Millet Meclisi'nin açıldığı günü ve yılı doğru olarak verir?"
    )
    fill(tmp_path / "street", 6)
    (tmp_path / "street" / "0002.txt").write_text(f"SORU: {asked.upper()}", "utf-8")
    (tmp_path / "exam").mkdir()
    pq.write_table(
        pa.table({"question": [asked, "Kaç?"], "answer": ["A", "B"]}), tmp_path / "exam" / "q.parquet"
    )
    words = {"name": "exam", "kind": "hf_disk", "path": tmp_path / "exam", "text_column": "question"}
    street = {**STREET, "path": tmp_path / "street", "text": "sidecar"}
    installation = install(tmp_path, street, benchmarks=[{**words, "image_column": []}])
    ingest(installation)
    [outcome] = ingest(installation, "exam").values()
    assert outcome.manifest.rows == 2
    assert corpus_of(installation) == 5
    assert {str(one.name) for one in audit_corpus(installation, "1k") if one.failed} == set()
    receipt = take_down(installation, TakedownOrder(id="exam/train/q.parquet/0"))
    assert not receipt.outstanding
    [emptied] = ingest(installation, "exam").values()
    rows = read_rows(emptied.path, data_file_names(emptied.manifest.files))
    assert [row["text"] for row in rows] == [None, "Kaç?"]
    assert corpus_of(installation) == 6
    told = expect_error(lambda: install(tmp_path, street, {**words, **IMAGELESS}), ConfigError)
    assert "sources[1] (exam).image_column: a sample has an image" in told


def test_what_a_plan_was_held_against_stays_until_it_is_made_anew(tmp_path):
    installation = city(tmp_path)
    ingest(installation)
    first = ingest(installation, "exam")["root"].path
    allocate(installation, "10")
    (tmp_path / "exam" / "0004.jpeg").write_bytes(picture(77))
    ingest(installation, "exam")
    prune_data_root(installation)
    assert first.exists()
    allocate(installation, "10")
    prune_data_root(installation)
    assert not first.exists()


def test_a_lock_has_it(built):
    report = write_lock(built)
    assert report.slices == 2
    assert check_lock(built).differences == []


def test_filters_can_be_asked_about(built):
    [line] = what_if(built, "1k", ["large: image_bytes > 1"]).lines
    assert (line.source, line.rows, line.supply_now, line.supply_then) == ("street", 20, 18, 18)
