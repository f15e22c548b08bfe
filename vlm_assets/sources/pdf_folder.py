"""`pdf_folder`: PDF documents in a folder tree; every page is a sample."""

import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar, Final

from vlm_assets.catalog.spec import SourceSpec
from vlm_assets.sources._pages import PAGE_KEYS, PagesSpec
from vlm_assets.sources.protocol import Requests, Traits
from vlm_assets.transfer.files import FileHashes
from vlm_assets.words.contexts import FetchContext, ListContext
from vlm_assets.words.errors import Reject, SourceError
from vlm_assets.words.layout import bucket_name, bucket_of, nfc
from vlm_assets.words.records import Item, Listed, ListedSlice, Record

_DOCUMENTS_PER_SLICE: Final = 200


class PdfFolderSpec(PagesSpec):
    """Keys of a folder of PDFs."""

    BYTES_KEYS: ClassVar[tuple[str, ...]] = PAGE_KEYS

    path: Path
    documents_per_slice: int = _DOCUMENTS_PER_SLICE


class PdfFolder:
    """A slice is a bucket of documents, an item a document, a record a page."""

    kind: ClassVar[str] = "pdf_folder"
    version: ClassVar[int] = 2
    spec_type: ClassVar[type[SourceSpec]] = PdfFolderSpec
    traits: ClassVar[Traits] = Traits(
        requests=Requests.NONE, renders_pages=True, memory_mib=16_384, badges=frozenset()
    )

    def list(self, spec: PdfFolderSpec, context: ListContext) -> Listed:
        """Every `.pdf` file (any case) but hidden ones, with (path, size, sha256) as its identity.

        Raises:
            SourceError: the folder is missing or cannot be read, or holds no PDF.
        """
        paths = _documents(spec)
        names = sorted(paths)
        with FileHashes(context.cache_dir / "sha256.db", workers=context.settings.worker_count) as hashes:
            digests = hashes.hash_many([paths[name] for name in names])
        items = [_item(spec, name, paths[name], digest) for name, digest in zip(names, digests, strict=True)]
        count = spec.buckets or context.previous_buckets.get("")
        count = count or max(1, math.ceil(len(items) / spec.documents_per_slice))
        parts: list[list[Item]] = [[] for _ in range(count)]
        for item in items:
            parts[bucket_of(item.key, count)].append(item)
        slices = [
            ListedSlice(bucket_name(number, count), part, container=True)
            for number, part in enumerate(parts)
            if part
        ]
        return Listed(revision="folder", slices=slices, buckets={"": count})

    def fetch(
        self, spec: PdfFolderSpec, items: Sequence[Item], context: FetchContext
    ) -> Iterator[Record | Reject]:
        """One record or reject a page; one reject for a document that cannot be opened."""
        from vlm_assets.pdf.records import Document, page_records

        documents = (Document(item.key, spec.path / _name(item), item.key) for item in items)
        sizes = {item.key: item.size_bytes or 0 for item in items}
        for event in page_records(documents, spec.page_options(context.settings), context):
            size_bytes = sizes.pop(event.item, None)
            if size_bytes is not None:
                context.progress(1, size_bytes)
            yield event


SOURCE = PdfFolder()


def _documents(spec: PdfFolderSpec) -> dict[str, Path]:
    """Files by NFC key: the path below the folder with `/`. Links to files are followed, to folders not."""
    if not spec.path.is_dir():
        raise SourceError(f"source {spec.name}: {spec.path} is not a folder; is the volume mounted?")
    found: dict[str, Path] = {}

    def _fail(error: OSError) -> None:
        raise SourceError(f"source {spec.name}: cannot read {error.filename}: {error.strerror}") from error

    for folder, folders, names in os.walk(spec.path, onerror=_fail):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(folder, name)
            special = path.exists() and not path.is_file()
            if name.startswith(".") or not name.lower().endswith(".pdf") or special:
                continue
            key = nfc(path.relative_to(spec.path).as_posix())
            if key in found:
                raise SourceError(
                    f"source {spec.name}: {found[key]} and {path} have the same name in Unicode NFC; rename one"
                )
            found[key] = path
    if not found:
        raise SourceError(f"source {spec.name}: no .pdf file in {spec.path}; check path")
    return found


def _item(spec: PdfFolderSpec, key: str, path: Path, digest: str) -> Item:
    size_bytes = path.stat().st_size if digest else None
    name = path.relative_to(spec.path).as_posix()
    payload = {} if name == key else {"name_hex": os.fsencode(name).hex()}  # on disk not in NFC, or not UTF-8
    return Item(key, f"{size_bytes}:{digest}", payload, size_bytes)


def _name(item: Item) -> str:
    hexed = item.payload.get("name_hex")
    return os.fsdecode(bytes.fromhex(hexed)) if hexed else item.key
