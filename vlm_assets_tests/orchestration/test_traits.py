"""A kind says what it takes, and whatever plans or places its work hears of it: no list of kinds stands elsewhere."""

import ast
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import vlm_assets
import vlm_assets.sources as package
from vlm_assets.installation.opening import Installation, problems_of_everything
from vlm_assets.operate.forecast import forecast
from vlm_assets.orchestration.define import build_definitions
from vlm_assets.orchestration.names import dataset_key, listing_key
from vlm_assets.orchestration.run.budgets import budget_of
from vlm_assets.orchestration.run.ecs import run_size
from vlm_assets.orchestration.run.kind_slots import slots_of
from vlm_assets.settings import load_settings
from vlm_assets.sources.registry import kinds, source_of
from vlm_assets.words.errors import ConfigError
from vlm_assets_tests.workplace import STREET, fill, install

MADE_UP = """
from typing import ClassVar

from vlm_assets.catalog.spec import SourceSpec
from vlm_assets.sources.protocol import Obtained, Requests, Traits
from vlm_assets.words.records import Item, Listed, ListedSlice


class WellSpec(SourceSpec):
    depth: int


class Well:
    kind: ClassVar[str] = "well"
    version: ClassVar[int] = 1
    spec_type: ClassVar[type[SourceSpec]] = WellSpec
    traits: ClassVar[Traits] = Traits(
        requests=Requests.{requests}, renders_pages={pages}, memory_mib={memory}, badges=frozenset({{"water"}}),
        obtained=Obtained.PRIVATE,
    )

    def list(self, spec, context):
        items = [Item(f"{{number}}.jpg", "", {{}}, 10) for number in range(spec.depth)]
        return Listed("r1", [ListedSlice("all", items)])

    def fetch(self, spec, items, context):
        raise NotImplementedError


SOURCE = Well()
"""
WELL: dict[str, Any] = {
    **STREET, "name": "deep", "kind": "well", "depth": 40, "nightly_requests": 7, "requests_per_second": 0.01,
}  # fmt: skip
AddKind = Callable[..., Installation]


@pytest.fixture
def add_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[AddKind]:
    """Puts the file of a kind `well` beside the others, and a source of it into a catalogue; gone after the test."""

    def add(*, requests: str = "NONE", pages: bool = False, memory: int = 1_024) -> Installation:
        folder = tmp_path / "more_kinds"
        folder.mkdir()
        (folder / "well.py").write_text(MADE_UP.format(requests=requests, pages=pages, memory=memory))
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(folder)])
        _forget()
        return install(tmp_path, WELL, {**STREET, "path": fill(tmp_path / "street", 1)})

    yield add
    monkeypatch.undo()
    _forget()


def _forget() -> None:
    sys.modules.pop("vlm_assets.sources.well", None)
    vars(package).pop("well", None)
    kinds.cache_clear()
    source_of.cache_clear()


@pytest.mark.parametrize(
    ("requests", "sent", "hours", "budget"),
    [("NONE", 0, 0, False), ("ONE_A_SOURCE", 1, 0.028, True), ("ONE_AN_ITEM", 40, 1.111, True)],
    ids=["nothing", "one_a_source", "one_an_item"],
)
def test_a_plan_and_a_budget_follow_what_a_kind_requests(
    add_kind: AddKind, requests: str, sent: int, hours: float, *, budget: bool
):
    installation = add_kind(requests=requests)
    one = next(one for one in forecast(installation, "10").sources if one.name == "deep")
    assert (one.due, one.bytes, one.requests, one.hours) == (1, 400, sent, hours)
    spec = installation.catalog.source("deep")
    assert (budget_of(spec, "2026-01-01") is not None) is budget


@pytest.mark.parametrize(
    ("pages", "memory", "slots", "cpu", "memory_mib"),
    [
        pytest.param(False, 1_024, 8, "2048", "4096", id="waits_for_disks"),
        pytest.param(False, 20_000, 8, "4096", "20480", id="much_memory"),
        pytest.param(True, 20_000, 2, "4096", "20480", id="draws_pages"),
    ],
)
def test_slots_and_tasks_follow_what_a_slice_takes(
    add_kind: AddKind,
    monkeypatch: pytest.MonkeyPatch,
    *,
    pages: bool,
    memory: int,
    slots: int,
    cpu: str,
    memory_mib: str,
):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(8)))
    installation = add_kind(pages=pages, memory=memory)
    repository = build_definitions(installation).get_repository_def()
    op = repository.assets_defs_by_key[dataset_key("deep")].op
    tags = repository.asset_graph.get(dataset_key("deep")).tags
    queued = run_size("__ASSET_JOB", {("dataset", "deep"): tags}, steps_are_tasks=True).tags
    assert slots_of("well", installation.settings) == slots
    assert (op.tags["ecs/cpu"], op.tags["ecs/memory"]) == (cpu, memory_mib)
    assert (queued["ecs/cpu"], queued["ecs/memory"]) == (cpu, memory_mib)


def test_scattered_slices_get_a_task_for_the_largest_kind(add_kind: AddKind):
    repository = build_definitions(add_kind(memory=30_000)).get_repository_def()
    [op] = repository.get_job("slices").all_node_defs
    assert op.tags["ecs/memory"] == "30720"
    assert run_size("slices", {}, steps_are_tasks=True).tags["ecs/memory"] == "30720"


def test_the_ui_shows_the_badges_of_a_kind(add_kind: AddKind):
    graph = build_definitions(add_kind()).get_repository_def().asset_graph
    assert graph.get(listing_key("deep")).kinds == {"well", "water"}
    assert graph.get(dataset_key("deep")).kinds == {"well", "water", "arrow"}


def test_slots_of_a_kind_that_is_none_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(
        ConfigError, match=r"VLM_KIND_SLOTS\.pdf_foldr: no such kind; there are: .*pdf_folder"
    ):
        install(tmp_path, {**STREET, "path": fill(tmp_path / "street", 1)}, kind_slots={"pdf_foldr": 2})
    monkeypatch.setenv("VLM_KIND_SLOTS", '{"pdf_foldr": 4}')
    assert "VLM_KIND_SLOTS.pdf_foldr" in {problem.key for problem in problems_of_everything()}


def test_only_its_own_module_names_a_kind():
    """Whatever else depends on a kind reads its traits: a list of names forgets the next kind silently."""
    root = Path(vlm_assets.__file__).parent
    own = {
        root / "sources",
        root / "demo",  # its catalogue names kinds as any catalogue does
        root / "operate" / "schema_1.py",  # what kinds were then: no later one belongs there
    }
    named = [
        f"{path.relative_to(root)}:{node.lineno}: {node.value}"
        for path in sorted(root.rglob("*.py"))
        if own.isdisjoint({path, *path.parents})
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Constant) and node.value in kinds()
    ]
    assert named == []


def test_slots_in_the_settings_win(add_kind: AddKind):
    add_kind(pages=True)
    assert slots_of("well", load_settings(None, kind_slots={"well": 5})) == 5
