"""Lists of URLs in files: which files make one up, and what its columns are."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Final

from vlm_assets.archives.names import is_hidden, is_junk
from vlm_assets.captions.tables import LoadedTable, Table, TableReading, is_table_name, unpacked_suffix
from vlm_assets.captions.text_files import Opener, TextFile, check_beginning, text_file
from vlm_assets.sources._url_rows import Columns, PackedRow, is_url_name, packed_cells, packed_rows
from vlm_assets.sources._url_talks import Talks, find_talks
from vlm_assets.words.counts import so_many
from vlm_assets.words.errors import LeftOut, LeftOutReason, SourceError
from vlm_assets.words.layout import nfc

FORMATS: Final = (".csv", ".tsv", ".parquet", ".jsonl", ".json", ".txt")
_TEXTS: Final = frozenset({".csv", ".tsv", ".tab", ".jsonl", ".ndjson", ".json", ".txt"})
AS_FOUND: Final = TableReading()


class UrlList:
    """The files of a list, whose columns are the same: a file, packed or not, or all lists in a folder."""

    def __init__(
        self, path: Path, reading: TableReading = AS_FOUND, known_columns: Iterable[str | None] = ()
    ) -> None:
        """Finds encoding, separator and columns; `known_columns` are those that the catalogue names.

        Raises:
            SourceError: missing, empty, undecodable, without a header, of an unknown format; columns that differ
                between files.
        """
        known = {nfc(name) for name in known_columns if name is not None}
        self.path = path
        self.files = list_files(path)
        self.left_out = other_files(path, self.files)
        self._tables = [_opened(file, reading, known) for file in self.files]
        for file, table in zip(self.files[1:], self._tables[1:], strict=True):
            if sorted(table.columns) != sorted(self.columns):
                raise SourceError(
                    f"{file}: its columns are {', '.join(table.columns)}, those of {self.files[0].name} "
                    f"{', '.join(self.columns)}; files of one list have the same"
                )

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns, NFC, in the order of the first file; `url` alone for a .txt."""
        return self._tables[0].columns

    def rows(self, columns: Columns) -> Iterator[PackedRow]:
        """All rows, file by file in the order of their names; blank lines are no rows.

        Raises:
            SourceError: a malformed row, with its line.
        """
        for table in self._tables:
            if table.read_cells is not None:
                where = f"{table.table.where}: {table.unit}"
                yield from packed_cells(table.read_cells(), table.columns, columns, where)
            else:
                for row in table.rows():
                    yield from packed_rows(row.values, columns, table.place(row))

    def talks(
        self, *, declared: str | None = None, others: Collection[str | None] = (), split: bool = False
    ) -> Talks:
        """Which column holds conversations, as `find_talks` finds it.

        Raises:
            SourceError: as `find_talks`; a malformed row.
        """
        return find_talks(
            self.columns,
            lambda: (row.values for row in chain.from_iterable(table.rows() for table in self._tables)),
            str(self.path),
            declared=None if declared is None else nfc(declared),
            others=others,
            split=split,
            kinds=self._tables[0].kinds,
        )


def choose_columns(
    path: Path | str,
    names: Sequence[str],
    *,
    url: str | None = None,
    text: str | None = None,
    sha256_: str | None = None,
    label: str | int | None = None,
    split: bool = False,
    messages: str | None = None,
) -> Columns:
    """The columns as declared, the URL column found by itself when there is exactly one candidate.

    Raises:
        SourceError: a declared column is not there, or the URL column is not plain; lists the columns.
    """
    wanted = {
        "url_column": url,
        "text_column": text,
        "messages_column": messages,
        "sha256_column": sha256_,
    }
    wanted["subcategory_from.column"] = label if isinstance(label, str) else None
    for key, name in wanted.items():
        if name is not None and nfc(name) not in names:
            raise SourceError(f"{path}: {key}: no column {name!r}; there are: {', '.join(names)}")
    if url is None:
        candidates = [name for name in names if is_url_name(name)]
        if not candidates and len(names) == 1:
            candidates = list(names)
        if len(candidates) != 1:
            found = (
                f"{so_many(len(candidates), 'column')} could hold URLs"
                if candidates
                else "no column is named like a URL"
            )
            raise SourceError(f"{path}: {found}; name one as url_column. There are: {', '.join(names)}")
        url = candidates[0]
    return Columns(
        nfc(url),
        None if text is None else nfc(text),
        None if sha256_ is None else nfc(sha256_),
        nfc(label) if isinstance(label, str) else label,
        split,
        None if messages is None else nfc(messages),
    )


def list_files(path: Path) -> list[Path]:
    """The files of a list, sorted.

    Raises:
        SourceError: none, or one that is empty or of an unknown format.
    """
    if path.is_dir():
        found = sorted(
            file for file in path.iterdir() if is_table_name(file.name) and not file.name.startswith(".")
        )
        if not found:
            raise SourceError(f"{path}: no URL list in this folder; a list is one of {', '.join(FORMATS)}")
    else:
        found = [path]
    for file in found:
        if not is_table_name(file.name):
            raise SourceError(f"{file}: unknown format; a URL list is one of {', '.join(FORMATS)}")
        if not file.is_file():
            raise SourceError(f"{file}: no such file")
        if file.stat().st_size == 0:
            raise SourceError(f"{file}: the file is empty")
    return found


def check_beginnings(files: Sequence[Path], reading: TableReading) -> None:
    """Returns where no file that should be text begins as none can.

    Raises:
        SourceError: one does.
    """
    for file in files:
        if unpacked_suffix(file.name) in _TEXTS:
            check_beginning(str(file), _opener(file), reading.encoding)


def other_files(path: Path, files: Sequence[Path]) -> list[LeftOut]:
    """What else a folder of lists holds."""
    if not path.is_dir():
        return []
    others = [one for one in sorted(path.iterdir()) if one.is_file() and one not in set(files)]
    return [LeftOut(nfc(one.name), _reason(one.name), "", one.stat().st_size) for one in others]


def _reason(name: str) -> LeftOutReason:
    if is_junk(name):
        return LeftOutReason.OS_JUNK
    return LeftOutReason.HIDDEN if is_hidden(name) else LeftOutReason.UNKNOWN_TYPE


def _opener(path: Path) -> Opener:
    return lambda: path.open("rb")


def _opened(path: Path, reading: TableReading, known: Collection[str]) -> LoadedTable:
    table = Table(
        path.name,
        str(path),
        _opener(path),
        reading,
        lambda name: name in known or is_url_name(name),
    )
    if unpacked_suffix(path.name) == ".txt":
        text = text_file(str(path), table.open, reading.encoding)
        return LoadedTable(table, ("url",), lambda: _lines(text), "line")
    loaded = table.load()
    if any("://" in name for name in loaded.columns):
        raise SourceError(f"{path}: the first line is a URL, a header with column names belongs there")
    return loaded


def _lines(text: TextFile) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(text.lines(), 1):
        if url := line.strip():
            if "\t" in url:
                raise SourceError(
                    f"{text.where}: line {number} holds a tab; a .txt is one URL a line, name a table .tsv"
                )
            yield number, {"url": url}
