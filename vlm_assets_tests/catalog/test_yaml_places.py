"""Where in a file a source stands."""

from pathlib import Path

import pytest

from vlm_assets.catalog.yaml_places import source_lines


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
