import pytest

from vlm_assets.images.probe import FORMATS
from vlm_assets.images.sniff import Sniffed, sniff
from vlm_assets_tests.images.pictures import encoded, picture

SVG = b'<?xml version="1.0"?>\n<!-- a drawing -->\n<svg xmlns="http://www.w3.org/2000/svg"><title>t</title></svg>'
HTML = b"\n\n<!DOCTYPE html><html><head><title>404</title></head><body><svg></svg></body></html>"
TGA = bytes([0, 0, 2]) + bytes(9) + bytes([200, 0, 32, 0, 24, 0]) + bytes(100)


@pytest.mark.parametrize("form", FORMATS)
def test_every_allowed_format_as_pillow_writes_it(form):
    found = sniff(encoded(picture(), form))
    assert found is not None
    assert (found.name, found.is_image) == (form, True)


@pytest.mark.parametrize(
    ("data", "name", "is_image"),
    [
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "EPS", True),
        (b"\xc5\xd0\xd3\xc6" + bytes(30), "EPS", True),
        (b"8BPS\0\1", "PSD", True),
        (b"DDS |" + bytes(20), "DDS", True),
        (b"\x01\xda\x01\x01", "SGI", True),
        (bytes([0, 0, 1, 0, 1, 0, 16, 16, 0, 0]), "ICO", True),
        (bytes([0, 0, 2, 0, 1, 0, 16, 16, 0, 0]), "CUR", True),
        (bytes(4) + b"\x12\xaf" + bytes(122), "FLI", True),
        (TGA, "TGA", True),
        (b"anything" + b"TRUEVISION-XFILE.\0", "TGA", True),
        (SVG, "SVG", True),
        (HTML, "an HTML page", False),
        (b"%PDF-1.7\n", "PDF", True),
        (b"junk before it\n%PDF-1.4\n", "PDF", True),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIF", True),
        (b"\0\0\0\x18ftypmif1\0\0\0\0avifmif1", "AVIF", True),
        (b"\0\0\0\x18ftypisom\0\0\0\0mp42isom", "ISO media (video or audio)", False),
        (b"\xff\x0a" + bytes(20), "JXL", True),
        (b"PK\x03\x04" + bytes(40), "a ZIP archive", False),
        (b"RIFF\x10\0\0\0WAVEfmt ", "RIFF media", False),
        (b'{"error": "not found"}', "JSON or text", False),
        ("Görüntü bulunamadı\n".encode(), "text", False),
        (b"BMW is a car and not a bitmap", "text", False),
        (b"P6 3 2 255\n" + bytes(18), "PPM", True),
    ],
)
def test_known_bytes(data, name, is_image):
    found = sniff(data)
    assert found is not None
    assert (found.name, found.is_image) == (name, is_image)


DIB = b"\x28\0\0\0\x04\0\0\0\x04\0\0\0\1\0\x18\0" + bytes(24)


@pytest.mark.parametrize("at", [0, 4, 12, 14, 16], ids=["size", "width", "planes", "depth", "compression"])
def test_a_bitmap_without_a_file_header_has_all_signs_of_one(at):
    assert sniff(DIB + bytes(48)) == Sniffed("BMP", is_image=True)
    assert sniff(DIB[:at] + (b"\0" if at == 4 else b"\x77") + DIB[at + 1 :] + bytes(48)) is None


@pytest.mark.parametrize("data", [b"", b"\0", bytes(1000), b"\xff\xd8", b"\x89PNG", b"\x80\x81\x82" * 50])
def test_unknown_bytes(data):
    assert sniff(data) is None


def test_every_prefix_of_every_format_is_answered():
    for form in FORMATS:
        data = encoded(picture(16, 16), form)
        for end in range(64):
            sniff(data[:end])
