"""The bytes of a page's one image: as they stand in the file, or as a PNG with the same pixels."""

import io
import zlib
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import pikepdf
from PIL import Image, ImageCms, UnidentifiedImageError

from vlm_assets.pdf.content import NotOneImageError
from vlm_assets.pdf.damage import damage_of, jpeg2000_depth, jpeg2000_ends_early
from vlm_assets.pdf.pictures import bilevel, filters_of, original_bytes, parameters_of, samples_of, size_of

if TYPE_CHECKING:
    from vlm_assets.images.png import Samples

_MAX_COLOUR_SHIFT: Final = 8
"""Of 255 levels. A profile that moves some colour further is not sRGB, and the bare bytes would look different."""

_DEVICE_MODES: Final = {"/DeviceGray": "L", "/G": "L", "/DeviceRGB": "RGB", "/RGB": "RGB"}


@dataclass(frozen=True, slots=True)
class EmbeddedImage:
    """Encoded bytes and what they are. `extension` without a dot."""

    data: bytes
    extension: str
    width_px: int
    height_px: int


def embedded_image(image: pikepdf.Object, max_pixels: int) -> EmbeddedImage:
    """Bytes that show just what the image object shows.

    JPEG and JPEG 2000 are the original bytes. Flate and other simple filters, CCITT and JBIG2 become PNG, lossless.

    Raises:
        NotOneImageError: no such bytes (CMYK, an inverting Decode array, a colour profile far from sRGB, damage).
        OSError: with a number: a fault of the machine, not of the image.
    """
    width_px, height_px = size_of(image)
    if not 0 < width_px * height_px <= max_pixels:
        raise NotOneImageError("too many pixels")
    if not isinstance(image, pikepdf.Stream):
        raise NotOneImageError("not a stream")
    filters = filters_of(image)
    try:
        if filters[-1:] == ["/DCTDecode"]:
            return _jpeg(original_bytes(image, filters), image, (width_px, height_px))
        if filters[-1:] == ["/JPXDecode"]:
            return _jpeg2000(original_bytes(image, filters), image, (width_px, height_px))
        return _lossless(image, filters, (width_px, height_px))
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, zlib.error) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise NotOneImageError(f"the image is damaged: {error}") from error


def _jpeg(data: bytes, image: pikepdf.Stream, size: tuple[int, int]) -> EmbeddedImage:
    with Image.open(io.BytesIO(data), formats=("JPEG",)) as opened:
        mode, found, exif = opened.mode, opened.size, opened.getexif()
    if found != size:
        raise NotOneImageError(f"the image is {found}, its dictionary says {size}")
    if mode != _colour_mode(image):
        raise NotOneImageError(f"a {mode} JPEG in another colour space")
    if exif.get(0x0112, 1) != 1:
        raise NotOneImageError("EXIF turns the image, the page does not")
    if not data.rstrip(b"\0\t\n\r ").endswith(b"\xff\xd9"):
        raise NotOneImageError("the JPEG has no end")
    parameters = parameters_of(image, len(filters_of(image)) - 1)
    if parameters is not None and "/ColorTransform" in parameters:
        raise NotOneImageError("colours transformed by the dictionary")
    _refuse_decode(image, bits=8)
    return EmbeddedImage(data, "jpg", *size)


def _jpeg2000(data: bytes, image: pikepdf.Stream, size: tuple[int, int]) -> EmbeddedImage:
    with Image.open(io.BytesIO(data), formats=("JPEG2000",)) as opened:
        mode, found = opened.mode, opened.size
    if found != size:
        raise NotOneImageError(f"the image is {found}, its dictionary says {size}")
    wanted = _colour_mode(image) if "/ColorSpace" in image else mode
    if mode != wanted or mode not in {"L", "RGB"} or int(image.get("/SMaskInData", 0)):
        raise NotOneImageError(f"a {mode} JPEG 2000 in another colour space")
    _refuse_decode(image, bits=8)
    if jpeg2000_ends_early(data):
        raise NotOneImageError("the JPEG 2000 data end early")
    if jpeg2000_depth(data) != 8:
        raise NotOneImageError("a JPEG 2000 that has not 8 bits a sample")
    return EmbeddedImage(data, "jp2" if data[4:8] == b"jP  " else "j2k", *size)


def _lossless(image: pikepdf.Stream, filters: list[str], size: tuple[int, int]) -> EmbeddedImage:
    from vlm_assets.images.png import encode_image, encode_samples  # pyarrow: few documents need it

    if filters[-1:] in (["/CCITTFaxDecode"], ["/JBIG2Decode"]):
        fault = damage_of(image, size[0] * size[1])
        if fault is not None:
            raise NotOneImageError(fault.detail)
        data = encode_image(bilevel(image))
    else:
        data = encode_samples(_samples(image, size))
    return EmbeddedImage(data, "png", *size)


def _samples(image: pikepdf.Stream, size: tuple[int, int]) -> "Samples":
    """Decoded pixels of a lossless image as they stand: PDF and PNG pack rows alike."""
    from vlm_assets.images.png import Samples

    bits = int(image.get("/BitsPerComponent", 8))
    palette = _palette(image, bits)
    mode = "P" if palette is not None else _colour_mode(image)
    if bits != 8 and not (mode in {"L", "P"} and bits in {1, 2, 4}):
        raise NotOneImageError(f"{bits} bits a component in {mode}")
    _refuse_decode(image, bits=bits, indexed=mode == "P")
    data = samples_of(image)
    channels = 3 if mode == "RGB" else 1
    row_bytes = (size[0] * channels * bits + 7) // 8
    if len(data) < row_bytes * size[1]:
        raise NotOneImageError("the image is cut short")
    return Samples(*size, bits, channels, data[: row_bytes * size[1]], palette)


def _palette(image: pikepdf.Stream, bits: int) -> bytes | None:
    """RGB palette of an Indexed colour space; None for other colour spaces."""
    space = image.get("/ColorSpace")
    if not isinstance(space, pikepdf.Array) or str(space[0]) not in {"/Indexed", "/I"}:
        return None
    base, table = _mode_of_space(space[1]), space[3]
    entries = table.read_bytes() if isinstance(table, pikepdf.Stream) else bytes(table)
    if base == "L":
        entries = bytes(level for level in entries for _ in range(3))
    count = min(int(space[2]) + 1, 2**bits, 256)
    if len(entries) < 3 * count:
        raise NotOneImageError("the palette is cut short")
    return bytes(entries[: 3 * count])


def _colour_mode(image: pikepdf.Stream) -> str:
    return _mode_of_space(image.get("/ColorSpace"))


def _mode_of_space(space: object) -> str:
    """`L` or `RGB` of a colour space whose numbers can be taken as sRGB.

    Raises:
        NotOneImageError: any other.
    """
    if isinstance(space, pikepdf.Name) and str(space) in _DEVICE_MODES:
        return _DEVICE_MODES[str(space)]
    if isinstance(space, pikepdf.Array) and len(space) == 1:
        return _mode_of_space(space[0])
    if isinstance(space, pikepdf.Array) and len(space) >= 2 and str(space[0]) == "/ICCBased":
        profile = space[1]
        channels = int(profile.get("/N", 0))
        if isinstance(profile, pikepdf.Stream) and channels in {1, 3}:
            mode = "L" if channels == 1 else "RGB"
            if _is_srgb(profile.read_bytes(), mode):
                return mode
        raise NotOneImageError("a colour profile far from sRGB")
    raise NotOneImageError("a colour space that the bytes do not tell")


@lru_cache(maxsize=32)
def _is_srgb(profile: bytes, mode: str) -> bool:
    """Whether the profile moves no colour of a grid further than `_MAX_COLOUR_SHIFT` when converted to sRGB.

    A profile that cannot be read is ignored by the renderers too, so it counts as sRGB.
    """
    steps = range(0, 256, 51)
    if mode == "L":
        grid = Image.frombytes("L", (len(steps), 1), bytes(steps))
    else:
        grid = Image.frombytes(
            "RGB", (6 * 6, 6), bytes(v for r in steps for g in steps for b in steps for v in (r, g, b))
        )
    try:
        opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        seen = ImageCms.profileToProfile(
            grid, opened, ImageCms.createProfile("sRGB"), outputMode="RGB",
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        )  # fmt: skip
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return True
    if seen is None:
        return True
    return all(
        abs(a - b) <= _MAX_COLOUR_SHIFT
        for a, b in zip(grid.convert("RGB").tobytes(), seen.tobytes(), strict=True)
    )


def _refuse_decode(image: pikepdf.Stream, *, bits: int, indexed: bool = False) -> None:
    """Raises for a Decode array that changes anything, and for a colour key mask."""
    decode = image.get("/Decode")
    if decode is None:
        return
    values = [float(v) for v in decode]
    top = float(2**bits - 1) if indexed else 1.0
    if values != [0.0, top] * (len(values) // 2):
        raise NotOneImageError("a Decode array that changes the values")
