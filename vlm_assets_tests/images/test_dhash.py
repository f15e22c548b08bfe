import pytest
from PIL import Image

from vlm_assets.images.dhash import dhash
from vlm_assets_tests.images.pictures import picture


def tiles(rows: list[str], tile_px: int = 4) -> Image.Image:
    """A picture of 9 x 8 flat tiles out of hex digits, so that averaging gives exactly these greys."""
    small = Image.new("L", (9, 8))
    small.putdata([int(digit, 16) * 17 for row in rows for digit in row])
    return small.resize((9 * tile_px, 8 * tile_px), Image.Resampling.NEAREST)


RISING, FALLING, FLAT = "012345678", "876543210", "555555555"


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([RISING] * 8, 0xFFFF_FFFF_FFFF_FFFF),
        ([FALLING] * 8, 0),
        ([FLAT] * 8, 0),
        ([RISING] + [FLAT] * 7, 0xFF00_0000_0000_0000),
        ([FLAT] * 7 + [RISING], 0x0000_0000_0000_00FF),
        (["01" + "1" * 7] + [FLAT] * 7, 0x8000_0000_0000_0000),
        ([FLAT] * 7 + ["0" * 8 + "1"], 0x0000_0000_0000_0001),
        (["040404040", "404040404"] * 4, 0xAA55_AA55_AA55_AA55),
    ],
    ids=["rising", "falling", "flat", "first row", "last row", "first bit", "last bit", "checkers"],
)
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "I;16", "I", "F", "P", "CMYK"])
def test_exact_vectors(rows, expected, mode):
    image = tiles(rows)
    if mode == "CMYK":
        image = Image.merge("CMYK", [Image.new("L", image.size)] * 3 + [image.point(lambda v: 255 - v)])
    assert dhash(image.convert(mode)) == expected


def test_a_bilevel_picture():
    assert dhash(tiles(["0f0f0f0f0"] * 8).convert("1")) == 0xAAAA_AAAA_AAAA_AAAA


def test_lightness_of_a_lab_picture():
    grey = tiles([RISING] * 8)
    flat = Image.new("L", grey.size, 128)
    assert dhash(Image.merge("LAB", (grey, flat, flat))) == 0xFFFF_FFFF_FFFF_FFFF


def test_transparency_is_seen_over_white():
    alpha = tiles(["f00000000"] * 8)  # black where opaque
    black = Image.new("L", alpha.size)
    assert dhash(Image.merge("LA", (black, alpha))) == 0x8080_8080_8080_8080


def test_colour_under_full_transparency_does_not_count():
    visible = tiles([RISING] * 8).convert("RGBA")
    visible.putalpha(tiles(["fffff0000"] * 8))
    hidden = Image.composite(
        visible, Image.new("RGBA", visible.size, (9, 200, 30, 0)), visible.getchannel("A")
    )
    assert dhash(visible) == dhash(hidden)


def test_more_than_8_bits_are_compared_in_full():
    # 1000 and 1001 of 65535 would be one grey of 256
    image = Image.new("I;16", (9, 8))
    for y in range(8):
        for x in range(9):
            image.putpixel((x, y), 1000 + x)
    assert dhash(image) == 0xFFFF_FFFF_FFFF_FFFF


def test_a_picture_and_its_mirror_differ():
    one = picture()
    assert (dhash(one) ^ dhash(one.transpose(Image.Transpose.FLIP_LEFT_RIGHT))).bit_count() > 16
