"""The far end of a worker: makes its handler, then serves one request after another until its input ends.

Started by `process` as a fresh interpreter. It dies with the process that started it, whatever it is at.
"""

import os
import sys
import traceback
from collections.abc import Callable
from importlib import import_module
from typing import Any

from vlm_assets.words.errors import OperationError
from vlm_assets.workers.bounds import (
    bound_memory,
    cpu_timer,
    die_with_parent,
    leave_no_core,
    leave_the_end_to_others,
)
from vlm_assets.workers.messages import ENCODE, FRAME, Codec, Frame, take_request

Say = Callable[[Any], None]
Handler = Callable[[Any, Say], Any]


def main(arguments: list[str]) -> None:
    """Serves until the input ends. `arguments`: process id of the near end, descriptor of the shared memory.

    The first request is the worker's own: handler, arguments, limits, codec.
    """
    die_with_parent(int(arguments[0]))
    shared = int(arguments[1])
    answers = os.dup(1)
    os.dup2(2, 1)  # a library that prints must not be taken for an answer
    leave_the_end_to_others()
    asked = sys.stdin.buffer
    handler, given, limits, codec = take_request(shared, asked.readline(), asked)
    module, _, name = handler.partition(":")
    handle: Handler = getattr(import_module(module), name)(*given)
    if limits.memory_bytes is not None:
        bound_memory(limits.memory_bytes)
    leave_no_core()
    _send(answers, Frame.READY)
    while line := asked.readline():
        if limits.cpu_s is not None:
            cpu_timer().start(limits.cpu_s)
        _serve(handle, take_request(shared, line, asked), answers, codec)


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


def calls(module: str) -> Handler:
    """Handler of requests `(function, argument)`: the function's result. Imports `module` beforehand."""
    import_module(module)

    def call(request: tuple[Callable[[Any], Any], Any], _say: Say) -> Any:
        function, argument = request
        return function(argument)

    return call
