"""The table: a line a machine, told as soon as it is known, with the root hash and whether it is that of plain."""

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vlm_assets_tests.variations.inputs import TARGETS, Inputs, served_inputs
from vlm_assets_tests.variations.machines import Machine, Variation
from vlm_assets_tests.variations.parts import NotHereError, Parts
from vlm_assets_tests.variations.trials import Root, TrialError, others, pieces_on, seen_on, try_lock

_HEAD = "| machine | what is other | root hash | same | s |\n|---|---|---|---|---|"
_SHOWN_DIGITS = 16
_RELEASES = {"poppler", "python"}
"""Properties that machines have by release: such a one may be plain's."""


@dataclass(frozen=True, slots=True)
class Row:
    """What came of one machine."""

    name: str
    shown: str
    """What is other about it, as it was seen there."""
    value: str
    """The root hash of the larger corpus, or how many pieces there are."""
    verdict: str
    seconds: float = 0.0
    tried: bool = True
    failed: bool = False
    seen: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, str] = field(default_factory=dict)
    """Root hashes by target, or digests by piece."""

    def line(self) -> str:
        """As a row of a Markdown table."""
        told = self.verdict.replace("|", "/")
        return f"| {self.name} | {self.shown} | {self.value} | {told} | {self.seconds:.0f} |"


class Table:
    """Rows, as they come. Data roots of machines that got the same are removed.

    `core`: all but plain are built without Dagster.
    """

    def __init__(
        self, parts: Parts, folder: Path, tell: Callable[[str], None], *, core: bool = False
    ) -> None:
        self.rows: list[Row] = []
        self._parts, self._folder, self._tell, self._core = parts, folder, tell, core
        self._seen: dict[str, str] = {}
        self._built: dict[str, str] = {}
        self._pieces: dict[str, str] = {}

    def fill(self, variations: Sequence[Variation], *, lock: bool) -> None:
        """Tries the machines in turn, plain first, and the lock at the end."""
        self._tell(_HEAD)
        with served_inputs(self._folder / "inputs") as inputs:
            self._seen = seen_on(Machine())
            plain = Root(self._folder / "plain", inputs, Machine())
            for variation in variations:
                self._add(self._row(variation, plain, inputs))
            if lock and self._built:
                self._try_lock(plain)

    def summary(self) -> str:
        """How many were tried, and how many of them got other bytes."""
        tried = [row for row in self.rows if row.tried]
        failed = [row.name for row in tried if row.failed]
        told = f"{len(tried)} of {len(self.rows)} tried"
        return f"{told}, {len(failed)} failed: {', '.join(failed)}" if failed else f"{told}, none failed"

    def _add(self, row: Row) -> None:
        self.rows.append(row)
        self._tell(row.line())

    def _row(self, variation: Variation, plain: Root, inputs: Inputs) -> Row:
        began = time.monotonic()
        root = Root(self._folder / variation.name.replace(" ", "-"), inputs, Machine())
        try:
            root = Root(root.folder, inputs, variation.make(self._parts, root.folder))
            if self._is_plain(variation, root):
                own = f"{variation.shows} {self._seen[variation.shows]}"
                return Row(
                    variation.name, own, self._built[TARGETS[-1]][:_SHOWN_DIGITS], "plain's own release"
                )
            values = self._tried(variation, root)
            seen = seen_on(root.machine)
        except NotHereError as error:
            return Row(variation.name, "not here", "", f"not tried: {error}", tried=False)
        except TrialError as error:
            return Row(variation.name, "", "", f"FAILED: {error}", time.monotonic() - began, failed=True)
        verdict, failed = self._judged(variation, root, plain, values)
        if not variation.differs(seen, self._seen):
            verdict, failed = f"NOT TRIED: {variation.shows} is {seen[variation.shows]} there", True
        if not failed and root.folder != plain.folder:
            shutil.rmtree(root.folder, ignore_errors=True)
        value = values[TARGETS[-1]][:_SHOWN_DIGITS] if variation.trial == "build" else f"{len(values)} pieces"
        shown = f"{variation.shows} {seen[variation.shows]}"
        seconds = time.monotonic() - began
        return Row(variation.name, shown, value, verdict, seconds, failed=failed, seen=seen, values=values)

    def _is_plain(self, variation: Variation, root: Root) -> bool:
        """Whether it is a release of something of which this machine has the same."""
        if variation.shows not in _RELEASES or root.machine == Machine():
            return False
        return seen_on(root.machine)[variation.shows] == self._seen[variation.shows]

    def _tried(self, variation: Variation, root: Root) -> dict[str, str]:
        if variation.trial == "build":
            values = root.root_hashes_of_core() if self._core and self._built else root.root_hashes()
            self._built = self._built or values
            return values
        self._pieces = self._pieces or pieces_on(Machine(), root.inputs)
        return pieces_on(root.machine, root.inputs)

    def _judged(
        self, variation: Variation, root: Root, plain: Root, values: Mapping[str, str]
    ) -> tuple[str, bool]:
        if variation.trial == "pieces":
            found = others(self._pieces, values)
        elif values == self._built:
            found = []
        else:
            found = others(plain.rows(), root.rows()) or ["the same rows, packed otherwise"]
        if not found:
            return "same", False
        if not variation.promised:
            return f"others, and none are promised: {', '.join(found)}", False
        return f"OTHERS: {', '.join(found)}", True

    def _try_lock(self, plain: Root) -> None:
        began = time.monotonic()
        try:
            told = try_lock(plain, self._folder / "lock")
        except TrialError as error:
            self._add(Row("lock", "", "", f"FAILED: {error}", time.monotonic() - began, failed=True))
            return
        locked, changed = told.items()
        seconds = time.monotonic() - began
        self._add(Row("lock", locked[0], locked[1][:_SHOWN_DIGITS], "same", seconds, values=told))
        self._add(Row("lock", changed[0], "", changed[1]))
