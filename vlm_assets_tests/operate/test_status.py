"""What `status` and `plan` say of the first ledger."""

import json
import os
import time
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from vlm_assets.allocation.step import allocate
from vlm_assets.demo.services.pictures import zip_of
from vlm_assets.ingest.slice import build_slice
from vlm_assets.installation.opening import Installation
from vlm_assets.operate import forecast as forecasting
from vlm_assets.operate.first_ledger import caption_facts_of, readable_examples
from vlm_assets.operate.forecast import forecast
from vlm_assets.operate.status import read_status
from vlm_assets.operate.tables import show_forecast, show_status
from vlm_assets.store.last_failures import forget_failure, note_failure
from vlm_assets.store.left_out import inside_examples
from vlm_assets.store.versions import current_versions
from vlm_assets.words.caption_counts import CaptionCounts
from vlm_assets_tests.workplace import STREET, fill, ingest, install, picture, relist


@pytest.fixture(scope="module")
def fetched(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """Two loose images with one caption, an archive with a text inside, and junk."""
    base = tmp_path_factory.mktemp("status")
    folder = fill(base / "in", 2)
    (folder / "0000.txt").write_text("bir", "utf-8")
    (folder / "no.txt").write_text("hiç", "utf-8")
    (folder / "Thumbs.db").write_bytes(b"junk")
    (folder / "z.pdf").write_bytes(b"%PDF-1.7")
    (folder / "a.zip").write_bytes(zip_of([("a.jpg", picture(7)), ("b.weights", b"\0" * 9)]))
    installation = install(base, {**STREET, "path": folder, "text": "sidecar", "reject_tolerance": 1})
    ingest(installation)
    return installation


LISTED = {"os_junk": 1, "unused_companion": 1, "unknown_type": 1}
TOLD = {**LISTED, "unknown_type": 2}
EXAMPLES = ["Thumbs.db: os_junk", "no.txt: unused_companion (names no image)", "z.pdf: unknown_type"]
INSIDE = ["a.zip/b.weights: unknown_type"]
FACTS = [
    *(f"street: left out: {one}" for one in EXAMPLES),
    f"street: left out inside: {INSIDE[0]}",
    "street: of 3 rows with text 1, with messages 0, with neither 2",
    "street: captions that joined no image: 1",
]
HINT = "street: 1 PDF not read by this kind, the first is z.pdf; pdf_folder reads their pages"


def test_status_adds_listing_and_slices_up(fetched: Installation) -> None:
    status = read_status(fetched)
    [street] = status.sources
    assert (street.upstream, street.items, street.companions, street.captions_unused) == (7, 3, 1, 1)
    assert (street.left_out, street.left_out_examples) == (TOLD, EXAMPLES)
    assert (street.left_out_listed, street.left_out_inside) == (LISTED, {"unknown_type": 1})
    assert street.left_out_inside_examples == INSIDE
    assert street.captions == CaptionCounts(rows=3, rows_with_text=1, rows_with_neither=2, captions_unused=1)


def ledger_row(told: str) -> list[str]:
    """The figures of the street in the table of the first ledger, one line as well as a block."""
    lines = told[told.index("What upstream shows") :].splitlines()
    if lines[1].strip() == "street":
        return [line[len("  left out inside") :].split()[0] for line in lines[2:6]]
    return next(line for line in lines if line.lstrip().startswith("street")).split()[1:5]


@pytest.mark.parametrize("width", [200, 60], ids=["wide", "narrow"])
@pytest.mark.parametrize("command", ["status", "plan"])
def test_the_ledger_is_seen_to_add_up(fetched: Installation, command: str, width: int) -> None:
    out = StringIO()
    console = Console(file=out, width=width)
    if command == "status":
        show_status(console, read_status(fetched))
    else:
        show_forecast(console, forecast(fetched, "10"))
    upstream, items, companions, left_out = map(int, ledger_row(out.getvalue()))
    assert (upstream, items, companions, left_out) == (7, 3, 1, 3)
    assert [line for line in out.getvalue().splitlines() if line in FACTS] == FACTS
    assert HINT in out.getvalue()
    assert all(reason in out.getvalue() for reason in LISTED)


def test_the_corpus_tells_the_same_of_its_sources(fetched: Installation) -> None:
    assert caption_facts_of(fetched, {"street": 3}) == FACTS[-2:]
    assert caption_facts_of(fetched, {"another": 3}) == []


def test_a_plan_of_what_was_never_listed_has_the_same_figures(tmp_path: Path) -> None:
    folder = fill(tmp_path / "in", 1)
    (folder / "lost.txt").write_text("hiç", "utf-8")
    installation = install(tmp_path, {**STREET, "path": folder, "text": "sidecar"})
    [street] = forecast(installation, "10").sources
    assert (street.upstream, street.left_out_examples) == (
        2, ["lost.txt: unused_companion (names no image)"]
    )  # fmt: skip
    assert street.captions == CaptionCounts(captions_unused=1)


def test_a_damaged_table_of_examples_is_told_in_their_place(tmp_path: Path) -> None:
    (tmp_path / "left_out.parquet").write_bytes(b"PAR1")
    assert readable_examples(lambda: inside_examples([tmp_path]))[0].startswith(
        str(tmp_path / "left_out.parquet")
    )


def test_a_plan_counts_a_request_a_url(tmp_path: Path) -> None:
    rows = [{"url": [f"http://127.0.0.1/{n}", "http://127.0.0.1/b"]} for n in range(2)] + [
        {"url": "http://127.0.0.1/c"}
    ]
    (tmp_path / "l.jsonl").write_text("\n".join(map(json.dumps, rows)))
    installation = install(tmp_path, {**STREET, "kind": "image_urls", "urls": tmp_path / "l.jsonl"})
    [street] = forecast(installation, "10").sources
    assert (street.items, street.requests) == (3, 5)


def test_a_plan_is_of_one_moment(fetched: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    """What lies here of a source is looked at once, for the forecast and for what is granted."""
    looked: list[str] = []

    def look(folder: Path) -> dict[str, str]:
        looked.append(folder.name)
        return current_versions(folder)

    monkeypatch.setattr("vlm_assets.ingest.summary.current_versions", look)
    forecast(fetched, "10")
    assert looked == ["street"]


def test_a_plan_tells_the_same(fetched: Installation) -> None:
    plan = forecast(fetched, "10")
    [street] = plan.sources
    assert (street.upstream, street.items, street.companions) == (7, 3, 1)
    assert (street.left_out, street.left_out_examples) == (TOLD, EXAMPLES)


def test_a_plan_with_a_remote_tells_of_rows_by_range(fetched: Installation) -> None:
    assert forecast(fetched, "10").range_requests is None
    settings = fetched.settings.model_copy(update={"remote": "s3://bucket/prefix"})
    plan = forecast(replace(fetched, settings=settings), "10")
    assert plan.range_requests is not None
    assert plan.range_requests >= 1
    assert plan.range_bytes is not None
    assert plan.corpus_bytes <= plan.range_bytes
    out = StringIO()
    show_forecast(Console(file=out, width=220), plan)
    assert f"rows by range (VLM_ROWS_FROM=remote): about {plan.range_requests} request" in out.getvalue()


def test_a_plan_whose_inputs_are_those_of_now_is_shown_and_not_made_anew(
    fetched: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = forecast(fetched, "20").nodes
    allocate(fetched, "20")
    monkeypatch.setattr(forecasting, "plan_allocation", None)
    assert forecast(fetched, "20").nodes == made
    with pytest.raises(TypeError):
        forecast(fetched, "1k")


def test_a_plan_of_files_that_hold_many_records_says_that_these_are_not_counted(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.zip").write_bytes(zip_of([("a.jpg", picture(7)), ("b.jpg", picture(8))]))
    installation = install(tmp_path, {**STREET, "path": tmp_path / "in"})
    plan = forecast(installation, "10")
    assert plan.sources[0].packed == 1
    assert {one.cause for one in plan.nodes} == {"records of its files not counted yet"}
    out = StringIO()
    show_forecast(Console(file=out, width=220), plan)
    assert "street: what is in its files is counted when they are fetched" in out.getvalue()
    ingest(installation)
    assert forecast(installation, "10").sources[0].packed == 0


def test_a_plan_ends_with_what_could_not_be_listed(tmp_path: Path) -> None:
    plan = forecast(install(tmp_path, {**STREET, "path": tmp_path / "none"}), "10")
    out = StringIO()
    show_forecast(Console(file=out, width=220), plan)
    assert out.getvalue().splitlines()[-1] == (
        "NOT LISTED, and what it would give is not in here: street: "
        f"{tmp_path}/none is not a folder; is the volume mounted?"
    )


def test_a_plan_before_the_first_fetch_books_no_label_and_tells_its_age(tmp_path: Path) -> None:
    for number, name in enumerate(("a", "b")):
        fill(tmp_path / "in" / name, 2, start=10 * number)
    rule = {"folder": 1, "map": {"a": "street", "b": "night"}}
    source = {**STREET, "path": tmp_path / "in", "subcategory_from": rule}
    del source["subcategory"]
    leaves = {"street": {"share": "1/2"}, "night": {"share": "1/2"}}
    corpus = {"quotas": {"photos": {"share": 1, "subcategories": leaves}}}
    installation = install(tmp_path, source, corpus=corpus)
    plan = forecast(installation, "10")
    assert (plan.sources[0].unknown_labels, plan.sources[0].listing_days) == (4, None)
    assert [(one.path, one.supply, one.cause) for one in plan.nodes if "/" in one.path][:2] == [
        ("photos/night", 0, "labels not known yet"),
        ("photos/street", 0, "labels not known yet"),
    ]
    relist(installation)
    listing = installation.root.listing("street")
    os.utime(listing, (time.time() - 9 * 86_400,) * 2)
    out = StringIO()
    show_forecast(Console(file=out, width=220), forecast(installation, "10"))
    assert "street: 4 items on no quota: their labels are known when they are fetched" in out.getvalue()
    assert "street: listed 9 days ago" in out.getvalue()
    relist(installation)
    assert forecast(installation, "10").sources[0].listing_days == 0


def test_captions_in_and_beside_archives_are_settled_once_these_are_fetched(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    inside = b"file_name,text\na.jpg,s\nno.jpg,s\nno2.jpg,s\n"
    (folder / "x.zip").write_bytes(zip_of([("a.jpg", picture(1)), ("metadata.csv", inside)]))
    (folder / "y.zip").write_bytes(zip_of([("a.jpg", picture(2)), ("b.jpg", picture(3))]))
    beside = b"file_name,text\ny/a.jpg,s\nno.jpg,s\ny/no.jpg,s\n"
    (folder / "metadata.csv").write_bytes(beside)
    installation = install(tmp_path, {**STREET, "path": folder, "text": "metadata"})
    spec, listing = installation.catalog.source("street"), relist(installation)

    def told() -> tuple[int | None, int, int]:
        [street] = read_status(installation).sources
        assert street.caption_rows is not None
        return street.captions_unused, street.caption_rows.joined, street.caption_rows.waiting

    seen = [told()]
    for key in sorted(listing.slices):
        build_slice(installation, spec, listing, key)
        seen.append(told())
    assert seen == [(0, 0, 3), (2, 1, 3), (4, 2, 0)]
    [street] = read_status(installation).sources
    assert street.caption_rows is not None
    assert street.caption_rows.images_without_rows == 1
    assert [one.partition(":")[0] for one in street.caption_rows.examples] == ["x.zip!metadata.csv"] * 2 + [
        "metadata.csv"
    ] * 2
    (folder / "metadata.csv").write_bytes(beside + b"y/b.jpg,s\n")
    relist(installation)
    assert told() == (2, 1, 4)  # the archives are due again: what they made of the other table says nothing


def test_a_due_slice_tells_why_its_last_try_failed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = (installation := install(tmp_path, {**STREET, "path": fill(tmp_path / "in", 1)})).root
    relist(installation)
    note_failure(root, "street", "root", "street/root: 2 of 11 records are rejects")
    note_failure(root, "street", "gone", "street/gone: of a slice that nothing lists")
    status = read_status(installation)
    assert status.sources[0].failed == {"root": "street/root: 2 of 11 records are rejects"}
    show_status(Console(width=160), status)
    assert capsys.readouterr().out.splitlines()[-1] == "street/root failed: 2 of 11 records are rejects"
    forget_failure(root, "street", "root")
    assert read_status(installation).sources[0].failed == {}
