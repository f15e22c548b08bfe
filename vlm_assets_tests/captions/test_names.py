import unicodedata

import pytest

from vlm_assets.captions.names import (
    NamedFile,
    image_suffixes,
    is_name_column,
    listed_name,
    name_column_test,
    split_row,
)

LISTED = {"a.jpg", "t/a.jpg", "t/b/1.jpg", "t/çiçek.jpg", "t/IMG_1.JPG", "t/a b.jpg", "t/x\\y.jpg", " s.jpg"}


@pytest.mark.parametrize(
    ("name", "folder", "found"),
    [
        ("a.jpg", "t", "t/a.jpg"),
        ("a.jpg", "", "a.jpg"),
        ("./a.jpg", "t", "t/a.jpg"),
        (".\\b\\1.jpg", "t", "t/b/1.jpg"),
        ("b\\1.jpg", "t", "t/b/1.jpg"),
        ("b//1.jpg", "t", "t/b/1.jpg"),
        ("b/../a.jpg", "t", "t/a.jpg"),
        ("../a.jpg", "t", "a.jpg"),
        ("t/a.jpg", "", "t/a.jpg"),
        (unicodedata.normalize("NFD", "çiçek.jpg"), "t", "t/çiçek.jpg"),
        ("x\\y.jpg", "t", "t/x\\y.jpg"),
        (" a.jpg ", "t", "t/a.jpg"),
        (" s.jpg", "", " s.jpg"),
        ("a b.jpg", "t", "t/a b.jpg"),
        ("img_1.jpg", "t", None),
        ("../../a.jpg", "t", None),
        ("/a.jpg", "", None),
        ("/a.jpg", "t", None),
        ("\\a.jpg", "", None),
        ("C:\\t\\a.jpg", "", None),
        ("file://a.jpg", "", None),
        ("", "t", None),
        ("   ", "t", None),
        ("a", "t", None),
        ("t/a.jpg", "t", None),
    ],
)
def test_names_lead_to_listed_files_only(name, folder, found):
    assert listed_name(name, folder, LISTED) == found


@pytest.mark.parametrize(
    ("name", "found"),
    [("a", "t/a.jpg"), ("IMG_1", "t/IMG_1.JPG"), ("two", None), ("two.png", "t/two.png"), ("v1.5", "t/v1.5.jpg"),
     ("notes", None), ("a.jpg", "t/a.jpg"), ("yok.jpg", None)],
)  # fmt: skip
def test_an_id_leads_to_the_one_image_of_its_name(name, found):
    listed = LISTED | {"t/two.jpg", "t/two.png", "t/v1.5.jpg", "t/notes.txt", "t/yok.jpg.png"}
    suffixes = image_suffixes(listed)
    assert suffixes == {".jpg", ".JPG", ".png"}
    assert listed_name(name, "t", listed, suffixes) == found


@pytest.mark.parametrize(
    ("column", "is_one"),
    [("file_name", True), ("file_names", True), ("image_file_name", True), ("images_file_names", True),
     ("filename", False), ("file_name_old", False), ("myfile_name", False), ("text", False)],
)  # fmt: skip
def test_name_columns_are_those_of_datasets(column, is_one):
    assert is_name_column(column) == is_one


def test_a_declared_name_column_is_the_only_one():
    is_name = name_column_test("filename")
    assert split_row({"filename": "a.jpg", "file_name": "b.jpg"}, is_name) == (
        [NamedFile("filename", "a.jpg")], {"file_name": "b.jpg"},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("values", "files", "rest"),
    [
        ({"file_name": "a", "text": "x"}, [("image", "a")], {"text": "x"}),
        ({"mask_file_name": "m", "image_file_name": "i"}, [("mask", "m"), ("image", "i")], {}),
        ({"file_names": ["a", "b"], "n": None}, [("images", "a"), ("images", "b")], {"n": None}),
        ({"frames_file_names": ["a"]}, [("frames", "a")], {}),
        ({"pair": {"file_name": "a", "n": 1}}, [("pair.image", "a")], {"pair": {"n": 1}}),
        ({"pair": {"file_name": "a"}, "e": {}}, [("pair.image", "a")], {"e": {}}),
        ({"parts": [{"file_name": "a", "k": 1}, {"file_name": "b", "k": 2}]},
         [("parts.image", "a"), ("parts.image", "b")], {"parts": [{"k": 1}, {"k": 2}]}),
        ({"file_name": None, "other_file_name": "", "x": 1}, [], {"x": 1}),
        ({"file_name": 5}, [("image", "5")], {}),
        ({"file_name": "ş.jpg".encode()}, [("image", "ş.jpg")], {}),
        ({"file_name": b"\xfe.jpg"}, [], {}),
        ({"file_name": 5.5}, [], {}),
        ({"file_name": True}, [], {}),
    ],
)  # fmt: skip
def test_rows_name_files_at_any_depth(values, files, rest):
    named, left = split_row(values, is_name_column)
    assert ([(one.column, one.name) for one in named], left) == (files, rest)
