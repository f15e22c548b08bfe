import struct

import pytest

from vlm_assets.images import headers
from vlm_assets.images.facts import MAX_FRAMES_COUNTED, BadImageError
from vlm_assets.words.errors import RejectReason
from vlm_assets_tests.images.pictures import animation, encoded, exif, picture, png, png_chunk

ACTL = png_chunk(b"acTL", struct.pack(">II", 3, 0))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (72, 72), (299.72, 300), ((300, 150), 300), (2, 2), (10_000, 10_000),
        (0, None), (1, None), (-72, None), (10_001, None), (float("nan"), None), (float("inf"), None),
        (None, None), ("72 dpi", None), ((), None),
    ],
)  # fmt: skip
def test_dpi_that_makes_sense(value, expected):
    assert headers.whole_dpi(value) == expected


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({"t274": (3, 6)}, (6, None)),
        ({"t274": (3, 0)}, (None, None)),
        ({"t274": (3, 9)}, (None, None)),
        ({"t274": (4, 8)}, (8, None)),
        ({"t282": (5, (300, 1))}, (None, 300)),
        ({"t282": (5, (300, 1)), "t296": (3, 2)}, (None, 300)),
        ({"t282": (5, (1181, 10)), "t296": (3, 3)}, (None, 300)),
        ({"t282": (5, (300, 1)), "t296": (3, 1)}, (None, None)),
        ({"t282": (5, (300, 0))}, (None, None)),
        ({"t274": (3, 3), "t282": (5, (1, 1)), "t296": (3, 2)}, (3, None)),
        ({}, (None, None)),
    ],
)
def test_exif(order, tags, expected):
    assert headers.read_exif(exif(order, **tags)) == expected


def test_exif_cut_anywhere_reads_as_far_as_it_goes():
    block = exif(t274=(3, 6), t282=(5, (300, 1)))
    assert {headers.read_exif(block[:end])[0] for end in range(len(block))} == {None, 6}


def test_png_resolution_orientation_and_frames():
    per_metre = png_chunk(b"pHYs", struct.pack(">IIB", 11811, 11811, 1))
    aspect_only = png_chunk(b"pHYs", struct.pack(">IIB", 300, 300, 0))
    turned = png_chunk(b"eXIf", exif(t274=(3, 8))[6:])
    assert headers.png_header(png(per_metre, turned, ACTL), checksums=True) == headers.Header(4, 3, 3, 8, 300)
    assert headers.png_header(png(aspect_only), checksums=True) == headers.Header(4, 3)


@pytest.mark.parametrize("declared", [0, 2**31 + 1, 2**32 - 1])
def test_png_with_an_impossible_number_of_frames_is_a_still(declared):
    assert (
        headers.png_header(png(png_chunk(b"acTL", struct.pack(">II", declared, 0))), checksums=True).frames
        == 1
    )


def test_png_frames_are_bounded():
    many = png_chunk(b"acTL", struct.pack(">II", 2**31, 0))
    assert headers.png_header(png(many), checksums=True).frames == MAX_FRAMES_COUNTED


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (png(png_chunk(b"tEXt", b"a\0b", crc=1)), RejectReason.CORRUPT),
        (png()[:-13], RejectReason.TRUNCATED),
        (png()[:40], RejectReason.TRUNCATED),
        (png()[:20], RejectReason.TRUNCATED),
        (b"\x89PNG\r\n\x1a\n" + png_chunk(b"IDAT", b"") * 4, RejectReason.CORRUPT),
        (png()[:33] + png_chunk(b"IEND", b""), RejectReason.TRUNCATED),
    ],
    ids=["crc", "cut in IDAT's checksum", "cut in a chunk header", "cut in IHDR", "no IHDR", "no IDAT"],
)
def test_png_faults(data, reason):
    with pytest.raises(BadImageError) as caught:
        headers.png_header(data, checksums=True)
    assert caught.value.reason is reason


def test_png_may_lack_its_end_chunk_and_may_carry_more_behind_it():
    assert headers.png_header(png()[:-12], checksums=True).width_px == 4
    assert headers.png_header(png() + b"appended", checksums=True).width_px == 4


@pytest.mark.parametrize("options", [{}, {"lossless": True}, {"exif": exif(t274=(3, 5), t282=(5, (96, 1)))}])
def test_webp_header(options):
    header = headers.webp_header(encoded(picture(90, 33), "WEBP", **options))
    assert (header.width_px, header.height_px, header.frames) == (90, 33, 1)
    assert (header.orientation, header.dpi) == ((5, 96) if "exif" in options else (None, None))


def test_webp_frames():
    assert headers.webp_header(animation("WEBP", 4)).frames == 4


@pytest.mark.parametrize(("form", "count"), [("GIF", headers.gif_frames), ("TIFF", headers.tiff_frames)])
def test_frames_of_a_still_of_several_and_of_a_cut_file(form, count):
    assert count(encoded(picture(), form)) == 1
    several = animation(form, 5)
    assert count(several) == 5
    assert all(1 <= count(several[:end]) <= 5 for end in range(0, len(several), 97) if end > 16)


def test_big_tiff_frames():
    assert headers.tiff_frames(animation("TIFF", 3, big_tiff=True)) == 3


def test_tiff_directories_in_a_ring_are_counted_once():
    ring = b"II*\0" + struct.pack("<I", 8) + struct.pack("<HI", 0, 8)
    assert headers.tiff_frames(ring) == 1


def test_gif_frames_are_bounded():
    block = b"\x2c" + bytes(9) + b"\x02\x01\x00\x00"
    data = b"GIF89a" + bytes(7) + block * (MAX_FRAMES_COUNTED + 5)
    assert headers.gif_frames(data) == MAX_FRAMES_COUNTED


def test_orientation_out_of_xmp():
    assert headers.xmp_orientation(b'<rdf:Description tiff:Orientation="3"/>') == 3
    assert headers.xmp_orientation(b"<tiff:Orientation>7</tiff:Orientation>") == 7
    assert headers.xmp_orientation(b'tiff:Orientation="9"') is None
