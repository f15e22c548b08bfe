"""What a way tells of itself; imports nothing of the project, so that peers tell it too."""

import json
import os
import resource
import sys
import time

_TICKS = os.sysconf("SC_CLK_TCK")


def spent():
    """Processor seconds, and bytes read from and written to disks, of this process and all that descend from it.

    The kernel adds those of children that were waited for to their parent's; those that still live are looked up.
    """
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    cpu_s = sum(one.ru_utime + one.ru_stime for one in used)
    read, written = _moved("self")
    for process, ticks in _living_descendants():
        more_read, more_written = _moved(process)
        cpu_s, read, written = cpu_s + ticks / _TICKS, read + more_read, written + more_written
    return {"cpu_s": cpu_s, "read_bytes": read, "written_bytes": written}


def timed(work):
    """Runs the work, what it wrote synced, and prints seconds and what was spent as the last line."""
    before, started = spent(), time.perf_counter()
    work()
    os.sync()
    seconds = time.perf_counter() - started
    told = {name: value - before[name] for name, value in spent().items()}
    sys.stdout.flush()
    print("\n" + json.dumps({"seconds": seconds, **told}), flush=True)


def _moved(process):
    try:
        with open(f"/proc/{process}/io") as file:  # noqa: PTH123 - a number of a process, no path
            told = dict(line.split(": ") for line in file.read().splitlines())
    except OSError:  # it ended, or is another user's
        return 0, 0
    return int(told["read_bytes"]), int(told["write_bytes"])


def _living_descendants():
    """Process numbers, with the clock ticks of each and of the children that it waited for."""
    parents, ticks = {}, {}
    for name in filter(str.isdigit, os.listdir("/proc")):  # noqa: PTH208 - names alone
        try:
            with open(f"/proc/{name}/stat") as file:  # noqa: PTH123 - one line, one read
                told = file.read().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(name)], ticks[int(name)] = int(told[1]), sum(map(int, told[11:15]))
    own = os.getpid()
    for process in parents:
        above = process
        while above in parents and above != own:
            above = parents[above]
        if above == own and process != own:
            yield process, ticks[process]
