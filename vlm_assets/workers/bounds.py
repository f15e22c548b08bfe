"""What a process may use, set from inside: by a worker for itself, and for what it starts."""

import ctypes
import math
import os
import resource
import signal
import time
from functools import cache
from typing import Final

_PR_SET_PDEATHSIG: Final = 1


def die_with_parent(parent: int) -> None:
    """Has the kernel kill this process when the thread that started it ends (prctl(2)); ends it if that is over."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


class _SignalEvent(ctypes.Structure):
    """`struct sigevent` of sigevent(7): 64 bytes whatever the kind of notification."""

    _fields_ = (
        ("value", ctypes.c_void_p),
        ("signal", ctypes.c_int),
        ("notify", ctypes.c_int),
        ("rest", ctypes.c_char * 48),
    )


class _TimerTimes(ctypes.Structure):
    """`struct itimerspec` of timer_settime(2)."""

    _fields_ = (
        ("interval_s", ctypes.c_long),
        ("interval_ns", ctypes.c_long),
        ("value_s", ctypes.c_long),
        ("value_ns", ctypes.c_long),
    )


class CpuTimer:
    """Ends this process once it has used so much processor time, counted anew at every `start`.

    By timer_create(2): its clock adds up what the scheduler measured. RLIMIT_CPU counts whole ticks, and blames the
    process for those in which others ran, too: on a busy machine it comes early, the more so the longer a process
    lives. A fork or another program has no timer.
    """

    def __init__(self) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        if not hasattr(libc, "timer_create"):  # before glibc 2.34
            libc = ctypes.CDLL("librt.so.1", use_errno=True)
        self._set_time = libc.timer_settime
        self._timer = ctypes.c_void_p()
        event = _SignalEvent(signal=signal.SIGXCPU)
        if libc.timer_create(time.CLOCK_PROCESS_CPUTIME_ID, ctypes.byref(event), ctypes.byref(self._timer)):
            raise OSError(ctypes.get_errno(), "timer_create")

    def start(self, seconds: float) -> None:
        """The kernel sends SIGXCPU after so many seconds more of this process; those of its children do not count."""
        whole, part = divmod(max(seconds, 1e-3), 1)
        times = _TimerTimes(value_s=int(whole), value_ns=int(part * 1e9))
        if self._set_time(self._timer, 0, ctypes.byref(times), None):
            raise OSError(ctypes.get_errno(), "timer_settime")


@cache
def cpu_timer() -> CpuTimer:
    """The one of this process."""
    return CpuTimer()


def bound_cpu_time(seconds: float) -> None:
    """What this process starts next may use so many seconds, rounded up to whole ones. For a fresh fork."""
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    soft = math.ceil(seconds)
    resource.setrlimit(
        resource.RLIMIT_CPU, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard)
    )


def bound_memory(size_bytes: int) -> None:
    """The address space of this process, and of what it starts from here on."""
    _limit(resource.RLIMIT_AS, size_bytes)


def leave_no_core() -> None:
    """A crash is no file: it would be of the size of the memory."""
    _limit(resource.RLIMIT_CORE, 0)


def _limit(kind: int, value: int) -> None:
    hard = resource.getrlimit(kind)[1]
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (value, value))


def leave_the_end_to_others() -> None:
    """Ctrl-C and a stop are for the near end, the bound on processor time is for the kernel. For the main thread.

    They reach every process of a group; dying of them would be blamed on the request at work while the near end
    winds down. Dispositions and mask are inherited from there, and put right.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGXCPU, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGXCPU})
