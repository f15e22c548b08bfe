"""What became of rows of captions, as JSON counts that add up: over tables, trees of files, archives, slices.

Several archives read a table that lies beside them, each for its own members. A row of it is lost where none of them
joined it, so each tells which rows it joined, a bit a row.
"""

import re
from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:  # it loads blake3, which the code location does without
    from vlm_assets.words.manifest import Listing

BESIDE: Final = "beside"
"""In counts: by table beside archives its `rows`, which were `joined`, and how many `archives` looked."""
SHOWN_EXAMPLES: Final = 5
_RUNS_FIRST: Final = "runs "
_BITS_FIRST: Final = "bits "
_RUNS: Final = re.compile("0+|1+")
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
        return _Beside(self.rows, int.from_bytes(self.marks, "little")).as_json()


@dataclass(slots=True)
class _Beside:
    """What is known of a table beside archives. `joined` has a bit a row, the lowest first."""

    rows: int = 0
    joined: int = 0
    archives: int = 0

    def as_json(self) -> dict[str, Any]:
        archives = {"archives": self.archives} if self.archives else {}
        return {"rows": self.rows, "joined": _told_marks(self.joined), **archives}

    def unjoined(self) -> list[int]:
        """The first rows that nobody joined, from 0."""
        missing = ((1 << self.rows) - 1) & ~self.joined
        found: list[int] = []
        while missing and len(found) < SHOWN_EXAMPLES:
            found.append((missing & -missing).bit_length() - 1)
            missing &= missing - 1
        return found


def beside_archives(tables: Iterable[str]) -> dict[str, Any]:
    """Counts that say how many archives look into tables: `tables` has each once an archive."""
    archives = Counter(iter(tables))  # of a mapping its keys
    beside = {key: _Beside(archives=count).as_json() for key, count in sorted(archives.items())}
    return {BESIDE: beside} if beside else {}


def joined_rows(table: Counts) -> int:
    """How many rows of one of the tables in `BESIDE` were joined."""
    return _marks(table["joined"]).bit_count()


def sum_counts(counts: Iterable[Counts]) -> dict[str, Any]:
    """Counts of several trees, archives or slices as one, with the first examples; a row that several joined once."""
    summed: dict[str, Any] = {}
    tables: list[Counts] = []
    for one in counts:
        for name, value in one.items():
            if name == BESIDE:
                tables.append(value)
            elif name == "examples":
                known = summed.setdefault(name, [])
                known += value[: SHOWN_EXAMPLES - len(known)]
            else:
                summed[name] = summed.get(name, 0) + value
    if tables:
        summed[BESIDE] = {key: table.as_json() for key, table in sorted(_together(tables).items())}
    return summed


def caption_rows_of(listing: "Listing | None", slices: Mapping[str, Fetched]) -> CaptionRows | None:
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
    at_listing, at_fetch = listed.get(BESIDE, {}), inside.get(BESIDE, {})
    tables, waited = _together([at_listing, at_fetch]), _together([at_listing])
    joined = _of(("joined", "sidecars"), listed, inside)
    joined += sum(one.joined.bit_count() for one in tables.values())
    joined -= sum(one.joined.bit_count() for one in waited.values())
    nothing = _of(("name_nothing", "sidecars_unused"), listed, inside)
    waiting = 0
    examples = [*listed.get("examples", ()), *inside.get("examples", ())]
    for key, one in sorted(tables.items()):
        unjoined = one.rows - one.joined.bit_count()
        looked = one.archives - (waited[key].archives if key in waited else 0)
        if key in waited and looked < waited[key].archives:
            waiting += unjoined
        else:
            nothing += unjoined
            examples += [f"{key}: row {row + 1} names nothing that is there" for row in one.unjoined()]
    return CaptionRows(
        joined=joined,
        name_nothing=nothing,
        waiting=waiting,
        images_without_rows=_of(("images_without_rows",), listed, inside),
        examples=examples[:SHOWN_EXAMPLES],
    )


def _of(names: Iterable[str], *counts: Counts) -> int:
    return sum(one.get(name, 0) for name in names for one in counts)


def _together(counts: Iterable[Counts]) -> dict[str, _Beside]:
    """Tables beside archives, by key: of each its rows, those that any joined, and all who looked."""
    found: dict[str, _Beside] = {}
    for one in counts:
        for key, table in one.items():
            known = found.setdefault(key, _Beside())
            known.rows = max(known.rows, table["rows"])
            known.joined |= _marks(table["joined"])
            known.archives += table.get("archives", 0)
    return found


def _told_marks(joined: int) -> str:
    """Rows as lengths of runs, the first not joined; as bits where that is shorter. The same bytes everywhere."""
    if not joined:
        return ""
    runs = [len(run) for run in _RUNS.findall(f"{joined:b}"[::-1])]
    told = _RUNS_FIRST + ",".join(map(str, runs if not joined & 1 else [0, *runs]))
    bits = b64encode(joined.to_bytes((joined.bit_length() + 7) // 8, "little")).decode()
    return told if len(told) <= len(_BITS_FIRST) + len(bits) else _BITS_FIRST + bits


def _marks(told: str) -> int:
    if told.startswith(_BITS_FIRST):
        return int.from_bytes(b64decode(told.removeprefix(_BITS_FIRST)), "little")
    if not told:
        return 0
    lengths = [int(one) for one in told.removeprefix(_RUNS_FIRST).split(",")]
    marks, start = bytearray((sum(lengths) + 7) // 8), 0
    for unjoined, joined in zip(lengths[::2], lengths[1::2], strict=True):
        place, shift = divmod(start + unjoined, 8)
        run = ((1 << joined) - 1) << shift
        filled = run.to_bytes((run.bit_length() + 7) // 8, "little")
        marks[place] |= filled[0]
        marks[place + 1 : place + len(filled)] = filled[1:]
        start += unjoined + joined
    return int.from_bytes(marks, "little")
