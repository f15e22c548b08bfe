"""`pdf_folder`: PDF documents in a folder tree and in its archives; every page is a sample."""

import math
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import ClassVar, Final

from vlm_assets.captions.keys import EncodingKey
from vlm_assets.catalog.spec import SourceSpec
from vlm_assets.sources._archives import PathGlobs, archive_slices
from vlm_assets.sources._folder_archives import (
    archive_item,
    find_archives,
    incomplete_left_out,
    name_hints,
)
from vlm_assets.sources._folder_walk import FolderWalk
from vlm_assets.sources._held_files import HeldFiles
from vlm_assets.sources._hints import unread_hints
from vlm_assets.sources._packed_documents import is_pdf_head, is_pdf_name, packed_pages
from vlm_assets.sources._pages import PAGE_KEYS, PagesSpec
from vlm_assets.sources.protocol import Obtained, Requests, Traits
from vlm_assets.transfer.files import FileHashes
from vlm_assets.words.contexts import FetchContext, ListContext
from vlm_assets.words.errors import LeftOutReason, Reject, RejectReason, SourceError
from vlm_assets.words.layout import bucket_name, bucket_of
from vlm_assets.words.records import Event, Item, KeysTell, Listed, ListedSlice

_DOCUMENTS_PER_SLICE: Final = 200
_HASHES: Final = "sha256.db"
_NOT_READ: Final = frozenset({RejectReason.CHANGED, RejectReason.NOT_FOUND})
"""Transient, of a document that was another or gone before it was opened."""


class PdfFolderSpec(PagesSpec):
    """Keys of a folder of PDFs."""

    BYTES_KEYS: ClassVar[tuple[str, ...]] = PAGE_KEYS

    path: Path
    """The folder; relative to the catalogue."""
    documents_per_slice: int = _DOCUMENTS_PER_SLICE
    """Documents of a bucket."""
    encoding: EncodingKey = None
    """Of names in archives, where nobody declares it: one, or a list that is tried in turn."""
    follow_links: bool = False
    """Takes in what links lead to outside the folder. Only for folders in which nobody else may write."""


class PdfFolder:
    """A slice is a bucket of documents or an archive, an item a document or an archive, a record a page."""

    kind: ClassVar[str] = "pdf_folder"
    version: ClassVar[int] = 4
    spec_type: ClassVar[type[SourceSpec]] = PdfFolderSpec
    traits: ClassVar[Traits] = Traits(
        requests=Requests.NONE,
        renders_pages=True,
        memory_mib=16_384,
        badges=frozenset(),
        obtained=Obtained.PRIVATE,
    )

    def list(self, spec: PdfFolderSpec, context: ListContext) -> Listed:
        """Every PDF, by its suffix or its first bytes, and every archive, with (path, size, sha256) as its identity.

        Raises:
            SourceError: the folder is missing or cannot be read, or holds no PDF.
        """
        walk = FolderWalk(spec.name, spec.path, follow_links=spec.follow_links)
        archives, incomplete = find_archives(walk.files, PathGlobs(), walk.head_of)
        walk.record(incomplete_left_out(incomplete))
        packed = {file for archive in archives for file in archive.files}
        names = _documents(walk, walk.files.keys() - packed - incomplete.keys())
        if not names and not archives:
            told = "; ".join(["check path", *unread_hints(walk.left_out)])
            raise SourceError(f"source {spec.name}: no PDF in {spec.path}; {told}")
        hashed = sorted({*names, *packed})
        walk.check_names(hashed)
        paths = {name: spec.path / walk.files[name] for name in hashed}
        with FileHashes(context.cache_dir / _HASHES, workers=context.settings.worker_count) as hashes:
            digest_of = dict(zip(hashed, hashes.hash_many([*paths.values()]), strict=True))
        items = [_item(spec, name, paths[name], digest_of[name]) for name in names]
        count = spec.buckets or context.previous_buckets.get("")
        count = count or max(1, math.ceil(len(items) / spec.documents_per_slice))
        parts: list[list[Item]] = [[] for _ in range(count)]
        for item in items:
            parts[bucket_of(item.key, count)].append(item)
        slices = [
            ListedSlice(bucket_name(number, count), part, container=True, keys_tell=KeysTell.WHOLE)
            for number, part in enumerate(parts)
            if part
        ]
        containers = [
            archive_item(one, walk.files, spec.path, digest_of, PathGlobs(), encoding=spec.encoding)
            for one in archives
        ]
        buckets = {"": count}
        slices += archive_slices(containers, {one.name for one in slices}, context.previous_buckets, buckets)
        return Listed(
            "folder", slices, buckets, {}, walk.left_out,
            [*name_hints(archives, walk.files, spec.path, spec.encoding), *unread_hints(walk.left_out)],
            upstream=walk.count,
            companions=len(packed) - len(archives),
        )  # fmt: skip

    def fetch(self, spec: PdfFolderSpec, items: Sequence[Item], context: FetchContext) -> Iterator[Event]:
        """One record or reject a page; one reject for a document that cannot be opened."""
        from vlm_assets.pdf.records import Document, page_records

        options = spec.page_options(context.settings)
        with FileHashes(context.cache_dir / _HASHES) as hashes:
            held = HeldFiles(spec.name, hashes)
            if items and "parts" in items[0].payload:
                for item in items:
                    yield from packed_pages(item, spec.path, spec.encoding, options, context, held)
                    context.progress(1, item.size_bytes or 0)
                return
            sizes = {item.key: item.size_bytes or 0 for item in items}
            files = {item.key: {spec.path / _name(item): item.identity.split(":")[1]} for item in items}
            documents = (
                held.replaced(item, files[item.key]) or Document(item.key, spec.path / _name(item), item.key)
                for item in items
            )
            not_read: set[str] = set()
            for event in page_records(documents, options, context):
                size_bytes = sizes.pop(event.item, None)
                if size_bytes is not None:
                    context.progress(1, size_bytes)
                if isinstance(event, Reject) and event.transient and event.reason in _NOT_READ:
                    not_read.add(event.item)
                yield event
            for item in items:
                if item.key not in not_read:
                    held.check(item, files[item.key])


SOURCE = PdfFolder()


def _documents(walk: FolderWalk, keys: Iterable[str]) -> list[str]:
    """Those that are PDFs by name or by their first bytes, or cannot be read, sorted; leaves out the others."""
    documents: list[str] = []
    others: list[str] = []
    for key in sorted(keys):
        known = is_pdf_name(key) or (head := walk.head_of(key)) is None or is_pdf_head(head)
        (documents if known else others).append(key)
    walk.leave_out(others, LeftOutReason.UNKNOWN_TYPE)
    return documents


def _item(spec: PdfFolderSpec, key: str, path: Path, digest: str) -> Item:
    size_bytes = path.stat().st_size if digest else None
    name = path.relative_to(spec.path).as_posix()
    payload = {} if name == key else {"name_hex": os.fsencode(name).hex()}  # on disk not in NFC, or not UTF-8
    return Item(key, f"{size_bytes}:{digest}", payload, size_bytes)


def _name(item: Item) -> str:
    hexed = item.payload.get("name_hex")
    return os.fsdecode(bytes.fromhex(hexed)) if hexed else item.key
