"""Documents as they are opened: with qpdf, with pdfium where that repairs more, or with a reason why not."""

import io
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pikepdf

from vlm_assets.pdf.damage import Damage
from vlm_assets.pdf.disputed import DisputeReader
from vlm_assets.pdf.held import HeldFile
from vlm_assets.pdf.page_fonts import FontReader
from vlm_assets.pdf.pictures import EndsReader
from vlm_assets.pdf.render import RenderError, open_pdfium
from vlm_assets.pdf.structure import ImageFinder
from vlm_assets.words.errors import RejectReason

_HEAD: Final = 1024
_MAX_COPIED_BYTES: Final = 256 * 2**20
_CRYPT: Final = re.compile(rb"/Encrypt(?![A-Za-z])")
_HIDDEN: Final = b"/Encrypz"
_CERTIFICATES: Final = ("unsupported encryption filter", "security scheme")


class DocumentError(Exception):
    """The whole document is a reject."""

    def __init__(self, reason: RejectReason, detail: str) -> None:
        self.reason = reason
        self.detail = " ".join(detail.split())[:300]
        super().__init__(detail)


@dataclass(slots=True)
class Document:
    """One open document; kept between requests, so that a long one is opened once a worker."""

    path: Path
    held: HeldFile
    """What all readers open."""
    structure: pikepdf.Pdf | None
    """None where only pdfium can open it: then every page is rendered."""
    pages: int
    opened: Any = None
    """By pdfium, once that is needed; see `pdfium`."""
    fonts: FontReader = field(default_factory=FontReader)
    images: ImageFinder = field(default_factory=ImageFinder)
    ends: EndsReader = field(default_factory=EndsReader)
    disputes: DisputeReader = field(default_factory=DisputeReader)
    damage: dict[tuple[int, int], Damage | None] = field(default_factory=dict)
    """Of pictures that were looked at, by their place in the file."""

    @property
    def pdfium(self) -> Any:
        """The document in pdfium.

        Raises:
            RenderError: pdfium cannot open it.
        """
        if self.opened is None:
            self.opened = open_pdfium(self.held)
        return self.opened

    def close(self) -> None:
        """Closes both."""
        self.forget_pdfium()
        if self.structure is not None:
            self.structure.close()

    def forget_pdfium(self) -> None:
        """The next use of `pdfium` opens it anew."""
        if self.opened is not None:
            self.opened.close()
            self.opened = None


def open_document(path: Path) -> Document:
    """Opens a document with pikepdf (qpdf), or with pdfium, which repairs more.

    Raises:
        DocumentError: NOT_FOUND, EMPTY, ENCRYPTED, TRUNCATED or UNREADABLE.
        OSError: it cannot be read, but is there.
    """
    try:
        held = HeldFile.of(path)
    except FileNotFoundError as error:
        raise DocumentError(RejectReason.NOT_FOUND, "the file is gone") from error
    with held.path.open("rb") as stream:
        _refuse_other_files(stream.read(_HEAD))
    try:
        opened = pikepdf.open(held.path)
        pages = len(opened.pages)
    except pikepdf.PasswordError as error:
        return _open_encrypted(path, held, error)
    except (pikepdf.PdfError, ValueError, TypeError, RuntimeError) as error:
        return _open_damaged(path, held, error)
    if pages == 0:
        opened.close()
        return _open_damaged(path, held, None)
    if _was_cut(held.path, opened):
        opened.close()
        raise DocumentError(RejectReason.TRUNCATED, "the end of the file is missing; some pages may be lost")
    return Document(path, held, opened, pages)


def _open_encrypted(path: Path, held: HeldFile, error: Exception) -> Document:
    """Opens what qpdf wants a password for, if only the attachments are behind it (ISO 32000-2, 7.6.5)."""
    try:
        opened = open_pdfium(held)
    except RenderError as second:
        why = "" if "password" in str(second).lower() else f"; {second}"
        raise DocumentError(RejectReason.ENCRYPTED, f"needs a password{why}") from error
    return Document(path, held, _without_encryption(held.path), len(opened), opened)


def _without_encryption(path: Path) -> pikepdf.Pdf | None:
    """The document as if its attachments were not encrypted; None where streams or strings are, too."""
    if path.stat().st_size > _MAX_COPIED_BYTES:
        return None
    try:
        opened = pikepdf.open(io.BytesIO(_CRYPT.sub(_HIDDEN, path.read_bytes())))
        rules = opened.trailer.get(_HIDDEN.decode())
        plain = isinstance(rules, pikepdf.Dictionary) and all(
            rules.get(key, pikepdf.Name.Identity) == pikepdf.Name.Identity for key in ("/StmF", "/StrF")
        )
    except (pikepdf.PdfError, ValueError, TypeError, RuntimeError):
        return None
    return opened if plain and len(opened.pages) else None


def _refuse_other_files(head: bytes) -> None:
    if not head:
        raise DocumentError(RejectReason.EMPTY, "no bytes")
    if b"%PDF-" in head:
        return
    text = head.lstrip(b"\xef\xbb\xbf\t\r\n ").lower()
    what = (
        "a web page"
        if text.startswith((b"<!doctype html", b"<html", b"<head", b"<?xml"))
        else "no PDF header"
    )
    raise DocumentError(RejectReason.UNREADABLE, f"not a PDF: {what}, begins with {head[:16]!r}")


def _open_damaged(path: Path, held: HeldFile, error: Exception | None) -> Document:
    """What qpdf refuses (`error`), or finds no page in (None), is tried with pdfium, which repairs more."""
    told = held.told(str(error or "no page"))
    if _has_no_end(held.path):
        raise DocumentError(RejectReason.TRUNCATED, f"the end of the file is missing: {told}")
    try:
        opened = open_pdfium(held)
    except RenderError as second:
        told = f"{told}; {second}"
        if any(sign in told.lower() for sign in _CERTIFICATES):
            raise DocumentError(
                RejectReason.ENCRYPTED, f"encrypted in a way that is not read: {told}"
            ) from second
        reason = RejectReason.UNREADABLE if error else RejectReason.EMPTY
        raise DocumentError(reason, told) from second
    if not len(opened):
        opened.close()
        raise DocumentError(RejectReason.EMPTY, "a document without pages")
    return Document(path, held, _copied(held.path, opened), len(opened), opened)


def _copied(path: Path, opened: Any) -> pikepdf.Pdf | None:
    """The pages as pdfium has them, for qpdf: so that their pictures are looked at, too. None where that fails."""
    import pypdfium2 as pdfium

    if path.stat().st_size > _MAX_COPIED_BYTES:
        return None
    copy, out = pdfium.PdfDocument.new(), io.BytesIO()
    try:
        copy.import_pages(opened)
        copy.save(out)
        found = pikepdf.open(out)
        return found if len(found.pages) == len(opened) else None
    except (pdfium.PdfiumError, pikepdf.PikepdfError, ValueError, TypeError):
        return None
    finally:
        copy.close()


def _has_no_end(path: Path) -> bool:
    """Neither an end mark nor a pointer to the cross-reference table in the last 2 KiB."""
    with path.open("rb") as stream:
        stream.seek(max(0, path.stat().st_size - 2048))
        tail = stream.read()
    return b"%%EOF" not in tail and b"startxref" not in tail


def _was_cut(path: Path, opened: pikepdf.Pdf) -> bool:
    """A repaired file that lost its end: what is left of it may open, with pages or their pictures missing."""
    return _has_no_end(path) and bool(opened.get_warnings())
