"""`ocr` with a program in Tesseract's place: what is asked of it, how its table is read, what is told without it.

How well Tesseract itself reads Turkish is measured by `bench_annotate`, where it is installed.
"""

from pathlib import Path

import pytest
from PIL import Image

from vlm_assets.annotators import ocr
from vlm_assets.annotators.ocr import ANNOTATOR, read_tsv
from vlm_assets_tests.annotators.test_images import encoded

HEAD = "level\tpage_num\tblock_num\tpar_num\tline_num\tword_num\tleft\ttop\twidth\theight\tconf\ttext"
PAGE = f"""{HEAD}
1\t1\t0\t0\t0\t0\t0\t0\t9\t9\t-1\t
5\t1\t1\t1\t1\t1\t0\t0\t9\t9\t96.5\tYAĞMUR
5\t1\t1\t1\t1\t2\t0\t0\t9\t9\t90.5\tyağdı
5\t1\t1\t1\t1\t3\t0\t0\t9\t9\t95\t\x20
5\t1\t1\t1\t2\t1\t0\t0\t9\t9\t80\tdün
"""
PROGRAM = """#!/bin/sh
if [ "$1" = --list-langs ]; then echo "List of languages:"; echo {languages}; exit 0; fi
cat > {folder}/asked.ppm; echo "$@" > {folder}/words
{does}
"""


@pytest.fixture
def tesseract(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def install(does: str, languages: str = "eng tur") -> Path:
        (tmp_path / "page.tsv").write_text(PAGE, "utf-8")
        program = tmp_path / "tesseract"
        program.write_text(PROGRAM.format(languages=languages, folder=tmp_path, does=does), "utf-8")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
        ocr._languages.cache_clear()
        return tmp_path

    yield install
    ocr._languages.cache_clear()


def test_words_by_line_and_how_sure_it_is():
    assert read_tsv(PAGE) == {"text": "YAĞMUR yağdı\ndün", "confidence": 89, "words": 3}
    assert read_tsv(HEAD) == {"text": "", "confidence": None, "words": 0}


def test_it_is_shown_the_whole_picture_in_grey(tesseract):
    folder = tesseract("cat $(dirname $0)/page.tsv")
    picture = encoded(Image.new("RGB", (2_500, 30), (9, 9, 9)), dpi=(300, 300))
    assert ANNOTATOR.missing() == ""
    [found] = ANNOTATOR.annotate([picture])
    assert found is not None
    assert found["words"] == 3
    assert (folder / "words").read_text().split() == ["stdin", "stdout", "-l", "tur", "--dpi", "300", "tsv"]
    with Image.open(folder / "asked.ppm") as asked:
        assert (asked.size, asked.mode, asked.getpixel((0, 0))) == ((2_500, 30), "L", 9)


def test_a_program_that_fails_is_an_error(tesseract):
    tesseract("exit 3")
    with pytest.raises(Exception, match="exit status 3"):
        ANNOTATOR.annotate([encoded(Image.new("L", (9, 9)))])


def test_what_to_install(tesseract, tmp_path, monkeypatch):
    tesseract("exit 0", languages="eng")
    assert "no data for Turkish, tur (apt install tesseract-ocr tesseract-ocr-tur)" in ANNOTATOR.missing()
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    assert ANNOTATOR.missing().startswith("the program tesseract is not installed (apt install")
