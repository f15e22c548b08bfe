"""A read of the document fails, once, wherever it is read: its page is the same or waits, never another one."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pikepdf
import pytest

from vlm_assets.pdf import held
from vlm_assets.pdf.facts import PageOptions, Renderer
from vlm_assets.pdf.worker import page_worker
from vlm_assets_tests.faults.watched import Ended, Fault, Mode, warmed, watched
from vlm_assets_tests.pdf.builders import add_page, build, drawing, image_object, jpeg, picture, scan


def rotated(path: Path) -> None:
    """A scan that is drawn, since it is not upright."""
    image = picture()

    def page(pdf: pikepdf.Pdf) -> None:
        add_page(pdf, images={"Im0": image_object(pdf, jpeg(image), image)})
        pdf.pages[0].Rotate = 90

    build(path, page)


MAKERS: dict[str, Callable[[Path], object]] = {
    "drawn": drawing,
    "taken": scan,
    "rotated": rotated,
}


def worked(document: Path, pages: Path, renderer: Renderer) -> int:
    """Works on the first page as a worker does; prints each answer."""
    pages.mkdir(exist_ok=True)
    serve = page_worker(PageOptions(dpi=60, renderer=renderer), pages)
    serve({"path": str(document), "start": 0, "stop": 1}, lambda answer: print(json.dumps(answer)))
    return 0


def outcome(ended: Ended) -> tuple[str, Any]:
    """The page by its digest, or that it waits, or what else was said of it."""
    assert ended.code == 0, ended.said
    answers: list[dict[str, Any]] = [json.loads(one) for one in ended.said.splitlines()]
    last = answers[-1]
    if "digest" in last:
        return "page", last["digest"]
    if "error" in last or ("fault" in last and last["fault"][2]):
        return "waits", None
    return "another", last


@pytest.mark.parametrize("renderer", ["poppler", "pdfium"])
@pytest.mark.parametrize("made", MAKERS)
def test_a_read_that_fails_gives_no_other_page(tmp_path: Path, made: str, renderer: Renderer):
    (tmp_path / "in").mkdir()
    document, said = tmp_path / "in" / "a.pdf", tmp_path / "said"
    MAKERS[made](document)
    act = partial(worked, document, tmp_path / "pages", renderer)
    whole = outcome(warmed(act, said))
    assert whole[0] == "page"
    try:
        count = len(watched(act, said, document.parent, reads=True).points)
    except OSError as error:
        pytest.skip(f"the kernel lets no process watch the calls of another here: {error}")
    assert count
    told = [
        outcome(watched(act, said, document.parent, Fault(Mode.BROKEN, at), reads=True))
        for at in range(1, count + 1)
    ]
    assert set(told) <= {whole, ("waits", None)}
    assert ("waits", None) in told


def test_a_document_that_is_too_large_is_read_where_it_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "a.pdf"
    path.write_bytes(b"%PDF-")
    assert held.HeldFile.of(path).path.read_bytes() == b"%PDF-"
    assert held.HeldFile.of(path).descriptors
    monkeypatch.setattr(held, "MAX_HELD_BYTES", 4)
    assert (held.HeldFile.of(path).path, held.HeldFile.of(path).descriptors) == (path, ())
