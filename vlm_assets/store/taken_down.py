"""Which rows of a folder on disk are taken down, and whether their content is still there. Reads only.

Of schema 1 too: what is not migrated yet, and what lies beside what is.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from vlm_assets.store.away import files_like
from vlm_assets.store.papers import shown_rows
from vlm_assets.store.schema_1 import as_of_today, columns_needed, content_columns, is_of_schema_1
from vlm_assets.store.slices import INDEX_FILE
from vlm_assets.store.sound_files import stream_batches
from vlm_assets.store.tombstones import StoredTombstones
from vlm_assets.words.errors import StoreError, TakenDownError
from vlm_assets.words.schema import FACTS_TYPE, INDEX_SCHEMA

I64 = np.ndarray[Any, np.dtype[np.int64]]
Bool = np.ndarray[Any, np.dtype[np.bool_]]

_COLUMNS: Final = ("id", "origin", "image_facts")


def read_index(path: Path, columns: Sequence[str] = _COLUMNS) -> pa.Table:
    """Columns of an index file, one chunk each; nothing else of it is read. One of schema 1 gives `image_facts` too.

    Raises:
        StoreError: missing or damaged.
    """
    try:
        with pa.memory_map(str(path)) as file:
            schema = pa.ipc.open_file(file).schema
            old = is_of_schema_1(schema)
            needed = columns_needed(columns) if old else list(columns)
            wanted = pa.ipc.IpcReadOptions(included_fields=[schema.names.index(name) for name in needed])
            table = pa.ipc.open_file(file, options=wanted).read_all().select(needed)
            table.validate(full=True)
            table = as_of_today(table, columns) if old else table
            _check_types(table)
            return table.combine_chunks()
    except (OSError, pa.ArrowException, KeyError, ValueError) as error:
        raise StoreError(f"{path}: {error}; run `vlm-assets verify`") from error


def _check_types(table: pa.Table) -> None:
    for field in table.schema:
        if field.type != INDEX_SCHEMA.field(field.name).type:
            raise ValueError(f"column {field.name} is of another type")


def images_of(table: pa.Table) -> pa.Table:
    """The images of an index table with `id`, `origin`, `image_facts`, one row each.

    Columns: `row`, `id`, `origin` of the record, `count` of its images, and of the image `number` in its record,
    `image_origin` (null where it is the record's), `sha256`, `dhash`.
    """
    import pyarrow.compute as pc  # noqa: PLC0415 - 50 ms in every fetch, and few meet a takedown

    facts = pa.concat_arrays(table.column("image_facts").chunks or [pa.array([], FACTS_TYPE)])
    rows = pc.list_parent_indices(facts)
    images = facts.flatten()
    owners = rows.to_numpy(zero_copy_only=False)
    first = (
        np.concatenate(([0], np.flatnonzero(np.diff(owners)) + 1)) if len(owners) else np.zeros(0, np.int64)
    )
    counts = pc.list_value_length(facts).take(rows)
    starts = np.repeat(first, np.diff(np.append(first, len(owners))))
    return pa.table(
        {
            "row": rows,
            "id": table.column("id").take(rows),
            "origin": table.column("origin").take(rows),
            "count": counts,
            "number": pa.array(np.arange(len(owners)) - starts),
            "image_origin": images.field("origin"),
            "sha256": images.field("sha256"),
            "dhash": images.field("dhash"),
        }
    ).combine_chunks()


def covered_rows(path: Path, ids: frozenset[str], hashes: frozenset[str]) -> I64:
    """Row numbers in an index file that ids or image hashes cover; one covered image covers its record."""
    import pyarrow.compute as pc  # noqa: PLC0415 - as above

    table = read_index(path)
    named = pc.is_in(table.column("id"), value_set=pa.array(sorted(ids), pa.string())).to_numpy()
    images = images_of(table)
    shown = pc.is_in(images.column("sha256"), value_set=pa.array(sorted(hashes), pa.string()))
    with_image = images.column("row").filter(shown).to_numpy()
    return np.union1d(np.flatnonzero(named), with_image).astype(np.int64)


def taken_down_in(folder: Path, takedowns: StoredTombstones) -> list[str]:
    """Ids of rows in a version of a slice or corpus that are taken down and whose content is still there.

    A folder without an index, as that of a plan, has none. In a corpus such a row is left out and not emptied, so
    whichever is found is one too many; and so is one that its papers show.

    Raises:
        StoreError: a file is damaged.
    """
    if not takedowns.names:
        return []
    found = shown_rows(folder, takedowns.ids, takedowns.image_sha256, takedowns.urls)
    if not takedowns.ids and not takedowns.image_sha256:
        return found
    for path in sorted(folder.glob("index*.arrow")):
        rows = covered_rows(path, takedowns.ids, takedowns.image_sha256)
        if len(rows) and path.name == INDEX_FILE:
            rows = rows[content_of(files_like(folder, "data-*.arrow"), rows)]
        if len(rows):
            found += read_index(path, ("id",)).column("id").take(pa.array(rows)).to_pylist()
    return found


def content_of(data_files: Sequence[Path], rows: I64) -> Bool:
    """Of each of these rows of a slice, given in order, whether any content column is not null.

    Raises:
        StoreError: a file is damaged.
    """
    filled = np.zeros(len(rows), bool)
    first = 0
    for path in data_files:
        for batch in stream_batches(path):
            begin, end = np.searchsorted(rows, (first, first + batch.num_rows))
            if begin < end:
                filled[begin:end] = _valid(batch, rows[begin:end] - first)
            first += batch.num_rows
    return filled


def _valid(batch: pa.RecordBatch, places: I64) -> Bool:
    valid = np.zeros(len(places), bool)
    for name in content_columns(batch.schema):
        valid |= batch.column(name).is_valid().to_numpy(zero_copy_only=False)[places]
    return valid


def refuse_taken_down(label: object, folder: Path, takedowns: StoredTombstones) -> None:
    """Returns where a version holds nothing that was taken down.

    Raises:
        TakenDownError: it does; names the rows. Nothing may push, show or restore it.
        StoreError: a file is damaged.
    """
    found = taken_down_in(folder, takedowns)
    if found:
        more = f" and {len(found) - 1} more" if len(found) > 1 else ""
        raise TakenDownError(
            f"{label}: version {folder.name} still holds what was taken down ({found[0]}{more}); where it lies on "
            "this machine, vlm-assets takedown --finish empties it"
        )
