"""A data root that another machine drew: build names both identities and exits with 1, until they are accepted."""

from pathlib import Path
from typing import Any

import pytest

from vlm_assets.ingest.due import Due
from vlm_assets.installation.opening import Installation
from vlm_assets.orchestration.run.pending import due_slices
from vlm_assets.pdf import identity
from vlm_assets.pdf.identity import RendererIdentity, renderer_identity
from vlm_assets_tests.orchestration.test_build import build
from vlm_assets_tests.pdf.builders import drawing
from vlm_assets_tests.workplace import install

OTHER = RendererIdentity("poppler", "poppler 99", {"a page": "0123"})


@pytest.fixture(autouse=True)
def no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_HOME", "")


def papers(base: Path, count: int, **keys: Any) -> Installation:
    (base / "in").mkdir(exist_ok=True)
    for number in range(count):
        if not (base / "in" / f"{number}.pdf").exists():
            drawing(base / "in" / f"{number}.pdf", size_pt=(60 + number, 80))
    source = {
        "name": "papers", "kind": "pdf_folder", "category": "photos", "subcategory": "street", "licence": "CC0-1.0",
        "path": base / "in", "dpi": 60, "buckets": 1, **keys,
    }  # fmt: skip
    return install(base, source)


def test_build_waits_names_both_and_goes_on_when_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = renderer_identity("poppler").name
    code, told = build(papers(tmp_path, 1), sources=["papers"])
    assert code == 0, told
    monkeypatch.setattr(identity, "renderer_identity", lambda renderer: OTHER)  # noqa: ARG005 - one is enough
    assert build(papers(tmp_path, 1), sources=["papers"])[0] == 0
    code, told = build(papers(tmp_path, 2), sources=["papers"])
    assert code == 1
    assert here in told
    assert OTHER.name in told
    code, told = build(papers(tmp_path, 2), sources=["papers"], accept_renderer=True)
    assert code == 0, told
    assert "1 redrawn" in told
    assert build(papers(tmp_path, 2), sources=["papers"], accept_renderer=True)[0] == 0


def test_the_nightly_accepts_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installation = papers(tmp_path, 1)
    build(installation, sources=["papers"])
    monkeypatch.setattr(identity, "renderer_identity", lambda renderer: OTHER)  # noqa: ARG005 - one is enough
    spec = installation.catalog.source("papers")
    assert due_slices(installation, spec, now=0) == {}
    assert list(due_slices(installation, spec, now=0, accept_renderer=True).values()) == [Due.REDRAWN]
