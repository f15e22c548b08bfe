"""The near end of one page worker: start it, ask, read its answers, end it."""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, Generic, Protocol, TypeVar, cast

import vlm_assets
from vlm_assets.pdf.facts import PageOptions
from vlm_assets.words.errors import OperationError

START_TIMEOUT_S: Final = 600.0
"""A worker that has said nothing for so long did not start, or hangs; a busy machine takes half a minute."""
_ROOT: Final = str(Path(vlm_assets.__file__).parent.parent)
_PROGRAM: Final = (
    "import sys; sys.path.insert(0, sys.argv[1]); "
    "from vlm_assets.pdf import worker; worker.main(sys.argv[2:])"
)


class HasPath(Protocol):
    """A document as far as a worker needs to know it."""

    @property
    def path(self) -> Path:
        """The PDF file."""
        ...


DocumentT = TypeVar("DocumentT", bound=HasPath)


@dataclass(frozen=True, slots=True)
class Request(Generic[DocumentT]):
    """Zero-based pages `start`..`stop` (half-open) of a document; `stop` may lie behind its end."""

    document: DocumentT
    start: int
    stop: int


class WorkerProcess(Generic[DocumentT]):
    """One worker process, started in a fresh interpreter. For one thread: it dies when that thread ends."""

    def __init__(
        self, number: int, options: PageOptions, folder: Path, environment: Mapping[str, str]
    ) -> None:
        self.number = number
        self.folder = folder
        self.request: Request[DocumentT] | None = None
        self.step: int | None = None
        self.answered: set[int] = set()
        self.is_ready = False
        self.deadline = time.monotonic() + START_TIMEOUT_S
        self._rest = b""
        self.command = [
            sys.executable, "-P", "-c", _PROGRAM, _ROOT, json.dumps(options.to_json()), str(folder),
        ]  # fmt: skip
        try:
            self.process = subprocess.Popen(
                self.command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                bufsize=0,
                env=environment,
            )
        except OSError as error:
            raise OperationError(f"cannot start a page worker: {error}") from error

    @property
    def answers(self) -> int:
        """Descriptor of its answers, to wait on."""
        return cast("IO[bytes]", self.process.stdout).fileno()

    def ask(self, request: Request[DocumentT]) -> None:
        """Sends a request; a worker that has died shows as the end of its answers."""
        self.request, self.step, self.answered = request, None, set()
        self.deadline = time.monotonic() + START_TIMEOUT_S
        message = {"path": str(request.document.path), "start": request.start, "stop": request.stop}
        with contextlib.suppress(BrokenPipeError):
            cast("IO[bytes]", self.process.stdin).write(json.dumps(message).encode() + b"\n")

    def free(self) -> None:
        """It has answered all of its request."""
        self.request, self.deadline = None, float("inf")

    def read(self) -> list[dict[str, Any]] | None:
        """The answers that have arrived; None at the end."""
        part = os.read(self.answers, 65536)
        if not part:
            return None
        *lines, self._rest = (self._rest + part).split(b"\n")
        return [json.loads(line) for line in lines]

    def end(self) -> int:
        """Kills the process and closes its pipes; gives the exit status."""
        self.process.kill()
        status = self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()
        return status
