"""PDFs in archives of a folder: spooled one after another, a record a page, each archive an item."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vlm_assets.archives.limits import ArchiveLimits, MissingPartsError
from vlm_assets.archives.names import Encodings
from vlm_assets.archives.split import last_parts_missing
from vlm_assets.images.sniff import sniff
from vlm_assets.sources._folder_archives import archive_files, listed_files
from vlm_assets.sources._held_files import HeldFiles
from vlm_assets.words.caption_counts import GUESSED_NAME
from vlm_assets.words.contexts import FetchContext
from vlm_assets.words.errors import LeftOut, Reject, RejectReason
from vlm_assets.words.records import Event, Item

if TYPE_CHECKING:
    from vlm_assets.pdf.facts import PageOptions
    from vlm_assets.pdf.records import Document

_MAX_DOCUMENT_BYTES: Final = 2**30
"""A larger member is a reject."""


def is_pdf_name(name: str) -> bool:
    """Whether a file name is a PDF's."""
    return name.lower().endswith(".pdf")


def is_pdf_head(head: bytes) -> bool:
    """Whether a file's first bytes are a PDF's."""
    found = sniff(head)
    return found is not None and found.name == "PDF"


def packed_pages(
    item: Item,
    root: Path,
    encoding: Encodings,
    options: "PageOptions",
    context: FetchContext,
    held: HeldFiles,
) -> Iterator[Event]:
    """Every page of every PDF in an archive; a reject where it was replaced since it was listed.

    Pages are numbered on through the archive.

    Raises:
        SourceError: the archive cannot be read to its end, or is replaced meanwhile.
        OperationError: no page worker can be started.
    """
    files = listed_files(item, root)
    if (reject := held.replaced(item, files)) is not None:
        yield reject
        return
    yield from _pages(item, _Members(item, root, encoding, context), options, context)
    held.check(item, files)


def _pages(item: Item, members: "_Members", options: "PageOptions", context: FetchContext) -> Iterator[Event]:
    from vlm_assets.pdf.records import page_records

    number = 0
    try:
        for event in page_records(members.documents(), options, context):
            yield from members.left_out()
            member = event.item.removeprefix(f"{item.key}/")
            members.is_at(member)
            told = replace(event, item=item.key, record=number)
            if isinstance(told, Reject):
                told = replace(told, detail=f"{member}: {told.detail}"[:300])
            elif member in members.guessed:
                told = replace(told, remarks={**told.remarks, GUESSED_NAME: 1})
            yield told
            number += 1
    except MissingPartsError as error:
        parts = [(one["key"], one["size"]) for one in item.payload["parts"]]
        yield from last_parts_missing(item.key, parts, error)
        return
    finally:
        members.close()
    yield from members.left_out()
    if not number:
        yield Reject(item.key, RejectReason.EMPTY, "an archive without PDFs")


class _Members:
    """The PDFs of one archive: files below the spool until the pages of the next are there."""

    def __init__(self, item: Item, root: Path, encoding: Encodings, context: FetchContext) -> None:
        self._item = item
        self._root = root
        self._encoding = encoding
        self.guessed: set[str] = set()
        """Names whose encoding nobody declares."""
        self._context = context
        self._left_out: list[LeftOut] = []
        self._spooled: dict[str, Path] = {}

    def documents(self) -> "Iterator[Document | Reject]":
        """One after another, some ahead of those whose pages are given."""
        from vlm_assets.archives.read import Reading, read_members
        from vlm_assets.pdf.records import Document

        folder = self._context.spool_dir / "members"
        folder.mkdir(parents=True, exist_ok=True)
        key = self._item.key
        reading = Reading(
            ArchiveLimits(_MAX_DOCUMENT_BYTES),
            wanted=is_pdf_name,
            holds_record=is_pdf_head,
            encoding=self._encoding,
            spool_dir=self._context.spool_dir,
        )
        for member in read_members(archive_files(self._item, self._root), reading, where=key):
            if isinstance(member, LeftOut):
                self._left_out.append(replace(member, key=f"{key}/{member.key}".rstrip("/")))
            elif member.data is None:
                reason = member.reason or RejectReason.UNREADABLE
                yield Reject(f"{key}/{member.name}", reason, member.detail)
            else:
                if member.guessed:
                    self.guessed.add(member.name)
                path = self._spooled[member.name] = folder / f"{member.number}.pdf"
                path.write_bytes(member.data)
                yield Document(f"{key}/{member.name}", path, f"{key}!{member.name}")

    def left_out(self) -> Iterator[LeftOut]:
        """What has been left out since it was asked for."""
        told, self._left_out = self._left_out, []
        yield from told

    def close(self) -> None:
        """Removes what is spooled."""
        for path in self._spooled.values():
            path.unlink(missing_ok=True)

    def is_at(self, name: str) -> None:
        """The pages of this member come: the files before it go."""
        while self._spooled and next(iter(self._spooled)) != name and name in self._spooled:
            self._spooled.pop(next(iter(self._spooled))).unlink(missing_ok=True)
