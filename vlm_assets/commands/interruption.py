"""Ctrl-C ends a command: at once where it can, within seconds wherever it is, with what stays and how to go on.

Python raises KeyboardInterrupt in the main thread when that runs again, which a reading thread, a library or a server
that does not answer may keep from it. Everything on disk is written so that a kill loses nothing that is committed:
after a few seconds the process is ended whatever it does.
"""

import atexit
import os
import select
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Final, NoReturn

INTERRUPTED: Final = 130
"""The exit code, as of a process that ended by Ctrl-C."""
GRACE_S: Final = 5.0
"""So long a command may take to end by itself; on a machine that has much to do it is over within ten."""
_AGAIN: Final = "the same command goes on from there"
STAYS: Final[Mapping[str, str]] = {
    "annotate": f"What was looked at is not looked at again; {_AGAIN}.",
    "add": "The entry is written whole, and vlm-assets check tells what it lacks, or nothing is: run it again.",
    "audit": "Nothing was changed; run it again.",
    "backup": f"What has arrived at the remote stays; {_AGAIN}.",
    "build": f"Slices, shards and downloads that are finished stay; {_AGAIN}.",
    "demo": f"What is finished stays; {_AGAIN}.",
    "export": f"Files that are finished stay; {_AGAIN}.",
    "init": f"What was written stays; {_AGAIN}.",
    "lock": "The lock is as it was; run it again.",
    "migrate": f"What is brought up to date stays; {_AGAIN}.",
    "prune": f"What was removed is gone, everything else is whole; {_AGAIN}.",
    "publish": f"The repository is as it was, and what was sent is not sent twice; {_AGAIN}.",
    "reconcile": f"What was given back stays; {_AGAIN}.",
    "rename": f"Slices that were moved stay; {_AGAIN}.",
    "report": "Papers that are finished stay; run it again.",
    "restore": f"What has arrived and was verified stays; {_AGAIN}.",
    "takedown": "What was begun is on record: vlm-assets takedown --finish goes on, and so does the next build.",
    "verify": f"What was hashed is remembered; {_AGAIN}.",
}
"""What to say of the others, by name."""
READERS: Final = frozenset({"check", "diff", "docs", "pin", "plan", "show", "status", "unpin"})
"""Commands that change nothing, or one small file in one step."""
_READS: Final = "Nothing was changed; run it again."


def what_stays(words: Sequence[str]) -> str:
    """One line for the command that these words of the command line begin with."""
    name = next((word for word in words if not word.startswith("-")), "")
    return f"Interrupted. {STAYS.get(name, _READS)}"


@contextmanager
def ended_by_ctrl_c(words: Sequence[str], *, grace_s: float = GRACE_S) -> Iterator[None]:
    """Runs a command; after Ctrl-C it is over with exit 130 and one line, by itself or, after `grace_s`, by force.

    A second Ctrl-C is force at once, and so is one after the command; while Python itself ends, none counts any more.
    In another thread than the main one it does nothing. SIGTERM does the same where a script started the command in
    the background, deaf to Ctrl-C.

    Raises:
        SystemExit: 130, where the command ended by itself after Ctrl-C.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    watch = _Watch(what_stays(words), grace_s, _stop_signal())
    try:
        yield
    except (KeyboardInterrupt, SystemExit) as error:
        over = isinstance(error, KeyboardInterrupt) or watch.interrupted()
        if not over or (isinstance(error, SystemExit) and error.code in (None, 0)):
            raise
        watch.tell()
        raise SystemExit(INTERRUPTED) from None
    except BaseException:
        if watch.interrupted():  # it broke while it was being ended
            watch.tell()
            raise SystemExit(INTERRUPTED) from None
        raise
    finally:
        watch.command_is_over()


@contextmanager
def ended_at_once(words: Sequence[str]) -> Iterator[None]:
    """Ends the process at once after Ctrl-C, with 130 and one line: for imports, before anything is begun.

    What is raised in an import may be swallowed by it, or shown with a trace, and nothing is to be put in order.
    """
    here = threading.current_thread() is threading.main_thread()
    if not here or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return

    def end(_number: int, _frame: FrameType | None) -> NoReturn:
        os.write(2, f"\n{what_stays(words)}\n".encode())
        os._exit(INTERRUPTED)

    signal.signal(signal.SIGINT, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _stop_signal() -> signal.Signals:
    """What ends a command. A shell without job control has what it starts by `&` ignore SIGINT.

    Dagster gives SIGTERM whatever SIGINT has: of a build in the background, `kill` would be ignored too.
    """
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        return signal.SIGINT
    signal.signal(signal.SIGINT, _stopped_by_sigterm)
    return signal.SIGTERM


def _stopped_by_sigterm(number: int, _frame: FrameType | None) -> None:
    if number == signal.SIGTERM:
        raise KeyboardInterrupt


class _Watch:
    """Is told of every stop by Python's wake-up descriptor, whoever handles the signal itself."""

    def __init__(self, told: str, grace_s: float, stop: signal.Signals) -> None:
        self._told = told
        self._grace_s = grace_s
        self._stop = stop
        self._lock = threading.RLock()  # a signal handler takes it, over itself too
        self._silent = False
        self._came = 0
        self._reader, writer = os.pipe()
        os.set_blocking(writer, False)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        atexit.register(self._deaf)  # first of all: called last, after everything else that may take long
        threading.Thread(target=self._wait, name="ctrl-c", daemon=True).start()

    def tell(self) -> None:
        """The line, once."""
        with self._lock:
            if self._silent:
                return
            self._silent = True
        shown_again = "\x1b[?25h" if sys.stderr.isatty() else ""  # a progress bar may have hidden the cursor
        os.write(2, f"{shown_again}\n{self._told}\n".encode())

    def interrupted(self) -> bool:
        """Whether Ctrl-C came: the descriptor was written to before Python knew of it."""
        with self._lock:
            if not self._came and select.select([self._reader], [], [], 0)[0]:
                self._came = os.read(self._reader, 64).count(self._stop)
            return self._came > 0

    def command_is_over(self) -> None:
        """From now on Ctrl-C ends the process at once: an exception would only be shown, and be lost."""
        signal.signal(self._stop, self._end_now)

    def _end_now(self, _number: int, _frame: FrameType | None) -> NoReturn:
        self.tell()
        self._end()

    def _deaf(self) -> None:
        """No signal wakes this watch's thread while Python takes itself apart, which it does not survive (3.11)."""
        signal.signal(self._stop, signal.SIG_IGN)
        signal.set_wakeup_fd(-1)

    def _wait(self) -> None:
        while not self.interrupted():
            select.select([self._reader], [], [])
        if self._came < 2:  # a second one may have come before this thread's turn
            select.select([self._reader], [], [], self._grace_s)
        self.tell()
        self._end()

    def _end(self) -> NoReturn:
        """Ends this process and those that it started."""
        import psutil

        for child in psutil.Process().children(recursive=True):
            try:
                child.kill()
            except psutil.NoSuchProcess:
                continue
        os._exit(INTERRUPTED)
