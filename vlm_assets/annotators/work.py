"""What an annotator's process does: one batch after another, answered in plain values.

It looks at bytes of strangers, so its answers are JSON, and whoever asked holds them against the declared columns.
"""

import warnings
from collections.abc import Sequence
from typing import Any, Final

from PIL import AvifImagePlugin, Image

from vlm_assets.annotators.picture import Picture
from vlm_assets.annotators.protocol import Annotator, Reads, Values
from vlm_assets.annotators.registry import annotator_of
from vlm_assets.words.errors import machine_error, of_the_machine
from vlm_assets.workers.far_end import Handler, Say

HANDLER: Final = "vlm_assets.annotators.work:annotating"
OUT_OF_MEMORY: Final = "memory"
BROKE: Final = "error"
"""How an annotator failed, where its process lives on."""


def annotating(names: Sequence[str]) -> Handler:
    """Handler of requests `(names, batch)`: by annotator the values of each, and which it broke on: place and how.

    All names of a request read the same: images as `(format, bytes)`, or words.
    """
    warnings.simplefilter("ignore")
    Image.MAX_IMAGE_PIXELS = None  # images were admitted; the memory limit holds besides
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # stacks of one thread a core would count against it
    Image.init()
    for name in names:
        annotator_of(name)

    def annotate(request: tuple[Sequence[str], Sequence[Any]], _say: Say) -> dict[str, Any]:
        asked, batch = request
        annotators = [annotator_of(name) for name in asked]
        seen = [Picture(*one) for one in batch] if annotators[0].reads is Reads.IMAGES else batch
        return {one.name: _values(one, seen) for one in annotators}

    return annotate


def _values(
    annotator: Annotator[Any], batch: Sequence[Any]
) -> tuple[Sequence[Values], list[tuple[int, str]]]:
    try:
        return annotator.annotate(batch), []
    except Exception as error:
        if of_the_machine(error) and not isinstance(error, MemoryError):  # its bound of memory is its own
            raise machine_error(f"{annotator.name} cannot go on", error) from error
        if len(batch) == 1:
            return [None], [(0, OUT_OF_MEMORY if isinstance(error, MemoryError) else BROKE)]
    values: list[Values] = []
    failed: list[tuple[int, str]] = []
    for place, one in enumerate(batch):
        [value], broken = _values(annotator, [one])
        values.append(value)
        failed += [(place, how) for _, how in broken]
    return values, failed
