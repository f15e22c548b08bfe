"""`check` draws the reference pages by what the enabled sources ask for."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from vlm_assets.cli import app
from vlm_assets.operate.renderers import examine_renderers
from vlm_assets.pdf import identity
from vlm_assets.pdf.identity import RendererIdentity, renderer_identity
from vlm_assets_tests.pdf.builders import drawing
from vlm_assets_tests.workplace import STREET, ingest, install


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
    told = [(one.renderer, one.sources, one.identity, one.problem) for one in examine_renderers(installation)]
    assert told == [
        ("pdfium", ("c",), renderer_identity("pdfium").name, ""),
        ("poppler", ("a", "b"), renderer_identity("poppler").name, ""),
    ]


def test_nothing_is_drawn_where_nothing_asks_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vlm_assets.pdf.identity.renderer_identity", None)
    installation = install(
        tmp_path, papers(tmp_path, "off", enabled=False), {**STREET, "path": tmp_path / "in"}
    )  # fmt: skip
    assert examine_renderers(installation) == []


def test_check_tells_the_identity_or_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installation = install(tmp_path, papers(tmp_path, "a"))
    monkeypatch.setenv("VLM_CATALOG", str(installation.catalog_dir))
    monkeypatch.setenv("VLM_DATA_ROOT", str(tmp_path / "data"))
    fine = CliRunner().invoke(app, ["check"])
    assert fine.exit_code == 0, fine.output
    assert renderer_identity("poppler").name in fine.output
    renderer_identity.cache_clear()
    monkeypatch.setenv("PATH", str(tmp_path))
    missing = CliRunner().invoke(app, ["check", "--json"])
    assert missing.exit_code == 2
    told = json.loads(missing.stdout)
    assert [problem["key"] for problem in told["problems"]] == ["renderer poppler"]
    assert told["renderers"][0]["identity"] == ""


def test_check_names_what_another_machine_drew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installation = install(tmp_path, papers(tmp_path, "a", dpi=60))
    drawing(tmp_path / "in" / "one.pdf", size_pt=(50, 50))
    (outcome,) = ingest(installation, "a").values()
    monkeypatch.setenv("VLM_CATALOG", str(installation.catalog_dir))
    monkeypatch.setenv("VLM_DATA_ROOT", str(tmp_path / "data"))
    assert CliRunner().invoke(app, ["check"]).exit_code == 0
    other = RendererIdentity("poppler", "poppler 99", {})
    monkeypatch.setattr(identity, "renderer_identity", lambda renderer: other)  # noqa: ARG005 - one is enough
    told = CliRunner().invoke(app, ["check"])
    assert told.exit_code == 1
    assert {str(outcome.manifest.renderer), other.name} <= set(
        re.findall(r"poppler-[0-9a-f]{16}", told.output)
    )
    [report] = json.loads(CliRunner().invoke(app, ["check", "--json"]).stdout)["renderers"]
    assert report["elsewhere"] == {outcome.manifest.renderer: [f"a/{outcome.manifest.slice}"]}
