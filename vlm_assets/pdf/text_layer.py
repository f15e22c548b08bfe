"""The text layer of a page: what pdfium reads, the text that a search in a viewer finds. Runs in a worker process."""

import contextlib
import re
from typing import Final

from vlm_assets.pdf.document import Document
from vlm_assets.pdf.render import RenderError

_LINE_ENDS: Final = re.compile(r"[ \t]*(?:\r\n?|\n)")
_HYPHEN: Final = re.compile("[\ufffe\u0002]\\s*\n")
"""pdfium's mark of a hyphen at the end of a line, where the word goes on."""
_UNPRINTABLE: Final = re.compile(r"[^\t\n\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def page_text(document: Document, page: int) -> str | None:
    """The text of a page in the order in which its file has it; None where there is none, or it cannot be read.

    Lines end in a line feed and in no blanks; nothing else is changed but characters that no text has.
    """
    import pypdfium2 as pdfium

    try:
        with (
            contextlib.closing(document.pdfium[page]) as loaded,
            contextlib.closing(loaded.get_textpage()) as layer,
        ):
            told = layer.get_text_range(errors="ignore")
    except (RenderError, pdfium.PdfiumError, ValueError):
        return None
    return clean_text(told)


def clean_text(told: str) -> str | None:
    """Text as pdfium tells it, without its marks; None where nothing is left."""
    lines = _LINE_ENDS.sub("\n", told)
    return _UNPRINTABLE.sub("", _HYPHEN.sub("-\n", lines)).strip() or None
