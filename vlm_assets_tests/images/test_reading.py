"""What the prober admits, `datasets` reads: over broken EXIF, in every format that carries it, in both modes."""

import random
import warnings
from io import BytesIO
from itertools import product
from typing import Any, Final

import datasets
import pytest
from PIL import Image, PngImagePlugin

from vlm_assets.images.probe import ImageFacts, ImageFault
from vlm_assets.words.errors import RejectReason
from vlm_assets_tests.images.pictures import picture, prober

EXIF: Final = b"".join(
    (
        b"Exif\0\0II*\0\x08\0\0\0\x02\0",
        b"\x12\x01\x03\0\x01\0\0\0\x06\0\0\0",
        b"\x31\x01\x02\0\x0a\0\0\0\x26\0\0\0",
        bytes(4),
        b"a program\0",
    )
)
"""Orientation 6, and the name of a program behind the directory."""


def encoded(form: str, exif: bytes, **options: Any) -> bytes:
    out = BytesIO()
    picture(40, 30).save(out, form, exif=exif, **options)
    return out.getvalue()


def reads(data: bytes) -> str:
    """What `datasets` says when it reads a row with the image; "" where it does."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            datasets.Image().decode_example({"bytes": data, "path": None})
    except Exception as error:  # noqa: BLE001 - whatever a trainer would meet
        return f"{type(error).__name__}: {error}"
    return ""


def mutated(seed: int) -> bytes:
    rng = random.Random(seed)
    block = bytearray(EXIF)
    for _ in range(rng.randint(1, 3)):
        block[rng.randrange(6, len(block))] = rng.choice((0, 255, 13, 1, rng.randrange(256)))
    return bytes(block[: rng.randrange(20, len(block))] if rng.random() < 0.2 else block)


@pytest.mark.parametrize(("form", "verify"), list(product(("JPEG", "PNG", "WEBP"), ("decode", "header"))))
def test_what_is_admitted_is_read(form, verify):
    refused = 0
    with prober(verify=verify) as one:
        for seed in range(60):
            data = encoded(form, mutated(seed))
            told, found = reads(data), one.probe(data)
            assert isinstance(found, ImageFault) == bool(told), (seed, told, found)
            refused += isinstance(found, ImageFault)
    assert refused < 60
    assert refused or form == "JPEG"  # Pillow reads its EXIF on opening, and goes on without what is broken


def _raw_profile(text: str) -> bytes:
    info = PngImagePlugin.PngInfo()
    info.add_text("Raw profile type exif", text)
    out = BytesIO()
    picture(40, 30).save(out, "PNG", pnginfo=info)
    return out.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(_raw_profile("\nexif\n      4\nno hex at all\n"), id="a profile in text"),
        pytest.param(encoded("PNG", b"Exif\0\0XX*\0" + bytes(20)), id="another byte order"),
        pytest.param(encoded("WEBP", b"Exif\0\0MM\0\x0a" + bytes(20)), id="another number"),
    ],
)
@pytest.mark.parametrize("verify", ["decode", "header"])
def test_exif_that_a_reader_stumbles_over_is_a_reject(data, verify):
    assert reads(data)
    with prober(verify=verify) as one:
        found = one.probe(data)
    assert isinstance(found, ImageFault)
    assert found.reason is RejectReason.CORRUPT
    assert found.detail in reads(data)[: len(found.detail)]


def test_a_sound_orientation_is_read():
    with prober() as one:
        for form in ("JPEG", "PNG", "WEBP", "TIFF"):
            data = encoded(form, EXIF)
            found = one.probe(data)
            assert isinstance(found, ImageFacts)
            assert found.orientation == 6
            with Image.open(BytesIO(data)) as image:
                assert (image.width, image.height) == (found.width_px, found.height_px)


@pytest.mark.parametrize("form", ["AVIF", "GIF", "BMP", "TIFF", "JPEG", "PNG", "WEBP"])
def test_a_file_whose_first_bytes_change_is_read_or_refused(form):
    """Readers choose by the first 16 bytes, and each takes less than its decoder would."""
    data = encoded(form, b"")
    with prober() as one:
        for place, value in product(range(16), (0, 1, 255)):
            changed = data[:place] + bytes([value]) + data[place + 1 :]
            if isinstance(one.probe(changed), ImageFacts):
                assert reads(changed) == "", (place, value)
