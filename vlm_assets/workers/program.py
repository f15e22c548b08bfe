"""What a worker process runs, and within which bounds."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

ONE_THREAD: Final[Mapping[str, str]] = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
"""A pool of threads in each worker costs more to start than all of numpy, and has nothing to do."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one worker. None: no bound of ours.

    Processor time is what a task is judged by: a clock on the wall says as much of a busy machine as of the task.
    The wall only guards against a worker that waits for ever.
    """

    memory_bytes: int | None = None
    """Address space, set once the handler is made. Beyond it an allocation fails: MemoryError, in most libraries."""
    cpu_s: float | None = None
    """Processor time of one request, rounded up to whole seconds, without that of processes it starts."""
    silent_s: float | None = None
    """Between two messages of a request."""


@dataclass(frozen=True, slots=True)
class Program:
    """How to start a worker.

    `handler` names a function as `package.module:function`. The worker imports its module and calls it once with
    `arguments`; what it returns is called as `handle(request, say)` for each request, `say(message)` sends a message
    ahead of the answer that it returns.
    """

    name: str
    """For messages of errors: `decoder`."""
    handler: str
    arguments: tuple[Any, ...] = ()
    limits: Limits = Limits()
    answers: Literal["pickle", "json"] = "pickle"
    """`json` for workers that look at bytes of strangers: nothing that comes back from there is ever run."""
    quiet: bool = False
    """Nothing on standard error: decoders print warnings by the thousand."""
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ)


CALLS: Final = "vlm_assets.workers.far_end:calls"
"""A handler for requests `(function, argument)`; its argument names the module that is imported beforehand."""
