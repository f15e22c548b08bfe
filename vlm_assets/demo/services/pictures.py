"""Pictures, captions and archives made from a seed: the same bytes on every run with the locked packages."""

import gzip
import io
import random
import tarfile
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from PIL import Image, ImageDraw

from vlm_assets.images.png import encode_image

WORDS: Final = {
    "cat": "kedi", "dog": "köpek", "bird": "kuş", "boat": "tekne", "bridge": "köprü", "tower": "kule",
    "market": "çarşı", "garden": "bahçe", "street": "sokak", "night": "gece",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Picture:
    """An encoded picture with what is known about it."""

    name: str
    data: bytes
    caption: str
    label: str


def picture(
    key: str, label: str = "cat", *, fmt: str = "JPEG", size: tuple[int, int] | None = None
) -> Picture:
    """A gradient with shapes and the key written on it; equal keys give equal bytes."""
    chance = random.Random(f"picture:{key}:{label}")
    width, height = size or (chance.randrange(96, 240), chance.randrange(96, 200))
    image = Image.linear_gradient("L").resize((width, height)).rotate(chance.choice((0, 90, 180, 270)))
    image = image.resize((width, height)).convert("RGB")
    tint = Image.new("RGB", (width, height), _colour(chance))
    image = Image.blend(image, tint, 0.45)
    draw = ImageDraw.Draw(image)
    for _ in range(chance.randrange(3, 8)):
        x, y = chance.randrange(width), chance.randrange(height)
        box = (x, y, x + chance.randrange(8, width // 2), y + chance.randrange(8, height // 2))
        (draw.ellipse if chance.random() < 0.5 else draw.rectangle)(box, fill=_colour(chance))
    draw.text((4, 4), f"{label} {key}"[-24:], fill=(255, 255, 255))
    extension = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp"}[fmt]
    caption = f"Bir {WORDS.get(label, label)} resmi, {width}×{height} ({key})"
    return Picture(f"{key}.{extension}", _encoded(image, fmt), caption, label)


def _encoded(image: Image.Image, fmt: str) -> bytes:
    if fmt == "PNG":
        return encode_image(image)
    buffer = io.BytesIO()
    image.save(buffer, fmt, **({"quality": 85} if fmt == "JPEG" else {}))
    return buffer.getvalue()


def zip_of(files: Iterable[tuple[str, bytes]]) -> bytes:
    """A zip with fixed timestamps; JPEGs are stored, as most uploaders do."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files:
            info = zipfile.ZipInfo(name, (2024, 1, 1, 0, 0, 0))
            info.external_attr = 0o644 << 16
            archive.writestr(info, data)
    return buffer.getvalue()


def tar_of(files: Iterable[tuple[str, bytes]], mode: str = "w") -> bytes:
    """A tar (`w`, `w:gz`, `w:xz`) with fixed timestamps and owners."""
    buffer = io.BytesIO()
    if mode == "w:gz":
        with gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0) as stream:
            stream.write(tar_of(files))
        return buffer.getvalue()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:  # type: ignore[call-overload]  # mode is a plain str
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def _colour(chance: random.Random) -> tuple[int, int, int]:
    return (chance.randrange(256), chance.randrange(256), chance.randrange(256))
