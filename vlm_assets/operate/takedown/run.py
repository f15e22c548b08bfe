"""One takedown from record to receipt: a list of steps, each of which finds on disk what is left for it."""

import logging
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import orjson
from pydantic import ValidationError

from vlm_assets.exports.places import exports_before, remove_cut_work
from vlm_assets.exports.publishing.takedowns import publish_again
from vlm_assets.installation.opening import Installation
from vlm_assets.locks import hold_lock
from vlm_assets.operate.takedown.annotations import empty_annotations
from vlm_assets.operate.takedown.corpora import Corpora
from vlm_assets.operate.takedown.leftovers import clean_caches, clear_staging, remove_uncommitted
from vlm_assets.operate.takedown.listings import emptied_listings, empty_listings, record_said
from vlm_assets.operate.takedown.order import TakedownOrder, tombstone_of
from vlm_assets.operate.takedown.papers import Covered, clean_papers
from vlm_assets.operate.takedown.receipt import Receipt
from vlm_assets.operate.takedown.renamed import record_under_new_names
from vlm_assets.operate.takedown.rows import source_folders, versions_in
from vlm_assets.operate.takedown.slices import empty_slices, slices_away
from vlm_assets.papers.copies import renew_copies
from vlm_assets.remote.hydrate import follow_emptied
from vlm_assets.remote.names import Name
from vlm_assets.remote.purge import purge_remote, push_record
from vlm_assets.store.arrow_files import replace_file
from vlm_assets.store.met import name_covered, settle_all
from vlm_assets.store.rejected_pictures import forget_rejected
from vlm_assets.store.schema_1 import read_slice_manifest
from vlm_assets.store.slices import INDEX_FILE
from vlm_assets.store.taken_down import covered_rows
from vlm_assets.store.tombstones import Tombstone, read_tombstone, write_tombstone
from vlm_assets.store.versions import current_version, remove_version
from vlm_assets.words.disk import named_disk_errors
from vlm_assets.words.layout import DataRoot
from vlm_assets.words.moving import each_moving, moving

logger = logging.getLogger("vlm_assets.takedown")

_LOCK_WAIT_S: Final = 24 * 3600.0

_ORDERS: Final = ("url", "sha256", "id", "like")
"""What a person may ask for; the others follow from renames and locks."""

Progress = Callable[[str], None]
Previews = Callable[[Collection[tuple[str, str]]], Sequence[str]]
"""Forgets what a UI keeps of these (source, slice); returns what it cleaned, in words."""

_ELSEWHERE: Final = (
    "Originals in folders of clients, and what other machines exported or published, are outside this data root: "
    "remove the rows there too."
)
_NOWHERE: Final = (
    "no row on this machine has what was asked for. It is on record: it is never fetched, and kept out should it "
    "come in. If it should have been here, look for a typing error, or for a machine that has not pushed"
)


def no_progress(step: str) -> None:
    """Tells nobody."""
    del step


def no_previews(slices: Collection[tuple[str, str]]) -> Sequence[str]:
    """No UI keeps anything."""
    del slices
    return ()


@named_disk_errors
def take_down(
    installation: Installation,
    order: TakedownOrder,
    *,
    workers: int = 1,
    progress: Progress = no_progress,
    forget_previews: Previews = no_previews,
) -> Receipt:
    """Puts the takedown on record, removes the rows everywhere on this machine, and tells what is left.

    The record comes first: from then on no fetch, plan or seal takes the rows in, whatever happens to the rest. As
    long as there is no receipt that says `complete`, it is unfinished: `finish_takedowns` goes on with it.

    Raises:
        StoreError: the order names no row there is (by id), or not exactly one thing; the image given cannot be read.
        CorpusError, LockHeldError: a corpus cannot be rewritten now; the order can be given again.
    """
    root = installation.root
    progress("looking for the rows")
    tombstone = tombstone_of(root, order)
    write_tombstone(root, tombstone)
    if installation.settings.remote:
        push_record(installation)
    with _alone(root):
        return _carry_out(installation, [tombstone], workers, progress, forget_previews)[0]


def unfinished_takedowns(root: DataRoot, *, attempted: bool = True) -> list[str]:
    """Names of takedowns on record that this machine has not carried out to the end: cut ones, and those of others.

    Without `attempted` those alone that have no receipt: what stands on a receipt as outstanding needs a person.
    """
    return [
        path.stem
        for path in sorted(root.tombstones.glob("*.json"))
        if (receipt := _receipt(root, path.name)) is None or (attempted and not receipt.complete)
    ]


@named_disk_errors
def finish_takedowns(
    installation: Installation,
    *,
    workers: int = 1,
    attempted: bool = True,
    thorough: bool = False,
    progress: Progress = no_progress,
    forget_previews: Previews = no_previews,
) -> list[Receipt]:
    """Carries out what is unfinished; nothing where nothing is. Receipts in the order of the takedowns.

    Takedowns of other machines may name rows as they were called before a rename here: these are put on record first.
    So are rows that came in since with an image that was taken down; `thorough` looks into every slice
    for them, and into listings for what is said at addresses.

    Raises:
        StoreError, CorpusError: as `take_down`.
    """
    root = installation.root
    settle_all(root)
    if thorough:
        for source in source_folders(root):
            for link in sorted(path for path in source.iterdir() if path.is_symlink()):
                name_covered(root, source.name, link.name)
        record_said(root)
    if record_under_new_names(root) and installation.settings.remote:
        push_record(installation)
    if not unfinished_takedowns(root, attempted=attempted):
        return []
    receipts: list[Receipt] = []
    with _alone(root):
        # What one finds under other ids on this machine goes on record, and is carried out after it.
        while names := _untried(unfinished_takedowns(root, attempted=attempted), receipts):
            unfinished = [read_tombstone(root, name) for name in names]
            receipts += _carry_out(installation, unfinished, workers, progress, forget_previews)
    return receipts


def _untried(names: Sequence[str], receipts: Sequence[Receipt]) -> list[str]:
    return sorted(set(names).difference(one.tombstone for one in receipts))


def _alone(root: DataRoot) -> AbstractContextManager[None]:
    return hold_lock(root.locks / "takedown", "takedown", wait_s=_LOCK_WAIT_S)


def _receipts(root: DataRoot) -> Path:
    return root.tombstones / "receipts"


def _receipt(root: DataRoot, name: str) -> Receipt | None:
    try:
        return Receipt.model_validate_json((_receipts(root) / name).read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def _carry_out(
    installation: Installation,
    tombstones: Sequence[Tombstone],
    workers: int,
    progress: Progress,
    forget: Previews,
) -> list[Receipt]:
    """Each on this machine, then all at the remote in one go; receipts last."""
    works = [_Takedown(installation, one, workers, progress, forget) for one in tombstones]
    for work in works:
        work.run()
    purged = _purge_remote(installation, tombstones, progress)
    receipts = [work.receipt(purged) for work in works]
    for receipt in receipts:
        _write_receipt(installation.root, receipt)
    return receipts


def _write_receipt(root: DataRoot, receipt: Receipt) -> None:
    _receipts(root).mkdir(exist_ok=True)
    data = orjson.dumps(receipt.model_dump(), option=orjson.OPT_INDENT_2)
    replace_file(_receipts(root) / f"{receipt.tombstone}.json", data)
    left = "; ".join(receipt.outstanding) or "complete"
    logger.info("takedown %s: %d rows, %s", receipt.tombstone, len(receipt.ids), left)


@dataclass(frozen=True, slots=True)
class _AtRemote:
    """What became of the takedowns at the remote."""

    deleted: tuple[str, ...] = ()
    outstanding: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


def _purge_remote(
    installation: Installation, tombstones: Sequence[Tombstone], progress: Progress
) -> _AtRemote:
    if not installation.settings.remote or not tombstones:
        return _AtRemote()
    progress("purging the remote")
    asked = [one.asked for one in tombstones]
    key, value = asked[0].split(":", 1)
    one = f"vlm-assets takedown --{key} {'IMAGE' if key == 'like' else value}"
    again = one if len(asked) == 1 and key in _ORDERS else "vlm-assets takedown --finish"
    had_previews = not all(one.met for one in tombstones)
    purged = purge_remote(
        installation, emptied_listings(installation.root), again=again, had_previews=had_previews
    )
    return _AtRemote(tuple(f"remote {one}" for one in purged.deleted), purged.outstanding, purged.remarks)


@dataclass(slots=True)
class _Takedown:
    """One takedown under way."""

    installation: Installation
    tombstone: Tombstone
    workers: int
    progress: Progress
    forget: Previews
    corpora: Corpora = field(init=False)
    emptied: list[str] = field(default_factory=list)
    annotations: list[str] = field(default_factory=list)
    listings: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    papers: list[str] = field(default_factory=list)
    previews: list[str] = field(default_factory=list)
    caches: list[str] = field(default_factory=list)
    outstanding: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.corpora = Corpora(self.installation, self.ids, self.hashes, self.workers, self.progress)

    @property
    def root(self) -> DataRoot:
        return self.installation.root

    @property
    def ids(self) -> frozenset[str]:
        return frozenset(self.tombstone.ids)

    @property
    def hashes(self) -> frozenset[str]:
        return frozenset() if self.tombstone.only_row else frozenset(self.tombstone.image_sha256)

    def run(self) -> None:
        """Corpora before slices: a corpus is rewritten from the slice versions that its plan names.

        Of what was met after an earlier takedown only words are left, in lists.
        """
        if self.tombstone.met:
            self._empty_listings()
            self._clean_caches()
            return
        steps = (
            ("waiting for builds under way", self._clear_staging),
            ("removing pictures of rejects", self._forget_rejected),
            ("looking for slices that are emptied elsewhere", self._follow_emptied),
            ("looking at corpora", self.corpora.rewrite),
            ("emptying slices", self._empty_slices),
            ("emptying annotations", self._empty_annotations),
            ("emptying listings", self._empty_listings),
            ("deleting old slice versions", self._delete_old_slices),
            ("deleting old corpus versions", self.corpora.delete_old),
            ("looking at papers", self._clean_papers),
            ("looking at copies of reports", self._renew_copies),
            ("removing what cut runs left", self._remove_uncommitted),
            ("looking at what was published", self._publish_again),
            ("emptying caches", self._clean_caches),
            ("removing previews", self._forget_previews),
        )
        for told, step in each_moving("takedown: steps", steps, len(steps)):
            self.progress(told)
            with moving(f"takedown: {told}"):
                step()
        if not self.tombstone.ids:
            self.remarks.append(f"{self.tombstone.asked}: {_NOWHERE}")
        others = [one for one in exports_before(self.root, self.tombstone.name) if one.repo is None]
        self.remarks += [f"exported before: {one}" for one in others]
        self.remarks.append(_ELSEWHERE)

    def _clear_staging(self) -> None:
        clear_staging(self.root)

    def _forget_rejected(self) -> None:
        self.caches += forget_rejected(self.root)

    def _follow_emptied(self) -> None:
        if self.installation.settings.remote:
            covered = slices_away(self.root, self.hashes, self.ids)
            follow_emptied(self.installation, (Name("datasets", source, key) for source, key in covered))

    def _empty_slices(self) -> None:
        self.emptied += [name for name, _ in empty_slices(self.root, self.hashes, self.ids)]

    def _empty_annotations(self) -> None:
        self.annotations += empty_annotations(self.root, self.hashes, self.ids, self._sources())

    def _empty_listings(self) -> None:
        self.listings += empty_listings(self.root)

    def _clean_papers(self) -> None:
        covered = Covered(self.ids, self.hashes, frozenset(self.tombstone.urls))
        self.papers += clean_papers(self.installation, covered, self.progress)

    def _renew_copies(self) -> None:
        renewed = renew_copies(self.root, self.ids, self.hashes, self.tombstone.urls)
        self.outstanding += renewed.outstanding
        self.remarks += renewed.remarks

    def _remove_uncommitted(self) -> None:
        self.deleted += [*remove_uncommitted(self.root), *remove_cut_work(self.root)]

    def _publish_again(self) -> None:
        again = publish_again(self.installation, self.tombstone.name, self.progress)
        self.deleted += again.deleted
        self.outstanding += again.outstanding
        self.remarks += again.remarks

    def _delete_old_slices(self) -> None:
        for source in source_folders(self.root):
            current = {v for link in source.iterdir() if link.is_symlink() and (v := current_version(link))}
            for version in versions_in(source):
                if version in current or not len(covered_rows(version / INDEX_FILE, self.ids, self.hashes)):
                    continue
                manifest = read_slice_manifest(version)
                remove_version(version)
                self.deleted.append(f"datasets/{source.name}/{manifest.slice}/{version.name}")

    def _sources(self) -> set[str]:
        """Sources that have, or had, one of the rows."""
        named = {one.split("/", 1)[0] for one in (*self.ids, *self.tombstone.met)}
        return named | {one.split("/", 1)[0] for one in self.emptied}

    def _clean_caches(self) -> None:
        self.caches += clean_caches(self.root, self._sources(), self.hashes)

    def _forget_previews(self) -> None:
        """Has the UI forget the slices in which any version had one of the rows."""
        slices = {(source, key) for source, key, _ in (one.split("/", 2) for one in self.ids)}
        slices |= {(source, key) for source, key in (one.split("/", 1) for one in self.emptied)}
        try:
            self.previews += self.forget(slices)
        except Exception as error:  # a boundary: whatever the UI's storage raises must not lose the receipt
            logger.exception("previews of %d slices stay in the UI", len(slices))
            self.outstanding.append(
                f"previews in the UI's event log: {type(error).__name__}: {error}. Give this takedown again"
            )

    def receipt(self, remote: _AtRemote) -> Receipt:
        """What was done."""
        return Receipt(
            tombstone=self.tombstone.name,
            asked=self.tombstone.asked,
            only_row=self.tombstone.only_row,
            urls=self.tombstone.urls,
            image_sha256=self.tombstone.image_sha256,
            ids=(*self.tombstone.ids, *sorted(self.tombstone.met)),
            found=bool(self.tombstone.ids or self.tombstone.met),
            corpora=tuple(self.corpora.rewritten),
            slices_emptied=tuple(self.emptied),
            annotations_emptied=tuple(self.annotations),
            listings_emptied=tuple(self.listings),
            versions_deleted=(*self.deleted, *self.corpora.deleted, *remote.deleted),
            caches_cleaned=tuple(dict.fromkeys(self.caches)),
            papers_cleaned=tuple(self.papers),
            previews_cleaned=tuple(self.previews),
            pinned=tuple(self.corpora.pinned),
            outstanding=(*self.corpora.outstanding, *self.outstanding, *remote.outstanding),
            remarks=(*self.corpora.remarks, *self.remarks, *remote.remarks),
        )
