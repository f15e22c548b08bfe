"""What the last version of a slice gives to the next: items that need no fetch, with their rows and rejects."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from vlm_assets.ingest.due import ItemPlan, plan_items
from vlm_assets.store.slices import (
    INDEX_FILE,
    ItemEntry,
    RejectEntry,
    data_file_names,
    read_items_ledger,
    read_rejects,
    read_rows,
)
from vlm_assets.store.taken_down import covered_rows
from vlm_assets.store.tombstones import StoredTombstones
from vlm_assets.store.versions import current_version, read_manifest
from vlm_assets.words.manifest import SliceManifest
from vlm_assets.words.records import Item
from vlm_assets.words.schema import Row


@dataclass(frozen=True, slots=True)
class LastVersion:
    """The committed version that a slice shows."""

    path: Path
    manifest: SliceManifest

    @classmethod
    def of(cls, link: Path) -> Self | None:
        """The one behind a slice's name; None where there is none."""
        path = current_version(link)
        return None if path is None else cls(path, read_manifest(path, SliceManifest))

    @property
    def data_files(self) -> list[str]:
        """Names of its data files, in order."""
        return data_file_names(self.manifest.files)

    def plan(self, items: Sequence[Item], formats: Sequence[str], *, accept_drift: bool) -> ItemPlan:
        """Which of the items, in canonical order, it has as they are; made under the same byte configuration."""
        ledger = read_items_ledger(self.path)
        used: defaultdict[str, set[str]] = defaultdict(set)
        if tuple(formats) != tuple(self.manifest.formats):
            rows = read_rows(self.path, self.data_files)
            for entry in ledger:
                for _ in range(entry.rows):
                    used[entry.key] |= {fact["format"] for fact in next(rows)["image_facts"]}
        return plan_items(
            items, ledger, read_rejects(self.path),
            formats_before=self.manifest.formats, formats=formats,
            formats_by_item={key: frozenset(value) for key, value in used.items()},
            accept_drift=accept_drift,
        )  # fmt: skip

    def emptied(self, takedowns: StoredTombstones) -> dict[str, Row]:
        """Its rows without content that takedowns cover, by id: their digests are of the words that went."""
        covered = set(covered_rows(self.path / INDEX_FILE, takedowns.ids, takedowns.image_sha256).tolist())
        if not covered:
            return {}
        rows = enumerate(read_rows(self.path, self.data_files))
        return {row["id"]: row for number, row in rows if number in covered and row["images"] is None}


class KeptRows:
    """Rows and rejects of items that are kept. Items are asked for in canonical order, so that rows are read once."""

    def __init__(self, last: LastVersion) -> None:
        self._rows = read_rows(last.path, last.data_files)
        self._ledger = iter(read_items_ledger(last.path))
        self._rejects: defaultdict[str, list[RejectEntry]] = defaultdict(list)
        for reject in read_rejects(last.path):
            self._rejects[reject.key].append(reject)

    def of(self, entry: ItemEntry) -> Iterator[Row]:
        """The rows of an item; to be read to their end before the next item's."""
        for old in self._ledger:
            if old.key == entry.key:
                break
            for _ in range(old.rows):
                next(self._rows)
        for _ in range(entry.rows):
            yield next(self._rows)

    def rejects(self, entry: ItemEntry) -> Sequence[RejectEntry]:
        """The rejects of an item."""
        return self._rejects[entry.key]
