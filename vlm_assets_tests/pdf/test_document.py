"""Documents as they are opened: encrypted as a whole, in their attachments alone, and what a message says of them."""

import io
import re
from pathlib import Path
from typing import Any

import pikepdf
import pytest

from vlm_assets.pdf.decide import Refused, Taken, decide
from vlm_assets.pdf.document import DocumentError, open_document
from vlm_assets.pdf.facts import PageOptions
from vlm_assets.words.errors import RejectReason
from vlm_assets_tests.pdf.builders import Array, Name, add_page, image_object, jpeg, picture

SCAN = jpeg(picture())


def encrypted(path: Path, *, streams: Name, object_streams: bool = False, **keys: Name) -> Path:
    """A plain document with the rules of another that has a password; `streams` says what they are for."""
    with_password, plain = io.BytesIO(), pikepdf.new()
    plain.add_blank_page()
    plain.save(with_password, encryption=pikepdf.Encryption(owner="secret", user="secret", R=4))
    opened = pikepdf.open(with_password, password="secret")
    rules = pikepdf.Object.parse(opened.trailer.Encrypt.unparse(resolved=True))
    rules.StmF = rules.StrF = streams
    rules.EFF = Name.StdCF
    for key, value in keys.items():
        rules[f"/{key}"] = value
    made, image = pikepdf.new(), picture()
    add_page(made, images={"Im0": image_object(made, jpeg(image), image)})
    made.trailer["/Encrypz"] = made.make_indirect(rules)
    made.trailer.ID = Array([pikepdf.String(bytes(part)) for part in opened.trailer.ID])
    mode = pikepdf.ObjectStreamMode.generate if object_streams else pikepdf.ObjectStreamMode.disable
    out = io.BytesIO()
    made.save(out, object_stream_mode=mode)
    path.write_bytes(out.getvalue().replace(b"/Encrypz", b"/Encrypt"))
    return path


@pytest.mark.parametrize("object_streams", [False, True])
def test_attachments_behind_a_password_keep_no_page_away(object_streams: bool, tmp_path: Path) -> None:  # noqa: FBT001
    path = encrypted(tmp_path / "a.pdf", streams=Name.Identity, object_streams=object_streams)
    document = open_document(path)
    assert isinstance(decide(document, 0, PageOptions()), Taken)
    assert document.path == path
    document.close()


@pytest.mark.parametrize(
    ("keys", "told"),
    [({}, "needs a password"), ({"Filter": Name("/Adobe.PubSec")}, "encrypted in a way that is not read")],
    ids=["a password", "certificates"],
)
def test_what_is_encrypted_as_a_whole_says_so(keys: dict[str, Any], told: str, tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match=told) as raised:
        open_document(encrypted(tmp_path / "a.pdf", streams=Name.StdCF, **keys))
    assert raised.value.reason is RejectReason.ENCRYPTED


@pytest.mark.parametrize(("data", "outcome"), [(SCAN, Taken), (SCAN[:9000], Refused)], ids=["whole", "cut"])
def test_pictures_are_looked_at_where_only_pdfium_opens_the_document(
    data: bytes, outcome: type, tmp_path: Path
) -> None:
    made, image = pikepdf.new(), picture()
    add_page(made, images={"Im0": image_object(made, data, image)})
    out = io.BytesIO()
    made.save(out, object_stream_mode=pikepdf.ObjectStreamMode.disable)
    tree = re.search(rb"(\d+) 0 obj\n<<[^>]*/Kids", out.getvalue())
    assert tree is not None
    ring = out.getvalue().replace(
        b"/Kids [ ", b"/Kids [" + tree[1] + b" 0 R "
    )  # the tree is a branch of itself
    (tmp_path / "a.pdf").write_bytes(ring)
    with pytest.raises(pikepdf.PdfError, match="Loop"):
        _ = pikepdf.open(tmp_path / "a.pdf").pages[0]
    document = open_document(tmp_path / "a.pdf")
    assert document.pages == 1
    assert isinstance(decide(document, 0, PageOptions()), outcome)


def test_a_file_that_is_gone_and_one_that_cannot_be_read_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match="the file is gone") as raised:
        open_document(tmp_path / "a.pdf")
    assert raised.value.reason is RejectReason.NOT_FOUND
    with pytest.raises(OSError, match="Is a directory"):
        open_document(tmp_path)


@pytest.mark.parametrize(
    ("data", "reason", "told"),
    [
        (b"", RejectReason.EMPTY, "no bytes"),
        (b"<!DOCTYPE html><p>not found", RejectReason.UNREADABLE, "a web page"),
        (b"%PDF-1.4\nnothing\n%%EOF", RejectReason.UNREADABLE, "pdfium: "),
        (b"%PDF-1.4\n1 0 obj\n<<", RejectReason.TRUNCATED, "the end of the file is missing"),
    ],
    ids=["empty", "a web page", "no objects", "cut"],
)
def test_the_message_names_the_cause(data: bytes, reason: RejectReason, told: str, tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(data)
    with pytest.raises(DocumentError, match=told) as raised:
        open_document(tmp_path / "a.pdf")
    assert raised.value.reason is reason
