import io

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from vlm_assets.images.probe import FORMATS, ImageFacts, ImageFault
from vlm_assets_tests.images.pictures import animation, encoded, exif, picture, prober

SEEDS = [
    *(encoded(picture(24, 16), form) for form in FORMATS),
    encoded(picture(24, 16), "JPEG", progressive=True, exif=exif(t274=(3, 6), t282=(5, (300, 1)))),
    encoded(picture(24, 16), "TIFF", compression="tiff_lzw"),
    *(animation(form, 3) for form in ("GIF", "PNG", "WEBP")),
]


@st.composite
def mutated(draw) -> bytes:
    """A real file with some bytes changed, a part cut out, a part doubled, or its end lost."""
    data = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(0, 6))):
        # headers are where the branches are
        at = draw(st.integers(0, len(data) - 1) | st.integers(0, min(200, len(data) - 1)))
        data[at] = draw(st.integers(0, 255))
    start, end = sorted(draw(st.tuples(st.integers(0, len(data)), st.integers(0, len(data)))))
    change = draw(st.sampled_from(["none", "none", "cut out", "double", "end"]))
    if change == "cut out":
        del data[start:end]
    elif change == "double":
        data[end:end] = data[start:end]
    elif change == "end":
        del data[start:]
    return bytes(data)


@pytest.fixture(scope="module")
def probers():
    with prober() as whole, prober(verify="header") as header:
        yield whole, header


def check(probers, data: bytes) -> None:
    whole, header = probers
    for one in (whole, header):
        assert isinstance(one.probe(data), ImageFacts | ImageFault)
    answer = whole.probe(data)
    if isinstance(answer, ImageFacts):
        assert answer.width_px > 0
        assert answer.height_px > 0
        assert answer.frames >= 1
        assert answer.dhash is not None
        assert 0 <= answer.dhash < 2**64


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
@given(data=mutated() | st.binary(max_size=200))
def test_no_bytes_raise(probers, data):
    check(probers, data)


@pytest.mark.slow
@settings(max_examples=20_000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=mutated())
def test_no_bytes_raise_at_length(probers, data):
    check(probers, data)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(data=mutated())
def test_what_is_admitted_pillow_reads(probers, data):
    answer = probers[0].probe(data)
    if isinstance(answer, ImageFacts) and answer.format in {"JPEG", "PNG", "WEBP"}:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            assert image.size == (answer.width_px, answer.height_px)
