"""The finding `fonts`: pages of a corpus with other fonts than they ask for, counted from their rows."""

import pikepdf
import pytest

from vlm_assets.allocation.step import allocate
from vlm_assets.audit.findings import FindingName, Severity
from vlm_assets.audit.run import audit_corpus
from vlm_assets.corpus.build import build_corpus
from vlm_assets_tests.pdf.builders import Dictionary, add_page, build, scan, standard_font
from vlm_assets_tests.workplace import STREET, fill, ingest, install

LETTERS = "BT /F2 12 Tf 9 9 Td (\\200a) Tj ET"


def papers(pdf: pikepdf.Pdf) -> None:
    for glyphs in (["a"], ["scedilla"], ["nosuchglyph"]):
        add_page(
            pdf, LETTERS, (60, 60), resources={"Font": Dictionary(F2=standard_font("Times-Roman", glyphs))}
        )
    add_page(pdf, "0 0 30 40 re f", (60, 61))


@pytest.mark.parametrize(
    ("drawn", "counts"), [(True, (1, 3)), (False, (0, 0))], ids=["drawn", "taken as they are"]
)
def test_pages_are_counted(drawn: bool, counts: tuple[int, int], tmp_path) -> None:  # noqa: FBT001 - table
    (tmp_path / "in").mkdir()
    if drawn:
        build(tmp_path / "in" / "a.pdf", papers)
    else:
        scan(tmp_path / "in" / "a.pdf", pages=2)
    pdfs = {**STREET, "kind": "pdf_folder", "name": "papers", "path": tmp_path / "in", "dpi": 60}
    others = {**STREET, "path": fill(tmp_path / "street", 2)}
    installation = install(tmp_path, pdfs, others, corpus={"shortfall": "report", "min_side_px": 1})
    for source in ("papers", "street"):
        ingest(installation, source)
    build_corpus(allocate(installation, "10").path, installation.root)
    (found,) = [one for one in audit_corpus(installation, "10") if one.name is FindingName.FONTS]
    assert found.judged
    assert (found.passed, found.severity) == (not drawn, Severity.WARNING)
    assert (found.figures["no_glyph"], found.figures["substituted"]) == counts
    assert [one.rpartition("#")[2] for one in found.examples] == (
        ["page=3: text may be missing"] if drawn else []
    )
