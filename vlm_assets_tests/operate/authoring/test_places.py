"""What somebody writes for the place of a source: taken apart, or refused in a sentence that helps."""

from pathlib import Path

import pytest

from vlm_assets.operate.authoring.places import place_of
from vlm_assets.sources.registry import kinds
from vlm_assets.words.errors import ConfigError

HUB = "https://huggingface.co/datasets/o/n/tree/v1"
RELEASE = "https://github.com/o/n/releases/tag/v1"
KAGGLE = "https://www.kaggle.com/datasets/o/n/versions/3"
AS_WRITTEN = [
    "here",
    "../up",
    "./here",
    "no/such/path",
    "owner/name",
    "name",
    HUB,
    RELEASE,
    KAGGLE,
    "",
    "  ",
    "a b",
]
AS_WRITTEN += [
    "https://a.example/1.jpg",
    "~nobody/x",
    "list.csv",
    "loop",
    "q" * 300,
    "s3://b/k",
    "git@github.com:o/n.git",
]
ON_DISK = "a dataset on this machine is read by: vlm-assets add hf_disk"


@pytest.fixture
def _place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("here", "a b", "here/ds"):
        Path(name).mkdir()
    Path("list.csv").write_text("url\n")
    Path("pack.zip").write_bytes(b"PK")
    Path("loop").symlink_to("loop")


@pytest.mark.usefixtures("_place")
@pytest.mark.parametrize("kind", kinds())
def test_each_text_is_a_place_or_a_sentence_whatever_the_kind(kind):
    told = {text: read_of(kind, text) for text in AS_WRITTEN}
    assert all(told.values())
    assert told[""].startswith(f"add: WHERE: empty; {kind} is read from ")


def read_of(kind: str, text: str) -> str:
    """The place, or why there is none."""
    try:
        return place_of(kind, text, Path("catalog")).value
    except ConfigError as error:
        return str(error)


@pytest.mark.usefixtures("_place")
@pytest.mark.parametrize(
    ("kind", "text", "told"),
    [
        ("hf_dataset", "../ds", f"not owner/name; {ON_DISK} PATH"),
        ("hf_dataset", "a b", f"not owner/name; {ON_DISK} 'a b'"),
        ("hf_dataset", "./here", f"not owner/name; {ON_DISK} ./here"),
        (
            "hf_dataset",
            "pack.zip",
            "an archive on this machine is read by: vlm-assets add client_folder pack.zip",
        ),
        ("hf_dataset", RELEASE, f"that address is read by: vlm-assets add github_release {RELEASE}"),
        (
            "hf_dataset",
            "https://hf.co/o/n",
            "the page of a dataset on the Hub is https://huggingface.co/datasets/",
        ),
        (
            "hf_image_urls",
            "list.csv",
            "on this machine is read by: vlm-assets add image_urls list.csv",
        ),
        ("kaggle", "name", "not owner/dataset or owner/dataset/versions/1"),
        ("newspapers", "owner/name", "not an address, https://HOST"),
        ("newspapers", HUB, "vlm-assets add hf_dataset"),
        ("image_urls", "https://a.example/1.jpg", "vlm-assets add image_urls FILE, an address a line"),
        (
            "client_folder",
            "owner/name",
            "Or was a dataset of the Hub meant? It is read by: vlm-assets add",
        ),
        ("client_folder", "no/such/path", "client_folder is read from a path on this machine, and "),
        ("client_folder", " ", "empty; client_folder is read from a path on this machine"),
        ("pdf_folder", "list.csv", "list.csv is a file; give the folder that holds it"),
    ],
)
def test_what_does_not_fit_names_the_form_and_the_right_kind(kind, text, told):
    with pytest.raises(ConfigError) as caught:
        place_of(kind, text, Path("catalog"))
    assert told in str(caught.value)


@pytest.mark.usefixtures("_place")
def test_a_name_that_is_a_path_here_too_says_so():
    assert place_of("hf_dataset", "here/ds", Path("catalog")).doubt == (
        f"here/ds is on this machine, too; {ON_DISK} here/ds"
    )
    assert place_of("hf_dataset", "owner/name", Path("catalog")).doubt == ""


@pytest.mark.parametrize(
    ("kind", "text", "value", "more"),
    [
        ("hf_dataset", HUB, "o/n", {"revision": "v1"}),
        ("hf_dataset", f"{HUB[:-7]}?row=1", "o/n", {}),
        ("github_release", RELEASE, "o/n", {"tag": "v1"}),
        ("github_release", "git@github.com:o/n.git", "o/n", {}),
        ("kaggle", KAGGLE, "o/n/versions/3", {}),
        ("kaggle", " owner/name ", "owner/name", {}),
    ],
)
def test_an_address_gives_the_name_and_what_it_names_beside_it(kind, text, value, more):
    place = place_of(kind, text, Path("catalog"))
    assert (place.value, place.more) == (value, more)
