"""Pictures for tests: the same bytes on each run, encoded by Pillow or built by hand."""

import io
import random
import struct
import zlib
from typing import Any

from PIL import Image

from vlm_assets.images.plugins import load_plugin
from vlm_assets.images.probe import FORMATS, ImageProber, ProbePolicy

EVERYTHING = frozenset(FORMATS)


def prober(**changes: Any) -> ImageProber:
    """A prober of all formats."""
    return ImageProber(ProbePolicy(**{"formats": EVERYTHING} | changes))


def picture(width: int = 96, height: int = 72, mode: str = "RGB", seed: int = 7) -> Image.Image:
    """Smooth random colours with some texture: compresses and hashes like a photograph."""
    rng = random.Random(seed)
    coarse = Image.frombytes("RGB", (9, 8), rng.randbytes(9 * 8 * 3)).resize(
        (width, height), Image.Resampling.BICUBIC
    )
    fine = Image.frombytes("RGB", (width, height), rng.randbytes(width * height * 3))
    mixed = Image.blend(coarse, fine, 0.1)
    if mode in {"I;16", "I", "F"}:
        wide = mixed.convert("L").convert("I").point(lambda value: value * 200 + 0)
        return wide.convert(mode)
    if mode == "RGBA":
        mixed.putalpha(coarse.getchannel(0))
        return mixed
    if mode == "LA":
        return Image.merge("LA", (mixed.convert("L"), coarse.getchannel(1)))
    return mixed.convert(mode)


def encoded(image: Image.Image, form: str, **options: Any) -> bytes:
    load_plugin(form)
    if form == "PSD":
        return psd(image, **options)
    if form == "ICO":
        options = {"sizes": [image.size], **options}
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def psd(image: Image.Image, layers: int = 0) -> bytes:
    """A Photoshop file: its composite unpacked, and layers of no size, which need not be drawn."""
    bands = {"L": 1, "RGB": 3}[image.mode]
    layer = struct.pack(">4i", 0, 0, 0, 0) + struct.pack(">H", 0) + b"8BIMnorm" + bytes([255, 0, 0, 0])
    layer += struct.pack(">I", 12) + struct.pack(">II", 0, 0) + b"\0\0\0\0"
    body = struct.pack(">h", layers) + layer * layers
    masks = struct.pack(">I", len(body)) + body if layers else b""
    head = b"8BPS" + struct.pack(">H6xHIIHH", 1, bands, image.height, image.width, 8, 3 if bands == 3 else 1)
    sections = struct.pack(">I", 0) + struct.pack(">I", 0) + struct.pack(">I", len(masks)) + masks
    return head + sections + struct.pack(">H", 0) + b"".join(one.tobytes() for one in image.split())


def animation(form: str, frames: int, **options: Any) -> bytes:
    pictures = [picture(seed=seed) for seed in range(frames)]
    return encoded(pictures[0], form, save_all=True, append_images=pictures[1:], **options)


def png_chunk(kind: bytes, body: bytes, crc: int | None = None) -> bytes:
    crc = zlib.crc32(kind + body) if crc is None else crc
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", crc)


def png(*chunks: bytes, width: int = 4, height: int = 3) -> bytes:
    """A grey PNG; `chunks` stand before its image data."""
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    rows = zlib.compress((b"\0" + bytes(width)) * height)
    return (
        b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + png_chunk(b"IDAT", rows) + png_chunk(b"IEND", b"")
    )


def huge_jpeg(width: int, height: int) -> bytes:
    """A small JPEG whose header claims another size."""
    data = bytearray(encoded(picture(), "JPEG"))
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = struct.pack(">HH", height, width)
    return bytes(data)


def exif(order: str = "<", **tags: tuple[int, object]) -> bytes:
    """An EXIF block; tags as `t274=(3, 6)`: type and value (a pair for a RATIONAL, type 5)."""
    start = b"II*\0" if order == "<" else b"MM\0*"
    body, tail = b"", b""
    tail_at = 8 + 2 + 12 * len(tags) + 4
    for name, (kind, value) in tags.items():
        if kind == 5:
            assert isinstance(value, tuple)
            raw = struct.pack(order + "I", tail_at + len(tail))
            tail += struct.pack(order + "II", *value)
        else:
            raw = struct.pack(order + {3: "H", 4: "I"}[kind], value).ljust(4, b"\0")
        body += struct.pack(order + "HHI", int(name[1:]), kind, 1) + raw
    count = struct.pack(order + "H", len(tags))
    return b"Exif\0\0" + start + struct.pack(order + "I", 8) + count + body + bytes(4) + tail
