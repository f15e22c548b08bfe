"""Every long command moves before the eyes of a person at a terminal, and says nothing of it elsewhere."""

import os
import pty
import re
import sys
import threading
from pathlib import Path

import pytest
from rich.console import Console

from vlm_assets.allocation.step import allocate
from vlm_assets.cli import app
from vlm_assets.corpus.build import build_corpus
from vlm_assets.installation.opening import Installation
from vlm_assets.orchestration.checks.audit import audited
from vlm_assets.orchestration.command.console import progress_on
from vlm_assets.words import moving
from vlm_assets_tests.workplace import STREET, fill, ingest, install, relist


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two targets, built without Dagster; all of the first source is in both."""
    base = tmp_path_factory.mktemp("moving")
    fill(base / "in", 24)
    installation = _installed(base)
    ingest(installation)
    for target in ("10", "20"):
        build_corpus(allocate(installation, target).path, installation.root)
    return base


def _installed(base: Path) -> Installation:
    return install(base, {**STREET, "path": base / "in"}, corpus={"targets": {"10": 10, "20": 20}})


@pytest.fixture
def settings(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    for name, value in {
        "VLM_CATALOG": "catalog", "VLM_DATA_ROOT": "data", "VLM_CONTACT": "a@example.org", "COLUMNS": "140",
        "TERM": "xterm", "DAGSTER_HOME": str(place / "dagster_home"),
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(moving, "EVERY_S", 0.0)


END = b"\x1b[99m"


class Terminal:
    """A pseudo terminal that somebody reads."""

    def __init__(self) -> None:
        self._ours, theirs = pty.openpty()
        self.stream = os.fdopen(theirs, "w")
        self._read: list[bytes] = []
        self._thread = threading.Thread(target=self._take, daemon=True)
        self._thread.start()

    def _take(self) -> None:
        while not self._read or not self._read[-1].endswith(END):
            self._read.append(os.read(self._ours, 65536))

    def shown(self) -> str:
        """All of it, once nobody writes any more."""
        self.stream.write(END.decode())
        self.stream.flush()
        self._thread.join()
        self.stream.close()
        os.close(self._ours)
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", b"".join(self._read).decode())


COMMANDS = {
    "plan": (["plan"], ["plan: quotas"]),
    "what if": (["plan", "--what-if", "small: image_count > 1"], ["allocation: reading rows"]),
    "audit": (["audit", "--target", "10"], ["audit: "]),
    "report": (["report", "10"], ["report: ", "papers: counting shards"]),
    "takedown": (["takedown", "--sha256", "0" * 64, "--yes"], ["takedown: steps"]),
}
RATE = re.compile(r"[\d,.]+/s")


def _run(words: list[str]) -> None:
    with pytest.raises(SystemExit):
        app(words)


@pytest.mark.usefixtures("settings")
@pytest.mark.parametrize("name", COMMANDS)
def test_a_long_command_moves_on_a_terminal(monkeypatch: pytest.MonkeyPatch, name: str):
    words, steps = COMMANDS[name]
    terminal = Terminal()
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stderr", terminal.stream)
        patched.setattr(sys, "stdout", terminal.stream)
        _run(words)
    lines = terminal.shown().splitlines()
    assert _still(steps, lines) == []


def _still(steps: list[str], lines: list[str]) -> list[str]:
    """Steps that no line shows with a rate."""
    return [step for step in steps if not any(step in line and RATE.search(line) for line in lines)]


@pytest.mark.usefixtures("settings")
def test_the_steps_of_a_build_move(place: Path):
    """Fetches and corpora apart, which have their own bars."""
    terminal, installation = Terminal(), _installed(place)
    with progress_on(Console(file=terminal.stream, width=140)):
        relist(installation, force=True)
        audited(installation, "10", {"shard_files"})
    steps = ["listing street", "listing street: items", "hashing files", "audit 10"]
    assert _still(steps, terminal.shown().splitlines()) == []


@pytest.mark.slow  # the short form is above
@pytest.mark.usefixtures("settings")
def test_a_build_moves(monkeypatch: pytest.MonkeyPatch):
    terminal = Terminal()
    monkeypatch.setattr("vlm_assets.commands.line.console", Console(file=terminal.stream, width=140))
    _run(["build", "--target", "20", "--force-redownload"])
    steps = ["listing street", "hashing files", "audit 20", "papers of 20"]
    assert _still(steps, terminal.shown().splitlines()) == []


@pytest.mark.usefixtures("settings")
@pytest.mark.parametrize("name", COMMANDS)
def test_where_nobody_looks_nothing_moves(capfd: pytest.CaptureFixture[str], name: str):
    words, steps = COMMANDS[name]
    _run(words)
    out = capfd.readouterr()
    assert not RATE.search(out.out + out.err)
    assert not [step for step in steps if step in out.out + out.err]
