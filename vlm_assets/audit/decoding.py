"""Reads an image of a corpus as a user of `datasets` does."""

from io import BytesIO
from typing import Any, Final

from PIL import Image

from vlm_assets.images.machine import check_machine
from vlm_assets.images.plugins import load_plugin
from vlm_assets.words.errors import machine_error

_PILLOW_NAMES: Final = {"MPO": "JPEG", "DIB": "BMP"}


def decode_fault(encoded: bytes, fact: dict[str, Any]) -> str:
    """What is wrong with an image when `datasets` reads it; "" where it is what is on record.

    Raises:
        MachineError: this machine cannot decode it now.
    """
    from datasets import Image as ImageFeature  # noqa: PLC0415 - seconds, and only where something is decoded

    try:
        load_plugin(fact["format"])
        with Image.open(BytesIO(encoded)) as image:
            found = (_PILLOW_NAMES.get(image.format or "", image.format), *image.size)
        ImageFeature().decode_example(
            {"bytes": encoded, "path": None}
        )  # as a row is read: loaded, turned by EXIF
    except Exception as error:  # noqa: BLE001 - boundary to decoders; the finding records it
        try:
            check_machine(error)
        except MemoryError as short:
            raise machine_error("an image of the corpus cannot be decoded", short) from error
        return f"does not decode: {type(error).__name__}: {error}"
    said = (fact["format"], fact["width_px"], fact["height_px"])
    return "" if found == said else f"decodes to {found}, on record {said}"
