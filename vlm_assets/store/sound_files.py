"""Reading committed tables so that damage is an error with the file's name, never foreign memory or a dead process.

Arrow takes offsets as they stand in a file; each batch is validated in full before anybody follows them.
"""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from vlm_assets.store.away import readable
from vlm_assets.words.errors import StoreError


@contextmanager
def damage_named(path: Path) -> Iterator[None]:
    """Has what Arrow raises over a damaged file, and what the disk raises, end as a `StoreError` that names it.

    Raises:
        FileNotFoundError: it is not there.
        StoreError: it cannot be read, or is damaged.
    """
    try:
        yield
    except (FileNotFoundError, StoreError):
        raise
    except (
        pa.ArrowException,
        OSError,
        ValueError,
        SystemError,
        OverflowError,
        LookupError,
        TypeError,
    ) as error:
        told = " ".join(str(error).split())[:200]
        raise StoreError(f"{path} is damaged: {told}. `vlm-assets verify` tells what to do") from error


class IndexFile:
    """An Arrow IPC file over a memory map: columns are read when touched, batches validated before."""

    def __init__(self, path: Path, schema: pa.Schema | None = None) -> None:
        """Opens it; it has all columns of `schema`.

        Raises:
            FileNotFoundError: it is not there.
            StoreError: it is damaged.
        """
        self._path = path
        with damage_named(path):
            self._reader: pa.RecordBatchFileReader = pa.ipc.open_file(pa.memory_map(str(path), "r"))
            _check_columns(self._reader.schema, schema)

    @property
    def schema(self) -> pa.Schema:
        """As the file declares it."""
        return self._reader.schema

    @property
    def num_record_batches(self) -> int:
        """How many there are."""
        return int(self._reader.num_record_batches)

    def get_batch(self, number: int) -> pa.RecordBatch:
        """One batch.

        Raises:
            StoreError: it is damaged.
        """
        with damage_named(self._path):
            batch = self._reader.get_batch(number)
            batch.validate(full=True)
        return batch

    def read_all(self) -> pa.Table:
        """All of them; see `get_batch`."""
        batches = [self.get_batch(number) for number in range(self.num_record_batches)]
        return pa.Table.from_batches(batches, self.schema)


def stream_batches(
    path: Path, schema: pa.Schema | None = None, columns: Collection[str] | None = None
) -> Iterator[pa.RecordBatch]:
    """The batches of a data file over a memory map, each validated; they have all columns of `schema`.

    `columns`: these of it alone are looked at. A file that lies at the remote alone is lent for as long as it takes.

    Raises:
        FileNotFoundError: it is not there.
        StoreError: it is damaged, or away and nobody lends it.
        RemoteError: it is away, and the remote does not give it.
    """
    with readable(path) as here, damage_named(path):
        source = pa.memory_map(str(here))
    with source:
        with damage_named(path):
            reader = pa.ipc.open_stream(source)
            _check_columns(reader.schema, schema)
            if columns is not None:
                fields = sorted(reader.schema.get_field_index(name) for name in columns)
                source.seek(0)
                reader = pa.ipc.open_stream(source, options=pa.ipc.IpcReadOptions(included_fields=fields))
        while (batch := _next(reader, path)) is not None:
            yield batch


def _check_columns(found: pa.Schema, wanted: pa.Schema | None) -> None:
    for field in wanted or ():
        if found.get_field_index(field.name) < 0 or found.field(field.name).type != field.type:
            raise ValueError(f"column {field.name} is missing or of another type")


def _next(reader: pa.RecordBatchStreamReader, path: Path) -> pa.RecordBatch | None:
    with damage_named(path):
        try:
            batch = reader.read_next_batch()
        except StopIteration:
            return None
        batch.validate(full=True)
        return batch


def ledger_rows(path: Path) -> list[dict[str, Any]]:
    """Rows of a Parquet ledger.

    Raises:
        FileNotFoundError: it is not there.
        StoreError: it is damaged.
    """
    with damage_named(path):
        rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    return rows
