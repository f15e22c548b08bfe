import io
import random
import struct
import zlib

import pytest
from PIL import Image

from vlm_assets.images import decode, plugins
from vlm_assets.images.facts import BadImageError
from vlm_assets.images.probe import FORMATS, ImageFacts, ImageProber, ProbePolicy
from vlm_assets.words.errors import OperationError, RejectReason
from vlm_assets_tests.images.answers import detail_of, facts, fault
from vlm_assets_tests.images.pictures import (
    EVERYTHING,
    encoded,
    exif,
    picture,
    png,
    png_chunk,
    prober,
)

MODES = {
    "JPEG": ["L", "RGB", "CMYK"],
    "PNG": ["1", "L", "P", "LA", "RGB", "RGBA", "I;16"],
    "WEBP": ["RGB", "RGBA"],
    "GIF": ["1", "L", "P", "RGB"],
    "BMP": ["1", "L", "P", "RGB", "RGBA"],
    "TIFF": ["1", "L", "P", "LA", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "I;16", "I", "F"],
    "JPEG2000": ["L", "LA", "RGB", "RGBA", "I;16"],
    "AVIF": ["RGB", "RGBA"],
    "PPM": ["1", "L", "RGB", "I;16"],
    "HEIF": ["L", "RGB", "RGBA"],
    "JXL": ["L", "LA", "RGB", "RGBA"],
    "TGA": ["L", "LA", "P", "RGB", "RGBA"],
    "PSD": ["L", "RGB"],
    "ICO": ["RGB", "RGBA"],
}


def in_mode(mode: str) -> Image.Image:
    if mode == "LAB":
        grey = picture(mode="L")
        return Image.merge("LAB", (grey, grey, grey))
    return picture(mode=mode)


@pytest.mark.parametrize(("form", "mode"), [(form, mode) for form, modes in MODES.items() for mode in modes])
def test_every_format_in_every_mode(probe, form, mode):
    answer = facts(probe(encoded(in_mode(mode), form)))
    assert (answer.format, answer.width_px, answer.height_px, answer.frames) == (form, 96, 72, 1)
    assert answer.dhash is not None
    if mode not in {"1", "LAB"}:  # dithering and made-up lightness are other pictures
        alike = (
            "L" if form == "BMP" else {"LA": "LA", "RGBA": "RGBA"}.get(mode, "L")
        )  # Pillow's BMP has no alpha
        like = facts(probe(encoded(picture(mode=alike), "PNG")))
        assert like.dhash is not None
        assert (answer.dhash ^ like.dhash).bit_count() <= 6


@pytest.mark.parametrize("form", FORMATS)
def test_header_only_finds_the_same_but_no_hash(probe, form):
    data = encoded(picture(), form)
    full = facts(probe(data))
    with prober(verify="header") as reader:
        short = facts(reader.probe(data))
    assert short.dhash is None
    assert short == ImageFacts(
        full.format, full.width_px, full.height_px, full.orientation, full.frames, full.dpi, None
    )


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9, 0.99])
@pytest.mark.parametrize("form", FORMATS)
def test_a_truncated_file_is_noticed(probe, form, share):
    data = encoded(picture(), form)
    # JPEG XL's decoder tells nothing, and a bare codestream has no end that could be missing
    expected = RejectReason.CORRUPT if form == "JXL" else RejectReason.TRUNCATED
    assert fault(probe(data[: int(len(data) * share)])) is expected


@pytest.mark.parametrize(
    "options",
    [{}, {"subsampling": 0}, {"restart_marker_rows": 1}, {"quality": 30}],
    ids=["plain", "4:4:4", "restart markers", "coarse"],
)
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_jpeg_cut_and_closed_with_an_end_marker(probe, mode, options):
    data = encoded(picture(400, 300, mode), "JPEG", **options)
    start = data.index(b"\xff\xda")
    for share in (0.2, 0.5, 0.8, 0.95):
        end = start + int((len(data) - start) * share)
        assert fault(probe(data[:end] + b"\xff\xd9")) is RejectReason.TRUNCATED
        assert fault(probe(data[:end] + bytes(2 * len(data)))) is RejectReason.TRUNCATED


def test_a_cut_jpeg_with_a_whole_thumbnail(probe):
    thumbnail = encoded(picture(16, 12), "JPEG")
    data = encoded(picture(400, 300), "JPEG")
    framed = (
        data[:2] + b"\xff\xe1" + struct.pack(">H", 8 + len(thumbnail)) + b"Exif\0\0" + thumbnail + data[2:]
    )
    assert facts(probe(framed)).width_px == 400
    cut = framed[: len(framed) * 3 // 4]
    assert fault(probe(cut + b"\xff\xd9")) is RejectReason.TRUNCATED
    assert fault(probe(cut + bytes(2 * len(data)))) is RejectReason.TRUNCATED


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_rows": 1}])
@pytest.mark.parametrize(("mode", "colour"), [("L", 128), ("RGB", (128, 128, 128)), ("CMYK", (127,) * 4)])
def test_a_grey_jpeg_is_not_taken_for_a_cut_one(probe, mode, colour, options):
    for size in ((8, 8), (33, 65), (320, 200)):
        facts(probe(encoded(Image.new(mode, size, colour), "JPEG", **options)))


@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "PPM"])
def test_bytes_behind_the_image_are_no_fault(probe, form):
    data = encoded(picture(), form)
    assert probe(data + random.Random(1).randbytes(999)) == probe(data)
    assert probe(data + bytes(999)) == probe(data)


def test_a_jpeg_without_end_marker_is_admitted_where_pillow_reads_it(probe):
    # Whether libjpeg needs bytes beyond the last block depends on the bits that are left; admit what readers read.
    seen = set()
    for seed in range(40):
        data = encoded(picture(seed=seed), "JPEG")[:-2]
        try:
            Image.open(io.BytesIO(data)).load()
            readable = True
        except OSError:
            readable = False
        assert isinstance(probe(data), ImageFacts) is readable
        seen.add(readable)
    assert seen


@pytest.mark.parametrize("place", ["IHDR", "IDAT", "IEND"])
def test_png_checksums_are_verified(probe, place):
    data = bytearray(encoded(picture(), "PNG"))
    at = data.index(place.encode())
    length = int.from_bytes(data[at - 4 : at], "big")
    data[at + 4 + length] ^= 1
    answer = probe(bytes(data))
    assert fault(answer) is RejectReason.CORRUPT
    assert place in detail_of(answer)


def test_a_bit_flipped_in_png_pixels_with_its_checksum_mended(probe):
    rows = bytearray(zlib.compress(b"\0" * 5 * 3))
    rows[-1] ^= 1
    broken = png()[:33] + png_chunk(b"IDAT", bytes(rows)[:6]) + png_chunk(b"IEND", b"")
    assert fault(probe(broken)) in {RejectReason.CORRUPT, RejectReason.TRUNCATED}


@pytest.mark.parametrize(
    ("data", "reason", "word"),
    [
        (b"", RejectReason.EMPTY, "no bytes"),
        (b"<html><body>Not found</body></html>", RejectReason.NOT_AN_IMAGE, "HTML"),
        (b"just a line of text\n", RejectReason.NOT_AN_IMAGE, "text"),
        (bytes(5000), RejectReason.NOT_AN_IMAGE, "00 00"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", RejectReason.FORMAT_NOT_ALLOWED, "EPS"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", RejectReason.FORMAT_NOT_ALLOWED, "SVG"),
        (encoded(picture(), "SGI"), RejectReason.FORMAT_NOT_ALLOWED, "SGI"),
        (encoded(picture(), "PCX"), RejectReason.FORMAT_NOT_ALLOWED, "PCX"),
        (encoded(picture(), "DDS"), RejectReason.FORMAT_NOT_ALLOWED, "DDS"),
        (b"%PDF-1.4\n", RejectReason.FORMAT_NOT_ALLOWED, "PDF"),
    ],
)
def test_what_is_no_sample_by_its_first_bytes(probe, data, reason, word):
    answer = probe(data)
    assert fault(answer) is reason
    assert word in detail_of(answer)


def test_a_format_left_out_of_the_list_is_not_decoded(monkeypatch):
    monkeypatch.setattr(decode, "probe_decoded", lambda *_, **__: pytest.fail("decoded"))
    with prober(formats=frozenset({"PNG"})) as narrow:
        for form in set(FORMATS) - {"PNG"}:
            answer = narrow.probe(encoded(picture(), form))
            assert fault(answer) is RejectReason.FORMAT_NOT_ALLOWED
            assert detail_of(answer) == form


JXL_BOX = b"\0\0\0\x0cJXL \r\n\x87\n" + b"\0\0\0\x14ftypjxl \0\0\0\0jxl "


def jxl_boxes(name: bytes, body: bytes) -> bytes:
    return JXL_BOX + struct.pack(">I", len(body) + 8) + name + body


def jxl_of_size(width: int, height: int) -> bytes:
    """A codestream that announces a size and has nothing more."""
    bits = 3 << 1 | (height - 1) << 3 | 3 << 36 | (width - 1) << 38
    return b"\xff\x0a" + bits.to_bytes(16, "little")


def test_jpeg_xl_in_boxes_and_in_parts(probe):
    bare = encoded(picture(), "JXL")
    plain = facts(probe(bare))
    assert facts(probe(jxl_boxes(b"jxlc", bare))) == plain
    assert facts(probe(jxl_boxes(b"jxlp", struct.pack(">I", 2**31) + bare))) == plain
    assert facts(probe(encoded(picture(320, 320), "JXL"))).width_px == 320
    assert facts(probe(encoded(picture(33, 65), "JXL"))).height_px == 65


def test_a_bitmap_without_a_file_header(probe):
    answer = facts(probe(encoded(picture(), "DIB")))
    assert (answer.format, answer.width_px, answer.dhash) == (
        "BMP",
        96,
        facts(probe(encoded(picture(), "BMP"))).dhash,
    )


def test_layers_and_sizes_are_no_frames(probe):
    assert facts(probe(encoded(picture(), "PSD", layers=3))).frames == 1
    icon = encoded(picture(), "ICO", sizes=[(16, 12), (96, 72)])
    assert (facts(probe(icon)).frames, facts(probe(icon)).width_px) == (1, 96)


def test_an_icon_is_as_large_as_its_picture(probe):
    icon = bytearray(encoded(picture(), "ICO"))
    icon[6:8] = bytes([16, 12])
    assert facts(probe(bytes(icon))).width_px == 96


def test_a_plug_in_that_is_not_there_is_no_fault_of_the_image(monkeypatch):
    monkeypatch.setattr(plugins, "find_spec", lambda _: None)
    with pytest.raises(OperationError, match=r"HEIF needs pillow-heif.*JXL needs pillow-jxl-plugin"):
        prober()
    with prober(formats=frozenset({"PNG"})) as one:
        assert facts(one.probe(encoded(picture(), "PNG")))


def test_an_unknown_format_in_the_policy_is_an_error():
    with pytest.raises(ValueError, match="JPG"):
        ImageProber(ProbePolicy(frozenset({"JPG"})))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "AVIF"])
def test_exif_orientation_is_recorded_and_not_applied(probe, form, orientation):
    answer = facts(probe(encoded(picture(), form, exif=exif(t274=(3, orientation)))))
    expected = (
        {orientation, None} if form == "AVIF" and orientation == 1 else {orientation}
    )  # 1 is AVIF's default
    assert answer.orientation in expected
    assert (answer.width_px, answer.height_px) == (96, 72)
    plain = facts(probe(encoded(picture(), form)))
    assert plain.orientation is None
    assert answer.dhash == plain.dhash


def test_tiff_orientation(probe):
    assert facts(probe(encoded(picture(), "TIFF", tiffinfo={274: 6}))).orientation == 6


@pytest.mark.parametrize(
    ("form", "options", "dpi"),
    [
        ("JPEG", {"dpi": (300, 300)}, 300),
        ("JPEG", {"dpi": (1, 1)}, None),
        ("JPEG", {}, None),
        ("JPEG", {"exif": exif(t282=(5, (240, 1)))}, 240),
        ("JPEG", {"dpi": (96, 96), "exif": exif(t282=(5, (240, 1)))}, 96),
        ("PNG", {"dpi": (150, 150)}, 150),
        ("TIFF", {"dpi": (600, 600)}, 600),
        ("TIFF", {"resolution_unit": 3, "x_resolution": 100.0, "y_resolution": 100.0}, 254),
        ("BMP", {"dpi": (72, 72)}, 72),
        ("GIF", {}, None),
        ("PPM", {}, None),
    ],
)
def test_dpi(probe, form, options, dpi):
    assert facts(probe(encoded(picture(), form, **options))).dpi == dpi


@pytest.mark.parametrize(
    ("form", "options"),
    [
        ("JPEG", {"quality": 95}), ("JPEG", {"quality": 75}), ("JPEG", {"quality": 40}),
        ("JPEG", {"progressive": True}), ("PNG", {}), ("WEBP", {"quality": 70}), ("AVIF", {}), ("BMP", {}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("scale", [1, 2])
def test_the_hash_is_stable_under_encoding_and_scaling(probe, form, options, scale):
    original = facts(probe(encoded(picture(640, 480), "PNG"))).dhash
    other = picture(640, 480).resize((640 // scale, 480 // scale), Image.Resampling.LANCZOS)
    again = facts(probe(encoded(other, form, **options))).dhash
    assert original is not None
    assert again is not None
    assert (original ^ again).bit_count() <= 4


def test_a_broken_exif_block_does_not_cost_the_photograph(probe):
    for block in (
        b"Exif\0\0",
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + bytes(30),
    ):
        assert facts(probe(encoded(picture(), "JPEG", exif=block))).orientation is None


def test_a_closed_prober_says_so():
    one = prober()
    one.close()
    one.close()
    with pytest.raises(OperationError, match="closed"):
        one.probe(encoded(picture(), "GIF"))


def test_the_policy_takes_every_format_by_name():
    assert frozenset(FORMATS) == EVERYTHING


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        pytest.param(SyntaxError("unknown pixel mode"), "unsupported", id="tiff"),
        pytest.param(OSError("Unsupported BMP compression (7)"), "unsupported", id="bmp"),
        pytest.param(NotImplementedError("Unimplemented pixel format 827611204"), "unsupported", id="dds"),
        pytest.param(SyntaxError("not a TIFF IFD"), "corrupt", id="no_directory"),
        pytest.param(SyntaxError(273), "corrupt", id="a_tag_that_is_missing"),
    ],
)
def test_what_a_decoder_does_not_know_is_not_corrupt(error, expected):
    error.__cause__ = KeyError(273)
    assert decode.fault_of(error).reason == expected


def test_a_compression_that_pillow_does_not_know_is_unsupported():
    out = io.BytesIO()
    Image.new("L", (8, 8)).save(out, "TIFF")
    data, entry = out.getvalue(), struct.pack("<HHIH", 259, 3, 1, 1)
    assert entry in data
    policy = ProbePolicy(formats=frozenset(FORMATS))
    changed = data.replace(entry, struct.pack("<HHIH", 259, 3, 1, 34712))
    with pytest.raises(BadImageError, match="compression 34712") as told:
        decode.probe_decoded("TIFF", changed, policy, in_process=False)
    assert told.value.reason == "unsupported"
