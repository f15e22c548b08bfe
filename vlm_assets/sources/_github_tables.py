"""Parquet among a release's assets: looked at by its footer when it is listed, read row by row once it is here."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, cast

from vlm_assets.archives.limits import ArchiveLimits
from vlm_assets.captions.keys import CaptionKeys
from vlm_assets.sources._data_files import ROWS, DataFile, data_format, declared
from vlm_assets.words.contexts import FetchContext
from vlm_assets.words.errors import SourceError
from vlm_assets.words.layout import temporary_beside
from vlm_assets.words.records import Event, Item

if TYPE_CHECKING:
    from vlm_assets.transfer.client import Client

_MOST_BYTES: Final = 64 * 2**20
"""Of a footer."""
PARQUET: Final = "parquet"
Address = Callable[[Item], tuple[str, Mapping[str, str]]]
"""Where an asset is had, and what to say there."""


def may_hold_rows(name: str) -> bool:
    """Whether an asset is Parquet by its name; Arrow files cannot be looked at without all of them."""
    return data_format(name) == PARQUET


def row_items(
    items: list[Item], keys: CaptionKeys, client: "Client", address: Address, kept: Path
) -> Iterator[tuple[Item, str]]:
    """Each asset as an item of rows, and why it is none ("" where it is).

    One whose footer cannot be read is none: nobody knows that it holds any. `kept`: what was asked for, by the
    asset's identity.

    Raises:
        SourceError: the server cannot be asked for now.
    """
    from vlm_assets.transfer.http import TransferError

    for item in items:
        try:
            found = _looked_at(item, keys, partial(_ranged, client, item, address, kept))
        except TransferError as error:
            if error.transient:
                raise error.told(item.key) from None
            found = f"its footer cannot be had: {error}"
        if isinstance(found, str):
            yield item, found[:300]
            continue
        told = found.as_json()
        yield (
            replace(
                item, payload={**item.payload, ROWS: told}, identity=f"{item.identity}:{sorted(told.items())}"
            ),
            "",
        )


def row_events(path: Path, item: Item, origin: str, context: FetchContext) -> Iterator[Event]:
    """Records of a Parquet file's rows.

    Raises:
        SourceError: it cannot be read to its end.
    """
    from vlm_assets.hub.readers import Reading, read_data_file

    one = DataFile(**item.payload[ROWS])
    reading = Reading(
        ArchiveLimits(context.settings.max_image_bytes), one.wanted(), spool_dir=context.spool_dir
    )
    yield from read_data_file(path, one.format, item.key, origin, reading)


def _looked_at(item: Item, keys: CaptionKeys, opened: Callable[[], BinaryIO]) -> DataFile | str:
    from vlm_assets.hub.looks import TableLook
    from vlm_assets.hub.tables import ColumnsError

    why = ""
    for one in declared(PARQUET, keys):
        try:
            look = TableLook(item.key, PARQUET, item.key, opened, one.wanted())
            return "it has no rows" if look.columns() is None else one
        except ColumnsError as error:
            why = str(error)
        except SourceError as error:
            return str(error)
    return why


def _ranged(client: "Client", item: Item, address: Address, kept: Path) -> BinaryIO:
    """An asset, read in ranges; each is asked for once."""
    from vlm_assets.hub.looks import RangedFile

    def read(start: int, end: int) -> bytes:
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
