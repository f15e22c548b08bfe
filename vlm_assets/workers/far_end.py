"""The far end of a worker: makes its handler, then serves one request after another until its input ends.

Started by `process` as a fresh interpreter. It dies with the process that started it, whatever it is at.
"""

import ctypes
import math
import os
import resource
import signal
import sys
import traceback
from collections.abc import Callable
from importlib import import_module
from typing import Any, Final

from vlm_assets.words.errors import OperationError
from vlm_assets.workers.messages import ENCODE, FRAME, Codec, Frame, take_request
from vlm_assets.workers.program import Limits

Say = Callable[[Any], None]
Handler = Callable[[Any, Say], Any]
_PR_SET_PDEATHSIG: Final = 1


def main(arguments: list[str]) -> None:
    """Serves until the input ends. `arguments`: process id of the near end, descriptor of the shared memory.

    The first request is the worker's own: handler, arguments, limits, codec.
    """
    die_with_parent(int(arguments[0]))
    shared = int(arguments[1])
    answers = os.dup(1)
    os.dup2(2, 1)  # a library that prints must not be taken for an answer
    _arrange_signals()
    lines = iter(sys.stdin.buffer.readline, b"")
    handler, given, limits, codec = take_request(shared, next(lines))
    module, _, name = handler.partition(":")
    handle: Handler = getattr(import_module(module), name)(*given)
    _bound_memory(limits)
    _send(answers, Frame.READY)
    for line in lines:
        if limits.cpu_s is not None:
            bound_cpu_time(limits.cpu_s)
        _serve(handle, take_request(shared, line), answers, codec)


def _serve(handle: Handler, request: Any, answers: int, codec: Codec) -> None:
    encode = ENCODE[codec]
    try:
        answer = encode(handle(request, lambda message: _send(answers, Frame.MESSAGE, encode(message))))
    except Exception as error:  # noqa: BLE001 - boundary of a worker: raised again at the near end
        _send(answers, Frame.RAISED, encode((_own(error, codec), traceback.format_exc())))
    else:
        _send(answers, Frame.ANSWER, answer)


def _own(error: Exception, codec: Codec) -> Exception | None:
    """The error itself where the near end can have it as it is."""
    plain = isinstance(error, OperationError) and type(error).__init__ is OperationError.__init__
    return error if codec == "pickle" and plain else None


def _send(answers: int, kind: Frame, body: bytes = b"") -> None:
    rest = memoryview(FRAME.pack(kind, len(body)) + body)
    while rest:
        rest = rest[os.write(answers, rest) :]


def die_with_parent(parent: int) -> None:
    """Has the kernel kill this process when the thread that started it ends (prctl(2)); ends it if that is over."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _arrange_signals() -> None:
    """Leaves the end of this process to the near end and the bound on processor time.

    Ctrl-C and a service's stop reach every process of the group; dying of them would be blamed on the request at
    work while the near end winds down. What is waited for is inherited from there and put right.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGXCPU, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGXCPU})


def _bound_memory(limits: Limits) -> None:
    if limits.memory_bytes is not None:
        _limit(resource.RLIMIT_AS, limits.memory_bytes)
    _limit(resource.RLIMIT_CORE, 0)


def _limit(kind: int, value: int) -> None:
    hard = resource.getrlimit(kind)[1]
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (value, value))


def bound_cpu_time(seconds: float) -> None:
    """From here on this process may use so many seconds more, rounded up to whole ones; then the kernel ends it.

    Every call counts anew: a handler that does several things in one request may call it before each.
    """
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = math.ceil(used.ru_utime + used.ru_stime + seconds)
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(
        resource.RLIMIT_CPU, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard)
    )


def calls(module: str) -> Handler:
    """Handler of requests `(function, argument)`: the function's result. Imports `module` beforehand."""
    import_module(module)

    def call(request: tuple[Callable[[Any], Any], Any], _say: Say) -> Any:
        function, argument = request
        return function(argument)

    return call
