"""YAML that is deep, huge, circular or odd: a problem with its place, whatever it is, and nothing built from it."""

import os
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from vlm_assets.catalog.fractions import parse_fraction
from vlm_assets.catalog.yaml_places import source_lines
from vlm_assets.commands.command_line import app
from vlm_assets.installation.load import catalog_problems
from vlm_assets.words.yaml_text import read_yaml
from vlm_assets_tests.workplace import STREET, write_catalog


def laughs(levels: int) -> str:
    """A billion values in a few lines, by aliases of aliases."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [" + ", ".join([f"*a{n - 1}"] * 10) + "]" for n in range(1, levels)]
    return "\n".join(lines)


HOSTILE = [
    pytest.param("a: " + "[" * 50_000 + "]" * 50_000, "nested deeper", id="deep-in-flow"),
    pytest.param("\n".join(" " * n + "a:" for n in range(2_000)), "nested deeper", id="deep-in-blocks"),
    pytest.param("- " * 5_000, "nested deeper", id="deep-in-lists"),
    pytest.param(laughs(9), "aliases written out", id="a-billion-laughs"),
    pytest.param("a: &a [*a]", "inside what it names", id="circular"),
    pytest.param("a: &a {b: {c: *a}}", "inside what it names", id="circular-deeper"),
    pytest.param("seed: " + "9" * 5_000, "64 bits", id="many-digits"),
    pytest.param("seed: !!int 0x" + "f" * 20_000, "64 bits", id="many-hex-digits"),
    pytest.param("seed: 9223372036854775808", "64 bits", id="one-too-many"),
    pytest.param("a: !!int x", "64 bits", id="no-number"),
    pytest.param("a: !!bool maybe", "maybe", id="no-truth"),
    pytest.param("a: !!python/object/apply:os.getcwd []", "constructor", id="a-call"),
    pytest.param('a: "\\ud800"', "not YAML", id="half-a-character"),
    pytest.param("a:\n\tb: 1", "x.yaml:2:1: not YAML: a tab where a line is indented", id="a-tab"),
    pytest.param("? [a, b]\n: 1", "not YAML", id="a-list-as-key"),
    pytest.param("a: !!int 1" + ":1" * 50_000, "thousand digits", id="a-number-in-base-60"),
    pytest.param("".join(f"%TAG !a{n}! x\n" for n in range(200)) + "--- a", "%TAG", id="many-handles"),
    pytest.param("\ufeff" * 3 + "a: [", "not YAML", id="marks-and-an-open-list"),
]


@pytest.mark.parametrize(("text", "told"), HOSTILE)
def test_hostile_text_is_a_problem(tmp_path: Path, text: str, told: str):
    path = tmp_path / "x.yaml"
    path.write_text(text, "utf-8")
    content, [problem] = read_yaml(path, "x.yaml")
    assert content is None
    assert told in str(problem)


@pytest.fixture
def catalogue(tmp_path: Path) -> Path:
    """One that has a file for each hostile text, and what is no file or has no end."""
    directory = write_catalog(tmp_path / "catalog", {**STREET, "path": str(tmp_path)})
    sources = directory / "sources"
    for number, case in enumerate(HOSTILE):
        (sources / f"text{number:02}.yaml").write_text(str(case.values[0]), "utf-8")
    os.mkfifo(sources / "pipe.yaml")
    (sources / "folder.yaml").mkdir()
    (sources / "zero.yaml").symlink_to("/dev/zero")
    with (sources / "sparse.yaml").open("wb") as file:
        file.truncate(3 * 2**30)
    return directory


def test_a_catalogue_of_them_is_a_problem_each(catalogue: Path):
    told = {one.file: one.message for one in catalog_problems(catalogue)}
    assert sorted(told) == sorted(f"sources/{one.name}" for one in (catalogue / "sources").glob("*.yaml"))[1:]
    for name in ("pipe", "folder", "zero"):
        assert told[f"sources/{name}.yaml"] == "cannot be read: no regular file"
    assert told["sources/sparse.yaml"].startswith("cannot be read: larger than 64 MiB")
    assert source_lines(catalogue / "sources" / "pipe.yaml") == {}


def test_the_check_of_such_a_catalogue_tells_each(catalogue: Path, tmp_path: Path):
    environment = {"VLM_CATALOG": str(catalogue), "VLM_DATA_ROOT": str(tmp_path / "data")}
    told = CliRunner().invoke(app, ["check"], env=environment)
    assert told.exit_code == 2
    assert isinstance(told.exception, SystemExit)
    assert all(
        f"sources/{name}.yaml" in told.output for name in ("pipe", "sparse", "zero", "text00", "text17")
    )


def test_aliases_within_reason_are_read(tmp_path: Path):
    path = tmp_path / "x.yaml"
    path.write_text(laughs(3), "utf-8")
    content, problems = read_yaml(path, "x.yaml")
    assert problems == []
    assert len(content["a2"]) == 10


def test_what_is_no_file_is_a_problem(tmp_path: Path):
    os.mkfifo(tmp_path / "x.yaml")
    for name, told in (("x.yaml", "no regular file"), (".", "no regular file"), ("none", "missing")):
        content, [problem] = read_yaml(tmp_path / name, name)
        assert content is None
        assert told in str(problem)


@pytest.mark.parametrize("value", ["1e999", "1e999999999", "9" * 100, "nan", "1/0", "0x1", "1_000"])
def test_a_share_is_a_number_of_some_digits(value: str):
    with pytest.raises(ValueError, match="expected a number"):
        parse_fraction(value)


@pytest.mark.parametrize(
    "keys",
    [
        pytest.param({"path": "x" * 5_000}, id="a-path-too-long"),
        pytest.param({"path": "~nobody_of_that_name/x"}, id="a-home-that-is-none"),
        pytest.param({"kind": ["client_folder"]}, id="a-list-as-kind"),
        pytest.param({"name": {"a": "b"}}, id="a-mapping-as-name"),
        pytest.param({1: 2}, id="a-number-as-key"),
    ],
)
def test_odd_values_of_a_source_are_problems(tmp_path: Path, keys: dict[Any, Any]):
    directory = write_catalog(tmp_path, {**STREET, "path": str(tmp_path), **keys})
    assert catalog_problems(directory)


def test_two_thousand_sources_of_one_name_are_told_each(tmp_path: Path):
    directory = write_catalog(tmp_path, *[{**STREET, "path": str(tmp_path)}] * 2_000)
    problems = [one for one in catalog_problems(directory) if "is taken by" in one.message]
    assert len(problems) == 1_999
