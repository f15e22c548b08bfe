"""What goes into a probe and what comes out. No Pillow here: sources and settings load it with the catalogue."""

from dataclasses import dataclass
from typing import Final, Literal

from vlm_assets.words.errors import RejectReason

DEFAULT_FORMATS: Final = (
    "JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "JPEG2000", "AVIF", "PPM", "HEIF",
)  # fmt: skip
"""Those that are admitted where the catalogue does not say."""
FORMATS: Final = (*DEFAULT_FORMATS, "JXL", "TGA", "PSD", "ICO")
"""Every format that can be allowed, by Pillow's names."""

MAX_FRAMES_COUNTED: Final = 10_000
"""Frames are counted up to here; a file with more reports this number."""


@dataclass(frozen=True, slots=True)
class ProbePolicy:
    """What counts as a sample: values of the catalogue and the settings.

    `formats` are names out of `FORMATS`. `max_pixels` is checked on the header, before any decoding; its default
    is the largest image that Pillow opens without being told to, so that readers of the corpus open it too.
    `decoder_cpu_s` (processor time, counted in whole seconds) and `decoder_memory_bytes` (address space) bound one
    decode in a child process; `decoder_hang_s`, on the wall, is for a child that uses no processor and never ends.
    """

    formats: frozenset[str]
    verify: Literal["decode", "header"] = "decode"
    max_pixels: int = 178_956_970
    max_bytes: int = 256 * 2**20
    multi_frame: Literal["first", "reject"] = "first"
    decoder_cpu_s: float = 20.0
    decoder_hang_s: float = 1800.0
    decoder_memory_bytes: int = 2 * 2**30


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What an admitted image is.

    `width_px` and `height_px` as stored, EXIF orientation (1..8, None where absent) not applied. `frames` is 1
    for a still and at most `MAX_FRAMES_COUNTED`. `dpi` is the horizontal resolution, 2..10000, None where absent
    or nonsense. `dhash` as in `dhash.py`, None when only the header was read.
    """

    format: str
    width_px: int
    height_px: int
    orientation: int | None
    frames: int
    dpi: int | None
    dhash: int | None


@dataclass(frozen=True, slots=True)
class ImageFault:
    """Why the bytes are no sample: becomes a `Reject`. `detail` is one line.

    A `transient` one says as much of the machine as of the bytes: another time they may be a sample.
    """

    reason: RejectReason
    detail: str
    transient: bool = False


class BadImageError(Exception):
    """The bytes are no sample. Ends as an `ImageFault`, never leaves this package."""

    def __init__(self, reason: RejectReason, detail: str, *, transient: bool = False) -> None:
        self.reason = reason
        self.detail = detail
        self.transient = transient
        super().__init__(f"{reason}: {detail}")


class TooHeavyError(Exception):
    """The decode belongs in a child process, where time and memory are bounded. Never leaves this package."""
