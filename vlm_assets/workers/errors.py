"""What can go wrong with a worker. All but `TaskError` say nothing about what it was asked for, or not for sure."""

import signal

from vlm_assets.words.errors import OperationError


class WorkerError(OperationError):
    """Base of these."""


class WorkerStartError(WorkerError):
    """A worker cannot be started, or ends before its first request."""


class WorkerClosedError(WorkerError):
    """The pool was closed before the answer came."""


class WorkerLostError(WorkerError):
    """A worker ended, or was ended, in the midst of a request."""


class WorkerSilentError(WorkerLostError):
    """It said nothing for as long as it may, and was killed."""


class WorkerDiedError(WorkerLostError):
    """It died. `status`: its exit status, negative for a signal."""

    def __init__(self, name: str, status: int) -> None:
        self.name, self.status = name, status
        super().__init__(f"a {name} process {self.told}")

    @property
    def used_up(self) -> bool:
        """Whether it was its processor time that ended it."""
        return self.status == -signal.SIGXCPU

    @property
    def killed(self) -> bool:
        """Whether somebody outside ended it: mostly the kernel, where the machine has no memory left."""
        return self.status == -signal.SIGKILL

    @property
    def told(self) -> str:
        """How it ended, in words."""
        if self.used_up:
            return "used up its processor time"
        return f"ended with status {self.status}" + (" (killed, or out of memory)" if self.killed else "")


class TaskError(WorkerError):
    """The handler raised; the message has the traceback."""
