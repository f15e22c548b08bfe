"""Parquet and Arrow among a release's assets: looked at by footer or head when listed, read row by row once here."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, BinaryIO, Final, cast

from vlm_assets.sources._data_files import DataFile, RowKeys, data_format, declared, kept_as_rows, look
from vlm_assets.sources._data_labels import FEW_ROWS, labels_in, labels_of
from vlm_assets.words.errors import SourceError
from vlm_assets.words.layout import temporary_beside
from vlm_assets.words.records import Item

if TYPE_CHECKING:
    import pyarrow as pa

    from vlm_assets.transfer.client import Client

_MOST_BYTES: Final = 64 * 2**20
"""Of a footer, or of the first batch of an Arrow file."""
_PARQUET: Final = "parquet"
_ARROW: Final = "arrow"
Address = Callable[[Item], tuple[str, Mapping[str, str]]]
"""Where an asset is had, and what to say there."""


def row_items(
    items: list[Item], keys: RowKeys, client: "Client", address: Address, kept: Path, max_image_bytes: int
) -> Iterator[tuple[Item, DataFile | str]]:
    """Each asset as an item of rows, with how they are read; or why it is none.

    One that cannot be looked into is none: nobody knows that it holds any. `kept`: what was asked for, by the
    asset's identity.

    Raises:
        SourceError: the server cannot be asked for now.
    """
    from vlm_assets.transfer.http import TransferError

    for item in items:
        opened = partial(_ranged, client, item, address, kept)
        try:
            found = (
                _by_footer(item, keys, opened)
                if data_format(item.key) == _PARQUET
                else _by_head(item, keys, opened, kept, max_image_bytes)
            )
        except TransferError as error:
            if error.transient:
                raise error.told(item.key) from None
            part = "footer" if data_format(item.key) == _PARQUET else "head"
            found = f"its {part} cannot be had: {error}"
        if isinstance(found, str):
            yield item, found[:300]
        else:
            yield kept_as_rows(item, found), found


def _by_footer(item: Item, keys: RowKeys, opened: Callable[[], BinaryIO]) -> DataFile | str:
    from vlm_assets.hub.looks import TableLook
    from vlm_assets.hub.tables import ColumnsError

    why = ""
    for one in declared(_PARQUET, keys):
        try:
            table = TableLook(item.key, _PARQUET, item.key, opened, one.wanted())
            if table.columns() is None:
                return "it has no rows"
            return replace(one, missing=why, tells=labels_in(table, keys.label_rule, most=FEW_ROWS))
        except ColumnsError as error:
            why = str(error)
        except SourceError as error:
            return str(error)
    return why


def _by_head(
    item: Item, keys: RowKeys, opened: Callable[[], BinaryIO], folder: Path, max_image_bytes: int
) -> DataFile | str:
    from vlm_assets.hub.arrow_heads import write_head

    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder, prefix="head-") as place:
        path = Path(place) / "head"
        try:
            schema = write_head(opened(), path, item.key)
        except SourceError as error:
            return str(error)
        if schema is None:
            return look(path, item.key, _ARROW, keys, max_image_bytes, partial=True)
        return _by_columns(item, keys, schema)


def _by_columns(item: Item, keys: RowKeys, schema: "pa.Schema") -> DataFile | str:
    """Of a file whose first batch is too large to be looked at."""
    from vlm_assets.hub.tables import ColumnsError, plan_columns

    why = ""
    for one in declared(_ARROW, keys):
        try:
            plan_columns(schema, item.key, one.wanted())
        except ColumnsError as error:
            why = str(error)
        except SourceError as error:
            return str(error)
        else:
            return replace(one, missing=why, tells=labels_of(schema, keys.label_rule))
    return why


def _ranged(client: "Client", item: Item, address: Address, kept: Path) -> BinaryIO:
    """An asset, read in ranges; each is asked for once."""
    from vlm_assets.hub.arrow_heads import TooLargeError
    from vlm_assets.hub.looks import RangedFile

    def read(start: int, end: int) -> bytes:
        if end - start > _MOST_BYTES:
            raise TooLargeError(f"{item.key}: a part of {end - start} bytes is too large to be looked at")
        path = kept / sha256(f"{item.identity}:{start}-{end}".encode()).hexdigest()
        if path.exists():
            return path.read_bytes()
        url, headers = address(item)
        ranged = {**headers, "Range": f"bytes={start}-{end - 1}"}
        answer = client.request(url, headers=ranged, max_bytes=min(end - start, _MOST_BYTES))
        if len(answer.body) != end - start:
            raise SourceError(f"{item.key}: asked for {end - start} bytes, got {len(answer.body)}")
        kept.mkdir(parents=True, exist_ok=True)
        beside = temporary_beside(path)
        beside.write_bytes(answer.body)
        beside.replace(path)
        return answer.body

    return cast("BinaryIO", RangedFile(item.size_bytes or 0, read))
