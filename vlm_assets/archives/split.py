"""Archives that were cut into several files: which names are parts of one, in which order, and what is missing. Pure.

Byte splits (7-Zip's `x.zip.001`, `split`'s `x.tar.gz.aa`, `x.tar.gz.part00`) and the zip's own parts (`x.z01`, …,
`x.zip`).
"""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from vlm_assets.archives.names import COMPRESSED_SUFFIXES, is_archive_name, is_image_name
from vlm_assets.words.caption_rows import beside_archives
from vlm_assets.words.errors import LeftOut, LeftOutReason, Reject, RejectReason
from vlm_assets.words.records import JoinedCaptions

_NUMBERED: Final = re.compile(
    r"(?P<base>.+?)(?:[._-]?(?:part|vol|chunk|split|disk)[._-]?(?P<worded>\d{1,5})|[._-](?P<plain>\d{1,4})|(?P<bare>\d{2,4}))",
    re.IGNORECASE | re.ASCII | re.DOTALL,
)
_LETTERED: Final = tuple(
    re.compile(rf"(?P<base>.+?)[._-]?(?:part[._-]?)?(?P<letters>[a-z]{{{count}}})", re.ASCII | re.DOTALL)
    for count in (2, 3)
)
_ZIP_PART: Final = re.compile(r"(?P<base>.+)\.z(?P<number>\d{2,3})", re.IGNORECASE | re.ASCII | re.DOTALL)
_NO_LETTERS: Final = frozenset(
    {"asc", "bak", "csv", "db", "gz", "htm", "idx", "js", "log", "md", "npz", "old", "par", "pdf", "py", "sfv", "sh",
     "sha", "sig", "tmp", "txt", "url", "xml", "xz", "zst"}
)  # fmt: skip
"""Suffixes of files that lie beside an archive."""
_LETTERS: Final = 26


@dataclass(frozen=True, slots=True)
class Part:
    """What a name says of a part: whose, and its place."""

    archive: str
    order: int
    kind: str
    """`number`, `letters` or `zip`."""


@dataclass(frozen=True, slots=True)
class SplitArchive:
    """The parts of one archive."""

    name: str
    """Of the whole: `x.zip` of `x.zip.001`; the first part's, where a file of that name is there too."""
    parts: tuple[str, ...]
    """In their order."""
    missing: str
    """What is missing by the names; "" where nothing is. The end may be missing all the same."""


def part_of(name: str) -> Part | None:
    """The part that a name says it is, or None."""
    if is_image_name(name) or is_archive_name(name):
        return None
    if found := _ZIP_PART.fullmatch(name):
        return Part(f"{found['base']}.zip", int(found["number"]), "zip")
    if (found := _NUMBERED.fullmatch(name)) and _can_be_split(found["base"]):
        return Part(found["base"], int(found["worded"] or found["plain"] or found["bare"]), "number")
    for pattern in _LETTERED:
        if (found := pattern.fullmatch(name)) and _can_be_split(found["base"]):
            letters = found["letters"]
            if letters not in _NO_LETTERS and (len(letters) == 2 or letters.startswith("aa")):
                return Part(found["base"], _place(letters), "letters")
    return None


def find_split_archives(names: Iterable[str]) -> list[SplitArchive]:
    """Every split archive among the names, by its name. A name belongs to one at most."""
    all_names = set(names)
    groups: defaultdict[tuple[str, str], list[tuple[int, str]]] = defaultdict(list)
    for name in sorted(all_names):
        part = part_of(name)
        if part is not None:
            groups[part.archive, part.kind].append((part.order, name))
    found = []
    for (archive, kind), parts in sorted(groups.items()):
        if kind == "zip":
            found.append(_zip_parts(archive, parts, all_names))
        elif kind == "number" or min(parts)[0] < _LETTERS:  # two languages of one archive are no parts
            found.append(_byte_parts(archive, sorted(parts), taken=archive in all_names, kind=kind))
    return found


def _zip_parts(archive: str, parts: list[tuple[int, str]], names: set[str]) -> SplitArchive:
    last = next((name for name in (archive, f"{archive[:-4]}.ZIP") if name in names), None)
    missing = _gap([order for order, _ in parts], (1,)) or ("" if last else archive)
    return SplitArchive(archive, (*(name for _, name in sorted(parts)), *((last,) if last else ())), missing)


def _byte_parts(archive: str, parts: list[tuple[int, str]], *, taken: bool, kind: str) -> SplitArchive:
    orders = [order for order, _ in parts]
    missing = _gap(orders, (0, 1) if kind == "number" else (0,))
    return SplitArchive(parts[0][1] if taken else archive, tuple(name for _, name in parts), missing)


def _gap(orders: list[int], starts: tuple[int, ...]) -> str:
    """What is missing in a row of numbers that begins with one of `starts`."""
    orders = sorted(orders)
    if orders[0] not in starts:
        return f"the parts before number {orders[0]}"
    for before, after in pairwise(orders):
        if after == before:
            return f"one of two parts numbered {after}"
        if after != before + 1:
            return f"part number {before + 1}"
    return ""


def _can_be_split(base: str) -> bool:
    return is_archive_name(base) or base.lower().endswith(COMPRESSED_SUFFIXES)


def _place(letters: str) -> int:
    """0 for aa and aaa, 1 for ab and aab, and so on."""
    place = 0
    for letter in letters:
        place = place * _LETTERS + ord(letter) - ord("a")
    return place


def last_parts_missing(
    item: str, parts: Iterable[tuple[str, int | None]], error: Exception, tables: Collection[str] = ()
) -> Iterator[Reject | LeftOut | JoinedCaptions]:
    """What is told of a split archive that turns out to be cut: each part that is there, and the item itself.

    `parts`: name and size. `error`: what reading them met. `tables`: those beside it, which it joined no row of.
    """
    if tables:
        yield JoinedCaptions(item, beside_archives(tables))
    for name, size_bytes in parts:
        yield LeftOut(f"{item}/{name}", LeftOutReason.SPLIT_ARCHIVE_INCOMPLETE, str(error)[:300], size_bytes)
    yield Reject(item, RejectReason.UNREADABLE, f"the last parts are missing: {error}"[:300])
