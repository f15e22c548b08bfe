"""What a takedown did, and what it could not."""

from typing import Literal

from pydantic import BaseModel


class PinnedVersion(BaseModel):
    """A corpus version that holds the row and must not be deleted: the operator has to deal with it."""

    corpus: str
    version: str
    path: str


class CorpusRewrite(BaseModel):
    """One corpus from which rows were taken."""

    corpus: str
    target: str
    before: str
    after: str
    rows_removed: int
    holes: int
    shards_rewritten: tuple[str, ...]
    shards_kept: int


class Receipt(BaseModel):
    """What a takedown did, and what it could not. JSON-able; kept under `tombstones/receipts/`.

    `complete` is False where something `outstanding` is left; the command exits 1 then.
    """

    tombstone: str
    asked: str
    only_row: bool
    urls: tuple[str, ...]
    image_sha256: tuple[str, ...]
    ids: tuple[str, ...]
    found: bool = True
    """Whether any row on this machine is, or was, what the order names."""
    corpora: tuple[CorpusRewrite, ...] = ()
    slices_emptied: tuple[str, ...] = ()
    annotations_emptied: tuple[str, ...] = ()
    """Files of values that were changed or removed, below the data root."""
    listings_emptied: tuple[str, ...] = ()
    """Sources whose listing, or an older one, had words of the rows."""
    versions_deleted: tuple[str, ...] = ()
    caches_cleaned: tuple[str, ...] = ()
    papers_cleaned: tuple[str, ...] = ()
    """Corpus versions whose papers showed one of the rows."""
    previews_cleaned: tuple[str, ...] = ()
    """Partitions (source/slice) whose small pictures were taken out of the UI's event log."""
    pinned: tuple[PinnedVersion, ...] = ()
    outstanding: tuple[str, ...] = ()
    """In words, everything that still holds the rows or could not be reached, pinned versions included."""
    remarks: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Nothing is left to do."""
        return not self.outstanding

    @property
    def exit_code(self) -> Literal[0, 1]:
        """0 done, 1 something is outstanding."""
        return 0 if self.complete else 1
