"""Labels against the catalogue: what a listing can tell of them before anything is fetched, and what rows had."""

import logging
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import orjson

from vlm_assets.catalog.spec import SourceSpec
from vlm_assets.words.counts import so_many
from vlm_assets.words.errors import SourceError
from vlm_assets.words.item_columns import ItemColumns
from vlm_assets.words.records import KeysTell
from vlm_assets.words.schema import Row

logger = logging.getLogger("vlm_assets.ingest")
UNMAPPED: Final = "unmapped"
"""Key of a run's details: the labels and columns of a slice of which no row has a subcategory."""
_LABELS: Final = 10_000
"""So many different ones are looked at."""
_NOTED: Final = 1000
_ROWS_LOOKED_AT: Final = 100
_TELLS: Final = "tells"
"""In the payload of a data file: the columns that there are, and the labels where these are known."""
_MAY_BE_ARCHIVE: Final = '"by_content"'
"""In the payload of a loose item whose bytes tell what it is."""


class LabelCheck:
    """Looks at items while a source is listed. What only fetching tells ends the look: then nothing is refused.

    Kinds that read labels from tables while they list hold these against the map themselves.
    """

    def __init__(self, spec: SourceSpec) -> None:
        self._where = f"source {spec.name}"
        self._rule = None if spec.CHECKS_LABELS else spec.label_rule
        self._folder = (spec.subcategory_from and spec.subcategory_from.folder) or 0
        self._done = self._rule is None
        self._labels: set[str] = set()
        self._columns: dict[str, None] = {}
        self._first: str | None = None

    def see(self, tells: KeysTell, items: ItemColumns, *, container: bool) -> None:
        """Takes in the items of a slice, whose keys tell so much of their records'."""
        if self._done or not items.keys:
            return
        self._first = self._first or items.keys[0]
        if not self._folder and tells in (KeysTell.NOTHING, KeysTell.ABOVE):
            self._see_rows(items)
        elif tells is KeysTell.NOTHING:
            self._done = True
        elif self._folder:
            self._see_folders(tells, items)
        else:
            self._see_columns(items, container=container)

    def check(self) -> None:
        """Returns where one of the labels gives a subcategory, or fetching may bring one.

        Raises:
            SourceError: none does; tells what there is.
        """
        if self._done or self._first is None or self._rule is None:
            return
        column = self._rule.column
        if column and column not in self._columns:
            there = ", ".join(sorted(self._columns)) or "none; `text` says where those of images stand"
            raise SourceError(
                f"{self._where}: no column {column!r} (subcategory_from.column); there are: {there}"
            )
        if not self._labels and self._folder:
            raise SourceError(
                f"{self._where}: no item has {so_many(self._folder, 'folder')} in its name "
                f"(subcategory_from.folder); "
                f"the first is {self._first}"
            )
        self._rule.check(self._labels, self._where)

    def _see_folders(self, tells: KeysTell, items: ItemColumns) -> None:
        for key, payload in zip(items.keys, items.payloads, strict=True):
            folders = key.split("/")
            if tells is KeysTell.WHOLE:
                folders.pop()
            if len(folders) >= self._folder:
                self._label(folders[self._folder - 1])
            elif tells is KeysTell.ABOVE or _MAY_BE_ARCHIVE in payload:
                self._done = True
            if self._done:
                return

    def _see_rows(self, items: ItemColumns) -> None:
        """Of data files, as far as their listing looked into them; of other containers only fetching tells."""
        for payload in items.payloads:
            told = orjson.loads(payload).get(_TELLS)
            column = self._rule.column if self._rule else ""
            if told is None or ("labels" not in told and column in told["columns"]):
                self._done = True  # fetching tells
                return
            self._columns.update(dict.fromkeys(told["columns"]))
            for label in told.get("labels", ()):
                self._label(label)
            if self._done:
                return

    def _see_columns(self, items: ItemColumns, *, container: bool) -> None:
        for payload in items.payloads:
            values = _document(payload) if container else _captions(payload)
            for value in values:
                if value is None or (container and self._rule and self._rule.column not in value):
                    self._done = True  # fetching tells
                    return
                self._columns.update(dict.fromkeys(value))
                label = value.get(self._rule.column) if self._rule else None
                if label is not None:
                    self._label(str(label))
            if self._done:
                return

    def _label(self, label: str) -> None:
        if not label:
            return
        known = self._rule.known if self._rule else None
        self._done = known is None or label in known
        if len(self._labels) < _LABELS:
            self._labels.add(label)


def _document(payload: str) -> Iterator[Mapping[str, Any]]:
    """What the pages of a document carry in `extra`, of what its listing knows."""
    yield orjson.loads(payload)


def _captions(payload: str) -> Iterator[Mapping[str, Any] | None]:
    """The other columns of all captions of an image; None where only fetching tells them."""
    if payload == "{}":
        return
    told = orjson.loads(payload)
    if "sidecars" in told or _MAY_BE_ARCHIVE in payload:
        yield None
    for said in told.get("captions", ()):
        yield said.get("extra") or {}


class LabelsMet:
    """Looks at the rows of a slice on their way to it."""

    def __init__(self, spec: SourceSpec) -> None:
        self._rule = spec.label_rule
        self._mapped = self._rule is None
        self._rows = 0
        self._labels: set[str] = set()
        self._columns: set[str] = set()

    def watch(self, rows: Iterable[Row]) -> Iterator[Row]:
        """The same rows."""
        for row in rows:
            if not self._mapped:
                self._see(row)
            yield row

    def note(self, name: str) -> dict[str, Any]:
        """Details of a run, which it logs, where no row of the slice `name` has a subcategory; else {}."""
        if self._mapped or not self._rows or self._rule is None:
            return {}
        logger.warning(
            "%s: none of %d rows has a subcategory: %s", name, self._rows, self._rule.missed(self._labels)
        )
        return {UNMAPPED: {"labels": sorted(self._labels)[:_NOTED], "columns": sorted(self._columns)}}

    def _see(self, row: Row) -> None:
        self._rows += 1
        self._mapped = bool(row["subcategory"])
        if row["label"] and len(self._labels) < _LABELS:
            self._labels.add(row["label"])
        if row["extra"] and self._rows <= _ROWS_LOOKED_AT:
            self._columns.update(orjson.loads(row["extra"]))
