"""Tables and text files in one line each."""

import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from vlm_assets.captions.names import is_name_column
from vlm_assets.captions.tables import Table, TableReading
from vlm_assets.captions.text_files import Opener


def opener(content: bytes | str) -> Opener:
    data = content if isinstance(content, bytes) else content.encode()
    return lambda: io.BytesIO(data)


def table(content: bytes | str, name: str = "metadata.csv", **reading: Any) -> Table:
    return Table(name, name, opener(content), TableReading(**reading), is_name_column)


def rows(content: bytes | str, name: str = "metadata.csv", **reading: Any) -> list[dict[str, Any]]:
    return [row.values for row in table(content, name, **reading).load().rows()]


def parquet(columns: dict[str, Any], path: Path | None = None) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer)
    if path is not None:
        path.write_bytes(buffer.getvalue())
    return buffer.getvalue()
