"""Takes samples down: on record first, then out of corpora, slices, old versions and caches.

Every step finds what is left to do by looking at the disk, so a takedown that was cut short is finished by giving
the same order again. Nothing here decides what later builds leave out: they read the takedowns on record.
"""

from vlm_assets.operate.takedown.order import TakedownOrder
from vlm_assets.operate.takedown.receipt import CorpusRewrite, PinnedVersion, Receipt
from vlm_assets.operate.takedown.run import take_down

__all__ = ["CorpusRewrite", "PinnedVersion", "Receipt", "TakedownOrder", "take_down"]
