"""The near end of one worker: start it, ask, hear what it says, end it."""

import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from typing import IO, Any, Final, cast

import vlm_assets
from vlm_assets.workers.errors import TaskError, WorkerDiedError, WorkerSilentError, WorkerStartError
from vlm_assets.workers.messages import DECODE, FRAME, Frame, put_request
from vlm_assets.workers.program import Program

Hear = Callable[[Any], None]
_START_S: Final = 600.0
"""A machine under load may take long to import; a worker that waits for ever does so for longer."""
_READ_BYTES: Final = 1 << 20
_ROOT: Final = str(Path(vlm_assets.__file__).parent.parent)
_COMMAND: Final = (
    "import sys; sys.path.insert(0, sys.argv[1]); "
    "from vlm_assets.workers import far_end; far_end.main(sys.argv[2:])"
)


class _Starter:
    """The one thread of this process that starts workers: they die when the thread that started them ends.

    So it ends with the process, which no pool of threads does. A fork has none, and begins another.
    """

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """After a fork: the thread is not there."""
        self._lock = threading.Lock()
        self._wanted: (
            SimpleQueue[tuple[Future[subprocess.Popen[bytes]], list[str], dict[str, Any]]] | None
        ) = None

    def start(self, command: list[str], **options: Any) -> subprocess.Popen[bytes]:
        """As `subprocess.Popen`."""
        with self._lock:
            if self._wanted is None:
                self._wanted = SimpleQueue()
                threading.Thread(
                    target=self._start_all, args=(self._wanted,), name="starter", daemon=True
                ).start()
        started: Future[subprocess.Popen[bytes]] = Future()
        self._wanted.put((started, command, options))
        return started.result()

    @staticmethod
    def _start_all(
        wanted: "SimpleQueue[tuple[Future[subprocess.Popen[bytes]], list[str], dict[str, Any]]]",
    ) -> None:
        while True:
            started, command, options = wanted.get()
            try:
                started.set_result(subprocess.Popen(command, **options))
            except Exception as error:  # noqa: BLE001 - boundary of the thread: raised where it was asked for
                started.set_exception(error)


_starter = _Starter()
os.register_at_fork(after_in_child=_starter.forget)


class Worker:
    """One process. Used by one thread at a time; `kill` is for any."""

    def __init__(self, program: Program) -> None:
        """Starts it; `ask` waits until it is ready, so that several can start at once.

        Raises:
            WorkerStartError: there is no process at all.
        """
        self._program = program
        self._decode = DECODE[program.answers]
        self._ready = self._at_work = False
        self._shared = os.memfd_create(f"vlm-{program.name}", os.MFD_CLOEXEC)
        self._command = [sys.executable, "-P", "-c", _COMMAND, _ROOT, str(os.getpid()), str(self._shared)]
        try:
            self._process = _starter.start(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL if program.quiet else None,
                pass_fds=[self._shared],
                bufsize=0,
                env=dict(program.environment),
                process_group=0,  # Ctrl-C is for the near end, and what a worker starts ends with it
            )
        except OSError as error:
            os.close(self._shared)
            raise WorkerStartError(f"cannot start a {program.name} process: {error}") from error
        self._heard = bytearray()
        self._answers = select.poll()  # select() would fail above 1,024 descriptors
        self._answers.register(cast("IO[bytes]", self._process.stdout), select.POLLIN)
        self._send((program.handler, program.arguments, program.limits, program.answers))

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def alive(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def usable(self) -> bool:
        """Whether it lives and waits for a request. One whose request was broken off is at work still."""
        return not self._at_work and self.alive()

    def ask(self, request: Any, hear: Hear = lambda _message: None) -> Any:
        """The answer to a request; `hear` is called with each message before it.

        Raises:
            TaskError: the handler raised. Errors of this package come as they are, with answers as pickle.
            WorkerDiedError, WorkerSilentError: it is gone; another request may have another worker.
            WorkerStartError: it ended before it was ready.
        """
        self._wait_until_ready()
        self._at_work = True
        self._send(request)
        while True:
            kind, body = self._hear(self._program.limits.silent_s)
            if kind is Frame.MESSAGE:
                hear(self._decode(body))
                continue
            self._at_work = False
            if kind is Frame.ANSWER:
                return self._decode(body)
            error, told = self._decode(body)
            raise error or TaskError(f"{self._program.name}: {told}")

    def _wait_until_ready(self) -> None:
        if self._ready:
            return
        try:
            self._hear(_START_S)
        except (WorkerDiedError, WorkerSilentError) as error:
            raise WorkerStartError(
                f"{error} before it was ready; the environment or {self._program.handler} is broken"
            ) from error
        self._ready = True

    def _send(self, request: Any) -> None:
        line = put_request(self._shared, request)
        with suppress(OSError):  # it has died: its answers end, too
            cast("IO[bytes]", self._process.stdin).write(line)

    def _hear(self, patience_s: float | None) -> tuple[Frame, bytes]:
        """The next frame."""
        self._read_up_to(FRAME.size, patience_s)
        kind, size = FRAME.unpack_from(self._heard)
        end = FRAME.size + size
        self._read_up_to(end, patience_s)
        body = bytes(memoryview(self._heard)[FRAME.size : end])
        del self._heard[:end]
        return Frame(kind), body

    def _read_up_to(self, size: int, patience_s: float | None) -> None:
        """Reads until so much has been heard and not been taken."""
        while len(self._heard) < size:
            if not self._answers.poll(None if patience_s is None else patience_s * 1000):
                self.kill()
                raise WorkerSilentError(f"a {self._program.name} process said nothing for {patience_s:g} s")
            part = os.read(cast("IO[bytes]", self._process.stdout).fileno(), _READ_BYTES)
            if not part:
                raise WorkerDiedError(self._program.name, self._process.wait())
            self._heard += part

    def kill(self) -> None:
        """Kills it with all that it started; whoever waits for its answer sees it end."""
        if self.alive():
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def dispose(self) -> None:
        """Kills it and closes what belongs to it. For the thread that uses it; may be called twice."""
        self.kill()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with suppress(OSError):  # a line that could not be delivered any more
                    stream.close()
        if self._shared >= 0:
            os.close(self._shared)
            self._shared = -1
