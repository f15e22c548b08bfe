"""Caption rows brought together with the images that they name, and what found no partner counted."""

import tempfile
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

import orjson

from vlm_assets.captions.names import NamedFile, image_suffixes, listed_name, name_column_test, split_row
from vlm_assets.captions.tables import Table
from vlm_assets.captions.words import Words, words_of
from vlm_assets.words.caption_rows import SHOWN_EXAMPLES, TableRows
from vlm_assets.words.errors import SourceError
from vlm_assets.words.layout import key_hash

_IN_MEMORY_BYTES: Final = 32 * 2**20


@dataclass(frozen=True, slots=True)
class CaptionColumns:
    """Which columns name the file and hold the text; None: found by their names."""

    file_name: str | None = None
    text: str | None = None
    messages: str | None = None
    folder: str = ""
    """The folder that names are relative to, from their table's own on."""


class Target(NamedTuple):
    """An image of a caption row. `key` is the listed file's, None where none is listed by that name."""

    column: str
    name: str
    key: str | None


@dataclass(frozen=True, slots=True)
class CaptionRow:
    """What one row says about its images."""

    place: str
    """Where it stands: file and line."""
    images: tuple[Target, ...]
    words: Words

    @property
    def home(self) -> str | None:
        """The image under which the row is a sample: the first that is there."""
        return next((image.key for image in self.images if image.key is not None), None)


@dataclass(slots=True)
class JoinCounts:
    """What became of caption rows and of images."""

    tables: int = 0
    rows: int = 0
    joined: int = 0
    """Rows of which at least one image is there."""
    incomplete: int = 0
    """Of these, rows that name another image which is not."""
    name_nothing: int = 0
    elsewhere: int = 0
    """Rows that name nothing here, of tables that others look into too: they may name something there."""
    images: int = 0
    images_with_rows: int = 0
    images_without_rows: int = 0
    examples: list[str] = field(default_factory=list)
    """Of names that are not there, with their places."""

    def as_json(self) -> dict[str, Any]:
        """For a listing's attributes."""
        return asdict(self)


class CaptionIndex:
    """Rows of caption tables by image, kept in 24 bytes of memory a row and a file.

    Use as a context; `add` every table, then `finish`, then ask.
    """

    def __init__(
        self, images: Collection[str], spool_dir: Path, columns: CaptionColumns = CaptionColumns()
    ) -> None:
        """`images` are the keys of all listed images; `spool_dir` takes what does not fit into memory."""
        self.counts = JoinCounts(images=len(images))
        self._images = images
        self._columns = columns
        self._is_name = name_column_test(columns.file_name)
        spool_dir.mkdir(parents=True, exist_ok=True)
        self._spool = tempfile.SpooledTemporaryFile(  # noqa: SIM115  # closed with this object
            _IN_MEMORY_BYTES, dir=str(spool_dir), prefix="captions-"
        )
        self._hashes = array("Q")
        self._offsets = array("Q")
        self._spooled_bytes = 0
        self._finished = False
        self._expects = False
        self.names_several = False
        """Whether any row names several images."""
        self.by_table: dict[str, TableRows] = {}
        """The rows of each table that was added, by its name."""
        self._missed: list[tuple[str, str, str]] = []
        self._missed_beside: list[tuple[str, str, str]] = []
        self._suffixes: frozenset[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._spool.close()

    def add(
        self,
        table: Table,
        folder: str,
        missed: Callable[[CaptionRow], None] = lambda row: None,  # noqa: ARG005 - does nothing
        *,
        optional: bool = False,
        shared: bool = False,
        beside: bool = False,
    ) -> bool:
        """Takes a table's rows, whose names are meant from `folder` on; `missed` sees those that name nothing listed.

        An `optional` table may be of something else: without a column of names False comes back, and of one `beside`
        the rows are counted as joined nowhere, for no other ledger knows that it was not read. Others look into a
        table that lies `beside` these files too: what names nothing is counted apart. Of a `shared` one no row need
        name anything here.

        Raises:
            SourceError: the table cannot be read to its end, or has no column that names files or the text's.
        """
        loaded = table.load()
        if optional and not any(map(self._is_name, loaded.columns)):
            if beside:
                self._pass_over(table.name, sum(1 for _ in loaded.rows()))
            return False
        for key, declared in (
            ("text_column", self._columns.text),
            ("messages_column", self._columns.messages),
        ):
            if declared and not {declared, declared.partition(".")[0]} & set(loaded.columns):
                there = ", ".join(loaded.columns)
                raise SourceError(f"{table.where}: no column {declared!r} ({key}); there are: {there}")
        folder = "/".join(filter(None, (folder, self._columns.folder.replace("\\", "/").strip("/"))))
        self.counts.tables += 1
        unnamed = rows = 0
        told = self.by_table.setdefault(table.name, TableRows())
        for row in loaded.rows():
            rows += 1
            files, rest = split_row(row.values, self._is_name)
            unnamed += not files
            found = self._row(loaded.place(row), files, rest, folder)
            is_joined = self._keep(found, folder, shared=shared, beside=beside)
            told.add(joined=is_joined)
            if not is_joined:
                missed(found)
        self._expects |= bool(rows) and not optional and not shared
        if rows and unnamed == rows:
            raise SourceError(_no_names(table.where, loaded.columns, self._columns.file_name))
        return True

    def finish(self, counted: Collection[str] | None = None) -> JoinCounts:
        """Ends adding; the counts are whole from here on, those of images over `counted` or all.

        Raises:
            SourceError: tables that are not optional have rows, and not one row names a listed image.
        """
        import numpy as np  # noqa: PLC0415 - the code location has kinds that join

        hashes, offsets = np.array(self._hashes, np.uint64), np.array(self._offsets, np.uint64)
        order = np.lexsort((offsets, hashes))
        self._hashes, self._offsets = (
            array("Q", hashes[order].tobytes()),
            array("Q", offsets[order].tobytes()),
        )
        self._finished = True
        counts = self.counts
        named = np.unique(hashes)
        if counted is not None:
            counts.images = len(counted)
            named = np.intersect1d(named, np.fromiter(map(key_hash, counted), np.uint64, len(counted)))
        counts.images_with_rows = int(named.size)
        counts.images_without_rows = counts.images - counts.images_with_rows
        counts.examples = self._told(self._missed)
        if self._expects and not counts.joined:
            examples = [*counts.examples, *self._told(self._missed_beside)][:SHOWN_EXAMPLES]
            raise SourceError(
                f"none of {counts.rows} caption rows names a file that is there: {'; '.join(examples)}"
            )
        return counts

    def _pass_over(self, table: str, rows: int) -> None:
        self.by_table.setdefault(table, TableRows()).rows += rows
        self.counts.rows += rows
        self.counts.elsewhere += rows

    def rows_naming(self, key: str) -> list[CaptionRow]:
        """Every row that names this image, first or not, in the order of tables and rows."""
        if not self._finished:
            raise ValueError("ask after finish()")
        wanted = key_hash(key)
        first = bisect_left(self._hashes, wanted)
        last = bisect_right(self._hashes, wanted, first)
        found = [self._read(offset) for offset in dict.fromkeys(self._offsets[first:last])]
        return [row for row in found if any(image.key == key for image in row.images)]

    def rows_of(self, key: str) -> list[CaptionRow]:
        """The rows whose sample this image is, in the order of tables and rows; their places are caption numbers."""
        return [row for row in self.rows_naming(key) if row.home == key]

    def _row(
        self, place: str, files: Sequence[NamedFile], rest: Mapping[str, Any], folder: str
    ) -> CaptionRow:
        images = tuple(Target(file.column, file.name, self._key_of(file.name, folder)) for file in files)
        columns = self._columns
        said = words_of(rest, place, text_column=columns.text, messages_column=columns.messages)
        return CaptionRow(place, images, said)

    def _key_of(self, name: str, folder: str) -> str | None:
        """The image that a name means; in a column that the catalogue names, an id without suffix too."""
        if self._columns.file_name is not None and self._suffixes is None:
            self._suffixes = image_suffixes(self._images)
        return listed_name(name, folder, self._images, self._suffixes or ())

    def _told(self, missed: Sequence[tuple[str, str, str]]) -> list[str]:
        return [f"{place} names {name!r}{self._hint(key)}" for place, name, key in missed]

    def _keep(self, row: CaptionRow, folder: str, *, shared: bool, beside: bool) -> bool:
        self.counts.rows += 1
        keys = [image.key for image in row.images if image.key is not None]
        if shared and not keys:
            self.counts.elsewhere += 1
            return False
        missed = [image.name for image in row.images if image.key is None]
        examples = self._missed_beside if beside else self._missed
        if (missed or not keys) and len(examples) < SHOWN_EXAMPLES:
            name = missed[0] if missed else ""
            examples.append((row.place, name, f"{folder}/{name}" if folder else name))
        if not keys:
            self.counts.elsewhere += beside
            self.counts.name_nothing += not beside
            return False
        self.counts.joined += 1
        self.names_several |= len(keys) > 1
        self.counts.incomplete += bool(missed)
        line = orjson.dumps([row.place, [*map(tuple, row.images)], row.words.as_json()]) + b"\n"
        self._spool.write(line)
        for key in keys:
            self._hashes.append(key_hash(key))
            self._offsets.append(self._spooled_bytes)
        self._spooled_bytes += len(line)
        return True

    def _read(self, offset: int) -> CaptionRow:
        self._spool.seek(offset)
        place, images, words = orjson.loads(self._spool.readline())
        return CaptionRow(place, tuple(Target(*image) for image in images), Words.of(words))

    def _hint(self, wanted: str) -> str:
        """What is there that looks like a name which is not."""
        if not wanted:
            return ""
        last = wanted.replace("\\", "/").rpartition("/")[2].casefold()
        alike = [key for key in self._images if key.casefold() == wanted.casefold()]
        alike += [key for key in self._images if key.rpartition("/")[2].casefold() == last]
        alike += [key for key in self._images if key.rpartition("/")[2].rpartition(".")[0].casefold() == last]
        return f" (there is {alike[0]})" if alike else ""


def _no_names(where: str, columns: Sequence[str], declared: str | None) -> str:
    there = f"there are: {', '.join(columns)}"
    if declared:
        return f"{where}: no column {declared!r} (file_name_column) names files; {there}"
    return (
        f"{where}: no column names files (file_name, file_names or one that ends so); {there}. Rename one to "
        "file_name, or name it as file_name_column"
    )
