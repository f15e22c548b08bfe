"""The short form of the table, slow; and, always, that nothing is left out of it silently."""

import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from vlm_assets_tests.variations import table as table_module
from vlm_assets_tests.variations.inputs import TARGETS, Inputs
from vlm_assets_tests.variations.machines import VARIATIONS, Machine, Variation
from vlm_assets_tests.variations.parts import NotHereError, Parts
from vlm_assets_tests.variations.table import Row, Table
from vlm_assets_tests.variations.trials import Root, TrialError, others

PLAIN = {TARGETS[0]: "a" * 64, TARGETS[1]: "b" * 64}
OTHER = {**PLAIN, TARGETS[1]: "c" * 64}


def row(
    monkeypatch: pytest.MonkeyPatch, folder: Path, built: Any, seen: Mapping[str, str], **changes: Any
) -> Row:
    """What is told of a machine that gave `built`, where plain gave `PLAIN` and is seen as `1`."""

    def root_hashes(_: Root) -> dict[str, str]:
        if isinstance(built, Exception):
            raise built
        return dict(built)

    def rows(root: Root) -> dict[str, str]:
        return {"x/1": "same", "x/2": root.folder.name}

    monkeypatch.setattr(Root, "root_hashes", root_hashes)
    monkeypatch.setattr(Root, "rows", rows)
    monkeypatch.setattr(table_module, "seen_on", lambda _: dict(seen))
    table = Table(Parts(folder / "parts"), folder, tell=lambda _: None)
    table._built, table._seen = dict(PLAIN), {"fonts": "1", "python": "3.11.7"}
    inputs = Inputs(folder, {})
    given = {"make": lambda *_: Machine(), "differs": lambda here, plain: here["fonts"] != plain["fonts"]}
    variation = Variation("other", **{"shows": "fonts", **given, **changes})
    return table._row(variation, Root(folder / "plain", inputs, Machine()), inputs)


def without_part(parts: Parts, _: Path) -> Machine:
    return Machine(python=str(parts.need("qemu")))


def elsewhere(_: Parts, folder: Path) -> Machine:
    return Machine(path=(folder,))


@pytest.mark.parametrize(
    ("built", "seen", "changes", "verdict", "failed"),
    [
        pytest.param(PLAIN, "0", {}, "same", False, id="same"),
        pytest.param(OTHER, "0", {}, "OTHERS: x/2", True, id="another row"),
        pytest.param(OTHER, "0", {"promised": False}, "others, and none are promised: x/2", False, id="no promise"),
        pytest.param(PLAIN, "1", {}, "NOT TRIED: fonts is 1 there", True, id="the same machine"),
        pytest.param(TrialError("1 | 2"), "0", {}, "FAILED: 1 | 2", True, id="failed"),
        pytest.param(OTHER, "1", {"shows": "python", "make": elsewhere}, "plain's own release", False, id="its own"),
        pytest.param(PLAIN, "0", {"make": without_part}, "not tried: qemu was not fetched", False, id="no part"),
    ],
)  # fmt: skip
def test_what_came_of_a_machine_is_told(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    built: Any,
    seen: str,
    changes: dict[str, Any],
    verdict: str,
    failed: bool,  # noqa: FBT001 - table
):
    told = row(monkeypatch, tmp_path, built, {"fonts": seen, "python": "3.11.7"}, **changes)
    assert told.verdict.startswith(verdict)
    assert told.failed is failed
    assert told.tried is ("not tried" not in told.verdict)
    assert told.line().count("|") == 6


def test_what_differs_is_named_and_the_rest_counted():
    plain = {str(number): "a" for number in range(20)}
    assert others(plain, plain) == []
    assert others(plain, {**plain, "3": "b"}) == ["3"]
    assert others(plain, {})[-1] == "and 8 more"


def test_a_part_that_cannot_be_had_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NotHereError, match=r"is not installed|is missing"):
        Parts(tmp_path / "parts").get("qemu")
    assert list((tmp_path / "parts").iterdir()) == []


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_machines_that_any_machine_can_be_give_the_same(tmp_path: Path):
    names = ("no system fonts", "C locale", "workers: 1", "every page late once")
    assert set(names) < {one.name for one in VARIATIONS}
    words = [word for name in names for word in ("--only", name)]
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "vlm_assets_tests.variations",
            "--dir",
            str(tmp_path / "same"),
            "--core",
            *words,
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    same = re.findall(r"[0-9a-f]{16} \| same \|", done.stdout)
    assert len(same) == len(names) + 2  # plain itself, and the lock
    assert "exit 1: pictures/root" in done.stdout
