"""Bounds on the processor time of a child process, which the kernel keeps.

A clock on the wall says as much of a busy machine as of what is decoded; processor time hardly does. So the wall only
guards against processes that wait for ever.
"""

import math
import resource
import signal
from typing import Final

USED_UP_STATUS: Final = -signal.SIGXCPU
"""Exit status of a process that used up its processor time."""


def bound_cpu_time(seconds: float) -> None:
    """From here on this process may use so many seconds more, rounded up to whole ones; then the kernel ends it.

    Every call counts anew. Time of child processes is not part of it.
    """
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = math.ceil(used.ru_utime + used.ru_stime + seconds)
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(
        resource.RLIMIT_CPU, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard)
    )


def end_when_used_up() -> None:
    """Lets the kernel's signal end this process, whatever it inherited. For the main thread."""
    signal.signal(signal.SIGXCPU, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGXCPU})
