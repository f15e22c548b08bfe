"""What a README declares of its configs, in whatever state it is."""

import re
from itertools import product
from random import Random

import pytest
from fsspec.utils import glob_translate  # type: ignore[import-untyped]

from vlm_assets.hub.globs import glob_matcher
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
    "numbers-as-names": (
        f"---\n{CONFIG}\n- config_name: 5\n  data_files: 'b/*'\n---\n",
        {"5/train": ["b/y.parquet"], **ONLY_A},
    ),
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
        "a: " + "[" * 50_000,
        "- " * 5_000,
        "a: 1" + ":1" * 1_000_000,
        "a: 1" + ":1" * 300 + ".0",
        "a: 2020-01-01T00:00:00+99:99",
        "a: " + "9" * 5_000,
        "configs:\n- config_name: bir\n  data_files: a/**x",
        "configs:\n- config_name: bir\n  data_files: [{split: train, path: [5]}]",
        "configs:\n- config_name: [bir]",
        "dataset_info: {features: [{name: a, dtype: {class_label: {names: {'2000000000': x}}}}]}",
        "dataset_info: {features: [{name: a, dtype: {class_label: {num_classes: 2000000000}}}]}",
        "dataset_info: {features: [{name: a, dtype: {class_label: {names_file: /dev/zero}}}]}",
        "configs:\n- {config_name: a, features: [{name: a, class_label: {names_file: /etc/passwd}}]}",
    ],
    ids=[
        "brackets",
        "tabs",
        "list",
        "configs-text",
        "no-name",
        "files-number",
        "features-number",
        "circle",
        "deep",
        "deep-lists",
        "base-60",
        "base-60-float",
        "no-time",
        "digits",
        "stars",
        "number-as-pattern",
        "list-as-name",
        "label-id",
        "labels",
        "labels-of-a-file",
        "labels-of-a-config",
    ],
)
def test_a_readme_that_cannot_be_read_is_named(metadata):
    told = (
        r"source s: the README's `configs` cannot be read: \S|bir: data files cannot be resolved: (Invalid|5)"
    )
    with pytest.raises(SourceError, match=told):
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


DEEP = "d/" * 60 + "x.parquet"
PATTERNS = {
    "many-stars": ("**/" * 12 + "x.parquet", [DEEP]),
    "many-stars-for-nothing": ("**/" * 12 + "y.parquet", []),
    "stars-between-folders": ("**/d/" * 12 + "x.parquet", [DEEP]),
    "stars-between-folders-for-nothing": ("**/d/" * 12 + "y.parquet", []),
    "stars-in-a-name": ("d" + "/*" * 59 + "/" + "*x" * 3 + "*y", []),
    "long": ("*d*/" * 60 + "*.parquet", [DEEP]),
}


@pytest.mark.parametrize(("pattern", "files"), PATTERNS.values(), ids=PATTERNS)
def test_a_pattern_ends_whatever_its_stars(pattern, files):
    card = f"---\nconfigs:\n- config_name: bir\n  data_files: ['{pattern}', 'z.parquet']\n---\n"
    [found] = find_splits([DEEP, "z.parquet"], card, "source s")
    assert sorted(found.files) == sorted([*files, "z.parquet"])


def test_patterns_match_what_fsspec_matches():
    parts = [
        "a",
        "b",
        "*",
        "**",
        "?",
        "a*",
        "*b",
        "[ab]",
        "[!a]",
        "*a*",
        "a?b*",
        "[]",
        "[!]",
        "[b-a]",
        "[",
        ".a",
        "",
    ]
    names = ["a", "b", "ab", "ba", "aab", ".a", "aXb", "-", "]", "["]
    draw = Random(7)
    paths = ["/".join(draw.choices(names, k=draw.randint(1, 5))) for _ in range(60)]
    patterns = ["/".join(one) for length in (1, 2) for one in product(parts, repeat=length)]
    patterns += ["/".join(draw.choices(parts, k=draw.randint(3, 6))) for _ in range(600)]
    for pattern in patterns:
        theirs, ours = re.compile(glob_translate(pattern)), glob_matcher(pattern)
        assert [one for one in paths if ours(one)] == [one for one in paths if theirs.match(one)], pattern
