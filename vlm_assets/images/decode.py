"""Drives Pillow over one image's bytes: header, limits, verification, hash. The same code in threads and children.

What Pillow reads whole is admitted, since the corpus is read with Pillow; where Pillow is lax (CRCs of PNG image
data, a JPEG cut short and closed with an end marker, a zero-filled tail) this module looks itself.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any, Final

from PIL import Image, ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from vlm_assets.images import headers, plugins
from vlm_assets.images.dhash import dhash, reduce_decode
from vlm_assets.images.facts import (
    MAX_FRAMES_COUNTED,
    BadImageError,
    ImageFacts,
    ProbePolicy,
    TooHeavyError,
)
from vlm_assets.images.headers import Header
from vlm_assets.images.machine import check_machine
from vlm_assets.images.reading import MAX_OPENED_PIXELS, check_reading
from vlm_assets.words.errors import MachineError, RejectReason

THREADED: Final = frozenset({"JPEG", "PNG", "WEBP"})
"""Formats whose decoders are sound enough, and common enough, to run inside this process."""

_IN_PROCESS_PIXELS: Final = 2**25
"""Above this the pixels alone take more than 128 MiB a thread."""
_IN_PROCESS_SCANNED_PIXELS: Final = 2**29
"""Pixels times scans: a progressive JPEG of many scans costs hours in a few hundred kB (Cure53 report LJT-01-003)."""
_MID_GREY: Final = {"L": (128,), "CMYK": (127, 128)}
_PADDING: Final = bytes(64)
_ZERO_TAIL: Final = bytes(512)
_PNG_EXIF: Final = (b"eXIf", b"Raw profile type ")
_PREFIX_BYTES: Final = 16
"""By which `Image.open` chooses a reader."""
_FIRST_ROWS_BYTES: Final = 4096
_SCAN_HEADER_BYTES: Final = 8
"""Its marker included, beside two bytes for each colour of the scan (ITU-T T.81, B.2.3)."""
_UNKNOWN_TO_DECODER: Final = re.compile(
    r"(unknown|unsupported|unimplemented) .*(pixel|mode|compression|depth|format|layout|organization)"
)
_RARE_COMPRESSIONS: Final = frozenset({9, 10})
"""JBIG in TIFF (T.85, T.43)."""
_PRIVATE_COMPRESSIONS: Final = 32_766
"""From here on: NeXT, JPEG 2000, LERC and many others."""
_SOS: Final = b"\xff\xda"
_EOI: Final = b"\xff\xd9"
_Opener = Callable[[Any, str | bytes], ImageFile.ImageFile]
_Accepts = Callable[[bytes], bool | str]


class _Jpeg(JpegImageFile):
    """JPEG without Pillow's own look for a resolution in EXIF: slow, and it warns on broken blocks."""

    def _read_dpi_from_exif(self) -> None:
        """Nothing: `headers.read_exif` does it."""


def probe_decoded(form: str, data: bytes, policy: ProbePolicy, *, in_process: bool) -> ImageFacts:
    """Facts of an image of the sniffed format `form`.

    Raises:
        BadImageError: the bytes are no sample.
        TooHeavyError: with `in_process`, for images whose decode must be bounded from outside; also where there was
            not the memory for it here.
        MemoryError: the decode needs more than there is.
        MachineError: the machine failed, which says nothing of the bytes.
    """
    try:
        with _faults_told():
            return _PROBES.get(form, _probe_other)(form, data, policy, in_process)
    except MemoryError:
        if in_process:
            raise TooHeavyError from None
        raise


@contextmanager
def _faults_told() -> Iterator[None]:
    """Any decoder may raise anything on hostile bytes; that is the fault of these, if not the machine's."""
    try:
        yield
    except (BadImageError, TooHeavyError):
        raise
    except Exception as error:
        check_machine(error)
        raise fault_of(error) from error


def fault_of(error: BaseException) -> BadImageError:
    """What an exception of Pillow or of one of its decoders says about the bytes."""
    detail = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    text = detail.lower()
    if "max_text" in text:  # a PNG, as ComfyUI writes them: no reader that goes through Pillow opens it
        told = "its text or colour profile unpacks to more than Pillow reads"
        return BadImageError(RejectReason.CORRUPT, f"{told}: {detail}"[:300])
    if (
        isinstance(error, (Image.DecompressionBombError, Image.DecompressionBombWarning))
        or "too large" in text
    ):
        return BadImageError(RejectReason.BOMB, detail)
    if any(
        sign in text
        for sign in (
            "truncated",
            "end of data",
            "end of file",
            "not enough",
            "eof",
            "incomplete",
            "insufficient",
        )
    ):
        return BadImageError(RejectReason.TRUNCATED, detail)
    if _UNKNOWN_TO_DECODER.search(text):
        return BadImageError(RejectReason.UNSUPPORTED, detail)
    if _unknown_compression(error.__cause__):
        told = f"a TIFF of compression {error}, which Pillow does not know"
        return BadImageError(RejectReason.UNSUPPORTED, told)
    return BadImageError(RejectReason.CORRUPT, detail)


def _unknown_compression(cause: BaseException | None) -> bool:
    """Whether a reader of TIFF looked in its table for a number that is no tag of its own, but a compression."""
    number = cause.args[0] if isinstance(cause, KeyError) and cause.args else None
    return isinstance(number, int) and (number in _RARE_COMPRESSIONS or number >= _PRIVATE_COMPRESSIONS)


def _probe_jpeg(form: str, data: bytes, policy: ProbePolicy, in_process: bool) -> ImageFacts:  # noqa: FBT001 - table
    image = _open_jpeg(data)
    width, height = image.size
    orientation, exif_dpi = headers.read_exif(_bytes_of(image, "exif"))
    if orientation is None and "xmp" in image.info:
        orientation = headers.xmp_orientation(_bytes_of(image, "xmp"))
    dpi = headers.whole_dpi(image.info.get("dpi")) or exif_dpi
    # Further pictures behind the first (MPO: previews, gain maps, depth) are no frames of an animation.
    header = Header(width, height, 1, orientation, dpi)
    _check_limits(header, policy)
    if policy.verify == "header":
        check_reading(image, data)
        return _facts(form, header, None)
    scans = data.count(_SOS) if "progressive" in image.info else 1
    _check_weight(header, in_process, scans)
    scan_at = image.fp.tell() if image.fp is not None else 0
    reduce_decode(image)
    image.load()
    if "progressive" not in image.info:
        _check_jpeg_tail(data, scan_at, image)
    check_reading(image, data)
    return _facts(form, header, dhash(image))


def _open_jpeg(data: bytes) -> _Jpeg:
    try:
        image = _Jpeg(BytesIO(data))
    except SyntaxError as error:
        if error.__cause__ is not None:  # struct.error, IndexError: a header field beyond the end
            raise BadImageError(RejectReason.TRUNCATED, f"JPEG header ends early: {error}") from error
        raise
    if not image.tile:
        raise BadImageError(RejectReason.TRUNCATED, "JPEG ends before its first scan")
    return image


def jpeg_begins_well(data: bytes) -> bool:
    """Whether the headers and the first rows of a sequential JPEG of one scan decode; False for any other.

    `data` is its beginning, or more. What follows costs a decode of the whole: it is not looked at.
    """
    try:
        with _faults_told():
            image = _open_jpeg(data)
            check_reading(image, data)
    except BadImageError:
        return False
    if "progressive" in image.info or "mp" in image.info or image.fp is None:
        return False
    scan_at = image.fp.tell()
    header = data[:scan_at][-_SCAN_HEADER_BYTES - 2 * image.layers :]
    if not header.startswith(_SOS) or header[4] != image.layers:  # a scan of its own for each colour
        return False
    try:
        with _faults_told():
            start = _open_jpeg(data[: scan_at + _FIRST_ROWS_BYTES])
            reduce_decode(start)
            start.load()
    except BadImageError as fault:
        return fault.reason is RejectReason.TRUNCATED  # as any beginning of a longer one is
    return True


def _check_jpeg_tail(data: bytes, scan_at: int, image: Image.Image) -> None:
    """Raises where a sequential scan ended early although libjpeg, which fills the rest with grey, said nothing.

    Two forms are common: a cut download closed with an end marker by some program, and a file preallocated with
    zeros. Blocks that libjpeg makes up are mid-grey; so where the last pixel is, the end marker is replaced by
    bytes that are no marker: a complete scan does not care, a cut one asks for more.
    """
    if not data.endswith(_EOI) and data.endswith(_ZERO_TAIL) and data.find(_EOI, scan_at) < 0:
        raise BadImageError(RejectReason.TRUNCATED, "the tail of the file is zeros, without an end marker")
    last = image.getpixel((image.width - 1, image.height - 1))
    grey = _MID_GREY.get(image.mode, ())
    if not (last in grey or (isinstance(last, tuple) and all(v in grey for v in last))):
        return
    end = data.find(_EOI, scan_at)  # the first: entropy-coded data cannot hold one
    if end > 0:
        again = _open_jpeg(data[:end] + _PADDING)
        reduce_decode(again)
        again.load()


def _probe_png(form: str, data: bytes, policy: ProbePolicy, in_process: bool) -> ImageFacts:  # noqa: FBT001 - table
    decode = policy.verify == "decode"
    header = headers.png_header(data, checksums=decode)
    _check_limits(header, policy)
    if not decode and not any(name in data for name in _PNG_EXIF):
        return _facts(form, header, None)
    _check_weight(header, in_process)
    image = _read(
        PngImageFile(BytesIO(data))
    )  # EXIF may stand behind the pixels: one is not read without the other
    return _facts(form, header, dhash(image) if decode else None)


def _probe_webp(form: str, data: bytes, policy: ProbePolicy, in_process: bool) -> ImageFacts:  # noqa: FBT001 - table
    header = headers.webp_header(data)
    _check_limits(header, policy)
    decode = policy.verify == "decode"
    if not decode and b"EXIF" not in data:
        return _facts(form, header, None)
    _check_weight(header, in_process)
    image = _read(WebPImageFile(BytesIO(data)))
    return _facts(form, header, dhash(image) if decode else None)


def _probe_other(form: str, data: bytes, policy: ProbePolicy, in_process: bool) -> ImageFacts:  # noqa: FBT001 - table
    if in_process:
        raise TooHeavyError
    Image.init()
    plugins.load_plugin(form)
    if form == "JXL":  # its plug-in decodes all when it opens
        _check_limits(headers.jxl_header(data), policy)
    try:
        # Not Image.open(): it keeps the reason for itself and says "cannot identify image file".
        opener, accepts = _reader_of(_opened_as(form, data))
        taken = accepts is None or accepts(data[:_PREFIX_BYTES])
        if isinstance(taken, str):  # why not: its library did not load
            raise MachineError(f"Pillow cannot decode {form} here: {taken}")
        if not taken:
            raise BadImageError(RejectReason.CORRUPT, f"no reader takes it for {form} by its first bytes")
        image = opener(BytesIO(data), "")
        header = _other_header(form, data, image)
        _check_limits(header, policy)
        if policy.verify == "header":
            check_reading(image)
            return _facts(form, header, None)
        return _facts(form, header, dhash(_read(image)))
    except (OSError, SyntaxError) as error:
        check_machine(error)
        fault = fault_of(error)
        if fault.reason is RejectReason.CORRUPT and headers.ends_early(form, data):
            raise BadImageError(RejectReason.TRUNCATED, fault.detail) from error
        raise fault from error


def _reader_of(name: str) -> tuple[_Opener, _Accepts | None]:
    """Pillow's reader; its own loading of them passes over those that fail to."""
    if name not in Image.OPEN:
        raise MachineError(
            f"Pillow's reader of {name} was not loaded: is it installed, and are there files and memory?"
        )
    return Image.OPEN[name]


def _opened_as(form: str, data: bytes) -> str:
    """Pillow's name of the reader: a bitmap without a file header has one of its own."""
    return "DIB" if form == "BMP" and not data.startswith(b"BM") else form


def _other_header(form: str, data: bytes, image: ImageFile.ImageFile) -> Header:
    count = _FRAME_COUNTERS.get(form)
    frames = count(data) if count else 1 if form in _STILL else int(getattr(image, "n_frames", 1))
    exif = data if form == "TIFF" else _bytes_of(image, "exif")
    orientation, dpi = headers.read_exif(exif)
    if orientation is None:
        orientation = headers.xmp_orientation(_bytes_of(image, "xmp"))
    dpi = headers.whole_dpi(image.info.get("dpi")) or dpi
    return Header(image.width, image.height, min(frames, MAX_FRAMES_COUNTED), orientation, dpi)


def _read(image: ImageFile.ImageFile) -> ImageFile.ImageFile:
    image.load()
    check_reading(image)
    return image


def _check_limits(header: Header, policy: ProbePolicy) -> None:
    pixels = header.width_px * header.height_px
    if pixels <= 0:
        raise BadImageError(RejectReason.CORRUPT, f"{header.width_px} x {header.height_px} pixels")
    limit = min(policy.max_pixels, MAX_OPENED_PIXELS)
    if pixels > limit:
        size = f"{header.width_px} x {header.height_px}"
        raise BadImageError(RejectReason.BOMB, f"{size} pixels, the limit is {limit}")
    if header.frames > 1 and policy.multi_frame == "reject":
        raise BadImageError(RejectReason.MULTI_FRAME, f"{header.frames} frames")


def _check_weight(header: Header, in_process: bool, scans: int = 1) -> None:  # noqa: FBT001 - one meaning
    pixels = header.width_px * header.height_px
    if in_process and (pixels > _IN_PROCESS_PIXELS or pixels * scans > _IN_PROCESS_SCANNED_PIXELS):
        raise TooHeavyError


def _bytes_of(image: Image.Image, key: str) -> bytes:
    value = image.info.get(key)
    return value if isinstance(value, bytes) else b""


def _facts(form: str, header: Header, hash64: int | None) -> ImageFacts:
    return ImageFacts(
        format=form,
        width_px=header.width_px,
        height_px=header.height_px,
        orientation=header.orientation,
        frames=header.frames,
        dpi=header.dpi,
        dhash=hash64,
    )


_STILL: Final = frozenset({"PSD", "ICO"})
"""Layers of a drawing and sizes of an icon are no frames."""
_FRAME_COUNTERS: Final[dict[str, Callable[[bytes], int]]] = {
    "GIF": headers.gif_frames,
    "TIFF": headers.tiff_frames,
}
_PROBES: Final[dict[str, Callable[[str, bytes, ProbePolicy, bool], ImageFacts]]] = {
    "JPEG": _probe_jpeg,
    "PNG": _probe_png,
    "WEBP": _probe_webp,
}
