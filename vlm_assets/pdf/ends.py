"""How a process that works on a page ended, and what that says of the page."""

import signal
from dataclasses import dataclass
from typing import Final

_NO_MEMORY: Final = ("out of memory", "bad_alloc", "cannot allocate memory")
_SYSTEM: Final = ("couldn't open file", "could not open file", "i/o error")
_TOLD_LENGTH: Final = 160


@dataclass(frozen=True, slots=True)
class ProcessEnd:
    """The end in words.

    `died`: of a signal that may have had nothing to do with the page, so it is worth another try at once.
    `transient`: as a last word it says as much of the machine as of the page, so it is tried again some day.
    `repeats`: it is about the page, as far as can be told: where it comes twice, another renderer may do better.
    """

    detail: str
    died: bool = False
    transient: bool = False
    repeats: bool = False


def process_end(what: str, status: int | None, cpu_s: float, hang_s: float, told: str = "") -> ProcessEnd:
    """The end of a process by its exit status, None where it was ended after `hang_s` of silence, and what it told.

    A kill comes from outside, mostly where the machine has no memory left.
    """
    if status is None:
        return ProcessEnd(f"{what} was silent for {hang_s:g} s", transient=True)
    if status == -signal.SIGXCPU:  # the kernel counts ticks in which others ran, where many do
        return ProcessEnd(f"{what} used over {cpu_s:g} s of processor time", died=True, transient=True)
    lowered = told.lower()
    if any(sign in lowered for sign in _NO_MEMORY):
        return ProcessEnd(f"{what} ran out of memory", died=status < 0)
    if status < 0:
        detail = f"{what} died twice ({_signal_name(-status)})"
        killed = status in {
            -signal.SIGKILL,
            -signal.SIGBUS,
        }  # a page of a mapped file that cannot be read is a SIGBUS
        return ProcessEnd(detail, died=True, transient=killed, repeats=not killed)
    if any(sign in lowered for sign in _SYSTEM):
        return ProcessEnd(f"{what} cannot read the document: {last_line(told)}", transient=True)
    said = last_line(told)
    return ProcessEnd(
        f"{what} gave no page: {said}" if said else f"{what} gave no page and no reason", repeats=True
    )


def last_line(told: str) -> str:
    """The last line that a program told, cut to what fits into a reject."""
    lines = [line.strip() for line in told.splitlines() if line.strip()]
    return lines[-1][:_TOLD_LENGTH] if lines else ""


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
