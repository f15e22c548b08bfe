"""One image as annotators see it: decoded when the first of them asks for pixels, once for all of them."""

from functools import cached_property
from io import BytesIO
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vlm_assets.images.plugins import load_plugin

Pixels = NDArray[np.uint8]
WORKING_SIDE_PX: Final = 1024
"""The longer side of what is looked at lies between this and twice this, if the image is as large: values of large
and small images can be compared, and cost is bounded. Whoever changes it raises all annotators' versions."""
DECODE_COST_S: Final = 20.0
"""Seconds of one core to decode 1,000 images of about a megapixel, as `bench_annotate` measured: for plans."""
_WHITE: Final = (255, 255, 255)


class Picture:
    """An image of a record. Pixels are those of its first frame, as stored, over white, at working size."""

    def __init__(self, form: str, data: bytes) -> None:
        self.form = form
        """As `image_facts` has it: `JPEG`."""
        self.data = data

    def whole(self) -> Image.Image:
        """Decoded anew, at its own size, in grey over white."""
        load_plugin(self.form)
        return _over_white(_in_eight_bits(Image.open(BytesIO(self.data), formats=[self.form]))).convert("L")

    @cached_property
    def opened(self) -> Image.Image:
        """The image with its header read, and nothing else. Not to be loaded: that is for `rgb`."""
        load_plugin(self.form)
        return Image.open(BytesIO(self.data), formats=[self.form])

    @cached_property
    def _working(self) -> Image.Image:
        image = self.opened
        width, height = image.size
        image.draft(None, (min(width, WORKING_SIDE_PX), min(height, WORKING_SIDE_PX)))
        image.load()
        plain = _in_eight_bits(image)
        factor = max(1, max(plain.size) // WORKING_SIDE_PX)
        small = plain.reduce(factor) if factor > 1 else plain
        return _over_white(small)

    @cached_property
    def rgb(self) -> Pixels:
        """Height × width × 3."""
        return np.asarray(self._working)

    @cached_property
    def grey(self) -> Pixels:
        """Height × width: luma of ITU-R BT.601, in whole numbers."""
        return np.asarray(self._working.convert("L"))


def _in_eight_bits(image: Image.Image) -> Image.Image:
    """With 8 bits a channel and without a palette; of more bits, which Pillow would clip, scaled to the brightest."""
    if image.mode == "1":
        return image.convert("L")
    if image.mode in {"P", "PA"}:
        return image.convert("RGBA" if image.mode == "PA" or "transparency" in image.info else "RGB")
    if not image.mode.startswith(("I", "F")):
        return image
    values: NDArray[Any] = np.nan_to_num(np.asarray(image).astype(np.float64)).clip(0)
    top = values.max(initial=0.0)
    scaled = values * (255.0 / top) if top > 255 else values
    return Image.fromarray(np.rint(scaled).astype(np.uint8))


def _over_white(image: Image.Image) -> Image.Image:
    if image.mode in {"RGBA", "LA", "PA", "La", "RGBa"} or "transparency" in image.info:
        layer = image.convert("RGBA")
        ground = Image.new("RGB", layer.size, _WHITE)
        ground.paste(layer, mask=layer.getchannel("A"))
        return ground
    return image.convert("RGB")
