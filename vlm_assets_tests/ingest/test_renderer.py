"""Slices on a machine that draws otherwise: they stay, what is due of them waits, and accepting draws all anew."""

import json
from pathlib import Path
from typing import Any

import pikepdf
import pytest
from pikepdf import Name

from vlm_assets.ingest.due import Due
from vlm_assets.ingest.renderer import identity_of_slice
from vlm_assets.ingest.slice import SliceOptions, SliceOutcome
from vlm_assets.ingest.summary import summarise_source
from vlm_assets.installation.opening import Installation
from vlm_assets.pdf import identity
from vlm_assets.pdf.facts import Renderer
from vlm_assets.pdf.identity import RendererIdentity, renderer_identity
from vlm_assets.words.errors import RendererError
from vlm_assets_tests.pdf.builders import add_page, build, drawing, image_object, picture, scan
from vlm_assets_tests.workplace import STREET, fill, ingest, install

ACCEPT = SliceOptions(accept_renderer=True)
OTHER = RendererIdentity("poppler", "poppler 99", {"a page": "0123"})


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    drawing(tmp_path / "in" / "a.pdf", size_pt=(60, 80))
    return tmp_path


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine draws otherwise from here on."""
    monkeypatch.setattr(identity, "renderer_identity", lambda renderer: OTHER)  # noqa: ARG005 - one is enough


def installation_of(home: Path, **keys: Any) -> Installation:
    source = {
        "name": "papers", "kind": "pdf_folder", "category": "photos", "subcategory": "street", "licence": "CC0-1.0",
        "path": home / "in", "dpi": 60, "buckets": 1, **keys,
    }  # fmt: skip
    return install(home, source)


def fetched(home: Path, options: SliceOptions | None = None, **keys: Any) -> SliceOutcome:
    (outcome,) = ingest(installation_of(home, **keys), "papers", options).values()
    return outcome


def lossless(path: Path) -> None:
    def make(pdf: pikepdf.Pdf) -> None:
        image = picture()
        add_page(
            pdf, images={"Im0": image_object(pdf, image.tobytes(), image, None, ColorSpace=Name.DeviceGray)}
        )

    build(path, make)


@pytest.mark.parametrize("renderer", ["poppler", "pdfium"])
def test_a_slice_says_what_it_was_drawn_under(renderer: Renderer, home: Path) -> None:
    outcome = fetched(home, renderer=renderer)
    here = renderer_identity(renderer)
    assert outcome.manifest.renderer == here.name
    assert here.name.startswith(f"{renderer}-")
    told = json.loads((outcome.path / "run.json").read_text())["details"]["renderer"]
    assert told == {"version": here.version, "identity": here.name}
    summary = summarise_source(installation_of(home, renderer=renderer).root, "papers")
    assert [one.renderer for one in summary.slices.values()] == [here.name]


@pytest.mark.parametrize(("make", "drawn"), [(scan, False), (lossless, True)], ids=["jpeg", "png"])
def test_pages_taken_as_they_are_need_none_but_those_encoded_here_do(
    make: Any, home: Path, *, drawn: bool
) -> None:
    (home / "in" / "a.pdf").unlink()
    make(home / "in" / "b.pdf")
    assert (fetched(home).manifest.renderer is not None) is drawn


def test_another_identity_changes_nothing_that_is_committed(
    home: Path, request: pytest.FixtureRequest
) -> None:
    before = fetched(home)
    request.getfixturevalue("elsewhere")
    after = fetched(home)
    assert (after.due, after.path) == (Due.COMMITTED, before.path)


def test_what_is_due_waits_and_both_identities_are_named(home: Path, request: pytest.FixtureRequest) -> None:
    before = fetched(home)
    drawing(home / "in" / "b.pdf", size_pt=(50, 50))
    request.getfixturevalue("elsewhere")
    with pytest.raises(RendererError) as told:
        fetched(home)
    for part in (before.manifest.renderer, OTHER.name, "--accept-renderer", "(1 item)", "papers/"):
        assert str(part) in str(told.value)
    (link,) = (home / "data" / "datasets" / "papers").glob("0*")
    assert link.resolve() == before.path


@pytest.mark.parametrize(
    "options", [SliceOptions(force=True), SliceOptions(accept_drift=True, force=True)], ids=["force", "drift"]
)
def test_force_is_no_acceptance(options: SliceOptions, home: Path, request: pytest.FixtureRequest) -> None:
    fetched(home)
    request.getfixturevalue("elsewhere")
    with pytest.raises(RendererError):
        fetched(home, options)


def test_an_item_that_goes_needs_no_renderer(home: Path, request: pytest.FixtureRequest) -> None:
    drawing(home / "in" / "b.pdf", size_pt=(50, 50))
    before = fetched(home, shrink_tolerance=1)
    (home / "in" / "b.pdf").unlink()
    request.getfixturevalue("elsewhere")
    after = fetched(home, shrink_tolerance=1)
    assert (after.due, after.manifest.rows) == (Due.CHANGED, 1)
    assert after.manifest.renderer == before.manifest.renderer


@pytest.mark.parametrize("grown", [False, True])
def test_accepting_draws_the_whole_slice_anew(
    home: Path, request: pytest.FixtureRequest, *, grown: bool
) -> None:
    fetched(home)
    if grown:
        drawing(home / "in" / "b.pdf", size_pt=(50, 50))
    request.getfixturevalue("elsewhere")
    after = fetched(home, ACCEPT)
    assert (after.due, after.run.taken_over) == (Due.REDRAWN, 0)
    assert (after.manifest.renderer, after.manifest.rows) == (OTHER.name, 1 + grown)
    assert fetched(home, ACCEPT).due is Due.COMMITTED


def test_accepting_on_the_same_machine_does_nothing(home: Path) -> None:
    fetched(home)
    assert fetched(home, ACCEPT).due is Due.COMMITTED


def test_sources_that_draw_nothing_never_ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "renderer_identity", None)
    fill(tmp_path / "in", 2)
    (outcome,) = ingest(install(tmp_path, {**STREET, "path": tmp_path / "in"}), options=ACCEPT).values()
    assert outcome.manifest.renderer is None
    fill(tmp_path / "in", 1, start=5)
    (outcome,) = ingest(install(tmp_path, {**STREET, "path": tmp_path / "in"}), options=ACCEPT).values()
    assert (outcome.due, outcome.manifest.rows) == (Due.CHANGED, 3)


@pytest.mark.parametrize(
    ("kept", "here", "figures", "told"),
    [
        (None, None, {}, None), (None, OTHER, {}, None), (None, OTHER, {"pages_rendered": 1}, OTHER.name),
        (None, OTHER, {"pages_encoded": 1}, OTHER.name), ("poppler-1", OTHER, {}, "poppler-1"),
        ("poppler-1", OTHER, {"pages_rendered": 1}, f"poppler-1+{OTHER.name}"),
        (OTHER.name, OTHER, {"pages_rendered": 1}, OTHER.name),
    ],
)  # fmt: skip
def test_what_a_manifest_says(
    kept: str | None, here: RendererIdentity | None, figures: dict[str, float], told: str | None
) -> None:
    assert identity_of_slice(kept, here, figures) == told
