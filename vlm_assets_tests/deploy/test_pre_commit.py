"""The hooks of `.pre-commit-config.yaml` run what CI runs, with what its environment holds."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

TOP = Path(__file__).resolve().parents[2]
CONFIG = TOP / ".pre-commit-config.yaml"
TOOLS = Path(sys.executable).parent
HOOKS = {
    hook["id"]: hook for repo in yaml.safe_load(CONFIG.read_text("utf-8"))["repos"] for hook in repo["hooks"]
}


def test_the_hooks_are_the_commands_that_ci_runs_before_its_tests():
    script = (TOP / "deploy/test.sh").read_text("utf-8").partition('say "Tests"')[0]
    in_ci = re.findall(r'^"\$VENV/bin/(.+)$', script, re.MULTILINE)
    hooks = {hook["entry"].removeprefix(".venv/bin/") for name, hook in HOOKS.items() if name != "shellcheck"}
    assert hooks == {command.replace('"', "") for command in in_ci}


def test_no_hook_is_fetched():
    repos = yaml.safe_load(CONFIG.read_text("utf-8"))["repos"]
    assert {repo["repo"] for repo in repos} == {"local"}
    assert {hook["language"] for hook in HOOKS.values()} == {"system"}


def test_every_script_that_ci_lints_is_linted():
    scripts = sorted(path.relative_to(TOP).as_posix() for path in (TOP / "deploy").glob("**/*.sh"))
    assert scripts
    assert [name for name in scripts if not re.search(HOOKS["shellcheck"]["files"], name)] == []


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A checkout with one script and one module, and the environment beside them."""
    top = tmp_path / "checkout"
    for name in (
        "pyproject.toml",
        ".pre-commit-config.yaml",
        "deploy/setup.sh",
        "vlm_assets/__init__.py",
        "vlm_assets/words/__init__.py",
        "vlm_assets/words/keys.py",
    ):
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(TOP / name, top / name)
    (top / ".venv").mkdir()
    (top / ".venv/bin").symlink_to(TOOLS)
    (top / ".gitignore").write_text(".venv\n", "utf-8")
    git(top, "init", "--quiet")
    git(top, "add", ".")
    return top


def git(top: Path, *words: str) -> None:
    subprocess.run(["git", *words], cwd=top, check=True, capture_output=True)


def run_hooks(top: Path) -> subprocess.CompletedProcess[str]:
    """All but those that look at the whole package."""
    environment = {**os.environ, "PRE_COMMIT_HOME": str(top / ".venv/hooks"), "SKIP": "mypy,lint-imports"}
    command = [str(TOOLS / "pre-commit"), "run", "--all-files", "--color=never"]
    return subprocess.run(command, cwd=top, env=environment, capture_output=True, text=True, check=False)


def test_a_good_checkout_passes(repository: Path):
    result = run_hooks(repository)
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.count("Passed") == 3


def test_what_ci_would_refuse_is_refused(repository: Path):
    spoil(repository / "vlm_assets/words/keys.py", "import os\nx  =  1\n")
    spoil(repository / "deploy/setup.sh", 'cat $1 "$2"\n')
    result = run_hooks(repository)
    assert result.returncode == 1
    assert re.findall(r"^(.+?)\.+Failed", result.stdout, re.MULTILINE) == [
        "ruff check",
        "ruff format",
        "shellcheck",
    ]


def spoil(path: Path, line: str) -> None:
    path.write_text(path.read_text("utf-8") + line, "utf-8")
