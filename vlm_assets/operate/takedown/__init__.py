"""Takes samples down: on record first, then out of corpora, slices, old versions and caches.

Every step finds what is left to do by looking at the disk, so a takedown that was cut short is finished by giving
the same order again. Nothing here decides what later builds leave out: they read the takedowns on record.
"""

from vlm_assets.operate.takedown.leftovers import HalfDone, half_done, litter
from vlm_assets.operate.takedown.order import TakedownOrder
from vlm_assets.operate.takedown.preview import Preview, preview_takedown
from vlm_assets.operate.takedown.receipt import CorpusRewrite, PinnedVersion, Receipt
from vlm_assets.operate.takedown.run import finish_takedowns, take_down, unfinished_takedowns

__all__ = [
    "CorpusRewrite",
    "HalfDone",
    "PinnedVersion",
    "Preview",
    "Receipt",
    "TakedownOrder",
    "finish_takedowns",
    "half_done",
    "litter",
    "preview_takedown",
    "take_down",
    "unfinished_takedowns",
]
