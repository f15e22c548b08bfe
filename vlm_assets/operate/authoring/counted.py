"""What is in files of this machine, for `add`: rows of tables, pages of documents. Bounded in files and time."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pikepdf
import pyarrow as pa
import pyarrow.parquet as pq

_MOST_TABLES: Final = 1_000
_MOST_DOCUMENTS: Final = 200
_MOST_DOCUMENT_BYTES: Final = 64 * 2**20
_ENOUGH_S: Final = 5.0
"""After so long no further document is opened."""


@dataclass(frozen=True, slots=True)
class Tables:
    """`rows` of all tables together, and the columns of the first."""

    rows: int
    columns: tuple[str, ...]


@dataclass(slots=True)
class Documents:
    """What the documents that were looked at are."""

    looked_at: int = 0
    pages: int = 0
    encrypted: int = 0
    """They ask for a password."""
    damaged: int = 0
    """They cannot be opened without repairs."""


def count_rows(files: Sequence[tuple[Path, str]]) -> Tables | None:
    """Rows of tables, each with its format; None where they are too many, of other formats, or cannot be read."""
    if not 0 < len(files) <= _MOST_TABLES or any(form not in ("arrow", "parquet") for _, form in files):
        return None
    try:
        found = [_of_parquet(path) if form == "parquet" else _of_arrow(path) for path, form in files]
    except (OSError, pa.ArrowException):
        return None
    return Tables(sum(rows for rows, _ in found), tuple(found[0][1].names))


def _of_parquet(path: Path) -> tuple[int, pa.Schema]:
    with pq.ParquetFile(path) as file:
        return file.metadata.num_rows, file.schema_arrow


def _of_arrow(path: Path) -> tuple[int, pa.Schema]:
    """Of a stream, as `datasets` writes it, or of a file with a footer; its values are not read."""
    with pa.memory_map(str(path)) as source:
        try:
            reader = pa.ipc.open_stream(source)
        except pa.ArrowInvalid:
            source.seek(0)
            file = pa.ipc.open_file(source)
            batches = (file.get_batch(number) for number in range(file.num_record_batches))
            return sum(batch.num_rows for batch in batches), file.schema
        return sum(batch.num_rows for batch in reader), reader.schema


def count_pages(paths: Iterable[Path]) -> Documents:
    """Pages of the first documents: at most 200, of 64 MiB each, and for five seconds."""
    found, until = Documents(), time.monotonic() + _ENOUGH_S
    for path in paths:
        if found.looked_at >= _MOST_DOCUMENTS or time.monotonic() > until:
            break
        try:
            if path.stat().st_size > _MOST_DOCUMENT_BYTES:
                continue
            with pikepdf.open(path) as document:
                found.pages += len(document.pages)
        except pikepdf.PasswordError:
            found.encrypted += 1
        except (pikepdf.PdfError, ValueError, TypeError, RuntimeError, OSError):
            found.damaged += 1
        found.looked_at += 1
    return found
