"""Decoder processes: started when first needed, used again, replaced when one crashes or hangs.

Bytes go through shared memory, numbers come back. Fresh interpreters, no fork: the parent has threads.
"""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self, cast

import vlm_assets
from vlm_assets.images.child import READY, policy_to_json
from vlm_assets.images.cpu_time import USED_UP_STATUS
from vlm_assets.images.facts import BadImageError, ImageFacts, ProbePolicy
from vlm_assets.words.errors import OperationError, RejectReason

_START_TIMEOUT_S: Final = 60.0
_EXIT_TIMEOUT_S: Final = 5.0
_MAX_CHILDREN: Final = 8
_ROOT: Final = str(Path(vlm_assets.__file__).parent.parent)
_PROGRAM: Final = (
    "import sys; sys.path.insert(0, sys.argv[1]); "
    "from vlm_assets.images import child; child.main(sys.argv[2:])"
)


class DecoderPool:
    """Decodes in child processes, as many at once as there are cores; any thread may call it."""

    def __init__(self, policy: ProbePolicy, children: int | None = None) -> None:
        self._policy = policy
        self._slots = threading.BoundedSemaphore(children or min(_MAX_CHILDREN, os.cpu_count() or 1))
        self._lock = threading.Lock()
        self._idle: list[_Child] = []
        self._all: set[_Child] = set()
        self._closed = False

    def probe(self, form: str, data: bytes) -> ImageFacts:
        """Facts of an image of format `form`, as `decode.probe_decoded` finds them.

        Raises:
            BadImageError: also DECODER_CRASHED, when a second child died too, and DECODER_TIMEOUT; the child is
                replaced.
            OperationError: no child can be started: not the image's fault.
        """
        with self._slots:
            try:
                return self._probe_once(form, data)
            except BadImageError as fault:
                if fault.reason is not RejectReason.DECODER_CRASHED:
                    raise
            # Once more: the first may have died of anything, the machine's memory, a signal
            return self._probe_once(form, data)

    def _probe_once(self, form: str, data: bytes) -> ImageFacts:
        child = self._take()
        try:
            facts = child.probe(form, data, self._policy)
        except BadImageError:
            self._give_back(child)
            if self._is_closed():  # it was close() that ended the child, not the image
                raise OperationError("the decoder pool was closed during a probe") from None
            raise
        except BaseException:
            self._drop(child)
            raise
        self._give_back(child)
        return facts

    def pids(self) -> list[int]:
        """Process ids of the children that live now."""
        with self._lock:
            return sorted(child.pid for child in self._all if child.alive())

    def close(self) -> None:
        """Ends all children, also those at work: their callers get OperationError. May be called twice."""
        with self._lock:
            self._closed = True
            children, self._all = self._all, set()
            idle, self._idle = self._idle, []
        for child in children:
            child.end()
        for child in idle:
            child.dispose()

    def _take(self) -> "_Child":
        """An idle child that still lives, or a new one."""
        with self._lock:
            if self._closed:
                raise OperationError("the decoder pool is closed; probe before close()")
            while self._idle:
                child = self._idle.pop()
                if child.alive():
                    return child
                self._all.discard(child)
                child.dispose()
        child = _Child(self._policy)
        if not self._adopt(child):
            child.dispose()
            raise OperationError("the decoder pool was closed during a probe")
        return child

    def _is_closed(self) -> bool:
        with self._lock:
            return self._closed

    def _adopt(self, child: "_Child") -> bool:
        with self._lock:
            if not self._closed:
                self._all.add(child)
            return not self._closed

    def _give_back(self, child: "_Child") -> None:
        with self._lock:
            if child.alive() and child in self._all:
                self._idle.append(child)
                return
        self._drop(child)

    def _drop(self, child: "_Child") -> None:
        with self._lock:
            self._all.discard(child)
        child.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _death(form: str, status: int, policy: ProbePolicy) -> BadImageError:
    """What the end of a decoder says: a kill comes from outside, mostly where the machine has no memory left."""
    if status == USED_UP_STATUS:
        detail = f"the {form} decoder used over {policy.decoder_cpu_s:g} s of processor time"
        return BadImageError(RejectReason.DECODER_TIMEOUT, detail, transient=True)
    return BadImageError(
        RejectReason.DECODER_CRASHED,
        f"the {form} decoder ended with status {status}",
        transient=status == -signal.SIGKILL,
    )


class _Child:
    """One decoder process with its shared memory. Used by one thread at a time."""

    def __init__(self, policy: ProbePolicy) -> None:
        self._shared = os.memfd_create("vlm-assets-image", os.MFD_CLOEXEC)
        command = [sys.executable, "-P", "-c", _PROGRAM, _ROOT, str(self._shared), policy_to_json(policy)]
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                pass_fds=[self._shared],
                bufsize=0,
            )
        except OSError as error:
            os.close(self._shared)
            raise OperationError(f"cannot start a decoder process: {error}") from error
        if self._read_line(_START_TIMEOUT_S) != READY:
            self.dispose()
            raise OperationError(
                f"a decoder process did not start (exit status {self._process.returncode}); "
                f"run it by hand to see why: {' '.join(command[:3])} '{_PROGRAM}' {_ROOT}"
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def alive(self) -> bool:
        return self._process.poll() is None

    def probe(self, form: str, data: bytes, policy: ProbePolicy) -> ImageFacts:
        """Raises BadImageError for what the bytes, the decoder's end or its silence cost; then it may be dead."""
        os.ftruncate(self._shared, 0)  # gives the last image's pages back
        view = memoryview(data)
        while view:
            view = view[os.pwrite(self._shared, view, len(data) - len(view)) :]
        requests = cast("IO[bytes]", self._process.stdin)
        line: bytes | None = b""
        with contextlib.suppress(OSError):  # it died since: like a crash
            requests.write(f"{form} {len(data)}\n".encode())
            line = self._read_line(policy.decoder_hang_s)
        if line is None:
            self.dispose()
            detail = f"the {form} decoder was silent for {policy.decoder_hang_s:g} s"
            raise BadImageError(RejectReason.DECODER_TIMEOUT, detail, transient=True)
        if not line.endswith(b"\n"):
            self.dispose()
            raise _death(form, self._process.returncode, policy)
        answer = json.loads(line)
        if "fault" in answer:
            reason, detail = answer["fault"]
            raise BadImageError(RejectReason(reason), detail)
        return ImageFacts(*answer["facts"])

    def _read_line(self, timeout_s: float) -> bytes | None:
        """One line, or less when the process ended, or None when the time is over."""
        answers = cast("IO[bytes]", self._process.stdout).fileno()
        poller = select.poll()  # select() would fail above 1,024 descriptors
        poller.register(answers, select.POLLIN)
        deadline = time.monotonic() + timeout_s
        line = b""
        while not line.endswith(b"\n"):
            if not poller.poll(max(0.0, deadline - time.monotonic()) * 1000):
                return None
            part = os.read(answers, 4096)
            if not part:
                break
            line += part
        return line

    def end(self) -> None:
        """Kills the process; whoever waits for its answer sees it end. Any thread may call it."""
        self._process.kill()
        self._process.wait()

    def dispose(self) -> None:
        """Kills the process and closes what belongs to it. For the thread that uses it; may be called twice."""
        self.end()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()
        if self._shared >= 0:
            os.close(self._shared)
            self._shared = -1
