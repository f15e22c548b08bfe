"""Decoders that do to images of netpbm what hostile bytes do to real ones; see `images.decoding.decoder`."""

import os
import time
from typing import Any

from PIL import Image

from vlm_assets.images import decoding
from vlm_assets.images.facts import ProbePolicy
from vlm_assets.workers.far_end import Handler, Say


def crashes(policy: ProbePolicy) -> Handler:
    return _before(policy, lambda data: os.kill(os.getpid(), _comment(data)))


def spins(policy: ProbePolicy) -> Handler:
    def spin(_data: bytes) -> None:
        while True:
            pass

    return _before(policy, spin)


def sleeps(policy: ProbePolicy) -> Handler:
    return _before(policy, lambda _data: time.sleep(1.5))


def raises(policy: ProbePolicy) -> Handler:
    def refuse(_data: bytes) -> None:
        raise ValueError("not today")

    return _before(policy, refuse)


def starved(policy: ProbePolicy) -> Handler:
    """Pillow goes on without the readers that it finds no descriptor to load."""
    decode = decoding.decoder(policy)
    del Image.OPEN["PPM"]
    return decode


def _comment(data: bytes) -> int:
    return int(data.split(b"\n")[1][1:])


def _before(policy: ProbePolicy, act: Any) -> Handler:
    decode = decoding.decoder(policy)

    def handle(request: tuple[str, bytes], say: Say) -> Any:
        if request[0] == "PPM":
            act(request[1])
        return decode(request, say)

    return handle
