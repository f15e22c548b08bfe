"""Rows of data files for people to see, and the bytes of words of every row; other images stay unread.

Offsets are followed only where they lead into their own buffers: texts of millions of rows need not be validated for
a count of their bytes.
"""

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vlm_assets.papers.bins import Histogram
from vlm_assets.store.away import readable
from vlm_assets.store.sound_files import damage_named
from vlm_assets.words.schema import Row

SEEN: Final = (
    "id", "category", "subcategory", "source", "slice", "origin", "label", "licence", "text", "messages", "images",
    "image_facts",
)  # fmt: skip
"""Columns of a row that papers look at."""


def seen_rows(
    paths: Sequence[Path], wanted: Collection[int], words: Histogram | None = None
) -> Iterator[tuple[int, Row]]:
    """These rows of data files, counted through all of them, in order; `words` takes in the words of every row.

    Without `words` it ends with the last row that is wanted.

    Raises:
        FileNotFoundError: a file is not there.
        StoreError: one is damaged.
    """
    left = sorted(set(wanted), reverse=True)
    first = 0
    for path in paths:
        for batch in _batches(path):
            if words is not None:
                with damage_named(path):
                    words.add(word_bytes(batch))
            while left and left[-1] < first + batch.num_rows:
                row = left.pop()
                with damage_named(path):
                    yield row, _row(batch, row - first)
            first += batch.num_rows
            if not left and words is None:
                return


def _batches(path: Path) -> Iterator[pa.RecordBatch]:
    with readable(path) as here, damage_named(path):
        source = pa.memory_map(str(here))
    with source:
        with damage_named(path):
            reader = pa.ipc.open_stream(source)
        while True:
            with damage_named(path):
                try:
                    batch = reader.read_next_batch()
                except StopIteration:
                    return
            yield batch


def _row(batch: pa.RecordBatch, number: int) -> Row:
    one = batch.select(list(SEEN)).slice(number, 1)
    one.validate(full=True)
    row: Row = one.to_pylist()[0]
    return row


def word_bytes(batch: pa.RecordBatch) -> NDArray[np.int64]:
    """Bytes of UTF-8 in `text` and in the texts of `messages`, a row each.

    Raises:
        ValueError: offsets lead out of their buffers.
    """
    text = _text_ends(batch.column("text"))
    messages = batch.column("messages")
    turns = messages.values
    parts = turns.field("content").values
    inner = _text_ends(parts.field("text"))
    by_turn = _list_ends(turns.field("content"), len(parts))
    by_row = _list_ends(messages, len(turns))
    said = inner[by_turn[by_row]]
    return np.diff(text) + np.diff(said)


def _text_ends(array: pa.StringArray) -> NDArray[np.int64]:
    _, offsets, data = array.buffers()
    return _ends(array, offsets, data.size if data is not None else 0)


def _list_ends(array: pa.ListArray, values: int) -> NDArray[np.int64]:
    return _ends(array, array.buffers()[1], values)


def _ends(array: pa.Array, offsets: Any, most: int) -> NDArray[np.int64]:
    if offsets is None or not len(array):
        return np.zeros(len(array) + 1, np.int64)
    found = np.frombuffer(offsets, np.int32, len(array) + 1, 4 * array.offset).astype(np.int64)
    if found[0] < 0 or found[-1] > most or (np.diff(found) < 0).any():
        raise ValueError("offsets lead out of their buffers")
    return found
