"""Annotates one slice: finds what is not fresh, looks at its content once for all annotators, commits a file each."""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Final, Self

import numpy as np
import pyarrow as pa

from vlm_assets.annotate.computing import Seen, compute, identity_of
from vlm_assets.annotate.content import SliceContent, keys_of
from vlm_assets.annotate.files import Annotation, Header, read_annotation, write_annotation
from vlm_assets.annotate.imports import Scores, imported_table
from vlm_assets.annotate.pool import AnnotatorPool
from vlm_assets.annotate.reuse import Places, joined, kept_places, reusable, with_keys
from vlm_assets.annotate.said import Said
from vlm_assets.annotate.under_way import UnderWay, drop
from vlm_assets.annotate.wanted import Wanted, filed_schema
from vlm_assets.annotators.protocol import Reads
from vlm_assets.annotators.registry import annotator_of
from vlm_assets.installation.opening import Installation
from vlm_assets.locks import hold_lock
from vlm_assets.store.versions import current_version
from vlm_assets.words.disk import named_disk_errors
from vlm_assets.words.errors import AnnotationError
from vlm_assets.words.layout import DataRoot
from vlm_assets.workers.errors import WorkerError

logger = logging.getLogger("vlm_assets.annotate")

ANNOTATE_LOCK: Final = "annotate"


@dataclass(frozen=True, slots=True)
class SliceAnnotations:
    """What came of annotating a slice."""

    done: Mapping[str, Header] = field(default_factory=dict)
    """By annotator, computed now."""
    kept: Mapping[str, Header] = field(default_factory=dict)
    """Fresh already."""
    failed: Mapping[str, str] = field(default_factory=dict)
    """By annotator, why there are no values: the others stand."""
    committed: bool = True
    """Whether there is a slice: one that was never fetched has nothing to be annotated."""
    seen: int = 0
    """Images and texts that were looked at now: not those of before a kill, nor of records that are as they were."""
    seconds: float = 0.0

    @property
    def headers(self) -> dict[str, Header]:
        """Of all of them."""
        return {**self.kept, **self.done}


def annotation_lock(root: DataRoot, source: str, key: str) -> Path:
    """Held by whoever writes annotations of a slice."""
    return root.locks / f"{ANNOTATE_LOCK}.{source}.{key}"


@dataclass(frozen=True, slots=True)
class _Due:
    """One annotation of a slice that is to be made."""

    wanted: Wanted
    older: Annotation | None
    """What may hold still of it."""
    places: Places
    """Of each record its place among the older values; -1 where it has none there."""
    keys: pa.Array | None
    """Of each record its content key; None of imported values."""


class Annotating:
    """Annotates slices, one after the other: processes are started once, imported files are read once.

    Ends with its block.
    """

    def __init__(self, installation: Installation, wanted: Sequence[Wanted], *, workers: int = 0) -> None:
        """Of these annotations, which are usable, in as many processes at once."""
        self._root = installation.root
        self._wanted = wanted
        settings = installation.settings
        names = [one.name for one in wanted if not one.spec.imported]
        self._pool = AnnotatorPool(names, workers or settings.worker_count, cpu_s=settings.decoder_timeout_s)
        self._scores: dict[str, Scores] = {}

    @named_disk_errors
    def slice(
        self,
        source: str,
        key: str,
        wanted: Sequence[Wanted] | None = None,
        *,
        force: bool = False,
        wait_s: float = 0.0,
        tell: Seen = lambda count: None,  # noqa: ARG005 - does nothing
    ) -> SliceAnnotations:
        """Brings the annotations of a slice up to date, all or those of `wanted`; looks at nothing that is fresh.

        Of a file that is not fresh, values of records whose content is as it was stay; `force` looks at every record.
        Killed, the next call goes on behind the batches that are done. An annotator, or imported files, that give
        what they must not fail alone. `tell`: is told, from any thread, how many images and texts were looked at so
        far.

        Raises:
            StoreError: the slice is damaged.
            LockHeldError: somebody else annotates it, for longer than `wait_s`.
        """
        clock = time.monotonic()
        wanted = self._wanted if wanted is None else wanted
        with hold_lock(
            annotation_lock(self._root, source, key), f"annotations of {source}/{key}", wait_s=wait_s
        ):
            version = current_version(self._root.slice(source, key))
            if version is None:
                drop(self._root.annotating(source, key))
                return SliceAnnotations(committed=False)
            content = SliceContent.of(self._root, version)
            making = _Making(self._root, content, self._pool, self._scores, tell)
            kept = making.begin(wanted, force=force)
            making.make(force=force)
        seconds = time.monotonic() - clock
        if making.done:
            told = ", ".join(sorted(making.done))
            logger.info("%s/%s: %s, %d looked at, in %.1f s", source, key, told, making.seen, seconds)
        return SliceAnnotations(making.done, kept, making.failed, seen=making.seen, seconds=seconds)

    def close(self) -> None:
        """Ends the processes."""
        self._pool.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


class _Making:
    """The annotations of one slice, whose lock is held."""

    def __init__(
        self,
        root: DataRoot,
        content: SliceContent,
        pool: AnnotatorPool,
        scores: dict[str, Scores],
        tell: Seen,
    ) -> None:
        self._root = root
        self._content = content
        self._pool = pool
        self._scores = scores
        self._tell = tell
        self._due: list[_Due] = []
        self._known_keys: dict[Reads, pa.Array] = {}
        self._count = Lock()
        self.done: dict[str, Header] = {}
        self.failed: dict[str, str] = {}
        self.seen = 0
        self._unfinished = False

    @property
    def _folder(self) -> Path:
        return self._root.annotating(self._content.manifest.source, self._content.manifest.slice)

    def begin(self, wanted: Sequence[Wanted], *, force: bool) -> dict[str, Header]:
        """Finds what is due; the headers of what is fresh."""
        kept = {}
        for one in wanted:
            found = None if force else self._found(one)
            if found is not None and self._is_fresh(found, one):
                kept[one.name] = found.header
                continue
            self._due.append(self._due_of(one, reusable(found, one)))
        return kept

    def _due_of(self, one: Wanted, older: Annotation | None) -> _Due:
        reads = _reads(one)
        keys = None if reads is None else self._keys(reads)
        if keys is None or older is None:
            return _Due(one, None, np.full(len(self._content.ids), -1, np.int64), keys)
        places = kept_places(older.keys, keys)
        places[self._content.gone] = -1
        return _Due(one, older, places, keys)

    def _keys(self, reads: Reads) -> pa.Array:
        if reads not in self._known_keys:
            self._known_keys[reads] = keys_of(self._content.version, reads)
        return self._known_keys[reads]

    def make(self, *, force: bool) -> None:
        """Makes it, and removes what a killed process had kept of it."""
        for one in self._due:
            if one.wanted.spec.imported:
                self._import(one.wanted)
        for reads in Reads:
            due = [one for one in self._due if _reads(one.wanted) is reads]
            if due:
                self._compute(reads, due, force=force)
        if not self._unfinished:
            drop(self._folder)

    def _import(self, one: Wanted) -> None:
        try:
            if one.name not in self._scores:
                self._scores[one.name] = Scores.read(one.spec)
            table = imported_table(self._content, one, self._scores[one.name])
            self.done[one.name] = self._write(one, table, {}, None)
        except AnnotationError as error:
            self.failed[one.name] = str(error)

    def _compute(self, reads: Reads, due: Sequence[_Due], *, force: bool) -> None:
        content = self._content
        said = [Said(one.wanted, reads, content, (one.places < 0) & ~content.gone) for one in due]
        folder = self._folder / reads
        try:
            with UnderWay(folder, identity_of(content, reads, said), forced=force) as under_way:
                absent = compute(self._pool, content, reads, said, under_way, self._note_seen)
        except WorkerError as error:  # of the machine: what is done stays
            self.failed |= {one.wanted.name: str(error) for one in due}
            self._unfinished = True
            return
        except AnnotationError as error:
            self.failed |= {one.wanted.name: str(error) for one in due}
            return
        for one, of_one in zip(due, said, strict=True):
            if of_one.fault:
                self.failed[one.wanted.name] = of_one.fault
            else:
                self._commit(one, of_one, absent if reads is Reads.IMAGES else frozenset())

    def _commit(self, one: _Due, said: Said, absent: frozenset[int]) -> None:
        withheld = self._content.gone.copy()
        withheld[sorted(said.broken | absent)] = True
        table = joined(self._content.ids, one.older, one.places, said.table())
        self.done[one.wanted.name] = self._write(
            one.wanted, table, said.failed, with_keys(one.keys, withheld)
        )

    def _note_seen(self, count: int) -> None:
        with self._count:
            self.seen += count
            self._tell(self.seen)

    def _path(self, one: Wanted) -> Path:
        return self._root.annotation(one.name, self._content.manifest.source, self._content.manifest.slice)

    def _found(self, one: Wanted) -> Annotation | None:
        """The values that are there, looked at in full."""
        try:
            return read_annotation(self._path(one))
        except AnnotationError as error:
            logger.warning("%s", error)
            return None

    def _is_fresh(self, found: Annotation, one: Wanted) -> bool:
        header = found.header
        same = header.version == one.version and header.content_hash == self._content.manifest.content_hash
        return same and found.table.schema == filed_schema(one.spec)

    def _write(
        self, one: Wanted, table: pa.Table, failed: Mapping[str, int], keys: pa.Array | None
    ) -> Header:
        """Commits the values."""
        manifest = self._content.manifest
        header = Header(
            annotator=one.name,
            version=one.version,
            source=manifest.source,
            slice=manifest.slice,
            content_hash=manifest.content_hash,
            rows=table.num_rows,
            values_hash="",
            failed=dict(sorted(failed.items())),
        )
        return write_annotation(self._path(one), header, table, keys)


def _reads(one: Wanted) -> Reads | None:
    """What its annotator looks at; None of imported values."""
    return None if one.spec.imported else annotator_of(one.name).reads
