"""`check` draws the reference pages by what the enabled sources ask for."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from vlm_assets.cli import app
from vlm_assets.operate.renderers import examine_renderers
from vlm_assets.pdf.identity import renderer_identity
from vlm_assets_tests.workplace import STREET, install


def papers(base: Path, name: str, **keys: Any) -> dict[str, Any]:
    (base / "in").mkdir(exist_ok=True)
    return {
        "name": name, "kind": "pdf_folder", "category": "photos", "subcategory": "street", "licence": "CC0-1.0",
        "path": base / "in", **keys,
    }  # fmt: skip


def test_each_renderer_is_told_with_its_sources_and_identity(tmp_path: Path) -> None:
    installation = install(
        tmp_path, papers(tmp_path, "a"), papers(tmp_path, "b"), papers(tmp_path, "c", renderer="pdfium"),
        papers(tmp_path, "off", enabled=False), {**STREET, "path": tmp_path / "in"},
    )  # fmt: skip
    told = [
        (one.renderer, one.sources, one.identity, one.problem)
        for one in examine_renderers(installation.catalog)
    ]
    assert told == [
        ("pdfium", ("c",), renderer_identity("pdfium").digest, ""),
        ("poppler", ("a", "b"), renderer_identity("poppler").digest, ""),
    ]


def test_nothing_is_drawn_where_nothing_asks_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vlm_assets.pdf.identity.renderer_identity", None)
    installation = install(
        tmp_path, papers(tmp_path, "off", enabled=False), {**STREET, "path": tmp_path / "in"}
    )  # fmt: skip
    assert examine_renderers(installation.catalog) == []


def test_check_tells_the_identity_or_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installation = install(tmp_path, papers(tmp_path, "a"))
    monkeypatch.setenv("VLM_CATALOG", str(installation.catalog_dir))
    monkeypatch.setenv("VLM_DATA_ROOT", str(tmp_path / "data"))
    fine = CliRunner().invoke(app, ["check"])
    assert fine.exit_code == 0, fine.output
    assert renderer_identity("poppler").digest in fine.output
    renderer_identity.cache_clear()
    monkeypatch.setenv("PATH", str(tmp_path))
    missing = CliRunner().invoke(app, ["check", "--json"])
    assert missing.exit_code == 2
    told = json.loads(missing.stdout)
    assert [problem["key"] for problem in told["problems"]] == ["renderer poppler"]
    assert told["renderers"][0]["identity"] == ""
