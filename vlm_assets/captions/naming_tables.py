"""Tables beside images that nobody named as captions, though a column of theirs names the images."""

import itertools
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import IO, Any, Final

from vlm_assets.captions.names import image_suffixes, is_name_column, listed_name, split_row
from vlm_assets.captions.sidecars import is_sidecar_name, named_like
from vlm_assets.captions.tables import Table, is_table_name, unpacked_suffix
from vlm_assets.captions.trees import METADATA, METADATA_NAMES
from vlm_assets.words.counts import so_many
from vlm_assets.words.errors import LeftOut, LeftOutReason, SourceError

_LOOKED_AT_ROWS: Final = 1000
_PARQUET: Final = frozenset({".parquet", ".pq", ".parq"})
"""Tables that may as well hold the records themselves."""
_OF_DATASETS: Final = ("dataset_info.json", "dataset_dict.json", "state.json", "_stats.json")
"""How the names of tables end that hold no captions: of `datasets` and img2dataset."""


@dataclass(frozen=True, slots=True)
class NamingTable:
    """A table of which a column names images. `images`: so many, in its first thousand rows."""

    key: str
    column: str
    images: int

    @property
    def keys(self) -> dict[str, str]:
        """What the catalogue has to say for its rows to be taken: `text`, and `file_name_column` where it must."""
        name = self.key.rpartition("/")[2]
        text = {"text": METADATA if name in METADATA_NAMES else name}
        return text if is_name_column(self.column) else {**text, "file_name_column": self.column}

    @property
    def told(self) -> str:
        """The same as a hint."""
        keys = " and ".join(f"{key}: {value}" for key, value in self.keys.items())
        named = so_many(self.images, "image")
        return f"{self.key} is not used, and its column {self.column!r} names {named}: say {keys}"


def may_hold_captions(key: str) -> bool:
    """Whether a file's name is of a table that may hold captions, though nobody says so."""
    return is_table_name(key) and unpacked_suffix(key) != ".txt" and not key.endswith(_OF_DATASETS)


def looks_like_captions(key: str) -> bool:
    """Whether a file beside images has a name under which captions often stand; Parquet holds more than those."""
    return may_hold_captions(key) and unpacked_suffix(key) not in _PARQUET


def suspects(left_out: Iterable[LeftOut], beside: Collection[str]) -> list[str]:
    """Keys of the files nobody reads that are tables which may be captions of what they lie beside.

    `beside`: keys of images and archives of such. A file called like one of them is a sidecar, and no table.
    """
    if not beside:
        return []
    unread = [one.key for one in left_out if one.reason is LeftOutReason.UNKNOWN_TYPE]
    sidecars = set(named_like(unread, beside))
    return [key for key in unread if looks_like_captions(key) and key not in sidecars]


def as_unused(
    left_out: Sequence[LeftOut], beside: Collection[str], naming: Iterable[NamingTable] = ()
) -> list[LeftOut]:
    """The same, such tables as unused companions: they cost a source no tolerance.

    `naming`: tables of which it is known that they name images.
    """
    known = {one.key: one.told[:300] for one in naming}
    unused = {*suspects(left_out, beside), *known}
    return [
        replace(
            one,
            reason=LeftOutReason.UNUSED_COMPANION,
            detail=known.get(one.key) or one.detail or _no_text_says(one.key),
        )
        if one.reason is LeftOutReason.UNKNOWN_TYPE and one.key in unused
        else one
        for one in left_out
    ]


def unused_in_archive(one: LeftOut) -> LeftOut:
    """The same of a member of an archive of images, of which nobody knows yet what else is in it.

    What an image's own words could be called stays unread.
    """
    is_one = looks_like_captions(one.key) and not is_sidecar_name(one.key)
    if one.reason is not LeftOutReason.UNKNOWN_TYPE or not is_one:
        return one
    return replace(one, reason=LeftOutReason.UNUSED_COMPANION, detail=_no_text_says(one.key))


def _no_text_says(key: str) -> str:
    name = key.rpartition("/")[2]
    return f"may hold captions: say text: {METADATA if name in METADATA_NAMES else name}"


def naming_tables(
    images: Collection[str], keys: Collection[str], opened: Callable[[str], IO[bytes]]
) -> list[NamingTable]:
    """Those of the tables that name images, from their own folder on; the one that names most first.

    A table that cannot be read, or not for certain, is not among them.
    """
    suffixes = image_suffixes(images)
    found = [_look(images, suffixes, key, opened) for key in sorted(keys) if may_hold_captions(key)]
    return sorted((one for one in found if one is not None), key=lambda one: (-one.images, one.key))


def _look(
    images: Collection[str], suffixes: Collection[str], key: str, opened: Callable[[str], IO[bytes]]
) -> NamingTable | None:
    try:
        table = Table(key, key, lambda: opened(key), wanted=is_name_column).load()
        rows = [row.values for row in itertools.islice(table.rows(), _LOOKED_AT_ROWS)]
    except (SourceError, OSError, ValueError):
        return None
    named = _named(rows, key.rpartition("/")[0], images, suffixes)
    enough = min(len(images), len(rows)) / 2
    found = {one: len(some) for one, some in named.items() if is_name_column(one) or len(some) >= enough}
    best = max(found, key=lambda one: (is_name_column(one), found[one]), default=None)
    return None if best is None else NamingTable(key, best, found[best])


def _named(
    rows: Iterable[Mapping[str, Any]], folder: str, images: Collection[str], suffixes: Collection[str]
) -> dict[str, set[str]]:
    """By column the images that it names; none where it names none."""
    found: dict[str, set[str]] = {}
    for row in rows:
        for column, value in row.items():
            names, _ = split_row({column: value}, lambda _: True)
            ids = () if is_name_column(column) else suffixes
            keys = (listed_name(one.name, folder, images, ids) for one in names)
            for key in filter(None, keys):
                found.setdefault(column, set()).add(key)
    return found
