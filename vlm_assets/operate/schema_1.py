"""Slices of schema 1, one image and no conversation a row, as slices of schema 2, a record batch at a time."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from vlm_assets.captions.turns import MESSAGES_NAMES
from vlm_assets.ingest.listing import byte_config, config_fingerprint, items_fingerprint
from vlm_assets.installation.opening import Installation
from vlm_assets.sources._tables import TableSpec
from vlm_assets.sources.registry import kinds, source_of
from vlm_assets.store.arrow_files import ArrowFile
from vlm_assets.store.away import readable
from vlm_assets.store.layout import LAYOUT_FILE, layout_on_disk, write_layout
from vlm_assets.store.schema_1 import facts_of, identity_without_words
from vlm_assets.store.slices import INDEX_FILE, ITEMS_FILE, ItemEntry, data_file_names, write_items_ledger
from vlm_assets.store.sound_files import IndexFile, stream_batches
from vlm_assets.store.taken_down import read_index
from vlm_assets.words.manifest import FileEntry
from vlm_assets.words.records import Item, ListedSlice
from vlm_assets.words.schema import (
    IMAGES_TYPE,
    INDEX_SCHEMA,
    MESSAGES_TYPE,
    NO_WORDS,
    SAMPLE_SCHEMA,
    Role,
    columns_of,
    row_bytes,
    row_digest,
)

Content = dict[str, Any]
"""A manifest as plain JSON."""
_NEW_KEYS: Final = frozenset({"messages_column", "split_images", "encoding", "separator"})
"""Keys that change bytes and did not exist then."""
_WITH_THE_SCHEMA: Final = frozenset({"image_urls", "hf_image_urls"})
"""Kinds whose version rose with the schema, and for nothing else."""
_PROVEN: Final[Mapping[str, int]] = {
    **dict.fromkeys(_WITH_THE_SCHEMA, 2), **dict.fromkeys(("client_folder", "github_release", "kaggle"), 2),
}  # fmt: skip
"""Versions of kinds that give what version 1 gave, as `is_what_a_fetch_gives` says. Of later ones nobody knows."""
_TEXTS: Final = (
    "id", "text", "extra", "label", "category", "subcategory", "source", "slice", "origin", "licence",
    "image_sha256", "format",
)  # fmt: skip
_FIXED_BYTES: Final = 92
"""What schema 1 counted for a row beside its texts and its image."""
_EMPTY: Final = {"name": None, "origin": None, "sha256": "", "format": "", "size_bytes": 0}
_ROW_BYTES: Final = row_bytes(
    {
        **dict.fromkeys((*columns_of(Role.IDENTITY), *columns_of(Role.CONTENT), *columns_of(Role.FACT))),
        "image_facts": [_EMPTY],
    }
)


def records_of(columns: Mapping[str, pa.Array], *, digests: bool = True) -> dict[str, pa.Array]:
    """Every column of data and index of schema 2 out of those of schema 1.

    The digest of a row that was taken down stays what it was: its words are gone; without `digests` all do. Row
    numbers and order stay.
    """
    rows = len(columns["id"])
    facts = facts_of(columns, rows)
    hashes = _bytes_of_hex(columns["image_sha256"])
    text = columns["text_sha256"] if "text_sha256" in columns else _text_hashes(columns["text"])
    made: dict[str, Any] = {
        **{name: columns[name] for name in ("text", "extra", "id", "label", "category", "subcategory")},
        **{name: columns[name] for name in ("source", "slice", "origin", "licence", "item_hash", "record")},
        "images": _images(columns["image"], rows),
        "messages": pa.nulls(rows, MESSAGES_TYPE),
        "image_facts": facts,
        "image_count": pa.array(np.ones(rows, np.int32)),
        "images_upstream": pa.array(np.ones(rows, np.int32)),
        "image_bytes": columns["size_bytes"],
        "min_side_px": pc.min_element_wise(columns["width_px"], columns["height_px"]),
        "dhash": columns["dhash"],
        "images_sha256": hashes,
        "text_sha256": text,
        "messages_sha256": pa.array([NO_WORDS] * rows, pa.binary(32)),
        "content_sha256": _content_hashes(hashes, text),
    }
    made["row_bytes"] = _row_bytes(columns, rows)
    made["digest"] = _digests(columns, made, rows) if digests else columns["digest"]
    return made


def _images(image: pa.StructArray, rows: int) -> pa.ListArray:
    """A list of one each; null where the image was taken down."""
    offsets = pa.array(np.arange(rows + 1, dtype=np.int32))
    gone = image.is_null() if image.null_count else None
    return pa.ListArray.from_arrays(offsets, image, mask=gone).cast(IMAGES_TYPE)


def _bytes_of_hex(column: pa.Array) -> pa.Array:
    return pa.array([bytes.fromhex(value) for value in column.to_pylist()], pa.binary(32))


def _text_hashes(column: pa.Array) -> pa.Array:
    return pa.array([sha256((text or "").encode()).digest() for text in column.to_pylist()], pa.binary(32))


def _content_hashes(images: pa.Array, texts: pa.Array) -> pa.Array:
    pairs = zip(images.to_pylist(), texts.to_pylist(), strict=True)
    return pa.array([sha256(image + text + NO_WORDS).digest() for image, text in pairs], pa.binary(32))


def _row_bytes(columns: Mapping[str, pa.Array], rows: int) -> pa.Array:
    """By what schema 1 counted, where it did: a row that was taken down keeps the room of its words."""
    if "row_bytes" in columns:
        return pc.add(columns["row_bytes"], _ROW_BYTES - _FIXED_BYTES)
    total = np.full(rows, _ROW_BYTES, np.int64) + columns["size_bytes"].to_numpy(zero_copy_only=False)
    for name in _TEXTS:
        if name not in ("category", "subcategory", "licence"):
            lengths = pc.fill_null(pc.binary_length(columns[name]), 0)
            total += lengths.to_numpy(zero_copy_only=False)
    return pa.array(total)


def _digests(columns: Mapping[str, pa.Array], made: Mapping[str, pa.Array], rows: int) -> pa.Array:
    names = [*columns_of(Role.IDENTITY), *columns_of(Role.FACT), "text", "messages", "extra"]
    values = {name: made[name].to_pylist() for name in names}
    before = columns["digest"].to_pylist() if "digest" in columns else [None] * rows
    gone = columns["image"].is_null().to_pylist()
    digests = [
        before[row] if gone[row] else row_digest({name: values[name][row] for name in names})
        for row in range(rows)
    ]
    return pa.array(digests, pa.binary(32))


def can_be_made(folder: Path, content: Content) -> bool:
    """Whether a slice can be rewritten: no page was drawn in it, and no row torn off its record.

    Under which renderer identity a page was drawn nobody knows any more, and the next one would stand beside it.
    """
    kind = content["kind"]
    drawn = kind in kinds() and source_of(kind).traits.renders_pages
    return not drawn and is_of_single_images(folder, content)


def is_of_single_images(folder: Path, content: Content) -> bool:
    """Whether no row was torn out of a list of images or off its conversation."""
    kind = content["kind"]
    if kind not in kinds() or not issubclass(source_of(kind).spec_type, TableSpec):
        return True
    for name in data_file_names(content["files"]):
        with (
            readable(folder / name) as here,
            pa.memory_map(str(here)) as mapped,
            pa.ipc.open_stream(mapped) as reader,
        ):
            for batch in reader:
                if pc.any(pc.match_substring_regex(batch.column("id"), r"#\d+$")).as_py():
                    return False
                if any(_has_conversation(extra) for extra in batch.column("extra").to_pylist() if extra):
                    return False
    return True


def _has_conversation(extra: str) -> bool:
    """Whether one of the other upstream columns is plainly a conversation."""
    if not any(f'"{name}"' in extra for name in MESSAGES_NAMES):
        return False
    values = orjson.loads(extra)
    inside = values.get("json") if isinstance(values.get("json"), dict) else {}
    return any(isinstance(one.get(name), (list, dict)) for one in (values, inside) for name in MESSAGES_NAMES)


def is_what_a_fetch_gives(folder: Path, content: Content) -> bool:
    """Whether it is proven that a fetch today gives the same rows of the same items; else one is due.

    Where a kind's version rose with the schema alone, it is. Where it rose for archives and for words beside images
    too, files for themselves that have none and were all taken are still what they were. Tables, of which cells came
    in that were dropped before, are not.
    """
    kind = content["kind"]
    if kind not in kinds() or source_of(kind).version != _PROVEN.get(kind):
        return False
    if kind in _WITH_THE_SCHEMA:
        return True
    rejected = content["items_rejected"] or content["records_rejected"]
    return not (content["container"] or rejected or _has_words(folder, content))


def _has_words(folder: Path, content: Content) -> bool:
    texts = read_index(folder / INDEX_FILE, ("text_sha256",)).column("text_sha256")
    if not pc.all(pc.equal(texts, pa.scalar(NO_WORDS, pa.binary(32))), min_count=0).as_py():
        return True
    return any(
        batch.column("extra").null_count < batch.num_rows
        for name in data_file_names(content["files"])
        for batch in stream_batches(folder / name, columns=("extra",))
    )


def migrate_slice(
    installation: Installation, folder: Path, into: Path, content: Content
) -> tuple[Content, dict[str, FileEntry]]:
    """Writes data, index and items ledger anew, whose identities hold no words.

    The slice stays committed for its listing where that is unchanged and it `is_what_a_fetch_gives`.
    """
    written: dict[str, FileEntry] = {}
    hashes = sha256()
    rows_with_text = 0
    own = IndexFile(folder / INDEX_FILE).read_all()
    first = 0
    with ArrowFile(into / INDEX_FILE, INDEX_SCHEMA, form="file") as index:
        for name in data_file_names(content["files"]):
            with (
                ArrowFile(into / name, SAMPLE_SCHEMA) as data,
                readable(folder / name) as here,
                pa.memory_map(str(here)) as mapped,
                pa.ipc.open_stream(mapped) as reader,
            ):
                for batch in reader:
                    made = records_of(_old_columns(batch, own.slice(first, batch.num_rows)))
                    first += batch.num_rows
                    for file, schema in ((data, SAMPLE_SCHEMA), (index, INDEX_SCHEMA)):
                        columns = [made[column] for column in schema.names]
                        file.write(pa.RecordBatch.from_arrays(columns, schema=schema))
                    digests = made["digest"].to_pylist()
                    hashes.update(b"".join(digests))
                    rows_with_text += sum(one != NO_WORDS for one in made["text_sha256"].to_pylist())
                written[name] = data.finish()
        written[INDEX_FILE] = index.finish()
    layout = layout_on_disk([into / name for name in data_file_names(content["files"])])
    written[LAYOUT_FILE] = write_layout(into / LAYOUT_FILE, layout)
    ledger = _ledger(folder)
    written[ITEMS_FILE] = write_items_ledger(
        into / ITEMS_FILE,
        [replace(entry, identity=identity_without_words(entry.identity)) for entry in ledger],
    )
    data_names = data_file_names(content["files"])
    content |= {
        "content_hash": hashes.hexdigest(),
        "images": content["rows"],
        "multi_image_rows": 0,
        "rows_with_text": rows_with_text,
        "rows_with_messages": 0,
        "rows_with_neither": content["rows"] - rows_with_text,
        "remarks": {},
        "data_bytes": sum(written[name].size_bytes for name in data_names),
        **(_fingerprints(installation, content, ledger) if is_what_a_fetch_gives(folder, content) else {}),
    }
    return content, written


def _old_columns(batch: pa.RecordBatch, own: pa.Table) -> dict[str, pa.Array]:
    names = ("row_bytes", "text_sha256", "item_hash", "record", "digest")
    columns = {name: own.column(name).combine_chunks() for name in names}
    return {**{name: batch.column(name) for name in batch.schema.names}, **columns}


def _ledger(folder: Path) -> list[ItemEntry]:
    return [ItemEntry(**row) for row in pq.read_table(folder / ITEMS_FILE).to_pylist()]


def _fingerprints(installation: Installation, content: Content, ledger: Sequence[ItemEntry]) -> Content:
    """Those that a listing has now, where the catalogue is still what the slice was fetched under; else as before."""
    spec = next((one for one in installation.catalog.fetched if one.name == content["source"]), None)
    if spec is None or spec.kind != content["kind"]:
        return {}
    formats = ",".join(content["formats"])
    items = [Item(entry.key, entry.identity) for entry in ledger]
    listed = ListedSlice(content["slice"], items, content["container"], content["items_per_slice"])
    kept = {
        name: value for name, value in byte_config(installation, spec, 1).items() if name not in _NEW_KEYS
    }
    before = sha256(orjson.dumps(kept, option=orjson.OPT_SORT_KEYS)).hexdigest()
    unchanged = (before, items_fingerprint(before + formats, listed, items))
    if unchanged != (content["config_fingerprint"], content["listing_fingerprint"]):
        return {}
    version = source_of(spec.kind).version
    config = config_fingerprint(installation, spec, version)
    return {
        "kind_version": version,
        "config_fingerprint": config,
        "listing_fingerprint": items_fingerprint(config + formats, listed, items),
    }
