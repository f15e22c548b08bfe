"""Rows and pages that a look at files of this machine counts."""

from pathlib import Path

import pikepdf
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vlm_assets.operate.authoring.counted import Documents, Tables, count_pages, count_rows
from vlm_assets.operate.authoring.looks import look_at
from vlm_assets.settings import Settings

FOUND = Tables(10, ("image", "text"))
TABLE = pa.table({"image": [b"x"] * 10, "text": ["y"] * 10})


def stream(path: Path) -> None:
    with pa.ipc.new_stream(path, TABLE.schema) as out:
        out.write_table(TABLE, max_chunksize=3)


def file(path: Path) -> None:
    with pa.ipc.new_file(path, TABLE.schema) as out:
        out.write_table(TABLE, max_chunksize=3)


@pytest.mark.parametrize(
    ("form", "write", "found"),
    [
        pytest.param("arrow", stream, FOUND, id="stream"),
        pytest.param("arrow", file, FOUND, id="file"),
        pytest.param("parquet", lambda path: pq.write_table(TABLE, path), FOUND, id="parquet"),
        pytest.param("parquet", lambda path: path.write_bytes(b"PAR1"), None, id="damaged"),
        pytest.param("csv", lambda path: path.write_text("a"), None, id="text"),
    ],
)
def test_rows_and_columns(tmp_path, form, write, found):
    write(tmp_path / "a")
    assert count_rows([(tmp_path / "a", form)]) == found


def pdf(path: Path, pages: int, password: str = "") -> Path:
    with pikepdf.new() as made:
        for _ in range(pages):
            made.add_blank_page()
        made.save(path, encryption=pikepdf.Encryption(owner=password, user=password) if password else False)
    return path


def test_pages_of_documents_and_what_becomes_of_the_others(tmp_path):
    (tmp_path / "c.pdf").write_bytes(b"%PDF-1.7")
    paths = [pdf(tmp_path / "a.pdf", 3), pdf(tmp_path / "b.pdf", 1, "secret"), tmp_path / "c.pdf"]
    assert count_pages(paths) == Documents(looked_at=3, pages=3, encrypted=1, damaged=1)
    look = look_at("pdf_folder", {"path": str(tmp_path)}, Settings(), "scans")
    assert look.told[:3] == ("3 PDFs", "3 pages", "1 PDF asks for a password: encrypted, a reject")
    assert "text: layer" in look.told[-1]
    assert look.maybe[0].startswith("text: layer")


def test_a_dataset_on_disk_tells_rows_and_columns(tmp_path):
    pq.write_table(TABLE, tmp_path / "train.parquet")
    look = look_at("hf_disk", {"path": str(tmp_path)}, Settings(), "saved")
    assert look.told[0].startswith("revision on disk: 10 rows in 1 file, 1 slice, ")
    assert "columns image, text" in look.told
