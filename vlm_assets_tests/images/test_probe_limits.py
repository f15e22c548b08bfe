"""Images that are too much: bombs, endless texts, many frames, heavy ones, decoders that give up."""

import errno
import re
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from PIL import Image, ImageFile

from vlm_assets.images import decode
from vlm_assets.images.probe import ImageFacts, ImageProber
from vlm_assets.words.errors import MachineError, RejectReason
from vlm_assets_tests.images.answers import detail_of, facts, fault
from vlm_assets_tests.images.pictures import (
    animation,
    encoded,
    huge_jpeg,
    picture,
    png,
    png_chunk,
    prober,
)
from vlm_assets_tests.images.test_probe import jxl_boxes, jxl_of_size


def test_a_jpeg_xl_bomb_is_refused_before_it_is_opened(probe):
    bare = jxl_of_size(60_000, 40_000)
    for data in (bare, jxl_boxes(b"jxlc", bare), jxl_boxes(b"jxlp", bytes(4) + bare)):
        answer = probe(data)
        assert fault(answer) is RejectReason.BOMB
        assert "60000 x 40000" in detail_of(answer)
    assert fault(probe(b"\xff\x0a\0")) is RejectReason.TRUNCATED


def test_bombs_are_refused_by_their_header(probe):
    vp8x = b"VP8X" + struct.pack("<I", 10) + bytes(4) + b"\x5f\xea\0" * 2
    bombs = [
        huge_jpeg(60_000, 60_000),
        b"RIFF" + struct.pack("<I", 4 + len(vp8x)) + b"WEBP" + vp8x,
        b"GIF89a" + struct.pack("<HH", 60_000, 60_000) + encoded(picture(), "GIF")[10:],
        b"P6 60000 60000 255\n" + bytes(100),
    ]
    for data in bombs:
        answer = probe(data)
        assert fault(answer) is RejectReason.BOMB
        assert "60000 x 60000" in detail_of(answer)


def test_a_png_bomb(probe):
    whole = b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0))
    data = whole + png_chunk(b"IDAT", zlib.compress(bytes(1000))) + png_chunk(b"IEND", b"")
    assert fault(probe(data)) is RejectReason.BOMB


@pytest.mark.parametrize("kind", ["zTXt", "iTXt"])
def test_a_png_whose_text_unpacks_to_megabytes(probe, kind):
    packed = zlib.compress(bytes(2 * 2**20))
    body = b"k\0\0" + packed if kind == "zTXt" else b"k\0\1\0\0\0" + packed
    answer = probe(png(png_chunk(kind.encode(), body)))
    assert fault(answer) is RejectReason.CORRUPT
    assert detail_of(answer).startswith("its text or colour profile unpacks to more than Pillow reads")


def test_max_pixels_is_inclusive():
    with prober(max_pixels=96 * 72) as exact, prober(max_pixels=96 * 72 - 1) as less:
        for form in ("JPEG", "PNG", "WEBP", "GIF"):
            data = encoded(picture(), form)
            assert facts(exact.probe(data)).width_px == 96
            assert fault(less.probe(data)) is RejectReason.BOMB


def test_images_that_pillow_would_warn_about_are_answered_in_silence(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with prober(max_pixels=10**6) as one, warnings.catch_warnings():
        warnings.simplefilter("error")
        assert facts(one.probe(encoded(picture(), "JPEG"))).width_px == 96
        assert facts(one.probe(encoded(picture(), "PNG"))).width_px == 96
        assert facts(one.probe(encoded(picture(), "TIFF"))).width_px == 96


def test_an_animation_that_pillow_warns_about_is_a_still():
    broken = png(png_chunk(b"acTL", struct.pack(">II", 0, 0)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with prober() as one:
            assert facts(one.probe(broken)).frames == 1


def test_too_many_bytes():
    data = encoded(picture(), "JPEG")
    with prober(max_bytes=len(data)) as exact, prober(max_bytes=len(data) - 1) as less:
        assert facts(exact.probe(data)).width_px == 96
        assert fault(less.probe(data)) is RejectReason.TOO_MANY_BYTES


@pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP", "TIFF", "AVIF"])
def test_several_frames_count_as_the_first_or_are_rejected(probe, form):
    data = animation(form, 3)
    answer = facts(probe(data))
    still = facts(probe(encoded(picture(seed=0), form)))
    assert answer.frames == 3
    assert answer.dhash is not None
    assert still.dhash is not None
    assert (answer.dhash ^ still.dhash).bit_count() <= 3
    with prober(multi_frame="reject") as strict:
        assert fault(strict.probe(data)) is RejectReason.MULTI_FRAME
        assert facts(strict.probe(encoded(picture(), form))).frames == 1


def test_heavy_images_leave_the_process(monkeypatch):
    flat = encoded(Image.new("1", (8000, 5000)), "PNG")
    scanned = encoded(picture(), "JPEG", progressive=True)
    plain = encoded(picture(), "JPEG")
    with prober() as one:
        to_child: list[str] = []
        ask = one._pool.probe

        def noted(form: str, data: bytes) -> ImageFacts:
            to_child.append(form)
            return ask(form, data)

        monkeypatch.setattr(one._pool, "probe", noted)
        here = one.probe(scanned)
        assert to_child == []
        assert facts(one.probe(flat)).width_px == 8000
        assert to_child == ["PNG"]
        monkeypatch.setattr(decode, "_IN_PROCESS_SCANNED_PIXELS", 96 * 72)
        assert one.probe(scanned) == here
        assert to_child == ["PNG", "JPEG"]
        facts(one.probe(plain))
        assert to_child == ["PNG", "JPEG"]


@contextmanager
def raising(monkeypatch: pytest.MonkeyPatch, error: Exception) -> Iterator[ImageProber]:
    """A prober whose decoders in this process raise it."""

    def load(_self: object) -> None:
        raise error

    with prober() as one, monkeypatch.context() as broken:
        broken.setattr(ImageFile.ImageFile, "load", load)
        yield one


@pytest.mark.parametrize(
    "error", [MemoryError(), OSError("out of memory when reading image file")], ids=["python", "codec"]
)
def test_what_has_no_memory_here_is_decoded_in_a_child(monkeypatch, error):
    with raising(monkeypatch, error) as one:
        assert facts(one.probe(encoded(picture(), "JPEG"))).width_px == 96


@pytest.mark.parametrize(
    "error",
    [
        *(OSError(getattr(errno, name), name) for name in ("EIO", "ENOMEM", "EMFILE", "ENFILE", "ENOSPC")),
        ImportError("libheif.so: cannot open shared object file: Too many open files"),
        RuntimeError("can't start new thread"),
    ],
    ids=lambda error: f"{type(error).__name__}-{str(error)[-6:]}",
)
@pytest.mark.parametrize("form", ["PNG", "JPEG"])
def test_a_fault_of_the_machine_is_no_reject(monkeypatch, error, form):
    with raising(monkeypatch, error) as one, pytest.raises(MachineError, match=re.escape(str(error)[-20:])):
        one.probe(encoded(picture(), form))


@pytest.mark.parametrize("error", [MemoryError("x"), OSError(errno.EMFILE, "x")], ids=["memory", "files"])
def test_a_machine_that_cannot_ask_a_child_is_no_reject(monkeypatch, error):
    def ask(*_: object) -> None:
        raise error

    with prober() as one, monkeypatch.context() as broken:
        broken.setattr(one._pool, "probe", ask)
        with pytest.raises(MachineError, match="run it again"):
            one.probe(encoded(picture(), "GIF"))


def test_a_decoder_that_raises_anything_costs_one_reject(monkeypatch):
    for error in (
        OSError("broken data stream"),
        RecursionError("deep"),
        KeyError("k"),
        ZeroDivisionError(),
        AssertionError(),
    ):
        with prober() as one, monkeypatch.context() as broken:

            def load(_self, error=error):
                raise error

            broken.setattr(ImageFile.ImageFile, "load", load)
            answer = one.probe(encoded(picture(), "JPEG"))
            assert fault(answer) is RejectReason.CORRUPT
            assert type(error).__name__ in detail_of(answer)
