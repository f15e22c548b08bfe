import pytest

from vlm_assets.transfer.sniff import not_an_image

HEIC = b"\x00\x00\x00\x18ftypheic"
MP4 = b"\x00\x00\x00\x18ftypisom"


@pytest.mark.parametrize(
    ("head", "content_type"),
    [
        (b"\xff\xd8\xff\xe0", "text/html"), (b"\x89PNG\r\n\x1a\n", ""), (b"GIF89a", "text/plain"),
        (b"P3\n2 2\n255\n", "text/plain"), (b"P6 2 2 255 ", "text/plain"), (HEIC, "image/heic"),
        (b"\x00\x01\x02", "application/octet-stream"), (b"<svg xmlns=''/>", "image/svg+xml"),
        (b"<?xml version='1.0'?><svg/>", "image/svg+xml"), (b"BM\x00\x00", "text/plain"),
    ],
)  # fmt: skip
def test_doubtful_bytes_pass(head, content_type):
    assert not_an_image(head, content_type) is None


@pytest.mark.parametrize(
    ("head", "content_type", "what"),
    [
        (b"<!DOCTYPE html><html>", "image/jpeg", "markup"), (b"\xef\xbb\xbf\n <HTML>", "", "markup"),
        (b"<?xml version='1.0'?><Error>", "", "markup"), (b'{"error": 1}', "application/json", "application/json"),
        (b"Not found", "text/plain; charset=utf-8", "text/plain"), (b"%PDF-1.4", "image/png", "PDF"),
        (b"PK\x03\x04", "", "zip"), (MP4, "video/mp4", "video"),
    ],
)  # fmt: skip
def test_plain_cases_are_refused(head, content_type, what):
    assert what in (not_an_image(head, content_type) or "")
