import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from vlm_assets.captions import joining
from vlm_assets.captions.joining import CaptionColumns, CaptionIndex, CaptionRow
from vlm_assets.words.errors import SourceError
from vlm_assets_tests.captions.kit import table

IMAGES = {"a.jpg", "b.jpg", "t/a.jpg", "t/c.jpg", "t/a.jpg.webp"}


FOUND = CaptionColumns()


@contextmanager
def index(
    tmp_path: Path, *tables: tuple[str, str, str], columns: CaptionColumns = FOUND
) -> Iterator[CaptionIndex]:
    with CaptionIndex(IMAGES, tmp_path, columns) as made:
        for content, name, folder in tables:
            made.add(table(content, name), folder)
        yield made


def told(made, key):
    return [(row.place, row.words.text, row.words.extra) for row in made.rows_of(key)]


def test_rows_find_their_images_and_what_finds_none_is_counted(tmp_path):
    content = "file_name,text,n\na.jpg,bir,1\nyok.jpg,iki,2\nA.JPG,üç,\n,dört,\nb.jpg,,\n"
    missed: list[CaptionRow] = []
    with CaptionIndex(IMAGES, tmp_path) as made:
        made.add(table(content), "", missed.append)
        counts = made.finish()
        assert told(made, "a.jpg") == [("metadata.csv: line 2", "bir", {"n": "1"})]
        assert told(made, "b.jpg") == [("metadata.csv: line 6", None, {"n": None})]
        assert told(made, "t/a.jpg") == []
        assert (counts.tables, counts.rows, counts.joined, counts.name_nothing) == (1, 5, 2, 3)
        assert (counts.images, counts.images_with_rows, counts.images_without_rows) == (5, 2, 3)
        assert counts.examples == [
            "metadata.csv: line 3 names 'yok.jpg'", "metadata.csv: line 4 names 'A.JPG' (there is a.jpg)",
            "metadata.csv: line 5 names ''",
        ]  # fmt: skip
        assert [row.place[-1] for row in missed] == ["3", "4", "5"]


def test_several_rows_an_image_keep_their_order_over_tables(tmp_path):
    first = "file_name,text\nt/a.jpg,bir\nt/a.jpg,iki\nt/a.jpg,bir\n"
    second = '{"file_name": "a.jpg", "caption": "üç"}'
    with index(tmp_path, (first, "metadata.csv", ""), (second, "t/metadata.jsonl", "t")) as made:
        made.finish()
        assert [row.words.text for row in made.rows_of("t/a.jpg")] == ["bir", "iki", "bir", "üç"]
        assert made.rows_of("t/a.jpg.webp") == []


def test_a_row_of_several_images_is_at_home_with_the_first_that_is_there(tmp_path):
    content = "image_file_name,mask_file_name,text\na.jpg,b.jpg,çift\nyok.jpg,b.jpg,yarım\nb.jpg,b.jpg,aynı\n"
    with index(tmp_path, (content, "metadata.csv", "")) as made:
        counts = made.finish()
        (pair,) = made.rows_of("a.jpg")
        assert [(one.column, one.name, one.key) for one in pair.images] == [
            ("image", "a.jpg", "a.jpg"), ("mask", "b.jpg", "b.jpg"),
        ]  # fmt: skip
        assert [row.words.text for row in made.rows_of("b.jpg")] == ["yarım", "aynı"]
        assert [row.words.text for row in made.rows_naming("b.jpg")] == ["çift", "yarım", "aynı"]
        assert made.rows_of("b.jpg")[0].images[0].key is None
        assert (counts.joined, counts.incomplete, counts.name_nothing) == (3, 1, 0)


@pytest.mark.parametrize(
    ("content", "columns", "message"),
    [
        ("filename,text\na.jpg,bir\n", FOUND,
         r"metadata\.csv: no column names files .*there are: filename, text.*file_name_column"),
        ("file_name,text\na.jpg,bir\n", CaptionColumns(file_name="image"), "no column 'image' .file_name_column"),
        ("file_name,text\na.jpg,bir\n", CaptionColumns(text="caption"),
         "no column 'caption' .text_column.; there are: file_name, text"),
        ("file_name,text\nA.jpg,bir\n", FOUND, r"none of 1 caption rows .*'A.jpg' \(there is a.jpg\)"),
        ("file_name,text\nx/a.jpg,bir\n", FOUND, r"'x/a.jpg' \(there is "),
        ("file_name,text\na,bir\n", FOUND, r"'a' \(there is "),
    ],
    ids=["filename", "declared-name", "declared-text", "case", "folder", "suffix"],
)  # fmt: skip
def test_what_joins_nothing_at_all_is_an_error_that_says_why(tmp_path, content, columns, message):
    with pytest.raises(SourceError, match=message), index(
        tmp_path, (content, "metadata.csv", ""), columns=columns
    ) as made:  # fmt: skip
        made.finish()


def test_declared_columns_are_the_ones(tmp_path):
    content = "image,caption,text\na.jpg,bir,iki\n"
    columns = CaptionColumns(file_name="image", text="caption")
    with index(tmp_path, (content, "captions.txt", ""), columns=columns) as made:
        made.finish()
        assert told(made, "a.jpg") == [("captions.txt: line 2", "bir", {"text": "iki"})]


@pytest.mark.parametrize("name", ["table.csv", "table.jsonl"])
def test_ids_without_suffix_name_images_where_the_catalogue_says_which_column_they_are_in(tmp_path, name):
    content = (
        "id,text\n7,bir\n8,iki\n"
        if name.endswith("csv")
        else '{"id":7,"text":"bir"}\n{"id":8,"text":"iki"}\n'
    )
    with CaptionIndex(["7.jpg", "8.jpg", "8.png", "8.txt"], tmp_path, CaptionColumns(file_name="id")) as made:
        made.add(table(content, name), "")
        counts = made.finish()
        assert [row.words.text for row in made.rows_of("7.jpg")] == ["bir"]
        assert (counts.joined, counts.name_nothing) == (1, 1)


def test_a_table_that_may_be_of_something_else_stops_nothing(tmp_path):
    with CaptionIndex(IMAGES, tmp_path) as made:
        assert not made.add(table("city,people\nIzmir,5\n"), "", optional=True)
        assert made.add(table("file_name,text\nyok.jpg,bir\n"), "", optional=True)
        counts = made.finish()
        assert (counts.tables, counts.rows, counts.name_nothing) == (1, 1, 1)


def test_names_can_be_relative_to_another_folder(tmp_path):
    for folder in ("t", "./t/", "x/../t"):
        with CaptionIndex(IMAGES, tmp_path, CaptionColumns(folder=folder)) as made:
            made.add(table("file_name,text\nc.jpg,bir\n"), "")
            made.finish()
            assert [row.words.text for row in made.rows_of("t/c.jpg")] == ["bir"]


def test_counts_can_be_over_some_images_only(tmp_path):
    with CaptionIndex(IMAGES, tmp_path) as made:
        made.add(table("file_name,text\na.jpg,bir\nb.jpg,iki\n"), "")
        counts = made.finish({"a.jpg", "t/a.jpg"})
        assert (counts.images, counts.images_with_rows, counts.images_without_rows) == (2, 1, 1)


def test_a_table_without_rows_joins_nothing_and_is_no_error(tmp_path):
    with index(tmp_path, ("file_name,text\n", "metadata.csv", "")) as made:
        assert made.finish().images_without_rows == 5


def test_memory_a_row_is_that_of_two_numbers(tmp_path, monkeypatch):
    monkeypatch.setattr(joining, "_IN_MEMORY_BYTES", 1000)
    count = 8_000
    images = {f"{n}.jpg" for n in range(count)}
    content = ("file_name,text\n" + "".join(f"{n}.jpg,{'metin' * 20} {n}\n" for n in range(count))).encode()
    source = table(content)
    with CaptionIndex(images, tmp_path) as empty:
        empty.finish()  # what is imported on the way counts for nothing
    with CaptionIndex(images, tmp_path) as made:
        tracemalloc.start()
        try:
            made.add(source, "")
            made.finish()
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 4_500_000
        assert [row.words.text for row in made.rows_of("7654.jpg")] == ["metin" * 20 + " 7654"]
    assert list(tmp_path.iterdir()) == []
