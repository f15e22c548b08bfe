import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlm_assets.captions import separated
from vlm_assets.captions.text_files import text_file
from vlm_assets.words.errors import SourceError
from vlm_assets_tests.captions.kit import opener, rows, table

TWO = [{"file_name": "a.jpg", "text": "çay, şeker"}, {"file_name": "b.jpg", "text": None}]


@pytest.mark.parametrize(
    ("name", "content", "keys"),
    [
        ("m.csv", 'file_name,text\na.jpg,"çay, şeker"\nb.jpg,\n', {}),
        ("m.csv", "file_name;text\r\na.jpg;çay, şeker\r\nb.jpg;\r\n", {}),
        ("m.csv", "file_name\ttext\na.jpg\tçay, şeker\nb.jpg\t\n", {}),
        ("m.csv", "file_name|text\na.jpg|çay, şeker\nb.jpg|", {}),
        ("m.csv", "sep=;\nfile_name;text\na.jpg;çay, şeker\nb.jpg;\n", {}),
        ("m.csv", '\ufeff"sep=;"\r\nfile_name;text\r\na.jpg;çay, şeker\r\nb.jpg;\r\n', {}),
        ("m.csv", "SEP=\t\nfile_name\ttext\na.jpg\tçay, şeker\nb.jpg\t\n", {}),
        ("m.csv", "file_name^text\na.jpg^çay, şeker\nb.jpg^\n", {"separator": "^"}),
        ("m.tsv", "file_name\ttext\na.jpg\tçay, şeker\nb.jpg\t\n", {}),
        ("m.tsv", 'file_name,text\na.jpg,"çay, şeker"\nb.jpg,\n', {}),
        ("m.csv", '"file_name";"text"\n"a.jpg";"çay, şeker"\n"b.jpg";""\n', {}),
        ("m.csv", 'file_name, text\na.jpg, "çay, şeker"\nb.jpg, \n', {}),
        ("m.csv", " file_name ;text\n\n;;\na.jpg;çay, şeker\n \nb.jpg;\n;\n", {}),
        ("m.csv", "file_name;text;\na.jpg;çay, şeker;\nb.jpg;;\n", {}),
        ("m.csv", "file_name;text\na.jpg;çay, şeker;;\nb.jpg;\n", {}),
        ("m.csv", "file_name;text\ra.jpg;çay, şeker\rb.jpg;\r", {}),
    ],
    ids=["comma", "semicolon", "tab-in-csv", "bar", "sep-line", "sep-line-quoted-bom", "sep-tab", "declared", "tsv",
         "comma-in-tsv", "all-quoted", "padded", "blank-lines", "trailing-column", "trailing-cells", "cr"],
)  # fmt: skip
def test_every_layout_says_the_same(name, content, keys):
    assert rows(content, name, **keys) == TWO


@pytest.mark.parametrize(
    ("content", "separator"),
    [
        ("resim;açıklama\n1;a, b\n2;c\n", ";"),
        ("resim;açıklama\n", ";"),
        ("a,b;c\n1,2;3\n4,5\n", ","),
        ("only\n1\n2;3\n", ","),
        ("url_list,x\na,b,c\n", ","),
        ("", ","),
    ],
    ids=["even", "header-only", "even-by-one", "one-column", "usual-though-ragged", "empty"],
)
def test_without_a_known_name_the_rows_decide(content, separator):
    found = separated.find_layout(text_of(content), lambda _: False)
    assert found.separator == separator


def test_a_name_in_the_header_outweighs_the_rows():
    content = "file_name;baslik,x\na.jpg;çay, su\nb.jpg;iki;üç, dört\n"
    assert separated.find_layout(text_of(content), lambda name: name == "file_name").separator == ";"


def test_a_row_is_known_by_a_name_at_its_end():
    with pytest.raises(SourceError, match="line 2: a quote is out of place"):
        rows('text,file_name\n"yarım,f.jpg\nbir, iki,g.jpg\nüç",h.jpg\n')


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("a,b;c\n1,2;3\n", r"not certain; say separator: .*comma \(2 columns\), semicolon \(2 columns\)"),
        (
            "url\nhttp://x/1.jpg;çay\nhttp://x/2.jpg;su\n",
            "header names one column, the rows have 2 by semicolon",
        ),
    ],
    ids=["two-ways", "header-short"],
)
def test_an_uncertain_separator_names_the_key(content, told):
    with pytest.raises(SourceError, match=told):
        separated.find_layout(text_of(content), lambda name: name == "url")


def text_of(content):
    return text_file("m.csv", opener(content))


STRAY = {
    "opens-and-closes-in-a-cell": ('f.jpg,"yarım\ng.jpg,iki\nh.jpg,19" ekran\n', 2),
    "closes-at-the-end-of-a-row": ('f.jpg,"yarım\ng.jpg,iki\nh.jpg,5"\ni.jpg,son\n', 2),
    "closes-in-the-next-row": ('e.jpg,tam\nf.jpg,"yarım\ng.jpg,5"\n', 3),
    "never-closes": ('f.jpg,tam\ng.jpg,"yarım\nh.jpg,iki\n', 3),
    "begins-two-cells": ('f.jpg,"Merhaba dedi\ng.jpg,iki\nh.jpg,"Dört\n', 2),
    "before-more-text": ('f.jpg,"Evet" dedi\n', 2),
    "backslash": ('f.jpg,"o \\"evet\\" dedi"\n', 2),
    "swallows-one-with-a-quoted-cell": ('f.jpg,"yarım\ng.jpg,"iki, üç"\n', 2),
    "swallows-rows-of-other-widths": ('f.jpg,"yarım\ng.jpg,bir, iki\nh.jpg,5"\n', 2),
    "swallows-none-of-the-right-width": ('f.jpg,"yarım, çok\ng.jpg,bir, iki\nh.jpg,üç, 5"\n', 2),
    "after-a-good-cell-of-two-lines": ('e.jpg,"bir\niki"\nf.jpg,"yarım\ng.jpg,5"\n', 4),
}


@pytest.mark.parametrize(("content", "line"), STRAY.values(), ids=STRAY)
def test_a_stray_quote_is_an_error_that_names_the_line(content, line):
    with pytest.raises(SourceError, match=rf"metadata\.csv: line {line}: a quote .*quotes: literal"):
        rows("file_name,text\n" + content)


@pytest.mark.parametrize("content", [content for content, _ in STRAY.values()], ids=STRAY)
def test_it_is_found_where_the_text_stands_first_and_with_urls(content):
    turned = "".join(
        f"{text},http://x.org/{name}\n" for name, _, text in (r.partition(",") for r in content.splitlines())
    )
    with pytest.raises(SourceError, match=r"metadata\.csv: line \d+"):
        rows("text,image_file_name\n" + turned)


@pytest.mark.parametrize(
    "cell",
    ['19" ekran', 'o "evet" dedi', '"', 'yarım "', "\n", "x" * 200_000, "a.jpg\nb.jpg",
     "bir\niki", "bir, iki\nüç, dört\nbeş, altı", 'ilk "satır"\r\n\r\nson',
     "see a.jpg, b.jpg\nand c.jpg"],
    ids=lambda cell: repr(cell)[:20],
)  # fmt: skip
def test_quoted_cells_of_several_lines_and_with_quotes_are_kept(cell):
    doubled = cell.replace('"', '""')
    assert rows(f'file_name,text\na.jpg,"{doubled}"\nb.jpg,son\n') == [
        {"file_name": "a.jpg", "text": cell}, {"file_name": "b.jpg", "text": "son"},
    ]  # fmt: skip


@pytest.mark.parametrize("cell", ['19" ekran', 'ilk " ve son"', "o'nun"])
def test_a_quote_inside_a_bare_cell_is_a_character(cell):
    assert rows(f"file_name,text\na.jpg,{cell}\n") == [{"file_name": "a.jpg", "text": cell}]


def test_literal_quotes_enclose_nothing():
    content = 'file_name\ttext\na.jpg\t"Merhaba dedi\nb.jpg\tiki\nc.jpg\t"Dört"\n'
    assert [row["text"] for row in rows(content, "m.tsv", quotes=separated.Quotes.LITERAL)] == [
        '"Merhaba dedi', "iki", '"Dört"',
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (
            "file_name,text\na.jpg,bir\nb.jpg,iki, üç\n",
            r"line 3 has 3 cells, the header has 2 columns .separator",
        ),
        ("file_name,text\na.jpg,bir\nsatır\n", "line 3 has 1 cell"),
        ('file_name,text\na.jpg,"bir\niki"\nb.jpg,iki,üç\n', "line 4 has 3 cells"),
        ("sep=;\nfile_name;text\na.jpg\n", "line 3 has 1 cell"),
        ("file_name,text,\na.jpg,bir,iki\n", "line 2: a cell stands under a column without a name"),
        ("file_name,text,text\n", "line 1: two columns are named text"),
        ("", "the file is empty"),
    ],
    ids=["wide", "narrow", "after-two-lines", "after-sep", "nameless", "doubled", "empty"],
)
def test_rows_that_do_not_fit_the_header_are_named(content, told):
    with pytest.raises(SourceError, match=told):
        rows(content)


def test_a_cell_without_end_stops_at_a_cap(monkeypatch):
    monkeypatch.setattr(separated, "_CELL_CHARS", 200_000)
    before = csv.field_size_limit(200_000)
    try:
        with pytest.raises(SourceError, match="line 2: a quote opens a cell and never closes it"):
            rows('file_name,text\na.jpg,"' + "satır\n" * 100_000)
    finally:
        csv.field_size_limit(before)


def test_places_are_lines_of_the_file():
    loaded = table('sep=,\n\nfile_name,text\na.jpg,"bir\niki"\n\nb.jpg,üç\n').load()
    assert [row.number for row in loaded.rows()] == [4, 7]
    assert loaded.columns == ("file_name", "text")


CELLS = st.text(st.characters(blacklist_categories=("Cs", "Cc")) | st.sampled_from(',;\t"\n '), max_size=12)


@settings(deadline=None)
@given(st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=8), st.sampled_from([",", ";", "\t", "|"]))
def test_what_a_csv_writer_writes_is_read_back(cells, separator):
    buffer = io.StringIO()
    writer = csv.writer(buffer, delimiter=separator, quoting=csv.QUOTE_ALL)
    writer.writerow(["file_name", "text", "more"])
    writer.writerows((f"n{number}", *pair) for number, pair in enumerate(cells))
    expected = [
        {"file_name": f"n{number}", "text": first or None, "more": second or None}
        for number, (first, second) in enumerate(cells)
    ]
    assert rows(buffer.getvalue()) == expected


@pytest.mark.parametrize(
    ("content", "row"),
    [
        (",file_name,text\n0,a.jpg,bir\n", {"Unnamed: 0": "0", "file_name": "a.jpg", "text": "bir"}),
        (";file_name;text\n7;a.jpg;bir\n", {"Unnamed: 0": "7", "file_name": "a.jpg", "text": "bir"}),
        (",file_name,text\n,a.jpg,bir\n", {"file_name": "a.jpg", "text": "bir"}),
    ],
    ids=["index", "semicolon", "empty"],
)
def test_a_first_column_without_a_name_is_an_index(content, row):
    assert rows(content) == [row]
