"""What became of rows of captions, as JSON counts that add up: over tables, trees of files, archives, slices.

Several archives read a table that lies beside them, each for its own members. A row of it is lost where none of them
joined it, so each tells which rows it joined, a bit a row.
"""

import zlib
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from pydantic import BaseModel, ConfigDict

from vlm_assets.words.manifest import Listing

BESIDE: Final = "beside"
"""In counts: by table beside archives its `rows`, which were `joined`, and how many `archives` looked."""
SHOWN_EXAMPLES: Final = 5
Counts = Mapping[str, Any]


class CaptionRows(BaseModel):
    """What became of a source's rows of captions: rows = joined + name_nothing + waiting.

    Where words stand in sidecars, these are counted instead.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    joined: int = 0
    """Those that name an image which is there."""
    name_nothing: int = 0
    """Of tables beside archives once every archive that they may speak of is fetched as it is listed."""
    waiting: int = 0
    """Rows of tables beside archives that joined nothing yet, while an archive that they may mean is not fetched."""
    images_without_rows: int = 0
    """As listed, and of archives as fetched."""
    examples: list[str] = []
    """Some that name nothing."""


class Fetched(Protocol):
    """What a slice's manifest, or its summary, says of its captions."""

    @property
    def listing_fingerprint(self) -> str:
        """What it was made of."""

    @property
    def caption_rows(self) -> Counts | None:
        """None where none were looked for, or nobody counted them."""


@dataclass(slots=True)
class TableRows:
    """Rows of one table in their order, and which of them were joined."""

    rows: int = 0
    marks: bytearray = field(default_factory=bytearray)
    """A bit a row, the lowest first; what is missing at the end is not joined."""

    def add(self, *, joined: bool) -> None:
        """Counts a row."""
        if joined:
            place, bit = divmod(self.rows, 8)
            self.marks.extend(bytes(place + 1 - len(self.marks)))
            self.marks[place] |= 1 << bit
        self.rows += 1

    def as_json(self) -> dict[str, Any]:
        """For the counts, under the table's key in `BESIDE`."""
        return _table(self.rows, int.from_bytes(self.marks, "little"))


def beside_archives(tables: Iterable[str]) -> dict[str, Any]:
    """Counts that say how many archives look into tables: `tables` has each once an archive."""
    return sum_counts({BESIDE: {key: {**_table(0, 0), "archives": 1}}} for key in tables)


def joined_rows(table: Counts) -> int:
    """How many rows of one of the tables in `BESIDE` were joined."""
    return _joined(table).bit_count()


def sum_counts(counts: Iterable[Counts]) -> dict[str, Any]:
    """Counts of several trees, archives or slices as one, with the first examples; a row that several joined once."""
    summed: dict[str, Any] = {}
    for one in counts:
        for name, value in one.items():
            if name == BESIDE:
                summed[name] = _both(summed.get(name, {}), value)
            else:
                summed[name] = (summed[name] + value) if name in summed else value
    if "examples" in summed:
        summed["examples"] = summed["examples"][:SHOWN_EXAMPLES]
    return summed


def caption_rows_of(listing: Listing | None, slices: Mapping[str, Fetched]) -> CaptionRows | None:
    """What became of a source's captions, in archives too; None where none were counted. `slices`: by key.

    Of a version that is not what is listed now, only what lies in its archives counts.
    """
    listed = listing.slices if listing else {}
    fetched = []
    for key, one in slices.items():
        if (told := one.caption_rows) is None:
            continue
        if key not in listed or one.listing_fingerprint != listed[key].fingerprint:
            told = {name: value for name, value in told.items() if name != BESIDE}
        fetched.append(told)
    return settled(listing.attributes.get("captions", {}) if listing else {}, fetched)


def settled(listed: Counts, fetched: Iterable[Counts]) -> CaptionRows | None:
    """Counts of a listing and of the archives that were fetched as it lists them; None where nothing was counted."""
    inside = sum_counts(fetched)
    if not listed and not inside:
        return None
    at_listing: Counts = listed.get(BESIDE, {})
    tables = _both(at_listing, inside.get(BESIDE, {}))
    joined = _of(("joined", "sidecars"), listed, inside)
    joined += sum(map(joined_rows, tables.values()))
    joined -= sum(map(joined_rows, at_listing.values()))
    nothing = _of(("name_nothing", "sidecars_unused"), listed, inside)
    waiting = 0
    examples = [*listed.get("examples", ()), *inside.get("examples", ())]
    for key, one in sorted(tables.items()):
        unjoined = one["rows"] - joined_rows(one)
        looked = inside.get(BESIDE, {}).get(key, {}).get("archives", 0)
        if looked < at_listing.get(key, {}).get("archives", 0):
            waiting += unjoined
        elif unjoined:
            nothing += unjoined
            examples += _unjoined(key, one)
    return CaptionRows(
        joined=joined,
        name_nothing=nothing,
        waiting=waiting,
        images_without_rows=_of(("images_without_rows",), listed, inside),
        examples=examples[:SHOWN_EXAMPLES],
    )


def _of(names: Iterable[str], *counts: Counts) -> int:
    return sum(one.get(name, 0) for name in names for one in counts)


def _both(one: Counts, other: Counts) -> dict[str, Any]:
    """Tables beside archives: of each its rows, those that either joined, and all who looked."""
    both = dict(one)
    for key, table in other.items():
        known = both.get(key, {})
        archives = known.get("archives", 0) + table.get("archives", 0)
        joined = (_joined(known) if known else 0) | _joined(table)
        both[key] = _table(max(known.get("rows", 0), table["rows"]), joined)
        both[key] |= {"archives": archives} if archives else {}
    return both


def _table(rows: int, joined: int) -> dict[str, Any]:
    marks = joined.to_bytes((joined.bit_length() + 7) // 8, "little")
    return {"rows": rows, "joined": b64encode(zlib.compress(marks, 9)).decode() if marks else ""}


def _joined(table: Counts) -> int:
    told = table["joined"]
    return int.from_bytes(zlib.decompress(b64decode(told)), "little") if told else 0


def _unjoined(key: str, table: Counts) -> Iterator[str]:
    """The first rows that nobody joined."""
    joined, found = _joined(table), 0
    for row in range(table["rows"]):
        if not joined >> row & 1:
            yield f"{key}: row {row + 1} names nothing that is there"
            found += 1
            if found == SHOWN_EXAMPLES:
                return
