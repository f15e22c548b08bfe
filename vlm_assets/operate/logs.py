"""One rotating log file a subsystem under the data root; run id and slice in every line; no secrets.

Loggers are named `vlm_assets.<subsystem>`; a line of `vlm_assets.transfer.http` goes to `transfer.log`. Several
processes write the same files: each line is one appending write, and rotation happens under an OS lock.
"""

import contextvars
import logging
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import orjson

from vlm_assets import locks
from vlm_assets.settings import Settings

if TYPE_CHECKING:
    from rich.console import Console

MAX_BYTES: Final = 20_000_000
KEPT_FILES: Final = 5

_where: contextvars.ContextVar[tuple[str, str]] = contextvars.ContextVar("vlm_where", default=("", ""))

_SECRETS: Final = re.compile(
    r"(?i)(hf_[A-Za-z0-9]{8,}|gh[pousr]_[A-Za-z0-9]{8,}|github_pat_\w{8,}|KGAT_\w{8,}|AKIA[0-9A-Z]{16}"
    r"|(?<=://)[^/@\s]+:[^/@\s]+(?=@)"
    r"|(?<=bearer )\S+|(?<=token )\S+"
    r"|(?<=[?&](?:sig|key)=)[^&\s]+|(?<=[?&]token=)[^&\s]+|(?<=[?&]signature=)[^&\s]+"
    r"|(?<=X-Amz-Signature=)[^&\s]+|(?<=X-Amz-Credential=)[^&\s]+|(?<=X-Amz-Security-Token=)[^&\s]+)"
)


def redact(text: str) -> str:
    """The text with everything that looks like a token, password or signed URL's secret taken out."""
    return _SECRETS.sub("[redacted]", text)


@contextmanager
def logging_where(run_id: str, slice_name: str) -> Iterator[None]:
    """Lines logged inside carry this run and slice (`source/slice`), or whatever else is worked on."""
    token = _where.set((run_id, slice_name))
    try:
        yield
    finally:
        _where.reset(token)


class _Formatter(logging.Formatter):
    """Text or JSON lines, UTC, one line a record but for tracebacks."""

    def __init__(self, *, as_json: bool) -> None:
        super().__init__()
        self._as_json = as_json

    def format(self, record: logging.LogRecord) -> str:
        run_id, slice_name = _where.get()
        message = record.getMessage()
        if record.exc_info:
            message += "\n" + self.formatException(record.exc_info)
        message = redact(message)
        when = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        if self._as_json:
            line = {
                "time": when, "level": record.levelname, "logger": record.name, "run": run_id,
                "slice": slice_name, "pid": record.process, "message": message,
            }  # fmt: skip
            return orjson.dumps(line).decode()
        place = " ".join(filter(None, (run_id[:8], slice_name)))
        return f"{when} {record.levelname} [{record.process}{' ' + place if place else ''}] {record.name}: {message}"


class SubsystemHandler(logging.Handler):
    """Appends each record to the file of its subsystem."""

    def __init__(
        self, folder: Path, *, as_json: bool, max_bytes: int = MAX_BYTES, kept: int = KEPT_FILES
    ) -> None:
        super().__init__()
        self._folder = folder
        self._max_bytes = max_bytes
        self._kept = kept
        self._has_told = False
        self.setFormatter(_Formatter(as_json=as_json))

    def emit(self, record: logging.LogRecord) -> None:
        """Writes one line; a full disk or a lost volume must not stop the work that logs."""
        try:
            parts = record.name.split(".")
            path = self._folder / f"{parts[1] if len(parts) > 1 else 'main'}.log"
            line = (self.format(record) + "\n").encode("utf-8", "replace")
            descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                if os.fstat(descriptor).st_size + len(line) > self._max_bytes:
                    self._rotate(path)
                    os.close(descriptor)
                    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
                os.write(descriptor, line)
            finally:
                os.close(descriptor)
        except OSError as error:
            self._tell(error)

    def _tell(self, error: OSError) -> None:
        """Says once that lines are lost; a traceback for each would bury what the command says."""
        if not self._has_told:
            self._has_told = True
            sys.stderr.write(f"{self._folder}: log lines cannot be written ({error.strerror or error})\n")

    def _rotate(self, path: Path) -> None:
        """`x.log` becomes `x.log.1` and so on; whoever waited for the lock finds it done."""
        with locks.locked(path.with_suffix(".lock")):
            if not path.exists() or path.stat().st_size <= self._max_bytes // 2:
                return
            for number in range(self._kept - 1, 0, -1):
                older = path.with_name(f"{path.name}.{number}")
                if older.exists():
                    older.replace(path.with_name(f"{path.name}.{number + 1}"))
            path.replace(path.with_name(f"{path.name}.1"))


def configure_logging(settings: Settings, folder: Path) -> None:
    """Sends the package's log lines to files under `folder`. Called again, it replaces what it set up before."""
    folder.mkdir(parents=True, exist_ok=True)
    logger = logging.getLogger("vlm_assets")
    for handler in list(logger.handlers):
        if isinstance(handler, SubsystemHandler):
            logger.removeHandler(handler)
    logger.addHandler(SubsystemHandler(folder, as_json=settings.log_format == "json"))
    logger.setLevel(settings.log_level)


class WaitHandler(logging.Handler):
    """Prints for whom a lock is waited for."""

    def __init__(self, console: "Console") -> None:
        super().__init__()
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        """One line."""
        self._console.print(record.getMessage(), markup=False, soft_wrap=True)


def show_waits(console: "Console") -> None:
    """From now on whoever waits at this console reads for whom. Called again, it is another console."""
    logger = logging.getLogger(locks.__name__)
    for handler in list(logger.handlers):
        if isinstance(handler, WaitHandler):
            logger.removeHandler(handler)
    logger.addHandler(WaitHandler(console))
