"""Builds one slice: keeps what is unchanged, fetches the rest, counts both ledgers, commits."""

import logging
import os
import shutil
import socket
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from itertools import groupby
from pathlib import Path
from threading import Event
from typing import Any

from blake3 import blake3
from pydantic import ValidationError

from vlm_assets.catalog.spec import SourceSpec
from vlm_assets.images.probe import ImageProber, ProbePolicy
from vlm_assets.ingest.drift import DRIFT_FILE, DriftGuard, guard_of
from vlm_assets.ingest.due import Due, ItemPlan, slice_due
from vlm_assets.ingest.frames import Frames
from vlm_assets.ingest.labels import LabelsMet
from vlm_assets.ingest.last_version import KeptRows, LastVersion
from vlm_assets.ingest.ledgers import Ledgers
from vlm_assets.ingest.left_out import LeftOutOfItems
from vlm_assets.ingest.listing import config_fingerprint
from vlm_assets.ingest.locked import SliceLock, lock_of
from vlm_assets.ingest.noted import note_names
from vlm_assets.ingest.rejected_pictures import RejectedPictures
from vlm_assets.ingest.renderer import identity_asked, identity_here, identity_of_slice, refuse_mixture
from vlm_assets.ingest.rows import Assignment, rows_of
from vlm_assets.ingest.summary import note_slice
from vlm_assets.ingest.taken_items import TakenRows, at_the_door
from vlm_assets.ingest.taken_words import is_taken
from vlm_assets.installation.entry_files import entry_file
from vlm_assets.installation.opening import Installation
from vlm_assets.locks import hold_lock
from vlm_assets.sources.registry import source_of
from vlm_assets.store.arrow_files import replace_file, write_bytes
from vlm_assets.store.corpus_lock import Locked
from vlm_assets.store.left_out import LEFT_OUT_FILE, read_slice_left_out, write_slice_left_out
from vlm_assets.store.listings import read_items
from vlm_assets.store.met import MetNote, note_met, settle_met, unnamed
from vlm_assets.store.rejected_pictures import RejectedPicture
from vlm_assets.store.slices import (
    ITEMS_FILE,
    REJECTS_FILE,
    RUN_FILE,
    ItemEntry,
    SliceWriter,
    WrittenSlice,
    rejects_bytes,
    write_items_ledger,
)
from vlm_assets.store.tombstones import read_tombstones
from vlm_assets.store.versions import commit_version
from vlm_assets.words.contexts import FetchContext
from vlm_assets.words.disk import named_disk_errors
from vlm_assets.words.errors import LeftOut, Reject, RejectReason, SourceError
from vlm_assets.words.layout import STAGING
from vlm_assets.words.manifest import Listing, RunRecord, SliceManifest
from vlm_assets.words.records import Item, Record
from vlm_assets.words.schema import Row

logger = logging.getLogger("vlm_assets.ingest")


@dataclass(frozen=True, slots=True)
class SliceOptions:
    """How to build a slice; nothing here changes its bytes, `max_records` and `accept_drift` excepted."""

    force: bool = False
    accept_drift: bool = False
    """Take what addresses give now, be it another picture than before; quarantined items are fetched again."""
    accept_renderer: bool = False
    """Draw anew, as a whole, what was drawn under another renderer identity than this machine's."""
    locked: Locked | None = None
    """Make the slice what this lock says, or nothing of it."""
    lock_wait_s: float = 0.0
    run_id: str = ""
    max_records: int | None = None
    cancelled: Event = field(default_factory=Event)
    progress: Callable[[int, int], None] = lambda items, size_bytes: None  # noqa: ARG005 - does nothing
    on_rejected: Callable[[RejectedPicture], None] = lambda picture: None  # noqa: ARG005 - does nothing
    """Is given a small picture of the first few rejected records that decode and are not taken down."""


@dataclass(frozen=True, slots=True)
class SliceOutcome:
    """What came of building a slice."""

    due: Due
    manifest: SliceManifest
    run: RunRecord
    path: Path


def read_run(version: Path) -> RunRecord | None:
    """`run.json` of a version; None where it is missing or unreadable (it is history, not evidence)."""
    try:
        return RunRecord.model_validate_json((version / RUN_FILE).read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


@named_disk_errors
def build_slice(
    installation: Installation,
    spec: SourceSpec,
    listing: Listing,
    slice_key: str,
    options: SliceOptions | None = None,
) -> SliceOutcome:
    """Brings one slice up to its listing and commits it; does nothing where it is committed already.

    Raises:
        SourceError: it cannot be fetched as a whole, or an item was lost on the way.
        RejectToleranceError: too large a share of its records are rejects.
        RendererError: something is due, but the slice was drawn under another renderer identity.
        LockedError: it would not be what the lock says.
        LockHeldError: another process builds it.
    """
    options = options or SliceOptions()
    root = installation.root
    lock = lock_of(options.locked, spec.name, slice_key)
    with hold_lock(
        root.locks / f"slice.{spec.name}.{slice_key}",
        f"slice {spec.name}/{slice_key}",
        wait_s=options.lock_wait_s,
    ):
        last = LastVersion.of(root.slice(spec.name, slice_key))
        run = read_run(last.path) if last else None
        manifest = last.manifest if last else None
        due = lock.due(manifest) if lock is not None else slice_due(
            listing.slices[slice_key], manifest, run, now=time.time(), force=options.force,
            accept_drift=options.accept_drift or not spec.quarantines_drift(),
            accept_renderer=identity_asked(spec, accept_renderer=options.accept_renderer),
        )  # fmt: skip
        if last is not None and due is Due.COMMITTED:
            _drop_spool(installation, spec.name, slice_key)  # of a run that was cut after it had committed
            settle_met(root, spec.name, slice_key)
            return SliceOutcome(due, last.manifest, run or RunRecord(), last.path)
        outcome = _SliceBuild(installation, spec, listing, slice_key, options, lock, last).run(due)
        note_slice(root, outcome.manifest, outcome.path.name, listing)
    return outcome


def _drop_spool(installation: Installation, source: str, key: str) -> None:
    if not installation.settings.keep_cache:
        shutil.rmtree(installation.root.cache_of(source) / "spool" / key, ignore_errors=True)


class _SliceBuild:
    """One build under way: counts while rows pass through to the writer."""

    def __init__(
        self,
        installation: Installation,
        spec: SourceSpec,
        listing: Listing,
        slice_key: str,
        options: SliceOptions,
        lock: SliceLock | None,
        last: LastVersion | None,
    ) -> None:
        self._installation = installation
        self._lock = lock
        self._last = last
        self._spec = spec
        self._listing = listing
        self._listed = listing.slices[slice_key]
        self._key = slice_key
        self._options = options
        self._name = f"{spec.name}/{slice_key}"
        self._ledgers = Ledgers(self._name, {})
        # What a lock says is meant, whatever stood at the address before.
        self._accept_drift = options.accept_drift or not spec.quarantines_drift() or lock is not None
        self._drift = DriftGuard()
        self._figures: defaultdict[str, float] = defaultdict(float)
        self._left_out: dict[str, list[LeftOut]] = {}
        self._companions: Mapping[str, int] = {}
        self._caption_rows: Mapping[str, Mapping[str, Any]] = {}
        self._source = source_of(spec.kind)
        self._config = config_fingerprint(installation, spec, self._source.version)
        root = installation.root
        self._takedowns = read_tombstones(root)
        self._taken = TakenRows(self._takedowns, self._name)
        self._pictures = RejectedPictures(
            options.on_rejected, self._takedowns, installation.settings.max_image_bytes, self._name
        )
        self._emptied: Mapping[str, Row] = {}
        self._cache = root.cache_of(spec.name)
        self._spool = self._cache / "spool" / slice_key
        self._staging = root.source(spec.name) / STAGING / slice_key

    def run(self, due: Due) -> SliceOutcome:
        run = RunRecord(run_id=self._options.run_id, host=socket.gethostname(), pid=os.getpid())
        clock = time.monotonic()
        items = read_items(self._installation.root, self._listing, self._key)
        self._taken.expect(items)
        plan = self._plan_items(due, items)
        last = self._last
        if self._lock is not None:
            self._lock.open(items)
            plan = self._lock.narrow(plan, items, last.path if last else None, self._taken)
        if due is not Due.REDRAWN and (
            plan.kept or self._lock is None
        ):  # rows drawn as a whole are judged by a lock
            refuse_mixture(self._name, self._spec, last.manifest if last else None, len(plan.fetched))
        self._ledgers = Ledgers(self._name, plan.attempts)
        if last is not None and not self._accept_drift:
            self._drift = guard_of(last.path, last.data_files)
        if last is not None and self._taken and plan.fetched:
            self._emptied = last.emptied(self._takedowns)
        run.taken_over = len(plan.kept)
        shutil.rmtree(self._staging, ignore_errors=True)
        self._staging.mkdir(parents=True)
        try:
            outcome = self._write(due, items, plan, run, clock)
        finally:
            shutil.rmtree(self._staging, ignore_errors=True)
        _drop_spool(self._installation, self._spec.name, self._key)
        logger.info(
            "%s/%s: %s: %d rows, %d rejects, %d of %d items kept, %.1f s", self._spec.name, self._key, due,
            outcome.manifest.rows, sum(outcome.manifest.rejects.values()), run.taken_over, len(items), run.seconds,
        )  # fmt: skip
        return outcome

    def _plan_items(self, due: Due, items: Sequence[Item]) -> ItemPlan:
        last = self._last
        if (
            due in {Due.FORCED, Due.REDRAWN}
            or last is None
            or last.manifest.config_fingerprint != self._config
        ):
            return ItemPlan({}, items, {})
        formats = self._installation.catalog.corpus.formats
        return last.plan(items, formats, accept_drift=self._accept_drift)

    def _write(
        self, due: Due, items: Sequence[Item], plan: ItemPlan, run: RunRecord, clock: float
    ) -> SliceOutcome:
        labels = LabelsMet(self._spec)
        with SliceWriter(self._staging) as writer:
            for row in labels.watch(self._rows(items, plan)):
                if self._options.cancelled.is_set():
                    raise SourceError(f"{self._name}: cancelled; fetched work is kept")
                writer.add(row)
            written = writer.finish()
        here = identity_here(self._spec) if plan.fetched else None
        if self._lock is not None:
            self._lock.check(written.content_hash, self._config, here.name if here else None)
        self._ledgers.enter_left_out(self._left_out, self._companions, self._caption_rows)
        entry = partial(entry_file, self._installation.catalog_dir, self._spec.name)
        self._ledgers.check_tolerance(written.rows, self._spec.tolerance, entry)
        drift = self._drift.write(self._staging / DRIFT_FILE)
        if drift is not None:
            written.files[DRIFT_FILE] = drift
        written.files[ITEMS_FILE] = write_items_ledger(self._staging / ITEMS_FILE, self._ledgers.items)
        written.files[LEFT_OUT_FILE] = write_slice_left_out(
            self._staging / LEFT_OUT_FILE, self._ledgers.left_out.items()
        )
        kept = self._last.manifest.renderer if self._last is not None and plan.kept else None
        new = self._manifest(written, identity_of_slice(kept, here, self._figures))
        if here is not None:
            run.details["renderer"] = {"version": here.version, "identity": here.name}
        before = read_run(self._last.path) if self._last is not None and plan.kept else None
        run.details |= note_names(self._name, self._ledgers, before.details if before else {})
        run.details |= labels.note(self._name)
        rejects = rejects_bytes(self._ledgers.rejects)
        run.finished_at = datetime.now(UTC)
        run.seconds = round(time.monotonic() - clock, 3)
        self._figures.update(self._drift.figures)
        run.figures = {name: round(value, 3) for name, value in sorted(self._figures.items())}
        run.rejects_blake3 = blake3(rejects).hexdigest()
        run.next_retry = self._ledgers.next_retry()
        write_bytes(self._staging / REJECTS_FILE, rejects)
        write_bytes(self._staging / RUN_FILE, run.model_dump_json(indent=2).encode())
        root = self._installation.root
        if met := unnamed(self._takedowns, self._taken.met):
            note_met(root, MetNote(source=self._spec.name, slice=self._key, committed=new.version, met=met))
        committed = commit_version(self._staging, root.slice(self._spec.name, self._key), new)
        settle_met(root, self._spec.name, self._key)
        # History of a version that was there already: its rejects and clocks are the new ones.
        replace_file(committed / REJECTS_FILE, rejects)
        replace_file(committed / RUN_FILE, run.model_dump_json(indent=2).encode())
        self._pictures.settle(root, self._spec.name, self._key, plan.kept, self._ledgers.rejects)
        return SliceOutcome(due, new, run, committed)

    def _rows(self, items: Sequence[Item], plan: ItemPlan) -> Iterator[Row]:
        """Rows of all items in canonical order, from the last version or fresh; fills the ledgers."""
        settings = self._installation.settings
        policy = ProbePolicy(
            formats=frozenset(self._installation.catalog.corpus.formats),
            verify=self._spec.verify,
            max_pixels=settings.max_pixels,
            max_bytes=settings.max_image_bytes,
            multi_frame="reject" if self._spec.multi_frame == "reject" else "first",
            decoder_cpu_s=settings.decoder_timeout_s,
        )
        kept = KeptRows(self._last) if self._last is not None and plan.kept else None
        with ImageProber(policy) as prober:
            left_out, frames = LeftOutOfItems(plan.fetched), Frames()
            self._left_out, self._companions = left_out.by_item, left_out.companions
            self._caption_rows = left_out.caption_rows
            events = self._events(plan, left_out, frames)
            described = rows_of(events, Assignment(self._spec, self._key), prober, settings)
            outcomes = self._pictures.among(self._taken.watch(described, settings.max_image_bytes))
            fresh = groupby(frames.told(outcomes), key=lambda outcome: outcome[0].item)
            following = next(fresh, None)
            for item in items:
                if kept is not None and item.key in plan.kept:
                    yield from self._kept(plan.kept[item.key], kept)
                    continue
                if item.key in plan.answered:
                    yield from self._counted(item, plan.answered[item.key])
                    continue
                if following is None or following[0] != item.key:
                    if item.key not in left_out.by_item:
                        key = following and following[0]
                        raise SourceError(
                            f"{self._name}: {self._spec.kind} gave {key!r} where {item.key!r} was next; every item "
                            "must give a record, a reject or something left out, in order"
                        )
                    yield from self._counted(item, self._lock.hold(item, ()) if self._lock else ())
                    continue
                results = self._drift.judge(item.key, following[1], partial(self._pictures.drifted, item.key))
                yield from self._counted(item, self._lock.hold(item, results) if self._lock else results)
                following = next(fresh, None)
            if following is not None:
                raise SourceError(f"{self._name}: {following[0]!r} was never listed")
        for key, beyond in frames.left_out.items():
            left_out.by_item[key] += beyond
        if plan.kept and self._last is not None:
            before = read_slice_left_out(self._last.path)
            self._left_out.update({key: before[key] for key in plan.kept.keys() & before.keys()})

    def _counted(self, item: Item, results: Iterable[Row | Reject]) -> Iterator[Row]:
        for row in self._ledgers.count(item, iter(results)):
            yield self._stripped(self._assigned(row) if self._lock else row)

    def _stripped(self, row: Row) -> Row:
        """The row as takedowns leave it; one that was emptied stays what it was: listings have its words no more."""
        before = self._emptied.get(row["id"])
        if before is not None and before["images_sha256"] == row["images_sha256"]:
            return self._assigned(before)
        return self._taken.strip(row)

    def _events(self, plan: ItemPlan, left_out: LeftOutOfItems, frames: Frames) -> Iterable[Record | Reject]:
        if not plan.fetched:
            return ()
        asked = [item for item in plan.fetched if not is_taken(item, self._taken.urls)]
        self._spool.mkdir(parents=True, exist_ok=True)
        root = self._installation.root
        context = FetchContext(
            settings=self._installation.settings,
            source=self._spec.name,
            slice_name=self._key,
            revision=self._listing.revision,
            attributes=self._listing.attributes,
            cache_dir=self._cache,
            spool_dir=self._spool,
            locks_dir=root.locks,
            force=self._options.force,
            max_records=self._options.max_records,
            tombstoned_urls=self._takedowns.urls,
            retried=plan.attempts.keys(),
            cancelled=self._options.cancelled,
            progress=self._options.progress,
            measure=self._measure,
        )
        events = left_out.strip(self._source.fetch(self._spec, asked, context) if asked else ())
        if self._spec.multi_frame == "pages":
            events = frames.pages(events, self._installation.settings.max_image_bytes)
        if self._taken.urls:
            events = at_the_door(plan.fetched, events, self._taken.urls, self._taken.see_refused)
        if self._options.max_records is None:
            return events
        return _capped(events, plan.fetched, self._options, left_out.by_item)

    def _measure(self, name: str, value: float) -> None:
        self._figures[name] += value

    def _kept(self, entry: ItemEntry, kept: KeptRows) -> Iterator[Row]:
        for row in kept.of(entry):
            self._taken.see(row, entry.key)
            yield self._taken.strip(self._assigned(row))
        self._ledgers.keep(entry, kept.rejects(entry))
        self._drift.keep(entry)

    def _assigned(self, row: Row) -> Row:
        """The row under the present catalogue."""
        row["category"], row["licence"] = self._spec.category, self._spec.licence
        row["subcategory"] = self._spec.subcategory_of(row["label"])
        return row

    def _manifest(self, written: WrittenSlice, renderer: str | None) -> SliceManifest:
        return SliceManifest(
            source=self._spec.name,
            slice=self._key,
            kind=self._spec.kind,
            kind_version=self._source.version,
            category=self._spec.category,
            licence=self._spec.licence,
            subcategories=dict(sorted(written.subcategories.items())),
            revision=self._listing.revision,
            listing_fingerprint=self._listed.fingerprint,
            config_fingerprint=self._config,
            formats=self._installation.catalog.corpus.formats,
            content_hash=written.content_hash,
            container=self._listed.container,
            items_per_slice=self._listed.items_per_slice,
            rows=written.rows,
            data_bytes=written.data_bytes,
            images=written.images,
            image_bytes=written.image_bytes,
            multi_image_rows=written.multi_image_rows,
            rows_with_text=written.rows_with_text,
            rows_with_messages=written.rows_with_messages,
            rows_with_neither=written.rows_with_neither,
            renderer=renderer,
            files=written.files,
            **self._ledgers.figures(),
        )


def _capped(
    events: Iterable[Record | Reject],
    items: Sequence[Item],
    options: SliceOptions,
    dealt_with: Mapping[str, object],
) -> Iterator[Record | Reject]:
    """Test mode: stops after `max_records` events; the items not reached are rejects with reason `test_mode`."""
    reached: set[str] = set()
    for number, event in enumerate(events, 1):
        reached.add(event.item)
        yield event
        if number == options.max_records:
            break
    yield from (
        Reject(item.key, RejectReason.TEST_MODE)
        for item in items
        if item.key not in reached and item.key not in dealt_with
    )
