"""What a README declares of its configs, in whatever state it is."""

import pytest

from vlm_assets.hub.splits import find_splits
from vlm_assets.words.errors import SourceError

TREE = ["README.md", "a/x.parquet", "b/y.parquet"]
CONFIG = "configs:\n- config_name: bir\n  data_files: 'a/*'"


def taken(card: str) -> dict[str, list[str]]:
    return {f"{one.config}/{one.split}": list(one.files) for one in find_splits(TREE, card, "source s")}


ONLY_A = {"bir/train": ["a/x.parquet"]}
ALL = {"default/train": ["a/x.parquet", "b/y.parquet"]}
CARDS = {
    "plain": (f"---\n{CONFIG}\n---\nwords\n", ONLY_A),
    "lines-of-windows": (f"---\n{CONFIG}\n---\n".replace("\n", "\r\n"), ONLY_A),
    "byte-order-mark": (f"\ufeff---\n{CONFIG}\n---\n", ONLY_A),
    "lines-before": (f"\n\n---\n{CONFIG}\n---\n", ONLY_A),
    "none": ("words\n\n---\n\nmore\n", ALL),
    "empty": ("", ALL),
    "other-keys": ("---\nlicense: mit\nlicense: apache-2.0\n---\n", ALL),
}


@pytest.mark.parametrize(("card", "found"), CARDS.values(), ids=CARDS)
def test_configs_are_read_out_of_any_readme(card, found):
    assert taken(card) == found


@pytest.mark.parametrize(
    "metadata",
    [
        "configs: [a: b: c",
        "license:\tmit\n\ttags: x",
        "- a\n- b",
        "configs: x",
        "configs:\n- data_files: 'a/*'",
        "configs:\n- config_name: bir\n  data_files: 5",
        "dataset_info:\n- features: 5\n  config_name: x",
        "a: &a [*a, *a]\nconfigs: *a",
    ],
    ids=["brackets", "tabs", "list", "configs-text", "no-name", "files-number", "features-number", "circle"],
)
def test_a_readme_that_cannot_be_read_is_named(metadata):
    with pytest.raises(SourceError, match=r"source s: the README's `configs` cannot be read: \S"):
        taken(f"---\n{metadata}\n---\n")


FORMATS = {
    "img2dataset": (
        ["0.tar", "0.parquet", "0_stats.json", "1.tar", "1.parquet", "1_stats.json"],
        "webdataset", ["0.tar", "1.tar"],
    ),
    "one-without-figures": (["0.tar", "0.parquet", "0_stats.json", "1.tar"], "webdataset", ["0.tar", "1.tar"]),
    "both-forms-of-one": (["0.tar", "0.parquet"], "parquet", ["0.parquet"]),
    "figures-of-tables": (["0.parquet", "0_stats.json"], "parquet", ["0.parquet"]),
    "an-image-s-json": (["i/0.jpg", "i/0.json", "i/1.png", "i/1.json"], "imagefolder", ["i/0.jpg", "i/1.png"]),
    "json-of-others": (["i/0.jpg", "j/0.json", "j/1.json"], "json", ["j/0.json", "j/1.json"]),
}  # fmt: skip


@pytest.mark.parametrize(("paths", "form", "files"), FORMATS.values(), ids=FORMATS)
def test_files_that_speak_of_others_decide_no_format(paths, form, files):
    [split] = find_splits(paths, "", "source s")
    assert (split.format, list(split.files), split.ignored) == (form, files, len(paths) - len(files))
