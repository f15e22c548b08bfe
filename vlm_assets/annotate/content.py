"""One slice as annotators see it: its records by number, what stands for their content, and who gets no values."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vlm_assets.annotate.files import KEY_BYTES, KEY_TYPE
from vlm_assets.annotators.protocol import Reads
from vlm_assets.store.slices import INDEX_FILE, data_file_names
from vlm_assets.store.sound_files import stream_batches
from vlm_assets.store.taken_down import covered_rows, read_index
from vlm_assets.store.tombstones import read_tombstones
from vlm_assets.store.versions import read_manifest
from vlm_assets.words.counts import so_many
from vlm_assets.words.errors import StoreError
from vlm_assets.words.layout import DataRoot
from vlm_assets.words.manifest import SliceManifest
from vlm_assets.words.schema import SAMPLE_SCHEMA

Bool = NDArray[np.bool_]
_HASHES: Final[Mapping[Reads, tuple[str, ...]]] = {
    Reads.IMAGES: ("images_sha256",), Reads.TEXT: ("text_sha256", "messages_sha256"),
}  # fmt: skip
"""Columns of the index that tell one record's content from another's."""
_HASH_BYTES: Final = 32
"""Of a sha256. Rows are told by it: of a slice without any, nothing else says how wide they are."""


@dataclass(frozen=True, slots=True)
class SliceContent:
    """A version of a slice."""

    version: Path
    manifest: SliceManifest
    ids: pa.Array
    gone: Bool
    """Records that are taken down: whatever their files still have, they get no values."""

    @classmethod
    def of(cls, root: DataRoot, version: Path) -> Self:
        """The version in this folder, under the takedowns of now.

        Raises:
            StoreError: it is damaged.
        """
        manifest = read_manifest(version, SliceManifest)
        ids = _one(read_index(version / INDEX_FILE, ("id",)).column(0))
        gone = np.zeros(len(ids), bool)
        takedowns = read_tombstones(root)
        if takedowns.ids or takedowns.image_sha256:
            gone[covered_rows(version / INDEX_FILE, takedowns.ids, takedowns.image_sha256)] = True
        return cls(version, manifest, ids, gone)

    def seen(self, reads: Reads, wanted: Bool) -> Iterator[tuple[int, list[Any] | None]]:
        """What an annotator is shown of each wanted record, by its number; None where the record has nothing of it.

        One batch of the slice is in memory at a time, and of that only the wanted records.

        Raises:
            StoreError: the slice is damaged.
        """
        images = reads is Reads.IMAGES
        columns = ["images", "image_facts"] if images else ["text", "messages"]
        number = 0
        for name in data_file_names(self.manifest.files):
            for batch in stream_batches(self.version / name, SAMPLE_SCHEMA):
                part = batch.select(columns)
                for place in np.flatnonzero(wanted[number : number + batch.num_rows]).tolist():
                    [row] = part.slice(place, 1).to_pylist()
                    yield number + place, _images(row) if images else _words(row)
                number += batch.num_rows
        if number != len(self.ids):
            raise StoreError(
                f"{self.version} is damaged: {so_many(number, 'row')}, {len(self.ids)} in {INDEX_FILE}; run "
                f"`vlm-assets verify`"
            )


def keys_of(version: Path, reads: Reads) -> pa.Array:
    """Of each record of a version the content key, in order: the beginning of a sha256 of what annotators read of it.

    Raises:
        StoreError: its index is missing or damaged.
    """
    path = version / INDEX_FILE
    table = read_index(path, _HASHES[reads])
    if any(column.null_count for column in table.columns):
        raise StoreError(f"{path} is damaged: a hash is null; run `vlm-assets verify`")
    parts = [b"".join(column.to_pylist()) for column in table.columns]
    whole = np.concatenate([np.frombuffer(part, np.uint8).reshape(-1, _HASH_BYTES) for part in parts], axis=1)
    if reads is Reads.TEXT:
        digests = b"".join(sha256(one).digest() for one in whole)
        whole = np.frombuffer(digests, np.uint8).reshape(-1, _HASH_BYTES)
    begins = pa.py_buffer(np.ascontiguousarray(whole[:, :KEY_BYTES]))
    return pa.FixedSizeBinaryArray.from_buffers(KEY_TYPE, table.num_rows, [None, begins])


def _one(column: pa.ChunkedArray) -> pa.Array:
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)


def _images(row: Mapping[str, Any]) -> list[Any] | None:
    images: Sequence[Mapping[str, Any]] | None = row["images"]
    if images is None:
        return None
    facts = row["image_facts"] or ()
    return [(fact["format"], image["bytes"]) for image, fact in zip(images, facts, strict=True)]


def _words(row: Mapping[str, Any]) -> list[Any] | None:
    words = words_of(row)
    return None if words is None else [words]


def words_of(row: Mapping[str, Any]) -> str | None:
    """All words of a record, text before messages, a line each; None where it has none."""
    text = row.get("text")
    parts = [] if text is None else [text]
    for message in row.get("messages") or ():
        parts += [part["text"] for part in message["content"] if part["text"] is not None]
    return "\n".join(parts) if parts else None
