"""How a process that works on a page ended, and what that says of the page."""

import signal
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ProcessEnd:
    """The end in words.

    `died`: of a signal that may have had nothing to do with the page, so it is worth another try at once.
    `transient`: as a last word it says as much of the machine as of the page, so it is tried again some day.
    """

    detail: str
    died: bool
    transient: bool


def process_end(what: str, status: int | None, cpu_s: float, hang_s: float) -> ProcessEnd:
    """The end of a process by its exit status, None where it was ended after `hang_s` of silence.

    A kill comes from outside, mostly where the machine has no memory left.
    """
    if status is None:
        return ProcessEnd(f"{what} was silent for {hang_s:g} s", died=False, transient=True)
    if status == -signal.SIGXCPU:
        detail = f"{what} used over {cpu_s:g} s of processor time"
        return ProcessEnd(detail, died=False, transient=True)
    if status < 0:
        detail = f"{what} died twice ({_signal_name(-status)})"
        return ProcessEnd(detail, died=True, transient=status == -signal.SIGKILL)
    return ProcessEnd(f"{what} gave no page (damage, or out of memory)", died=False, transient=False)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
