"""What a filter would cost, what `check` says of imported values, and where counts of filters are shown."""

from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from vlm_assets.allocation.committed import gather_supply
from vlm_assets.allocation.step import allocate
from vlm_assets.annotators.blur import Blur
from vlm_assets.corpus.build import build_corpus
from vlm_assets.installation.opening import Installation
from vlm_assets.operate.forecast import forecast
from vlm_assets.operate.lock import check_lock, write_lock
from vlm_assets.operate.status import read_status
from vlm_assets.operate.tables import show_forecast, show_status, show_what_if
from vlm_assets.operate.what_if import problems_of_filters, what_if
from vlm_assets.papers.write import write_papers
from vlm_assets.words.errors import AllocationError, ConfigError
from vlm_assets_tests.annotate.made import write_blur
from vlm_assets_tests.workplace import STREET, expect_error, fill, ingest, install

QUOTAS = {"photos": {"share": 1, "subcategories": {"street": {"share": "1/2"}, "sea": {"share": "1/2"}}}}
FILTERS = {"sharp": {"keep": "min(blur.laplacian) >= 30", "missing": "keep"}}


def installed(base: Path, filters: Any = FILTERS, **corpus: Any) -> Installation:
    sources = [
        {**STREET, "path": base / "street"},
        {**STREET, "name": "sea", "subcategory": "sea", "path": base / "sea"},
    ]
    corpus = {"quotas": QUOTAS, "annotations": [{"name": "blur"}], "filters": filters, **corpus}
    return install(base, *sources, corpus=corpus)


@pytest.fixture(scope="module")
def fetched(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """Two sources of ten pictures; the blur of the n-th is 10·n, the last has none."""
    base = tmp_path_factory.mktemp("what_if")
    fill(base / "street", 10)
    fill(base / "sea", 10, start=100)
    installation = installed(base)
    for source in ("street", "sea"):
        ingest(installation, source)
    told = expect_error(lambda: allocate(installation, "20"), AllocationError)
    assert (
        "annotation blur: the values of 1 slice of sea, which a filter reads, are missing, among them" in told
    )
    plan = forecast(installation, "20")
    assert (plan.exact, len(plan.unannotated), plan.problems) == (False, 2, [])
    write_blur(installation, lambda n: None if n == 9 else 10.0 * n)
    return installation


def shown(show, result) -> str:
    out = StringIO()
    show(Console(file=out, width=250), result)
    return out.getvalue()


def test_rows_lost_are_told_by_source_and_subcategory(fetched):
    result = what_if(fetched, "20", ["sharp: min(blur.laplacian) >= 50", "one:image_count == 1"])
    assert [
        (
            one.source,
            one.subcategory,
            one.rows,
            one.fails,
            one.missing,
            one.supply_now,
            one.supply_then,
            one.lost,
        )
        for one in result.lines
    ] == [
        ("sea", "photos/sea", 10, 5, 1, 7, 5, 2),
        ("street", "photos/street", 10, 5, 1, 7, 5, 2),
    ]
    assert [(one.granted_now, one.granted_then) for one in result.lines] == [(7, 5), (7, 5)]
    told = shown(show_what_if, result)
    assert (
        "20 with sharp: min(blur.laplacian) >= 50 (missing: keep); one: image_count == 1 (missing: keep)"
        in told
    )
    assert "4 rows lost; 14 granted now, 10 then" in told
    assert not (fetched.root.path / "allocations").exists()


def test_a_laxer_filter_gives_rows_back(fetched):
    [sea, _] = what_if(fetched, "20", ["sharp: true"]).lines
    assert (sea.fails, sea.lost, sea.granted_then) == (0, -3, 10)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("min(blur.laplacian) >= 50", "expected NAME: EXPRESSION"),
        ("Sharp: true", "expected NAME: EXPRESSION"),
        ("sharp: min(blur.laplacian) >=", "sharp.keep: not an expression"),
        ("sharp: min(blur.laplace) >= 3", "did you mean blur.laplacian?"),
        ("rough: min(contrast.rms) >= 3", "the values of contrast are not among `annotations`"),
    ],
)
def test_what_is_no_filter(fetched, text, told):
    with pytest.raises(ConfigError) as caught:
        what_if(fetched, "20", [text])
    assert told in str(caught.value)


def test_counts_stand_in_status_plan_card_and_lock(fetched):
    build_corpus(allocate(fetched, "20").path, fetched.root)
    status = read_status(fetched)
    assert next(one for one in status.targets if one.name == "20").excluded == {"filter:sharp": 6}
    assert "filter:sharp 6" in shown(show_status, status)
    plan = forecast(fetched, "20")
    assert plan.exact
    assert "filter:sharp 3" in shown(show_forecast, plan)
    papers = write_papers(fetched, "20")
    assert "| filter:sharp | 6 |" in papers.card.read_text("utf-8")
    lock = write_lock(fetched, ["20"])
    assert lock.exit_code == 0
    assert check_lock(fetched).differences == []
    other = installed(fetched.root.path.parent, {"sharp": {**FILTERS["sharp"], "keep": "true"}})
    assert "target 20: rows, quotas, policies" in check_lock(other).differences[0]


def test_values_of_another_version_are_stale_and_held_sources_count_with_what_they_have(fetched, monkeypatch):
    monkeypatch.setattr(Blur, "version", 2)
    supply = gather_supply(fetched)
    assert [one.values for one in supply.slices] == [(), ()]
    assert [("are stale" in one, "run vlm-assets annotate" in one) for one in supply.incomplete] == [
        (True, True)
    ] * 2
    sources = tuple(spec.model_copy(update={"hold": True}) for spec in fetched.catalog.sources)
    held = gather_supply(replace(fetched, catalog=fetched.catalog.model_copy(update={"sources": sources})))
    assert (held.incomplete, len(held.unannotated)) == ((), 2)


def test_check_looks_at_imported_values(tmp_path):
    for source in ("street", "sea"):
        fill(tmp_path / source, 1)
    pq.write_table(pa.table({"id": ["a"], "score": [0.5]}), tmp_path / "scores.parquet")
    annotations = [{"name": "nsfw", "path": str(tmp_path / "scores.parquet"), "key": "id"}]
    for keep, told in (
        ("nsfw.score < 0.5", []),
        ("nsfw.scor < 0.5", ["nsfw.score?"]),
        ("min(nsfw.score) < 1", ["one value"]),
    ):
        installation = installed(tmp_path, {"safe": {"keep": keep}}, annotations=annotations)
        found = problems_of_filters(installation)
        assert [one.line is not None for one in found] == [True] * len(told)
        assert all(word in str(one) for one, word in zip(found, told, strict=True))
