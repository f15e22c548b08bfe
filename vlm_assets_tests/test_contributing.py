"""The how-tos of CONTRIBUTING.md, followed to the letter in a copy of the checkout."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

TOP: Final = Path(__file__).resolve().parent.parent
PAGE: Final = (TOP / ".github/CONTRIBUTING.md").read_text("utf-8")
COPIED: Final = (
    ".github", "README.md", "dagster.yaml", "deploy", "pyproject.toml", "vlm_assets", "vlm_assets_tests",
    "workspace.yaml",
)  # fmt: skip
HOW_TOS: Final = ("A new kind of source", "A new column", "A new finding", "A new exclusion")
_STEP: Final = re.compile(r"^(Create|In|Run)(?: `([^`]+)`)?:\n\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_BETWEEN: Final = "…\n"
_TESTS: Final = ".venv/bin/python -m pytest -q -n 0 "


@dataclass(frozen=True, slots=True)
class Step:
    """One block of a page: what a reader does with it, and to which file."""

    verb: str
    path: str
    text: str


def steps_of(title: str) -> list[Step]:
    """The steps of a how-to, in order; every block of it is one."""
    section = PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    steps = [Step(*found) for found in _STEP.findall(section)]
    assert len(steps) == section.count("\n```") // 2, f"{title}: a block that no line says what to do with"
    return steps


def follow(checkout: Path, title: str) -> list[str]:
    """Does what a page says; returns the commands that must pass then."""
    commands: list[str] = []
    for step in steps_of(title):
        if step.verb == "Run":
            commands += step.text.splitlines()
            continue
        path = checkout / step.path
        if step.verb == "Create":
            assert not path.exists(), f"{title}: {step.path} is there already"
            path.write_text(step.text, "utf-8")
        else:
            path.write_text(changed(path.read_text("utf-8"), step), "utf-8")
    return commands


def changed(text: str, step: Step) -> str:
    """A file after a block: each place must be in it, once."""
    for place in step.text.split(_BETWEEN):
        lines = place.splitlines(keepends=True)
        before = "".join(line[1:] or "\n" for line in lines if not line.startswith("+"))
        after = "".join(line[1:] or "\n" for line in lines if not line.startswith("-"))
        assert text.count(before) == 1, f"{step.path} has {text.count(before)} times:\n{before}"
        text = text.replace(before, after)
    return text


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    top = tmp_path / "checkout"
    top.mkdir()
    for name in COPIED:
        if (TOP / name).is_dir():
            shutil.copytree(
                TOP / name, top / name
            )  # with what is compiled: it goes by size and time, which stay
        else:
            shutil.copy2(TOP / name, top / name)
    return top


def run(checkout: Path, command: str) -> None:
    """A command of a page, by this environment's programs on the copy's code."""
    program, *words = shlex.split(command)
    tool = Path(sys.executable).parent / program.removeprefix(".venv/bin/")
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "VLM_", "DAGSTER_"))}
    environment = {
        **clean,
        "PYTHONPATH": str(checkout),
        "PYTEST_ADDOPTS": f"-p no:cacheprovider --basetemp={checkout.parent / 'pytest'}",
    }
    done = subprocess.run(
        [str(tool), *words], cwd=checkout, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-6000:]}{done.stderr[-2000:]}"


def python_files(title: str) -> list[str]:
    return sorted({step.path for step in steps_of(title) if step.path.endswith(".py")})


def test_the_page_has_these_how_tos():
    assert set(re.findall(r"^## (A new .+)$", PAGE, re.MULTILINE)) == set(HOW_TOS)


def once(commands: list[str]) -> list[str]:
    """The same commands, each once; those that run whole test files as one, last."""
    tests = [
        command for command in commands if command.startswith(_TESTS) and " -" not in command[len(_TESTS) :]
    ]
    paths = dict.fromkeys(path for command in tests for path in command[len(_TESTS) :].split())
    return [*dict.fromkeys(command for command in commands if command not in tests), _TESTS + " ".join(paths)]


def test_the_how_tos_do_what_they_say(checkout: Path):
    commands = once([command for title in HOW_TOS for command in follow(checkout, title)])
    files = " ".join(dict.fromkeys(path for title in HOW_TOS for path in python_files(title)))
    for command in (f".venv/bin/ruff check {files}", f".venv/bin/ruff format --check {files}", *commands):
        run(checkout, command)


@pytest.mark.slow
@pytest.mark.parametrize("title", HOW_TOS)
def test_a_how_to_does_what_it_says_alone(checkout: Path, title: str):
    commands = follow(checkout, title)
    assert commands
    files = " ".join(python_files(title))
    for command in (f".venv/bin/ruff check {files}", f".venv/bin/ruff format --check {files}", *commands):
        run(checkout, command)


def test_a_column_is_declared_once_and_filled_once():
    package = {step.path for step in steps_of("A new column") if step.path.startswith("vlm_assets/")}
    assert {path for path in package if path.endswith(".py")} == {
        "vlm_assets/words/schema.py",
        "vlm_assets/ingest/rows.py",
        "vlm_assets/words/manifest.py",  # the version
        "vlm_assets/operate/migration.py",
        "vlm_assets/words/column_words.py",  # for people
        "vlm_assets/orchestration/assets/metadata.py",  # for people
    }


def test_a_kind_is_one_file_of_the_line():
    package = {step.path for step in steps_of("A new kind of source") if step.path.startswith("vlm_assets/")}
    assert package == {"vlm_assets/sources/base64_tsv.py", "vlm_assets/demo/prepare.py"}


@pytest.mark.slow
def test_all_of_them_together_pass_what_ci_runs(checkout: Path):
    commands = [command for title in HOW_TOS for command in follow(checkout, title)]
    for command in (
        ".venv/bin/ruff check .",
        ".venv/bin/ruff format --check .",
        ".venv/bin/lint-imports --no-cache",
        ".venv/bin/mypy",
        *commands,
        ".venv/bin/python -m pytest -q -n 0 vlm_assets_tests/test_demo.py",
    ):
        run(checkout, command)
