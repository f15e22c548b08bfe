"""Pages of a TIFF taken out: the same pixels under the same compression, hostile directories refused."""

import io
import struct
from typing import Any

import pytest
from PIL import Image

from vlm_assets.images.tiff_pages import PageError, tiff_pages
from vlm_assets_tests.images.pictures import encoded, exif, picture


def document(mode: str = "RGB", **options: Any) -> bytes:
    pages = [picture(40 + number, 30, mode, seed=number) for number in range(3)]
    return encoded(pages[0], "TIFF", save_all=True, append_images=pages[1:], **options)


def pixels(data: bytes, frame: int = 0) -> tuple[Any, ...]:
    with Image.open(io.BytesIO(data)) as image:
        image.seek(frame)
        return image.mode, image.size, image.info.get("compression"), image.info.get("dpi"), image.tobytes()


FORMS = {
    "plain": document(), "lzw": document(compression="tiff_lzw"), "jpeg": document(compression="jpeg"),
    "g4": document("1", compression="group4"), "big": document(big_tiff=True), "palette": document("P"),
    "16-bit": document("I;16"), "cmyk": document("CMYK"), "dpi": document(dpi=(300, 300)),
    "exif": document(exif=exif(t274=(3, 6))[6:]),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMS)
def test_each_page_is_what_it_was(name):
    data = FORMS[name]
    pages = list(tiff_pages(data))
    assert [(one.number, one.is_page) for one in pages] == [(1, True), (2, True), (3, True)]
    taken = [one.taken_out() for one in pages]
    assert [pixels(one) for one in taken] == [pixels(data, frame) for frame in range(3)]
    assert [len(list(tiff_pages(one))) for one in taken] == [1, 1, 1]
    assert sum(map(len, taken)) < len(data) + 1500


def test_tiles_and_both_byte_orders():
    strip, tags = b"\1" * 256, ((256, 3, 16), (257, 3, 16), (258, 3, 8), (259, 3, 1), (262, 3, 1), (277, 3, 1),
                                (322, 3, 16), (323, 3, 16), (324, 4, 8), (325, 4, 256))  # fmt: skip
    for order, mark in (("<", b"II*\0"), (">", b"MM\0*")):
        entries = b"".join(
            struct.pack(f"{order}HHI{'H2x' if kind == 3 else 'I'}", tag, kind, 1, value)
            for tag, kind, value in tags
        )
        directory = struct.pack(order + "H", len(tags)) + entries + struct.pack(order + "I", 0)
        data = mark + struct.pack(order + "I", 8 + len(strip)) + strip + directory
        [page] = tiff_pages(data)
        assert pixels(page.taken_out()) == pixels(data)


def test_reduced_copies_are_no_pages():
    copy = picture(20, 15)
    copy.encoderinfo = {"tiffinfo": {254: 1}}
    data = encoded(picture(40, 30), "TIFF", save_all=True, append_images=[copy, picture(40, 30, seed=2)])
    assert [one.is_page for one in tiff_pages(data)] == [True, False, True]


def broken(data: bytes, tag: int, **changes: int) -> bytes:
    """The first directory's entry of a tag, with another `kind`, `number` or `value`."""
    (at,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, at)
    out = bytearray(data)
    for place in range(at + 2, at + 2 + 12 * count, 12):
        numbers = struct.unpack_from("<HHII", out, place)
        entry = dict(zip(("tag", "kind", "number", "value"), numbers, strict=True))
        if entry["tag"] == tag:
            struct.pack_into("<HHII", out, place, *{**entry, **changes}.values())
    return bytes(out)


HOSTILE = {
    "strip-beyond": (broken(document(), 273, value=2**31), "a strip beyond the end"),
    "sizes-too-large": (broken(document(), 279, value=2**31), "do not fit the file"),
    "tag-beyond": (broken(document(dpi=(300, 300)), 282, value=2**31), "tag 282 beyond the end"),
    "tags-too-large": (broken(document(), 258, number=2**30), "tags larger than the file"),
    "no-strips": (broken(document(), 273, kind=13), "no strips and no tiles"),
    "strips-of-bytes": (broken(document(), 273, kind=1, number=4), "tag 273 of field type 1"),
    "too-many-tags": (b"II*\0\x08\0\0\0" + struct.pack("<H", 2000) + bytes(24_004), "2000 tags"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_page_that_cannot_be_taken_out_says_why(name):
    data, told = HOSTILE[name]
    first, *others = tiff_pages(data)
    with pytest.raises(PageError, match=told):
        first.taken_out()
    assert all(one.taken_out() for one in others)


@pytest.mark.parametrize(
    "data", [b"", b"II*\0", b"II*\0\x08\0\0\0\xff\xff", b"II*\0\xff\xff\xff\xff" + bytes(9), b"\xff\xd8" * 9]
)
def test_what_has_no_directory_has_no_pages(data):
    assert list(tiff_pages(data)) == []


def test_a_chain_that_goes_round_ends():
    data = bytearray(document())
    (at,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, at)
    struct.pack_into("<I", data, at + 2 + 12 * count, at)
    assert len(list(tiff_pages(bytes(data)))) == 1
