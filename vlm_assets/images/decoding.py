"""What a decoder process does: one image after another, answered in numbers. Loads every decoder of Pillow."""

import warnings
from dataclasses import astuple
from typing import Any

from PIL import AvifImagePlugin, Image

from vlm_assets.images import decode
from vlm_assets.images.facts import BadImageError, ProbePolicy
from vlm_assets.words.errors import MachineError, RejectReason
from vlm_assets.workers.far_end import Handler, Say


def decoder(policy: ProbePolicy) -> Handler:
    """Handler of requests `(format, bytes)`: facts as a tuple, a fault as reason and detail, or the machine's."""
    warnings.simplefilter("ignore")
    Image.MAX_IMAGE_PIXELS = None  # `max_pixels` is checked before decoding, the memory limit holds besides
    # Stacks of one thread a core would count against the memory limit
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    Image.init()  # all plugins now: the first image's time is not for loading them

    def probe(request: tuple[str, bytes], _say: Say) -> dict[str, Any]:
        form, data = request
        try:
            facts = decode.probe_decoded(form, data, policy, in_process=False)
        except BadImageError as fault:
            return {"fault": (fault.reason, fault.detail)}
        except MemoryError:
            detail = f"needs more than {policy.decoder_memory_bytes} bytes of memory to decode"
            return {"fault": (RejectReason.BOMB, detail)}
        except MachineError as error:
            return {"machine": str(error)}
        return {"facts": astuple(facts)}

    return probe
