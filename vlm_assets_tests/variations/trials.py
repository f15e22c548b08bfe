"""What is done on a machine: a build from nothing, or pieces of one; and what of it is other than elsewhere."""

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from vlm_assets_tests.variations.inputs import CHANGED, TARGETS, Inputs
from vlm_assets_tests.variations.machines import Machine

_MAIN: Final = "from vlm_assets.cli import main; main()"
_MOST: Final = 12
"""Rows or pieces that are named; of the rest the number is told."""
_SAID_LINES: Final = 4


class TrialError(Exception):
    """A program did not end as it should; says what it said."""


@dataclass(frozen=True, slots=True)
class Root:
    """A data root of its own, with what a command needs to work there."""

    folder: Path
    inputs: Inputs
    machine: Machine

    def environment(self) -> dict[str, str]:
        return {
            **self.inputs.environment,
            "VLM_CATALOG": str(self.inputs.catalog),
            "VLM_DATA_ROOT": str(self.folder / "data"),
            "DAGSTER_HOME": str(self.folder / "dagster"),
            "HF_HOME": str(self.folder / "hf"),
            "VLM_ALLOW_PRIVATE_HOSTS": "127.0.0.0/8",
            "VLM_CONTACT": "same@localhost",
            "COLUMNS": "200",
        }

    def make(self) -> None:
        """Its folders, where they are not there."""
        for name in ("data", "dagster", "hf"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        (self.folder / "data/.vlm_root").touch()

    def command(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """A command of `vlm-assets`."""
        self.make()
        return self.machine.run("-c", _MAIN, *words, environment=self.environment())

    def told(self, *words: str) -> Any:
        """What a command says in JSON.

        Raises:
            TrialError: it ended with another code than 0.
        """
        done = self.command(*words, "--json")
        if done.returncode:
            raise TrialError(f"{' '.join(words)} ended with {done.returncode}: {last_lines(done)}")
        return json.loads(done.stdout)

    def root_hashes(self, *words: str) -> dict[str, str]:
        """By target, of a build that is fine.

        Raises:
            TrialError: it is not, or a corpus is missing.
        """
        targets = self.told("build", *words)["targets"]
        return self._all_of({one["name"]: one["root_hash"] for one in targets})

    def root_hashes_of_core(self) -> dict[str, str]:
        """The same, built without Dagster.

        Raises:
            TrialError: it failed, or a corpus is missing.
        """
        self.make()
        return self._all_of(
            _printed(self.machine, "vlm_assets_tests.variations.core", environment=self.environment())
        )

    def _all_of(self, found: dict[str, str]) -> dict[str, str]:
        if set(found) != set(TARGETS) or not all(found.values()):
            raise TrialError(f"built {found}, wanted are {TARGETS}")
        return found

    def rows(self) -> dict[str, str]:
        """Digest of the content of each row of the larger corpus, by id."""
        folder = self.folder / "data/corpora/same" / TARGETS[-1]
        found: dict[str, str] = {}
        for path in sorted(folder.glob("index-*.arrow")):
            table = pa.ipc.open_file(path).read_all()
            found |= dict(
                zip(table["id"].to_pylist(), map(str, table["content_sha256"].to_pylist()), strict=True)
            )
        return found


def last_lines(done: "subprocess.CompletedProcess[str]") -> str:
    """The end of what a command said, in one line."""
    lines = f"{done.stdout}\n{done.stderr}".strip().splitlines()
    return "; ".join(line.strip() for line in lines[-_SAID_LINES:])


def seen_on(machine: Machine) -> dict[str, str]:
    """What the machine is like."""
    return _printed(machine, "vlm_assets_tests.variations.seen")


def pieces_on(machine: Machine, inputs: Inputs) -> dict[str, str]:
    """Digests of pieces, by name."""
    return _printed(machine, "vlm_assets_tests.variations.pieces", str(inputs.folder / "client/pictures"))


def _printed(
    machine: Machine, module: str, *words: str, environment: Mapping[str, str] | None = None
) -> dict[str, str]:
    done = machine.run("-m", module, *words, environment=environment or {})
    if done.returncode:
        raise TrialError(f"{module} ended with {done.returncode}: {last_lines(done)}")
    found: dict[str, str] = json.loads(done.stdout)
    return found


def others(plain: Mapping[str, str], here: Mapping[str, str]) -> list[str]:
    """Names that have another value in one than in the other, the first dozen."""
    found = sorted(name for name in plain.keys() | here.keys() if plain.get(name) != here.get(name))
    return found[:_MOST] + ([f"and {len(found) - _MOST} more"] if len(found) > _MOST else [])


def try_lock(plain: Root, folder: Path) -> dict[str, str]:
    """Locks what was built, builds it by the lock from nothing, and again where one upstream file is another.

    Returns:
        By what was done, its outcome; `locked` are root hashes.

    Raises:
        TrialError: one did not end as it must.
    """
    locked = plain.told("lock")["targets"]
    again = Root(folder / "again", plain.inputs, plain.machine).root_hashes("--locked")
    if again != locked:
        raise TrialError(f"build --locked gave {again}, locked are {locked}")
    source, slice_key, item = CHANGED
    changed = Root(folder / "changed", plain.inputs.changed(folder / "inputs"), plain.machine)
    done = changed.command("build", "--locked")
    said = " ".join(f"{done.stdout} {done.stderr}".split())
    named = f"{source}/{slice_key}" in said and item in said
    if done.returncode == 0 or not named:
        raise TrialError(f"with {item} changed it ended with {done.returncode}, and said {last_lines(done)}")
    at = said.index(f"{source}/{slice_key}: ")
    return {
        "build --locked in an empty root": again[TARGETS[-1]],
        f"with {item} changed": f"exit {done.returncode}: {said[at : at + 110]} …",
    }
