"""What a target got beside what it asked for, and whether that was fine."""

from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from vlm_assets.allocation.step import allocate
from vlm_assets.audit.findings import FindingName
from vlm_assets.audit.run import audit_corpus
from vlm_assets.corpus.outcome import TargetOutcome, target_outcome
from vlm_assets.corpus.states import changed_inputs
from vlm_assets.installation.opening import Installation
from vlm_assets.operate.status import read_status
from vlm_assets.operate.tables import show_status
from vlm_assets.orchestration.assets.due import corpus_due
from vlm_assets.orchestration.command.build_report import build_summary, show_build
from vlm_assets.papers.write import write_papers
from vlm_assets_tests.audit.breaking import build
from vlm_assets_tests.workplace import STREET, fill, ingest, install, relist

TARGET = "ten"
HALVES: dict[str, Any] = {
    "photos": {"share": "1/2", "subcategories": {"street": {"share": 1}}},
    "pages": {"share": "1/2", "subcategories": {"a": {"share": 1}}},
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve images of the street; three pages, two of them with a label that the map lacks."""
    base = tmp_path_factory.mktemp("outcome")
    fill(base / "street", 12)
    fill(base / "pages" / "a", 1, start=20)
    fill(base / "pages" / "odd", 2, start=30)
    installation = installed(base)
    for source in ("street", "pages"):
        ingest(installation, source)
    return base


def installed(base: Path, **corpus: Any) -> Installation:
    street = {**STREET, "path": base / "street"}
    pages = {**STREET, "name": "pages", "path": base / "pages", "category": "pages"}
    del pages["subcategory"]
    pages["subcategory_from"] = {"folder": 1, "map": {"a": "a"}}
    content: dict[str, Any] = {"quotas": HALVES, "targets": {TARGET: 10}, **corpus}
    return install(base, street, pages, corpus=content)


def came_of(base: Path, **corpus: Any) -> tuple[Installation, TargetOutcome]:
    installation = installed(base, **corpus)
    build(installation, TARGET)
    return installation, target_outcome(installation, TARGET)


NAMED = "  labels of pages without a subcategory: 'odd' 2"
ODD = "ten: 2 rows of pages have a label that leads to no subcategory"
BELOW = "  pages/a: asked 5, got 1 of 1 there were: supply"
MOVED = "ten: all 10 rows, but not where they were asked for: 4 rows moved between categories"
ALLOWS = "  `shortfall: redistribute` or `shortfall: report` in corpus.yaml says that this is fine"
CASES: dict[str, tuple[dict[str, Any], bool, list[str]]] = {
    "met": ({"targets": {TARGET: 2}}, True, [ODD, NAMED]),
    "moved, and nobody said so": ({}, False, [MOVED, BELOW, ALLOWS, ODD, NAMED]),
    "moved as declared": ({"shortfall": "redistribute"}, True, [MOVED, BELOW, ODD, NAMED]),
    "left out as declared": ({"shortfall": "report"}, True,
                             ["ten: 6 rows of the 10 asked for", BELOW, ODD, NAMED]),
    "less by a filter": (
        {"shortfall": "report", "filters": {"large": {"keep": "image_bytes > 916", "only": {"source": ["street"]}}},
         "targets": {TARGET: 24}}, True, [
            "ten: 10 rows of the 24 asked for",
            "  pages/a: asked 12, got 1 of 1 there were: supply",
            "  photos/street: asked 12, got 9 of 9 there were: supply; left out by filters: large 3", ODD, NAMED]),
    "less than there is": ({"targets": {TARGET: 2_000}}, False, [
        "ten: 13 rows of the 2,000 asked for",
        "  pages/a: asked 1,000, got 1 of 1 there were: supply",
        "  photos/street: asked 1,000, got 12 of 12 there were: supply", ALLOWS, ODD, NAMED]),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_what_is_told_and_whether_it_is_fine(base: Path, name: str):
    corpus, fine, told = CASES[name]
    installation, outcome = came_of(base, **corpus)
    assert (outcome.fine, outcome.told) == (fine, told)
    assert build_summary(installation, (TARGET,), [], sound=True)["exit_code"] == int(not fine)


@pytest.mark.parametrize("shortfall", [None, "redistribute", "report"])
def test_a_corpus_of_no_rows_is_never_fine(base: Path, shortfall: str | None):
    installation, outcome = came_of(base, min_side_px=5_000, shortfall=shortfall)
    assert (outcome.granted, outcome.rows, outcome.fine) == (0, 0, False)
    assert outcome.told[0] == "ten: the corpus has NO rows; asked for 10"
    assert build_summary(installation, (TARGET,), [], sound=True)["exit_code"] == 1
    [quotas] = [one for one in audit_corpus(installation, TARGET) if one.name is FindingName.QUOTAS]
    assert quotas.failed
    assert quotas.examples[0] == "the corpus: no rows of 10"


EARLIER = (
    "ten: the corpus of 2 rows is of an earlier plan, and so is what is told of it; the plan in force grants 10 of "
    "10 and was never built: vlm-assets build --target ten"
)


def test_a_plan_that_was_never_built_is_told_beside_the_corpus(base: Path):
    came_of(base, targets={TARGET: 2}, name="both")
    installation = installed(base, targets={TARGET: 10}, name="both")
    allocate(installation, TARGET)
    outcome = target_outcome(installation, TARGET)
    assert (outcome.asked, outcome.granted, outcome.rows, outcome.short, outcome.fine) == (2, 2, 2, [], False)
    assert outcome.told == [
        EARLIER,
        ODD,
        NAMED,
    ]
    build(installation, TARGET)
    assert target_outcome(installation, TARGET).unfinished_plan is None


def test_a_build_of_one_source_tells_of_that_one(base: Path):
    installation, _ = came_of(base)
    out = StringIO()
    show_build(Console(file=out, width=100), installation, (), {"street"})
    assert [name in out.getvalue() for name in ("street", "pages")] == [True, False]


@pytest.mark.parametrize(("size", "asked"), [(10, 10), ("all", None)])
def test_a_target_that_was_never_built_is_not_fine(base: Path, size: int | str, asked: int | None):
    installation = installed(base, name="another", targets={TARGET: size})
    outcome = target_outcome(installation, TARGET)
    assert (outcome.told, outcome.asked) == (["ten: was never planned"], asked)
    [target] = read_status(installation).targets
    assert target.target_rows == asked
    assert build_summary(installation, (TARGET,), [], sound=True)["exit_code"] == 1
    assert build_summary(installation, (), [], sound=True)["exit_code"] == 0


def test_a_build_that_failed_says_why_last(base: Path):
    installation, out = installed(base, name="another", targets={TARGET: 10}), StringIO()
    why = "street, slice root: failed (run 1a2b):\n1 slice of street failed.\nstreet/root: 2 of 11 records"
    show_build(Console(file=out, width=200), installation, (TARGET,), causes=[why])
    told = out.getvalue()
    assert told.endswith(f"{why}\nThen run vlm-assets build again: what is done is not done anew\n")
    assert ("never planned" in told, "What came out" in told) == (False, False)


@pytest.mark.parametrize(
    ("near", "told"),
    [({"photos": 2, "pages": 2}, ["quotas"]), ({"photos": 3}, ["dedup", "quotas"])],
    ids=["a_category_more", "other_bits"],
)
def test_a_category_more_is_no_other_dedup(near: dict[str, int], told: list[str]):
    then = {"dedup": {"exact": "record", "near_bits": {"photos": 2}}, "quotas": 1}
    assert changed_inputs(then, {"dedup": {"exact": "record", "near_bits": near}, "quotas": 2}) == told


def test_build_and_status_tell_it_with_the_labels(base: Path):
    installation, _ = came_of(base)
    status = read_status(installation)
    [target] = status.targets
    assert (target.outcome.unmapped, target.outcome.labels) == ({"pages": 2}, {"pages": {"odd": 2}})
    for show in (
        lambda console: show_status(console, status),
        lambda console: show_build(console, installation, (TARGET,)),
    ):
        out = StringIO()
        show(Console(file=out, width=80))
        told = out.getvalue().splitlines()
        assert MOVED in told
        assert told[told.index(ODD) + 1] == NAMED
    assert told[-1] == "ten: 3 rows of street are left out: 3 more than the quotas ask for"


def test_what_is_due_and_captions_without_image_are_told(tmp_path: Path):
    fill(tmp_path / "street", 2)
    (tmp_path / "street" / "lost.txt").write_text("kimse", "utf-8")
    street = {**STREET, "path": tmp_path / "street", "text": "sidecar"}
    installation = install(tmp_path, street)
    ingest(installation)
    fill(tmp_path / "street", 1, start=7)
    relist(installation)
    out = StringIO()
    show_build(Console(file=out, width=200), installation, ())
    assert out.getvalue().splitlines()[-3:] == [
        "street: 1 slice is due; what it brings is in no target",
        "street: of 2 rows with text 0, with messages 0, with neither 2",
        "street: captions that joined no image: 1",
    ]


AGAIN = "vlm-assets build --target ten"
STREET_OF = {"photos": {"share": 1, "subcategories": {"street": {"share": 1, "max": 3}}}}
SINCE: dict[str, tuple[dict[str, Any], dict[str, Any], int, str]] = {
    "nothing": ({}, {}, 0, ""),
    "seed": ({"seed": 7}, {}, 0, "seed"),
    "quota": ({"quotas": STREET_OF}, {}, 0, "quotas"),
    "size": ({"targets": {TARGET: 2}}, {}, 0, "the target's rows"),
    "entry": ({}, {"licence": "CC-BY-4.0"}, 0, "the entry of street"),
    "slice": ({}, {}, 3, "slices of street"),
    "both": ({"seed": 7}, {}, 1, "seed, slices of street"),
    "what decides nothing": ({"keep_versions": 3}, {"cooldown_s": 1}, 0, ""),
}
"""Keys of the corpus and of its source that change once it is sealed, files more that are fetched; what is told."""


@pytest.mark.parametrize("name", SINCE)
def test_a_corpus_of_other_inputs_than_now_says_so_everywhere(tmp_path: Path, name: str):
    corpus, entry, more, what = SINCE[name]
    street = {**STREET, "path": fill(tmp_path / "in", 3)}
    before = install(tmp_path, street, corpus={"targets": {TARGET: 3}})
    ingest(before)
    build(before, TARGET)
    installation = install(tmp_path, {**street, **entry}, corpus={"targets": {TARGET: 3}, **corpus})
    if more:
        fill(tmp_path / "in", more, start=10)
        ingest(installation)
    told = f"ten: was built from other inputs than there are now (another since: {what}): {AGAIN}"
    status, out = read_status(installation), StringIO()
    show_status(Console(file=out, width=80), status)
    [target] = status.model_dump(mode="json")["targets"]
    assert (target["outcome"]["up_to_date"], target["outcome"]["told"]) == (not what, [told] if what else [])
    assert (told in out.getvalue().splitlines()) is bool(what)
    assert corpus_due(installation, TARGET).passed is (not what)


def test_the_card_tells_it_as_of_its_writing(base: Path):
    came_of(base, name="carded")
    written = write_papers(installed(base, name="carded", seed=7), TARGET)
    told = written.card.read_text("utf-8").split("## Asked and got\n\n")[1].split("\n## ")[0].splitlines()
    stale = f"ten: was built from other inputs than there are now (another since: seed): {AGAIN}"
    assert told == [
        "As of when this card was written:", "", f"- {stale}", f"- {MOVED}", f"  - {BELOW.strip()}",
        f"  - {ALLOWS.strip()}", f"- {ODD}", f"  - {NAMED.strip()}",
    ]  # fmt: skip
    assert written.figures["outcome"]["up_to_date"] is False
