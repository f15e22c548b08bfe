"""The far end of a decoder process: reads requests, decodes from shared memory, answers in numbers.

Started by `pool` as a fresh interpreter. One request is a line `<format> <size>` on standard input, the bytes lie
in the file whose descriptor is given; one answer is a line of JSON. The end of the input ends the process.
"""

import json
import math
import os
import resource
import signal
import sys
import warnings
from dataclasses import astuple
from typing import Final

from PIL import AvifImagePlugin, Image

from vlm_assets.images import decode
from vlm_assets.images.cpu_time import bound_cpu_time, end_when_used_up
from vlm_assets.images.facts import BadImageError, ProbePolicy
from vlm_assets.words.errors import RejectReason

READY: Final = b"ready\n"
_GRACE_S: Final = 2


def main(arguments: list[str]) -> None:
    """Serves requests until the input ends. `arguments`: descriptor of the bytes, policy as JSON."""
    shared, policy = int(arguments[0]), policy_from_json(arguments[1])
    replies = os.dup(1)
    os.dup2(2, 1)  # a library that prints must not be taken for an answer
    warnings.simplefilter("ignore")
    Image.MAX_IMAGE_PIXELS = None  # `max_pixels` is checked before decoding, the memory limit holds besides
    AvifImagePlugin.DEFAULT_MAX_THREADS = (
        1  # stacks of one thread a core would count against the memory limit
    )
    Image.init()  # all plugins now: the first image's time is not for loading them
    _limit(resource.RLIMIT_AS, policy.decoder_memory_bytes)
    _limit(resource.RLIMIT_CORE, 0)
    _arrange_signals()
    os.write(replies, READY)
    # Should the parent die during a decode that waits for ever, nobody else would stop this process. The parent's
    # death signal (PR_SET_PDEATHSIG) is no way: it comes when the *thread* that started this process ends.
    alarm_s = math.ceil(policy.decoder_hang_s) + _GRACE_S
    for line in sys.stdin.buffer:
        form, size = line.decode().split()
        signal.alarm(alarm_s)
        bound_cpu_time(policy.decoder_cpu_s)
        answer = _answer(form, shared, int(size), policy)
        signal.alarm(0)
        os.write(replies, answer + b"\n")


def _limit(kind: int, value: int) -> None:
    hard = resource.getrlimit(kind)[1]
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (value, value))


def _arrange_signals() -> None:
    """Leaves the end of this process to the parent, the alarm, and the bound on processor time.

    Ctrl-C and a service's stop reach every process of the group; dying of them would turn the image at work into
    a reject while the parent winds down.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # the parent's dispositions and mask are inherited
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})
    end_when_used_up()


def _answer(form: str, shared: int, size: int, policy: ProbePolicy) -> bytes:
    try:
        facts = decode.probe_decoded(form, os.pread(shared, size, 0), policy, in_process=False)
    except BadImageError as fault:
        return json.dumps({"fault": [fault.reason, fault.detail]}).encode()
    except MemoryError:
        detail = f"needs more than {policy.decoder_memory_bytes} bytes of memory to decode"
        return json.dumps({"fault": [RejectReason.BOMB, detail]}).encode()
    return json.dumps({"facts": astuple(facts)}).encode()


def policy_to_json(policy: ProbePolicy) -> str:
    """The policy as one argument of a command line."""
    fields = {name: getattr(policy, name) for name in ProbePolicy.__dataclass_fields__}
    return json.dumps(fields | {"formats": sorted(policy.formats)})


def policy_from_json(text: str) -> ProbePolicy:
    """Inverse of `policy_to_json`."""
    fields = json.loads(text)
    return ProbePolicy(**fields | {"formats": frozenset(fields["formats"])})
