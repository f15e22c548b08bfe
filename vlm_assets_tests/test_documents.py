"""The pages for people, where they repeat what stands in the code: tables, orders, links."""

import re
import tomllib
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from vlm_assets.allocation.reasons import ExclusionReason
from vlm_assets.catalog.spec import CorpusSpec, SourceSpec
from vlm_assets.cli import app
from vlm_assets.commands.docs import reference
from vlm_assets.operate.authoring.keys import keys_of
from vlm_assets.settings import Settings
from vlm_assets.sources.registry import kinds, source_of
from vlm_assets.words.column_words import COLUMN_WORDS
from vlm_assets.words.schema import COLUMNS, FACT_NAMES, FLAT_COLUMNS, Role

TOP = Path(__file__).resolve().parent.parent
DESIGN = (TOP / "vlm_assets/DESIGN.md").read_text("utf-8")
PAGES = [
    "README.md",
    "vlm_assets/DESIGN.md",
    "vlm_assets/CHANGELOG.md",
    ".github/CONTRIBUTING.md",
    ".github/SECURITY.md",
    *(str(path.relative_to(TOP)) for path in sorted((TOP / "vlm_assets/docs").glob("*.md"))),
]


def table_under(heading: str) -> list[list[str]]:
    """Cells of the first table of DESIGN.md whose head is that line, backticks taken off."""
    lines = DESIGN[DESIGN.index(heading) :].splitlines()[2:]
    rows = (line for line in lines[: next((n for n, one in enumerate(lines) if not one), len(lines))])
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows]


def test_the_columns_have_their_roles():
    told = [(name.strip("`"), role) for name, role, _ in table_under("| column | role | what |")]
    assert told == [(column.name, str(column.role)) for column in sorted(COLUMNS, key=_in_the_page(told))]
    assert len(told) == len(COLUMNS)


def _in_the_page(told: list[tuple[str, str]]) -> Any:
    order = [name for name, _ in told]
    return lambda column: order.index(column.name) if column.name in order else -1


def test_every_role_says_what_follows():
    assert [role for role, _ in table_under("| role | what follows from it |")] == [*map(str, Role)]


def test_every_fact_of_an_image_is_named():
    (row,) = [what for name, _, what in table_under("| column | role | what |") if name == "`image_facts`"]
    named = {"width_px": "sides", "height_px": "sides", "size_bytes": "bytes"}
    assert [name for name in FACT_NAMES if named.get(name, name) not in row] == []


def test_the_reasons_of_an_allocation_stand_in_their_order():
    (chain,) = re.findall(r"^`tombstone` →[^#]+?\n\n", DESIGN, re.MULTILINE)
    assert re.findall(r"`(\w+)`", chain) == [*map(str, ExclusionReason)]


@pytest.mark.parametrize(
    ("name", "value"), [(name.strip("`"), value) for name, value, _ in table_under("| constant | value |")]
)
def test_a_format_constant_has_its_value(name: str, value: str):
    module, _, attribute = f"vlm_assets.{name}".rpartition(".")
    assert _value(module, attribute) == int(value.replace(",", ""))


def _value(module: str, attribute: str) -> Any:
    """Of a module's constant, or what a catalogue has where it says nothing."""
    path, _, spec = module.rpartition(".")
    if not spec[:1].isupper():
        return getattr(import_module(module), attribute)
    model: type[BaseModel] = getattr(import_module(path), spec)
    return getattr(model(), attribute)


def test_the_layers_are_those_of_the_contract():
    contracts = tomllib.loads((TOP / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    (layers,) = [one["layers"] for one in contracts if one.get("containers") == ["vlm_assets"]]
    told = [re.findall(r"`(\w+)`", cell) for cell, _ in table_under("| package | holds |")]
    assert told == [layer.split(" | ") for layer in layers]


@pytest.mark.parametrize("page", PAGES)
def test_no_link_of_a_page_is_dead(page: str):
    dead = []
    for target in re.findall(r"\]\(([^)\s]+)\)", (TOP / page).read_text("utf-8")):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        path = (TOP / page).parent / name if name else TOP / page
        if not path.exists() or (anchor and anchor not in _anchors(path)):
            dead.append(target)
    assert dead == []


def _anchors(path: Path) -> set[str]:
    """As GitHub makes them of headings."""
    headings = re.findall(r"^#+ (.+)$", path.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_modules_are_as_short_as_the_page_says():
    [limit] = re.findall(
        r"Modules stay below (\d+) lines", (TOP / ".github/CONTRIBUTING.md").read_text("utf-8")
    )
    lines = {
        path.relative_to(TOP).as_posix(): len(path.read_bytes().splitlines())
        for part in ("vlm_assets", "vlm_assets_tests", "deploy")
        for path in (TOP / part).rglob("*.py")
    }
    assert len(lines) > 1_000
    assert {path: count for path, count in lines.items() if count >= int(limit)} == {}


def test_the_changes_stand_newest_first():
    days = re.findall(r"^## (.+)$", (TOP / "vlm_assets/CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert days[0] == "Unreleased"
    assert days[1:] == sorted(days[1:], reverse=True)


MODELS = [Settings, CorpusSpec, SourceSpec, *(source_of(kind).spec_type for kind in kinds())]


@pytest.mark.parametrize("model", MODELS, ids=lambda one: one.__name__)
def test_every_key_says_what_it_is_for(model):
    assert [key.name for key in keys_of(model) if not key.told] == []


def test_every_column_is_in_words():
    names = [*(one.name for one in COLUMNS), *(name for name, _ in FLAT_COLUMNS)]
    assert list(COLUMN_WORDS) == [*names, *(f"image_facts.{name}" for name in FACT_NAMES)]


def test_the_reference_page_is_that_of_the_code():
    assert (TOP / "vlm_assets/docs/reference.md").read_text("utf-8") == reference(app), (
        "run: vlm-assets docs --out vlm_assets/docs/reference.md"
    )


def test_what_the_security_page_says_is_defended_has_its_test():
    page = (TOP / ".github/SECURITY.md").read_text("utf-8")
    defended = page[page.index("## What is defended") : page.index("## What is not")]
    rows = [line.strip("|").split("|") for line in defended.splitlines() if line.startswith("| ")][1:]
    named = [name for row in rows for name in re.findall(r"`([a-z0-9_/.]+)`", row[2])]
    assert len(named) >= len(rows) > 8
    assert [name for name in named if not (TOP / "vlm_assets_tests" / name).exists()] == []
