"""Annotates one slice: finds what is not fresh, looks at its content once for all annotators, commits a file each."""

import logging
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

import pyarrow as pa

from vlm_assets.annotate.files import Header, read_annotation, write_annotation
from vlm_assets.annotate.imports import Scores
from vlm_assets.annotate.pool import AnnotatorPool, Answer
from vlm_assets.annotate.values import table_of
from vlm_assets.annotate.wanted import IMAGE_SHA256, Wanted, filed_schema
from vlm_assets.annotators.protocol import Reads, Values
from vlm_assets.annotators.registry import annotator_of
from vlm_assets.installation.opening import Installation
from vlm_assets.locks import hold_lock
from vlm_assets.store.slices import INDEX_FILE, data_file_names
from vlm_assets.store.sound_files import stream_batches
from vlm_assets.store.taken_down import covered_rows, images_of, read_index
from vlm_assets.store.tombstones import read_tombstones
from vlm_assets.store.versions import current_version, read_manifest
from vlm_assets.words.disk import named_disk_errors
from vlm_assets.words.errors import AnnotationError, StoreError
from vlm_assets.words.layout import DataRoot
from vlm_assets.words.manifest import SliceManifest
from vlm_assets.words.schema import SAMPLE_SCHEMA
from vlm_assets.workers.errors import WorkerError

logger = logging.getLogger("vlm_assets.annotate")

_IMAGES_AT_ONCE: Final = 8
_BYTES_AT_ONCE: Final = 8 * 2**20
_TEXTS_AT_ONCE: Final = 256


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
    seconds: float = 0.0

    @property
    def headers(self) -> dict[str, Header]:
        """Of all of them."""
        return {**self.kept, **self.done}


def annotation_lock(root: DataRoot, source: str, key: str) -> Path:
    """Held by whoever writes annotations of a slice."""
    return root.locks / f"annotate.{source}.{key}"


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
    ) -> SliceAnnotations:
        """Brings the annotations of a slice up to date, all or those of `wanted`; looks at nothing that is fresh.

        An annotator, or imported files, that give what they must not fail alone.

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
                return SliceAnnotations(committed=False)
            content = _Slice.of(self._root, version)
            kept = {} if force else {one.name: header for one in wanted if (header := content.fresh(one))}
            due = [one for one in wanted if one.name not in kept]
            done, failed = self._made(content, due)
        seconds = time.monotonic() - clock
        if done:
            logger.info("%s/%s: %s in %.1f s", source, key, ", ".join(sorted(done)), seconds)
        return SliceAnnotations(done, kept, failed, seconds=seconds)

    def _made(self, content: "_Slice", due: Sequence[Wanted]) -> tuple[dict[str, Header], dict[str, str]]:
        """What is written now, and why the others are not."""
        done: dict[str, Header] = {}
        faults: dict[str, str] = {}
        for one in (one for one in due if one.spec.imported):
            try:
                if one.name not in self._scores:
                    self._scores[one.name] = Scores.read(one.spec)
                done[one.name] = content.write(one, content.imported(one, self._scores[one.name]), {})
            except AnnotationError as error:
                faults[one.name] = str(error)
        for reads in Reads:
            named = {
                one.name: one
                for one in due
                if not one.spec.imported and annotator_of(one.name).reads is reads
            }
            try:
                rows, broken = content.computed(self._pool, reads, list(named)) if named else ({}, {})
            except (AnnotationError, WorkerError) as error:
                faults |= dict.fromkeys(named, str(error))
                continue
            for name, values in rows.items():
                one = named[name]
                try:
                    table = table_of(name, filed_schema(one.spec), content.ids, values)
                    done[name] = content.write(one, table, broken[name])
                except AnnotationError as error:
                    faults[name] = str(error)
        return done, faults

    def close(self) -> None:
        """Ends the processes."""
        self._pool.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


@dataclass(frozen=True, slots=True)
class _Slice:
    """The current version of a slice, as annotators see it."""

    root: DataRoot
    version: Path
    manifest: SliceManifest
    ids: list[str]
    gone: frozenset[int]
    """Rows that are taken down: whatever their files still have, they get no values."""

    @classmethod
    def of(cls, root: DataRoot, version: Path) -> Self:
        manifest = read_manifest(version, SliceManifest)
        takedowns = read_tombstones(root)
        gone: frozenset[int] = frozenset()
        if takedowns.ids or takedowns.image_sha256:
            covered = covered_rows(version / INDEX_FILE, takedowns.ids, takedowns.image_sha256)
            gone = frozenset(covered.tolist())
        ids = read_index(version / INDEX_FILE, ("id",)).column("id").to_pylist()
        return cls(root, version, manifest, ids, gone)

    def _path(self, one: Wanted) -> Path:
        return self.root.annotation(one.name, self.manifest.source, self.manifest.slice)

    def fresh(self, one: Wanted) -> Header | None:
        """The header of values that need not be computed; they are looked at in full."""
        try:
            found = read_annotation(self._path(one))
        except AnnotationError as error:
            logger.warning("%s", error)
            return None
        if found is None or found.table.schema != filed_schema(one.spec):
            return None
        header = found.header
        fresh = header.version == one.version and header.content_hash == self.manifest.content_hash
        return header if fresh else None

    def write(self, one: Wanted, table: pa.Table, failed: Mapping[str, int]) -> Header:
        """Commits the values."""
        header = Header(
            annotator=one.name,
            version=one.version,
            source=self.manifest.source,
            slice=self.manifest.slice,
            content_hash=self.manifest.content_hash,
            rows=table.num_rows,
            values_hash="",
            failed=dict(sorted(failed.items())),
        )
        return write_annotation(self._path(one), header, table)

    def imported(self, one: Wanted, scores: Scores) -> pa.Table:
        """The rows' values among imported ones."""
        schema = filed_schema(one.spec)
        mask = pa.array([row in self.gone for row in range(len(self.ids))], pa.bool_())
        if one.spec.key != IMAGE_SHA256:
            values = scores.of(self.ids, hashed=False)
            keep = pa.array([None if row in self.gone else row for row in range(len(self.ids))], pa.int64())
            columns = [values.column(name).take(keep).combine_chunks() for name in schema.names[1:]]
        else:
            images = images_of(read_index(self.version / INDEX_FILE))
            values = scores.of(images.column("sha256").to_pylist(), hashed=True)
            counts = Counter(images.column("row").to_pylist())
            offsets = _offsets(counts[row] for row in range(len(self.ids)))
            columns = [
                pa.ListArray.from_arrays(offsets, _one_chunk(values.column(name)), mask=mask)
                for name in schema.names[1:]
            ]
            columns = [column.take(pa.array(range(len(self.ids)), pa.int64())) for column in columns]
        ids = pa.array(self.ids, pa.string())
        return pa.table([ids, *columns], schema=schema)

    def computed(
        self, pool: AnnotatorPool, reads: Reads, names: Sequence[str]
    ) -> tuple[dict[str, list[Any]], dict[str, Counter[str]]]:
        """By annotator the values of each record, or of each of its images, and how many it broke on, by how."""
        counts: list[int | None] = []
        show = self._images if reads is Reads.IMAGES else self._words
        answer = Answer({name: [] for name in names}, {name: Counter() for name in names})

        def ask(batch: Sequence[Any]) -> Answer:
            return pool.ask(names, batch)

        for part in pool.in_order(ask, show(counts)):
            answer.add(part)
        if len(counts) != len(self.ids):
            raise StoreError(
                f"{self.version} is damaged: {len(counts)} rows, {len(self.ids)} in {INDEX_FILE}"
            )
        return {
            name: _by_record(counts, values, reads) for name, values in answer.values.items()
        }, answer.failed

    def _rows(self, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
        """These columns of every row, in order, one batch in memory at a time; {} of those that are taken down."""
        number = 0
        for name in data_file_names(self.manifest.files):
            for batch in stream_batches(self.version / name, SAMPLE_SCHEMA):
                wanted = batch.select(list(columns))
                for place in range(batch.num_rows):
                    yield {} if number in self.gone else wanted.slice(place, 1).to_pylist()[0]
                    number += 1

    def _images(self, counts: list[int | None]) -> Iterator[Sequence[Any]]:
        """All images in batches. Fills in how many each row has: None where its content is gone."""
        batch: list[tuple[str, bytes]] = []
        size = 0
        for row in self._rows(("images", "image_facts")):
            images = row.get("images")
            counts.append(None if images is None else len(images))
            for image, fact in zip(images or (), row.get("image_facts") or (), strict=bool(images)):
                batch.append((fact["format"], image["bytes"]))
                size += len(image["bytes"])
                if len(batch) >= _IMAGES_AT_ONCE or size >= _BYTES_AT_ONCE:
                    yield batch
                    batch, size = [], 0
        if batch:
            yield batch

    def _words(self, counts: list[int | None]) -> Iterator[Sequence[Any]]:
        """The words of all records that have any, in batches."""
        batch: list[str] = []
        size = 0
        for row in self._rows(("text", "messages")):
            words = words_of(row)
            counts.append(None if words is None else 1)
            if words is not None:
                batch.append(words)
                size += len(words)
            if len(batch) >= _TEXTS_AT_ONCE or size >= _BYTES_AT_ONCE:
                yield batch
                batch, size = [], 0
        if batch:
            yield batch


def words_of(row: Mapping[str, Any]) -> str | None:
    """All words of a record, text before messages, a line each; None where it has none."""
    text = row.get("text")
    parts = [] if text is None else [text]
    for message in row.get("messages") or ():
        parts += [part["text"] for part in message["content"] if part["text"] is not None]
    return "\n".join(parts) if parts else None


def _by_record(counts: Sequence[int | None], values: Sequence[Values], reads: Reads) -> list[Any]:
    left = iter(values)
    if reads is Reads.TEXT:
        return [None if count is None else next(left) for count in counts]
    return [None if count is None else [next(left) for _ in range(count)] for count in counts]


def _offsets(counts: Iterable[int]) -> pa.Array:
    offsets = [0]
    for count in counts:
        offsets.append(offsets[-1] + count)
    return pa.array(offsets, pa.int32())


def _one_chunk(column: pa.ChunkedArray) -> pa.Array:
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
