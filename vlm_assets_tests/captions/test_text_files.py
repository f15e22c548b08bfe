import bz2
import codecs
import gzip
import lzma

import lz4.frame
import pyarrow as pa
import pytest

from vlm_assets.captions import text_files
from vlm_assets.captions.text_files import check_beginning, read_text, text_file
from vlm_assets.words.errors import SourceError
from vlm_assets_tests.captions.kit import opener

TEXT = "şehirde ışıklar\r\nikinci satır: çay\n"


@pytest.mark.parametrize(
    ("data", "encoding"),
    [
        (TEXT.encode(), None),
        (codecs.BOM_UTF8 + TEXT.encode(), None),
        (TEXT.encode("utf-16"), None),
        (codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"), None),
        (TEXT.encode("utf-32"), None),
        (TEXT.encode("cp1254"), "cp1254"),
        (TEXT.encode("cp857"), "cp857"),
        (TEXT.encode("utf-16-le"), "utf-16-le"),
        (codecs.BOM_UTF8 + TEXT.encode(), "cp1254"),
        (TEXT.encode("cp1254"), ("utf-8", "cp1254")),
        (TEXT.encode(), ("utf-8", "cp1254")),
        (TEXT.encode(), "utf8"),
        (TEXT.encode("shift_jis", "ignore") + "漢字".encode("shift_jis"), "shift_jis"),
    ],
    ids=["utf8", "bom", "utf16", "utf16be", "utf32", "cp1254", "cp857", "utf16-declared", "bom-wins", "second",
         "first", "utf8-declared", "two-bytes"],
)  # fmt: skip
def test_text_is_read_in_its_encoding(data, encoding):
    expected = (
        TEXT if encoding != "shift_jis" else TEXT.encode("shift_jis", "ignore").decode("shift_jis") + "漢字"
    )
    assert read_text("a.txt", opener(data), encoding) == expected


@pytest.mark.parametrize(
    ("data", "encoding", "told"),
    [
        (b"bir\niki\n\xe7ay\n", None, r"a\.txt: line 3 is not UTF-8.*key encoding \(cp1254"),
        (b"bir\r\niki\r\n\xe7ay", None, "line 3 is not UTF-8"),
        (b"bir\riki\r\xe7ay", None, "line 3 is not UTF-8"),
        (b"\xe7ay", ("utf-8", "ascii"), "line 1 is not UTF-8; line 1 is not ascii.*key encoding says"),
        (b"bir\n\x81", "cp1254", "line 2 is not cp1254.*key encoding says .'cp1254'"),
        ("bir\niki".encode("utf-16-le"), None, "line 1 holds NUL characters.*key encoding"),
        ("bir\niki".encode("utf-16")[:-1], None, "line 2 is not utf-16.*byte order mark.*damaged"),
        (codecs.BOM_UTF8 + b"bir\n\xe7ay", "cp1254", "line 2 is not UTF-8.*damaged"),
        ("bir\nşey".encode(), "cp1254", r"is UTF-8, while the key encoding says cp1254.*\[utf-8, cp1254\]"),
    ],
    ids=["cp1254", "crlf", "cr", "list", "undefined-byte", "utf16-no-bom", "utf16-cut", "bom-damaged", "not-that"],
)  # fmt: skip
def test_what_is_not_certain_names_file_line_and_key(data, encoding, told):
    with pytest.raises(SourceError, match=told):
        text_file("a.txt", opener(data), encoding)


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "packed"])
def test_what_begins_as_no_text_can_is_told_by_its_first_block(pack):
    told = r"a\.txt: line 3 holds NUL characters.*key encoding"
    with pytest.raises(SourceError, match=told):
        check_beginning("a.txt", opener(pack(b"bir\niki\r\n\0" + bytes(2**20))))
    for text, encoding in (
        ("bir", None),
        ("", None),
        (codecs.BOM_UTF16_LE.decode("utf-16-le") + "bir", "utf-16-le"),
    ):
        check_beginning("a.txt", opener(pack(text.encode(encoding or "utf-8"))))
    check_beginning("a.txt", opener(pack("bir".encode("utf-16-le"))), "utf-16-le")


def test_a_list_of_one_is_taken_at_its_word():
    assert read_text("a.txt", opener("ş".encode()), ("cp1254",)) == "ÅŸ"


@pytest.mark.parametrize("block", [1, 2, 3, 7, 2**20])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_are_counted_alike_however_the_file_is_cut(monkeypatch, block, end):
    monkeypatch.setattr(text_files, "_BLOCK_BYTES", block)
    for encoding in ("utf-8", "utf-16"):
        whole = "".join(f"satır {n}{end}" for n in range(5)).encode(encoding)
        wrong = whole + (b"\xff" if encoding == "utf-8" else b"\x00\xd8\x41\x00")
        with pytest.raises(SourceError, match="line 6 "):
            text_file("a.txt", opener(wrong))
        assert len(list(text_file("a.txt", opener(whole)).lines())) == 5


def zstd(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return bytes(sink.getvalue())


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress, zstd, lz4.frame.compress])
def test_packed_text_is_read_and_a_cut_one_is_an_error(pack):
    text = "".join(f"satır {n} ışık {n * n}\n" for n in range(5000))
    packed = pack(text.encode())
    assert read_text("a.txt.gz", opener(packed)) == text
    with pytest.raises(SourceError, match=r"a\.txt\.gz: cannot be read to its end"):
        read_text("a.txt.gz", opener(packed[: len(packed) // 2]))


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(SourceError, match="gone: cannot be read"):
        text_file("gone", lambda: (tmp_path / "gone").open("rb"))


def test_a_line_without_end_is_refused_before_it_is_read(monkeypatch):
    monkeypatch.setattr(text_files, "_BLOCK_BYTES", 100)
    monkeypatch.setattr(text_files, "_LINE_CHARS", 1000)
    for body, line in ((b"a\n" + b"x" * 1300 + b"\nb\n", 2), (b"x" * 1300, 1)):
        found = text_file("w.csv", opener(body))
        with pytest.raises(SourceError, match=rf"w\.csv: line {line} is longer than 1000 characters"):
            list(found.lines())
        assert found.stream().read() == body.decode()
    fine = b"y" * 900 + b"\r" + b"z" * 900 + b"\n"
    assert len(list(text_file("w.csv", opener(fine * 9)).lines())) == 18
