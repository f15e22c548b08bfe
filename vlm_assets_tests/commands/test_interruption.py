"""Ctrl-C, wherever a command is."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.main import get_command

from vlm_assets.allocation.step import allocate
from vlm_assets.cli import app
from vlm_assets.commands.interruption import READERS, STAYS, what_stays
from vlm_assets.corpus.build import build_corpus
from vlm_assets_tests.commands.interrupted import STOPPED, TRIES
from vlm_assets_tests.waiting import HANG_S
from vlm_assets_tests.workplace import STREET, fill, ingest, install

DEAF = """
import sys, time
from vlm_assets.commands.interruption import ended_by_ctrl_c
with ended_by_ctrl_c(["verify"], grace_s=float(sys.argv[2])):
    while True:
        try:
            print("begun", flush=True)
            {doing}
        except KeyboardInterrupt:
            {then}
"""
ENDS = {
    "at once": ("time.sleep(60)", "raise"),
    "by a library as exit 1": ("time.sleep(60)", "sys.exit(1)"),
    "by an error on the way out": ("time.sleep(60)", "raise RuntimeError('cut')"),
    "never by itself": ("time.sleep(60)", "continue"),
}


WITHIN_S = 10.0


def began(program: str, *words: str, cwd: Path | None = None, **environment: str) -> "subprocess.Popen[str]":
    return started([sys.executable, "-c", program, *words], cwd=cwd, **environment)


def started(command: list[str], *, cwd: Path | None = None, **environment: str) -> "subprocess.Popen[str]":
    clean = {
        name: value for name, value in os.environ.items() if not name.startswith(("VLM_", "DAGSTER_", "HF_"))
    }
    return subprocess.Popen(
        command,
        env={**clean, **environment},
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_of_every_command_it_is_known_what_stays():
    commands = set(get_command(app).commands)  # type: ignore[attr-defined]  # a click group
    assert STAYS.keys() | READERS == commands
    assert not STAYS.keys() & READERS
    assert TRIES.keys() == commands


@pytest.mark.parametrize("name", ENDS)
def test_a_command_ends_with_130_and_one_line(name):
    doing, then = ENDS[name]
    process = began(DEAF.format(doing=doing, then=then), "x", "0.1" if name.startswith("never") else "60")
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    process.send_signal(signal.SIGINT)
    _, told = process.communicate()
    assert (process.returncode, told.strip()) == (130, what_stays(["verify"]))


IN_THE_BACKGROUND = """
import os, signal, time
from dagster._utils.interrupts import setup_interrupt_handlers
from vlm_assets.commands.interruption import ended_by_ctrl_c
signal.signal(signal.SIGINT, signal.SIG_IGN)
with ended_by_ctrl_c(["verify"]):
    setup_interrupt_handlers()
    os.kill(os.getpid(), signal.SIGINT)
    print("begun", flush=True)
    time.sleep(600)
"""


def test_in_the_background_of_a_script_sigterm_ends_it():
    """There SIGINT is ignored, and Dagster makes one of the two."""
    process = began(IN_THE_BACKGROUND)
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    process.terminate()
    _, told = process.communicate(timeout=HANG_S)
    assert (process.returncode, told.strip()) == (130, what_stays(["verify"]))


def test_a_second_one_does_not_wait():
    process = began(DEAF.format(doing="time.sleep(60)", then="print('caught', flush=True)"), "x", "600")
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "caught\n"
    process.send_signal(signal.SIGINT)
    process.communicate()
    assert process.returncode == 130


TWICE = """
import os, signal, time
from vlm_assets.commands.interruption import ended_by_ctrl_c
with ended_by_ctrl_c(["verify"], grace_s=600):
    os.write(signal.set_wakeup_fd(-1), bytes([signal.SIGINT, signal.SIGINT]))
    time.sleep(600)
"""


def test_two_that_come_before_anybody_looks_are_two():
    process = began(TWICE)
    _, told = process.communicate(timeout=HANG_S)
    assert (process.returncode, told.strip()) == (130, what_stays(["verify"]))


AT_THE_END = """
import atexit, os, signal
from vlm_assets.commands.interruption import ended_by_ctrl_c
if {last}:
    atexit.register(os.kill, os.getpid(), signal.SIGINT)  # called after what is registered later
with ended_by_ctrl_c(["status"]):
    pass
if not {last}:
    os.kill(os.getpid(), signal.SIGINT)
"""


@pytest.mark.parametrize(
    ("last", "ends"),
    [
        pytest.param(False, (130, what_stays(["status"])), id="after the command"),
        pytest.param(True, (0, ""), id="while Python ends"),
    ],
)
def test_one_that_comes_when_all_is_over(ends: tuple[int, str], *, last: bool):
    process = began(AT_THE_END.format(last=last))
    _, told = process.communicate(timeout=HANG_S)
    assert (process.returncode, told.strip()) == ends


SERVES = """
import time
from vlm_assets.commands.interruption import ended_by_ctrl_c
from vlm_assets.commands.line import serve_until_stopped
with ended_by_ctrl_c(["demo"], grace_s=0.1):
    try:
        serve_until_stopped("services are up")
    finally:
        {stopping}
"""


@pytest.mark.parametrize(
    ("number", "stopping", "ends"),
    [
        pytest.param(signal.SIGINT, "pass", (130, what_stays(["demo"])), id="Ctrl-C"),
        pytest.param(
            signal.SIGINT, "time.sleep(600)", (130, what_stays(["demo"])), id="Ctrl-C, they do not stop"
        ),
        pytest.param(signal.SIGTERM, "pass", (0, ""), id="SIGTERM"),
    ],
)
def test_services_say_that_they_stop(number: signal.Signals, stopping: str, ends: tuple[int, str]):
    process = began(SERVES.format(stopping=stopping), PYTHONUNBUFFERED="1")
    assert process.stdout is not None
    assert process.stdout.readline() == "services are up\n"
    process.send_signal(number)
    assert process.stdout.readline() == "stopping the demo's services…\n"
    _, told = process.communicate(timeout=HANG_S)
    assert (process.returncode, told.strip()) == ends


HELD = """
import os, sys
class Held:
    def find_spec(name, path=None, target=None):
        if name == os.environ["HELD_AT"]:
            try:
                print("begun", flush=True)
                open(os.environ["HELD_BY"]).read()
            except KeyboardInterrupt:
                print("raised", file=sys.stderr)
                raise
sys.meta_path.insert(0, Held)
"""
"""Holds an import, as a `sitecustomize`, until somebody writes to a pipe."""
SCRIPT = [sys.executable, str(Path(sys.executable).with_name("vlm-assets"))]
MODULE = [sys.executable, "-m", "vlm_assets.cli"]


@pytest.mark.parametrize(
    ("program", "held_at", "words", "raised"),
    [
        pytest.param(
            MODULE, "vlm_assets.commands.interruption", ["status"], ["raised"], id="module, before the watch"
        ),
        pytest.param(SCRIPT, "dotenv", ["build"], [], id="script, its first library"),
        pytest.param(SCRIPT, "vlm_assets.commands.command_line", ["--version"], [], id="script, our own"),
        pytest.param(MODULE, "vlm_assets.commands.trust", ["status"], [], id="module, our last"),
        pytest.param(MODULE, "typer", ["--version"], [], id="module, the commands' library"),
    ],
)
def test_a_program_that_still_loads(
    tmp_path: Path, program: list[str], held_at: str, words: list[str], raised: list[str]
):
    """`raised`: an exception went through the import; any import may swallow it, or show it."""
    (tmp_path / "sitecustomize.py").write_text(HELD, "utf-8")
    os.mkfifo(tmp_path / "pipe")
    process = started(
        [*program, *words], HELD_AT=held_at, HELD_BY=str(tmp_path / "pipe"),
        PYTHONPATH=os.pathsep.join([str(tmp_path), *sys.path]),
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=HANG_S)
    assert (process.returncode, told.split("\n")) == (130, [*raised, "", what_stays(words), ""])


def test_a_plan_that_waits_for_a_server(tmp_path: Path):
    """The Hub accepts the connection and says nothing."""
    hub = {**STREET, "kind": "hf_dataset", "repo": "a/b"}
    installation = install(tmp_path, hub)
    with socket.create_server(("127.0.0.1", 0)) as server:
        process = began(
            "from vlm_assets.cli import main; main()", "plan",
            VLM_CATALOG=str(installation.catalog_dir), VLM_DATA_ROOT=str(installation.root.path),
            VLM_ALLOW_PRIVATE_HOSTS="127.0.0.1", VLM_CONTACT="a@example.org", HF_HUB_DISABLE_XET="1",
            HF_ENDPOINT=f"http://127.0.0.1:{server.getsockname()[1]}",
        )  # fmt: skip
        held, _ = server.accept()
        with held:
            process.send_signal(signal.SIGINT)
            _, told = process.communicate()
    assert process.returncode == 130, told
    assert told.strip().endswith(what_stays(["plan"]))
    assert "Traceback" not in told


def tried(name: str, base: Path) -> float:
    """Interrupts the command in a place that it never leaves: it ends with 130 and what stays, and no trace.

    Answers the seconds that took.
    """
    environment = {
        "VLM_CATALOG": str(base / "catalog"), "VLM_DATA_ROOT": str(base / "data"), "VLM_CONTACT": "a@example.org",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }  # fmt: skip
    if name in {"backup", "restore"}:
        environment |= {
            "VLM_REMOTE": "s3://bucket/prefix",
            "AWS_ACCESS_KEY_ID": "a",
            "AWS_SECRET_ACCESS_KEY": "b",
        }
    one = TRIES[name]
    said: list[str] = []
    with began(STOPPED, one.place, *one.words, cwd=base, **environment) as process:
        assert process.stderr is not None
        while said[-1:] != ["begun\n"]:
            said.append(process.stderr.readline())
            assert said[-1], "".join(said)
        begun = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, told = process.communicate()
    took_s = time.monotonic() - begun
    assert process.returncode == 130, told
    assert told.strip().endswith(what_stays([name]))
    assert "Traceback" not in "".join(said) + told
    if one.afterwards is not None:
        again = began("from vlm_assets.cli import main; main()", *one.words, cwd=base, **environment)
        out, told = again.communicate()
        assert again.returncode == one.afterwards, out + told
    return took_s


@pytest.mark.parametrize("name", [name for name, one in TRIES.items() if one.cheap])
def test_some_commands_are_interrupted_at_work(tmp_path: Path, name: str):
    fill(tmp_path / "in", 1)
    install(tmp_path, {**STREET, "path": tmp_path / "in"})
    tried(name, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", TRIES)
def test_every_command_is_interrupted_at_work(tmp_path: Path, name: str):
    """On two targets that are built; of a source that was renamed since, where that is what the command is for."""
    fill(tmp_path / "in", 30)
    source = {**STREET, "path": tmp_path / "in"}
    corpus = {"targets": {"10": 10, "20": 20}}
    if name == "rename":
        ingest(install(tmp_path, {**source, "name": "old"}, corpus=corpus), "old")
        install(tmp_path, source, corpus=corpus)
    elif name != "build":
        installation = install(tmp_path, source, corpus=corpus)
        ingest(installation)
        for target in ("10", "20"):
            build_corpus(allocate(installation, target).path, installation.root)
    else:
        install(tmp_path, source, corpus=corpus)
    assert tried(name, tmp_path) < WITHIN_S
