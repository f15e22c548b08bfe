"""Names in rows and the files that they mean."""

import pytest

from vlm_assets.hub.named_files import NamedFiles

LISTED = {"images/a.jpg", "data/b.jpg", "data/images/c.jpg", "images/c.jpg", "images/ş%20d.jpg"}
IN_REPO = {
    "from-the-root": ("images/a.jpg", "images/a.jpg"),
    "beside": ("b.jpg", "data/b.jpg"),
    "backslashes": (".\\..\\images\\a.jpg", "images/a.jpg"),
    "hub": ("hf://datasets/org/set/images/a.jpg", "images/a.jpg"),
    "hub-revision": ("hf://datasets/Org/Set@refs%2Fx/images/a.jpg", "images/a.jpg"),
    "hub-percent": ("hf://datasets/org/set/images/ş%20d.jpg", "images/ş%20d.jpg"),
    "address": ("https://huggingface.co/datasets/org/set/resolve/main/images/a.jpg?download=true", None),
    "address-encoded": (
        "https://x.co/datasets/org/set/resolve/main/images/%C5%9F%2520d.jpg",
        "images/ş%20d.jpg",
    ),
    "decomposed": ("images/s\u0327%20d.jpg", "images/ş%20d.jpg"),
}


@pytest.mark.parametrize(("name", "key"), IN_REPO.values(), ids=IN_REPO)
def test_names_inside_a_repository(name, key):
    assert NamedFiles(LISTED, "data/t.parquet", repo="org/set").key_of(name) == key


OUTSIDE = {
    "other-repo": ("hf://datasets/org/other/images/a.jpg", "lies outside"),
    "absolute": ("/images/a.jpg", "lies outside"),
    "above": ("../../images/a.jpg", "lies outside"),
    "other-scheme": ("s3://bucket/images/a.jpg", "lies outside"),
    "file": ("file:///images/a.jpg", "lies outside"),
    "url": ("https://example.org/images/a.jpg", "a URL; kind hf_image_urls"),
    "missing": ("images/z.jpg", "is not in the repository"),
    "two": ("images/c.jpg", "is two files"),
}


@pytest.mark.parametrize(("name", "told"), OUTSIDE.values(), ids=OUTSIDE)
def test_names_that_are_not_followed(name, told):
    files = NamedFiles(LISTED, "data/t.parquet", repo="org/set")
    assert files.key_of(name) is None
    assert told in files.why_not(name)


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("/data/x/images/a.jpg", "images/a.jpg"),
        ("/data/xy/images/a.jpg", None),
        ("hf://datasets/a/b/c.jpg", None),
    ],
    ids=["below", "beside", "hub"],
)
def test_absolute_names_count_from_the_folder(name, key):
    assert NamedFiles(LISTED, "t.parquet", root="/data/x/").key_of(name) == key
