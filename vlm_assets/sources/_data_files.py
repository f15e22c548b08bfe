"""Parquet and Arrow files among files of another kind: those that hold images, and their rows."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from vlm_assets.archives.limits import ArchiveLimits
from vlm_assets.archives.names import suffix_of
from vlm_assets.captions.trees import CaptionRule
from vlm_assets.hub.columns import LabelRule, Wanted
from vlm_assets.sources._data_labels import labels_in
from vlm_assets.sources._held_files import HeldFiles
from vlm_assets.words.contexts import FetchContext
from vlm_assets.words.errors import Reject, SourceError
from vlm_assets.words.layout import nfc
from vlm_assets.words.records import Event, Item

if TYPE_CHECKING:
    from vlm_assets.hub.readers import Reading

ROWS: Final = "rows"
"""In the payload of an item whose records are rows: how they are read."""
TELLS: Final = "tells"
"""Beside it, where the labels are in a column: the `columns` that there are, and `labels` where these are known."""
_FORMATS: Final = {
    ".parquet": "parquet", ".pq": "parquet", ".parq": "parquet", ".pqt": "parquet", ".arrow": "arrow",
    ".feather": "arrow", ".ipc": "arrow",
}  # fmt: skip
DATA_SUFFIXES: Final = frozenset(_FORMATS)
_LOOKED_AT: Final = 8


class RowKeys(Protocol):
    """The keys of a source that say what the columns of its data files are."""

    @property
    def text_column(self) -> str | None: ...  # a key, described there

    @property
    def messages_column(self) -> str | None: ...

    @property
    def label_rule(self) -> LabelRule | None: ...

    def caption_rule(self) -> CaptionRule: ...


@dataclass(frozen=True, slots=True)
class DataFile:
    """What a data file's rows are: `format` is its reader, the columns are those that hold words, if declared.

    `number`: the column of labels, where their map is written by numbers, which may be those of classes: `numbers`,
    with commas. `missing`: what is wrong where the columns declared are not among its own; `tells`: see `TELLS`.
    """

    format: str
    text: str | None = None
    messages: str | None = None
    number: str | None = None
    numbers: str | None = None
    missing: str = ""
    tells: Mapping[str, Any] = field(default_factory=dict)

    def wanted(self) -> Wanted:
        """For the readers: the image column is found, or there is none."""
        return Wanted(None, self.text, self.messages, names_images=False)

    def as_json(self) -> dict[str, str]:
        """What there is of it, for a payload."""
        told = {
            "format": self.format, "text": self.text, "messages": self.messages, "number": self.number,
            "numbers": self.numbers,
        }  # fmt: skip
        return {name: value for name, value in told.items() if value is not None}


def data_format(name: str) -> str | None:
    """The reader of a data file by its name; what `datasets` keeps for itself (`cache-*`) has none."""
    base = name.rpartition("/")[2]
    return None if base.startswith("cache-") else _FORMATS.get(suffix_of(name))


def declared(form: str, keys: RowKeys) -> tuple[DataFile, ...]:
    """Ways to read a data file, in turn: with the columns that the catalogue names, which may be those of others."""
    named = [None if name is None else nfc(name) for name in (keys.text_column, keys.messages_column)]
    rule = keys.label_rule
    plain = DataFile(form)
    if rule is not None and rule.column and rule.by_number:
        plain = DataFile(form, number=rule.column, numbers=",".join(sorted(rule.known or ())))
    text, messages = named
    return (plain,) if named == [None, None] else (replace(plain, text=text, messages=messages), plain)


def check_words(name: str, keys: RowKeys, files: Iterable[DataFile]) -> None:
    """Returns where a data file has the columns of words that the catalogue names, or other files may have them.

    Raises:
        SourceError: none has; tells the columns that there are.
    """
    missing = [one.missing for one in files]
    if missing and all(missing) and not keys.caption_rule().told:
        raise SourceError(f"source {name}: {missing[0]}")


def look(
    path: Path, key: str, form: str, keys: RowKeys, max_image_bytes: int, *, partial: bool = False
) -> DataFile | str:
    """How the rows of a data file are read; or why they are no images.

    One whose footer or first rows cannot be read is none: nobody knows that it holds any. `partial`: there are more
    rows elsewhere.
    """
    from vlm_assets.hub.looks import TableLook
    from vlm_assets.hub.readers import read_data_file
    from vlm_assets.hub.tables import ColumnsError

    why, missing = "its rows hold no images", ""
    for one in declared(form, keys):
        rows = read_data_file(path, form, key, key, _reading(one, max_image_bytes))
        try:
            first = list(islice(rows, _LOOKED_AT))
        except ColumnsError as error:
            why = missing = str(error)
            continue
        except SourceError as error:
            return str(error)
        if not all(isinstance(event, Reject) for event in first):
            tells = labels_in(TableLook(key, form, key, path), keys.label_rule, partial=partial)
            return replace(one, missing=missing, tells=tells)
        why = "it has no rows" if _is_empty(first) else why
    return why


def _is_empty(first: Sequence[Event]) -> bool:
    """Whether the file itself is rejected, and not a row of it."""
    return len(first) == 1 and isinstance(first[0], Reject) and first[0].record is None


def kept_as_rows(item: Item, one: DataFile) -> Item:
    """The item as one of rows; how it is read is part of its identity."""
    told = one.as_json()
    return replace(
        item,
        payload={**item.payload, ROWS: told, **_tells(one)},
        identity=f"{item.identity}:{sorted(told.items())}",
    )


def _tells(one: DataFile) -> dict[str, Any]:
    return {TELLS: one.tells} if one.tells else {}


def row_events(path: Path, item: Item, origin: str, context: FetchContext) -> Iterator[Event]:
    """Records of the rows of a data file that lies here.

    Raises:
        SourceError: it cannot be read to its end.
    """
    from vlm_assets.hub.readers import read_data_file

    one = DataFile(**item.payload[ROWS])
    reading = _reading(one, context.settings.max_image_bytes, context.spool_dir)
    yield from read_data_file(path, one.format, item.key, origin, reading)


def data_item(key: str, name: str, root: Path, digest: str, one: DataFile) -> Item:
    """A data file as an item; how it is read is part of its identity."""
    size = (root / name).stat().st_size if digest else None
    told = one.as_json()
    payload = {ROWS: told, **_tells(one), "name_hex": os.fsencode(name).hex(), "sha256": digest}
    return Item(key, f"{size}:{digest}:{sorted(told.items())}", payload, size)


def data_events(item: Item, root: Path, context: FetchContext, held: HeldFiles) -> Iterator[Event]:
    """Records of a data file's rows; a reject where it was replaced since it was listed.

    Raises:
        SourceError: it cannot be read to its end, or is replaced meanwhile.
    """
    path = root / os.fsdecode(bytes.fromhex(item.payload["name_hex"]))
    files: Mapping[Path, str] = {path: item.payload["sha256"]}
    if (reject := held.replaced(item, files)) is not None:
        yield reject
        return
    yield from row_events(path, item, item.key, context)
    held.check(item, files)


def _reading(one: DataFile, max_image_bytes: int, spool_dir: Path | None = None) -> "Reading":
    from vlm_assets.hub.readers import Reading

    label = None
    if one.number and one.numbers:
        label = LabelRule(f"column {one.number!r}", one.number, frozenset(one.numbers.split(",")))
    wanted = replace(one.wanted(), label=label)
    return Reading(ArchiveLimits(max_image_bytes), wanted, spool_dir=spool_dir)
