"""What the annotators of images say of pictures that are made to be plain."""

from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageFilter

from vlm_assets.annotators.picture import WORKING_SIDE_PX, Picture
from vlm_assets.annotators.registry import annotator_of


def encoded(image: Image.Image, form: str = "PNG", **options: Any) -> Picture:
    out = BytesIO()
    image.save(out, form, **options)
    return Picture(form, out.getvalue())


def values(name: str, picture: Picture) -> dict[str, Any]:
    [found] = annotator_of(name).annotate([picture])
    assert found is not None
    return dict(found)


def noise(size: tuple[int, int] = (64, 48)) -> Image.Image:
    rng = np.random.default_rng(1)
    return Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3)).astype(np.uint8))


def flat(colour: tuple[int, ...] = (200, 200, 200), size: tuple[int, int] = (64, 48)) -> Image.Image:
    return Image.new("RGB" if len(colour) == 3 else "RGBA", size, colour)


def half(left: int, right: int) -> Image.Image:
    return Image.fromarray(np.repeat(np.array([[left, right]], np.uint8), 32, 1).repeat(48, 0)).convert("RGB")


def framed(left: int, top: int, right: int, bottom: int) -> Image.Image:
    page = flat((250, 250, 250), (100, 80))
    page.paste(noise((100 - left - right, 80 - top - bottom)), (left, top))
    return page


@pytest.mark.parametrize(
    ("name", "image", "column", "low", "high"),
    [
        ("blur", flat(), "laplacian", 0, 0),
        ("blur", noise(), "laplacian", 20_000, 60_000),
        ("blur", noise().filter(ImageFilter.GaussianBlur(2)), "laplacian", 1, 300),
        ("contrast", flat(), "rms", 0, 0),
        ("contrast", half(0, 255), "rms", 0.5, 0.5),
        ("contrast", half(100, 151), "spread", 0.2, 0.2),
        ("entropy", flat(), "bits", 0, 0),
        ("entropy", half(0, 255), "bits", 1, 1),
        ("entropy", noise((256, 256)), "bits", 7, 8),
        ("colour", half(30, 220), "colourfulness", 0, 0),
        ("colour", flat((255, 0, 0)), "colourfulness", 80, 90),
        ("blank", flat(), "share", 1, 1),
        ("blank", flat(), "ground", 200, 200),
        ("blank", noise(), "share", 0.02, 0.2),
        ("border", flat(), "share", 1, 1),
        ("border", noise(), "share", 0, 0),
        ("border", framed(10, 0, 0, 20), "left", 0.1, 0.1),
        ("border", framed(10, 0, 0, 20), "bottom", 0.25, 0.25),
        ("border", framed(10, 0, 0, 20), "share", 1 - 0.9 * 0.75, 1 - 0.9 * 0.75),
        ("aspect", flat(size=(40, 20)), "ratio", 2, 2),
    ],
)
def test_plain_pictures(name: str, image: Image.Image, column: str, low: float, high: float):
    assert low - 1e-6 <= values(name, encoded(image))[column] <= high + 1e-6


def test_an_aspect_is_that_of_the_picture_as_it_is_turned():
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    found = values("aspect", encoded(flat(size=(40, 20)), "JPEG", exif=exif))
    assert found == {"ratio": 0.5, "width_px": 20, "height_px": 40}


@pytest.mark.parametrize("quality", [1, 10, 30, 50, 75, 90, 95, 100])
def test_the_quality_that_a_jpeg_was_saved_with(quality: int):
    assert values("jpeg", encoded(noise(), "JPEG", quality=quality)) == {"quality": quality}


def test_other_formats_have_no_quality():
    assert annotator_of("jpeg").annotate([encoded(noise())]) == [None]


@pytest.mark.parametrize("size", [(1, 1), (2, 50), (50, 2)], ids=str)
def test_a_picture_too_small_for_a_neighbourhood_has_no_sharpness(size: tuple[int, int]):
    assert values("blur", encoded(flat(size=size))) == {"laplacian": None}


@pytest.mark.parametrize(
    ("image", "brightness"),
    [
        (Image.new("1", (9, 9), 1), 255),
        (Image.new("L", (9, 9), 77), 77),
        (Image.new("LA", (9, 9), (77, 0)), 255),
        (flat((10, 10, 10, 0)), 255),
        (flat((10, 10, 10, 255)), 10),
        (flat((60, 60, 60)).convert("P", palette=Image.Palette.ADAPTIVE), 60),
        (Image.fromarray(np.full((9, 9), 40_000, np.uint16)), 255),
        (Image.fromarray(np.full((9, 9), 99, np.uint16)), 99),
    ],
    ids=["bits", "grey", "clear grey", "clear", "opaque", "palette", "16 bits", "16 bits, dark"],
)
def test_every_mode_is_seen_over_white_in_eight_bits(image: Image.Image, brightness: int):
    assert np.unique(encoded(image).grey).tolist() == [brightness]


@pytest.mark.parametrize(
    ("form", "size"), [("PNG", (3_100, 200)), ("JPEG", (4_200, 4_100)), ("PNG", (1_000, 900))], ids=str
)
def test_a_large_picture_is_seen_at_working_size(form: str, size: tuple[int, int]):
    height, width = encoded(flat(size=size), form).grey.shape
    longer = max(height, width)
    assert (
        longer == max(size)
        if max(size) < WORKING_SIDE_PX
        else WORKING_SIDE_PX <= longer < 2 * WORKING_SIDE_PX
    )
    assert width / height == pytest.approx(size[0] / size[1], rel=0.02)


def test_a_picture_is_decoded_once(monkeypatch: pytest.MonkeyPatch):
    opened: list[Any] = []
    real = Image.open

    def opening(*args: Any, **kwargs: Any) -> Image.Image:
        opened.append(args)
        return real(*args, **kwargs)

    monkeypatch.setattr(Image, "open", opening)
    picture = encoded(noise())
    for name in ("blur", "contrast", "colour", "border", "aspect"):
        annotator_of(name).annotate([picture])
    assert len(opened) == 1
