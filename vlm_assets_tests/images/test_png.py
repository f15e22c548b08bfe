"""The product's PNGs: read back by Pillow pixel for pixel, and the same bytes on every machine."""

import io
import random
from hashlib import sha256

import pytest
from PIL import Image

from vlm_assets.images.facts import ImageFacts
from vlm_assets.images.png import Samples, encode_image, encode_samples
from vlm_assets_tests.images.pictures import picture, prober

MODES = ("1", "L", "I;16", "P", "RGB", "LA", "RGBA")


def read(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data), formats=("PNG",))
    image.load()
    return image


def pattern(bits: int, channels: int, width: int, height: int) -> bytes:
    """Samples without a library's random numbers: runs, slopes and noise, for the vectors."""
    row_bytes = -(-width * bits * channels // 8)
    rng = random.Random(f"png:{bits}:{channels}")
    return b"".join(
        bytes(
            (x * x // 7 + y * 3 + (rng.getrandbits(4) if x % 5 == 0 else 0)) & 255 for x in range(row_bytes)
        )
        for y in range(height)
    )


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", [(96, 72), (1, 1), (13, 5), (7, 1), (1, 9)])
def test_pillow_reads_back_what_was_given(mode: str, size: tuple[int, int]) -> None:
    image = picture(*size, mode=mode)
    back = read(encode_image(image))
    assert (back.mode, back.size) == (mode, size)
    assert back.convert("RGBA").tobytes() == image.convert("RGBA").tobytes()
    assert mode == "P" or back.tobytes() == image.tobytes()
    assert "dpi" not in back.info


@pytest.mark.parametrize(
    ("bits", "channels", "palette", "mode", "raw"),
    [
        (1, 1, None, "1", "1"), (2, 1, None, "L", "L;2"), (4, 1, None, "L", "L;4"), (8, 1, None, "L", "L"),
        (16, 1, None, "I;16", "I;16B"), (8, 2, None, "LA", "LA"), (8, 3, None, "RGB", "RGB"),
        (8, 4, None, "RGBA", "RGBA"), (1, 1, 2, "P", "P;1"), (2, 1, 4, "P", "P;2"), (4, 1, 16, "P", "P;4"),
        (8, 1, 256, "P", "P"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("width", [8, 13])
def test_samples_are_laid_out_as_pillow_has_them(
    bits: int, channels: int, palette: int | None, mode: str, raw: str, width: int
) -> None:
    data = pattern(bits, channels, width, 6)
    colours = None if palette is None else bytes(range(256)) * 3
    colours = None if colours is None or palette is None else colours[: 3 * palette]
    back = read(encode_samples(Samples(width, 6, bits, channels, data, colours)))
    expected = Image.frombytes(mode, (width, 6), data, "raw", raw)
    if colours is not None:
        expected.putpalette(colours, "RGB")
        assert back.convert("RGB").tobytes() == expected.convert("RGB").tobytes()
    else:
        assert (back.mode, back.tobytes()) == (mode, expected.tobytes())


def test_sixteen_bits_of_colour_are_kept_in_the_file() -> None:
    data = pattern(16, 3, 9, 4)
    made = encode_samples(Samples(9, 4, 16, 3, data))
    assert made[16:26] == bytes([0, 0, 0, 9, 0, 0, 0, 4, 16, 2])
    assert read(made).tobytes() == bytes(data[at] for at in range(0, len(data), 2))  # Pillow's own reduction


@pytest.mark.parametrize(
    ("bits", "channels", "palette", "digest"),
    [
        (1, 1, 0, "f64d6357e0683f3a"), (2, 1, 0, "8b38f88b86d7c29f"), (4, 1, 0, "f74473035aba7aa2"),
        (8, 1, 0, "5138484ad8e35a4f"), (16, 1, 0, "f3fc63dff7fae46c"),
        (8, 2, 0, "44c1b4be897cb389"), (8, 3, 0, "d44daeee11a03b69"), (16, 3, 0, "698744d1352907bc"),
        (8, 4, 0, "6117fad264c44d1f"), (1, 1, 2, "6a37d1b7d796e2f5"),
        (4, 1, 11, "e857de5df40f276c"), (8, 1, 200, "76f7bd4be3a43c47"),
    ],
)  # fmt: skip
def test_the_bytes_are_these(bits: int, channels: int, palette: int, digest: str) -> None:
    """Vectors: they change with the locked pyarrow at most, never with the machine."""
    data = pattern(bits, channels, 301, 203)
    colours = bytes((7 * place) & 255 for place in range(3 * palette)) or None
    made = encode_samples(Samples(301, 203, bits, channels, data, colours), (300, 300))
    assert sha256(made).hexdigest()[:16] == digest


def test_a_place_beyond_the_palette_shows_its_last_colour() -> None:
    made = encode_samples(Samples(4, 1, 2, 1, bytes([0b00011011]), bytes([9, 9, 9, 200, 100, 50])))
    assert list(read(made).convert("RGB").get_flattened_data()) == [(9, 9, 9), *[(200, 100, 50)] * 3]


@pytest.mark.parametrize(
    ("given", "own", "told"), [((300, 200), None, (300, 200)), (None, (150, 150), (150, 150))]
)
def test_the_resolution_is_kept(
    given: tuple[int, int] | None, own: tuple[int, int] | None, told: tuple[int, int]
) -> None:
    image = picture()
    if own is not None:
        image.info["dpi"] = own
    made = encode_image(image, given)
    assert tuple(round(value) for value in read(made).info["dpi"]) == told
    with prober() as one:
        facts = one.probe(made)
    assert isinstance(facts, ImageFacts)
    assert facts.dpi == told[0]


@pytest.mark.parametrize("mode", MODES)
def test_the_probe_admits_it(mode: str) -> None:
    with prober() as one:
        facts = one.probe(encode_image(picture(mode=mode)))
    assert isinstance(facts, ImageFacts)
    assert (facts.format, facts.width_px, facts.height_px) == ("PNG", 96, 72)


WRONG = {
    "short": Samples(4, 2, 8, 1, bytes(7)), "long": Samples(4, 2, 8, 1, bytes(9)),
    "empty": Samples(0, 2, 8, 1, b""), "bits": Samples(4, 2, 3, 1, bytes(4)),
    "channels": Samples(4, 2, 8, 5, bytes(40)), "narrow colour": Samples(4, 2, 4, 3, bytes(12)),
    "palette of colour": Samples(4, 2, 8, 3, bytes(24), bytes(3)),
    "large palette": Samples(4, 2, 1, 1, bytes(2), bytes(9)), "no palette": Samples(4, 2, 8, 1, bytes(8), b""),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_what_png_has_no_form_for_is_refused(case: str) -> None:
    with pytest.raises(ValueError, match=r"px|bytes"):
        encode_samples(WRONG[case])


def test_a_mode_without_a_form_is_refused_with_those_that_have_one() -> None:
    with pytest.raises(ValueError, match=r"CMYK; there are 1, L"):
        encode_image(picture(mode="CMYK"))
