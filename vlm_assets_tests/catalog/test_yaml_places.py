"""Where in a file a source stands."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from vlm_assets.catalog import yaml_places
from vlm_assets.catalog.yaml_places import located, source_lines
from vlm_assets.words.errors import Problem
from vlm_assets.words.yaml_text import nodes_of


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("sources:\n  - name: a\n    kind: kaggle\n  - kind: kaggle\n    name: 'b'\n", {"a": 2, "b": 5}),
        ("sources: [{kind: kaggle, name: a},\n  {name: b}]\n", {"a": 1, "b": 2}),
        ("# name: c\nsources:\n- name: a\n  map: {name: d}\n- name: a\n", {"a": 3}),
        ("sources: street\n", {}),
        ("- name: a\n", {}),
        ("sources: [\n", {}),
        ("", {}),
    ],
    ids=["blocks", "flow", "other names", "no list", "no map", "no YAML", "empty"],
)
def test_the_line_of_each_entry(tmp_path: Path, text: str, lines: dict[str, int]) -> None:
    path = tmp_path / "all.yaml"
    path.write_text(text, "utf-8")
    assert source_lines(path) == lines


def test_a_file_that_is_gone_has_none(tmp_path: Path) -> None:
    assert source_lines(tmp_path / "all.yaml") == {}


class Walked(list[Any]):
    """Counts how often somebody goes through all of it."""

    walks = 0

    def __iter__(self) -> Iterator[Any]:
        self.walks += 1
        return super().__iter__()


def test_a_map_is_walked_once_whatever_the_number_of_problems(tmp_path: Path) -> None:
    path = tmp_path / "corpus.yaml"
    path.write_text("".join(f"key{n}: 1\nkey{n}.a[b]: {{c: 1}}\n" for n in range(50)), "utf-8")
    root: Any = nodes_of(path)
    root.value = Walked(root.value)
    tree = yaml_places._Tree(root)
    lines = [tree.mark(f"key{n}{below}").line for n in range(50) for below in ("", ".a[b].c", ".z")]
    assert lines == [line for n in range(50) for line in (2 * n, 2 * n + 1, 2 * n)]
    assert root.value.walks == 1


def test_a_problem_of_a_file_as_a_whole_reads_nothing_again(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.yaml")  # whoever opens it waits
    for key in ("", "sources[0].name", "sources[" + "9" * 5_000 + "]"):
        problem = Problem("a.yaml", key, "no regular file")
        assert located([problem], tmp_path) == [problem]
