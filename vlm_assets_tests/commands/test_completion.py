"""What a shell asks for when Tab is pressed: the script that it reads, and the words that the program then gives."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer.completion
from typer.testing import CliRunner

from vlm_assets.cli import app
from vlm_assets.operate.authoring.start import write_catalog

HEAVY = ("dagster", "datasets", "numpy", "pandas", "PIL", "pyarrow", "scrapy")
SHELLS = {"bash": "complete -o default", "zsh": "compdef", "fish": "complete --command"}
_TAB = f"""
import sys
from vlm_assets.cli import main
sys.argv = ["vlm-assets"]
try:
    main()
except SystemExit:
    print(*[name for name in {HEAVY} if name in sys.modules], file=sys.stderr, end="")
"""


@pytest.fixture
def catalog(tmp_path, monkeypatch) -> Path:
    """With the target `full` and the source `example`, in force."""
    monkeypatch.chdir(tmp_path)
    write_catalog(tmp_path / "catalog")
    monkeypatch.setenv("VLM_CATALOG", str(tmp_path / "catalog"))
    return Path(tmp_path / "catalog")


def asked(shell: str, line: str) -> dict[str, str]:
    """The environment in which a shell asks for the words that may stand at the end of a line."""
    return {
        "_VLM_ASSETS_COMPLETE": f"complete_{shell}",
        "COMP_WORDS": line,
        "COMP_CWORD": str(line.count(" ")),
        "_TYPER_COMPLETE_ARGS": line,
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
    }


def told(shell: str, line: str) -> str:
    """The words, from a program that ends well."""
    result = CliRunner().invoke(app, [], env=asked(shell, line))
    assert result.exit_code == 0, result.exception
    return result.output


@pytest.mark.parametrize(("shell", "begins"), SHELLS.items())
def test_the_script_is_shown_for_the_shell_that_runs(monkeypatch, shell, begins):
    monkeypatch.setattr(typer.completion, "_get_shell_name", lambda: shell)
    result = CliRunner().invoke(app, ["--show-completion"])
    assert result.exit_code == 0, result.output
    assert any(line.startswith(begins) and "vlm-assets" in line for line in result.output.splitlines())
    assert f"_VLM_ASSETS_COMPLETE=complete_{shell}" in result.output


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("vlm-assets ann", "annotate"),
        ("vlm-assets audit --target f", "full"),
        ("vlm-assets build --source ", "example"),
        ("vlm-assets report ", "full"),
        ("vlm-assets rename old ex", "example"),
    ],
)
@pytest.mark.usefixtures("catalog")
def test_commands_targets_and_sources_are_completed(shell, line, word):
    assert word in told(shell, line)


@pytest.mark.usefixtures("catalog")
def test_what_begins_otherwise_is_not_offered():
    assert told("bash", "vlm-assets audit --target x").split() == []


@pytest.mark.parametrize("text", ["name: [", "nonsense: 1\n", None])
def test_a_catalogue_that_cannot_be_read_completes_nothing_and_says_nothing(catalog, monkeypatch, text):
    if text is None:
        monkeypatch.delenv("VLM_CATALOG")
    else:
        (catalog / "corpus.yaml").write_text(text, "utf-8")
    assert told("bash", "vlm-assets audit --target ").split() == []


@pytest.mark.usefixtures("catalog")
def test_nothing_heavy_is_loaded_for_a_word():
    done = subprocess.run(
        [sys.executable, "-c", _TAB],
        env={**os.environ, **asked("bash", "vlm-assets build --source e")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout.split(), done.stderr) == (["example"], "")


@pytest.mark.usefixtures("catalog")
def test_bash_itself_completes_with_the_script():
    program = Path(sys.executable).with_name("vlm-assets")
    script = f"""
        eval "$(_VLM_ASSETS_COMPLETE=source_bash {program})"
        COMP_WORDS=(vlm-assets build --source e) COMP_CWORD=3
        _vlm_assets_completion {program}
        echo "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("example\n", "")
