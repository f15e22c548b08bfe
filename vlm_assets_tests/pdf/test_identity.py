"""The renderer identity: equal where the same pages come out, another where one page does not, and told by part."""

import io
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pikepdf
import pytest

from vlm_assets.pdf import fonts, reference
from vlm_assets.pdf.facts import Renderer
from vlm_assets.pdf.fonts import FOLDER, check_fonts
from vlm_assets.pdf.identity import renderer_identity
from vlm_assets.pdf.render import renderer_name
from vlm_assets.words.errors import OperationError

RENDERERS = ("poppler", "pdfium")
PNG_BYTES = {
    "flate": "99e6be643857a2aa", "grey": "46580389e2bdec58", "palette": "b7aad4ed645847fa",
    "ccitt": "82cc67c08e5eff0b", "jbig2": "40936ad5c13d9fcc",
}  # fmt: skip
"""Vectors: what locked packages alone decide, on every machine."""


@pytest.fixture(autouse=True)
def anew() -> Iterator[None]:
    """Nothing is remembered from another test, nor for one."""
    renderer_identity.cache_clear()
    yield
    renderer_identity.cache_clear()


@pytest.fixture
def poppler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Puts another `pdftoppm` before the real one, in shell; `$real` is that."""

    def become(script: str) -> None:
        folder = tmp_path / "bin"
        folder.mkdir()
        (folder / "pdftoppm").write_text(f"#!/bin/sh\nreal={shutil.which('pdftoppm')}\n{script}\n")
        (folder / "pdftoppm").chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")

    return become


@pytest.mark.parametrize("renderer", RENDERERS)
def test_every_reference_page_has_its_parts(renderer: Renderer) -> None:
    found = renderer_identity(renderer)
    pages = {name.split(":")[0] for name in found.parts if not name.startswith("font ")}
    assert pages == set(reference.PAGES)
    assert len(found.parts) == 2 * len(reference.PAGES) + len(fonts.DIGESTS)
    assert found.version.startswith(f"{renderer} ")
    assert renderer_identity(renderer) is found
    told = {name: found.parts[f"{name}: bytes"] for name in PNG_BYTES}
    assert told == PNG_BYTES


def test_the_first_pages_are_drawn_and_the_others_taken() -> None:
    with pikepdf.open(io.BytesIO(reference.reference_document())) as document:
        assert len(document.pages) == len(reference.PAGES)
        sizes = [tuple(int(value) for value in page.mediabox[2:]) for page in document.pages]
    assert set(sizes[:11]) == {(200, 200)}
    assert set(sizes[11:]) == {(60, 60), (64, 48), (48, 32)}


@pytest.mark.parametrize(
    ("script", "differs"),
    [
        ('exec $real "$@"', False),
        ('LC_ALL=tr_TR.UTF-8 LANG=ja_JP HOME=/nowhere exec $real "$@"', False),
        ('exec $real -aa no "$@"', True),
        ('FONTCONFIG_FILE=/nowhere exec $real "$@"', True),
    ],
    ids=["same", "elsewhere", "no smoothing", "no fonts"],
)
def test_it_is_another_exactly_where_other_pages_come_out(
    script: str,
    differs: bool,  # noqa: FBT001 - table
    poppler: Callable[[str], None],
) -> None:
    before = renderer_identity("poppler")
    renderer_identity.cache_clear()
    poppler(script)
    after = renderer_identity("poppler")
    assert (after.digest != before.digest) is differs
    changed = {name for name, value in after.parts.items() if before.parts[name] != value}
    assert ("standard text: pixels" in changed) is differs
    assert not any(name.startswith(("font ", "flate", "ccitt", "jpeg")) for name in changed)


def test_another_version_that_draws_the_same_is_the_same(poppler: Callable[[str], None]) -> None:
    before = renderer_identity("poppler")
    renderer_identity.cache_clear()
    poppler('[ "$1" = -v ] && { echo "pdftoppm version 99.1" >&2; exit; }; exec $real "$@"')
    renderer_name.cache_clear()
    after = renderer_identity("poppler")
    renderer_name.cache_clear()
    assert after.version == "poppler 99.1"
    assert after.digest == before.digest


def test_a_page_that_cannot_be_drawn_is_named(poppler: Callable[[str], None]) -> None:
    poppler("exit 1")
    with pytest.raises(OperationError, match="'standard text' cannot be drawn by poppler"):
        renderer_identity("poppler")


def test_a_poppler_that_keeps_silent_about_damage_is_refused(poppler: Callable[[str], None]) -> None:
    poppler('exec $real "$@" 2>/dev/null')
    with pytest.raises(OperationError, match="damaged JPEGs without a word"):
        renderer_identity("poppler")


def test_a_machine_without_poppler_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(OperationError, match="poppler-utils"):
        renderer_identity("poppler")


def test_a_damaged_font_has_no_identity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = tmp_path / "files"
    shutil.copytree(FOLDER, copy)
    (copy / "DejaVuSans.ttf").write_bytes(b"")
    monkeypatch.setattr(fonts, "FOLDER", copy)
    check_fonts.cache_clear()
    try:
        with pytest.raises(OperationError, match=r"DejaVuSans\.ttf"):
            renderer_identity("pdfium")
    finally:
        check_fonts.cache_clear()
