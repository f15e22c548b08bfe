"""A takedown at the remote: its record, the emptied versions, and no stored version of what they replace."""

import logging
import shutil
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vlm_assets.installation.opening import Installation
from vlm_assets.remote.annotations import tainted
from vlm_assets.remote.away import free_pushed
from vlm_assets.remote.bucket import Bucket, open_remote
from vlm_assets.remote.download import fetch_object
from vlm_assets.remote.fetch import read_remote_version
from vlm_assets.remote.inventory import Inventory, take_inventory
from vlm_assets.remote.local import StoredVersion
from vlm_assets.remote.memory import Memory
from vlm_assets.remote.names import ANNOTATIONS, AREAS, DAGSTER, Name
from vlm_assets.remote.on_commit import push_annotations, push_listing, push_names, push_tombstones
from vlm_assets.remote.pointers import shown_version
from vlm_assets.remote.prune import PruneOrder, prune_remote
from vlm_assets.store.away import away_in
from vlm_assets.store.papers import SHOWN_FILE, shown_rows
from vlm_assets.store.slices import INDEX_FILE, data_file_names
from vlm_assets.store.taken_down import covered_rows, taken_down_in
from vlm_assets.store.tombstones import StoredTombstones, read_tombstones
from vlm_assets.words.errors import StoreError, VlmAssetsError
from vlm_assets.words.layout import MANIFEST, DataRoot
from vlm_assets.words.manifest import FileEntry

logger = logging.getLogger("vlm_assets.remote")

_EVERY: Final = 10**9
"""More versions than a name has: only what is purged goes."""


@dataclass(frozen=True, slots=True)
class Purged:
    """What a takedown did at the remote: versions that went, and in words what is left to do."""

    deleted: tuple[str, ...] = ()
    outstanding: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


def push_record(installation: Installation) -> None:
    """Pushes the takedown's record before anything else is done, so that no other machine takes the rows in."""
    try:
        push_tombstones(installation)
    except VlmAssetsError as error:  # `purge_remote` tries again, and says so on the receipt
        logger.warning("remote %s: the takedown's record: %s", installation.settings.remote, error)


def purge_remote(
    installation: Installation,
    listings: Collection[str],
    *,
    again: str,
    had_previews: bool = True,
    bucket: Bucket | None = None,
) -> Purged:
    """Pushes takedowns and what was rewritten, then removes for good what holds their rows; raises nothing.

    Every version there is looked at, whichever machine pushed it. `listings`: sources whose listing here has lost
    words, in this run or an earlier one that was cut. `again` is the command that finishes what could not be done.
    Objects that nothing names, uploads that did not end, and unless no row ever `had_previews` copies of Dagster's
    storage go too.
    """
    address = installation.settings.remote
    try:
        bucket = bucket or open_remote(installation.settings)
        push_tombstones(installation, bucket=bucket)
        return _Purge(installation, bucket, again, had_previews=had_previews).run(listings)
    except VlmAssetsError as error:
        told = f"remote {address}: {error}. Old versions there may still hold the rows; when that is mended: {again}"
        return Purged(outstanding=(f"{told} (deleting needs AllowPrune=true in deploy/aws/stack.yaml)",))


class _Purge:
    """One purge under way."""

    def __init__(self, installation: Installation, bucket: Bucket, again: str, *, had_previews: bool) -> None:
        self._had_previews = had_previews
        self._installation = installation
        self._root = installation.root
        self._bucket = bucket
        self._again = again
        self._memory = Memory(installation.root, bucket.address)
        self._look = RemoteLook(bucket, installation.root)

    def run(self, listings: Collection[str]) -> Purged:
        root = self._root
        for source in listings:
            push_listing(self._installation, source, bucket=self._bucket)
        areas = [ANNOTATIONS, *(f"{area}/" for area in (*AREAS, DAGSTER))]
        inventory = take_inventory(self._bucket, areas)
        holding = self._holding(inventory)
        stale = self._stale_papers(inventory, holding)
        corpora = [one for one in holding if one.area == "corpora"]
        plans = [Name("allocations", one.group, one.leaf) for one in corpora]
        here = [one for one in (*holding, *stale, *plans) if one.link(root).is_symlink()]
        push_names(self._installation, sorted(here), bucket=self._bucket)
        free_pushed(self._installation.settings, self._bucket, here)
        hosts = [name for name in inventory.names() if name.area == DAGSTER and self._had_previews]
        order = PruneOrder(
            keep_versions=_EVERY,
            grace_s=0.0,
            purge=frozenset(map(str, [*holding, *stale, *hosts])),
            drop=frozenset(map(str, hosts)),
            for_good=True,
            forget=frozenset(tainted(root, inventory)),
        )
        report = prune_remote(self._installation.settings, order, bucket=self._bucket)
        push_annotations(self._installation, bucket=self._bucket)
        outstanding = [*self._pinned(report.outstanding), *self._shown()]
        remarks = [f"remote {one}: Dagster's storage there may have had previews; the next backup brings it again"
                   for one in hosts]  # fmt: skip
        return Purged(tuple(report.versions), tuple(outstanding), tuple(remarks))

    def _holding(self, inventory: Inventory) -> list[Name]:
        """Names with a version at the remote that holds what was taken down."""
        return [
            name
            for name, versions in sorted(inventory.versions().items())
            if name.area in {"datasets", "corpora"} and any(self._look.holds(name, one) for one in versions)
        ]

    def _stale_papers(self, inventory: Inventory, holding: Collection[Name]) -> list[Name]:
        """Corpora that are clean here, and whose papers at the remote still show what was taken down."""
        return [
            name
            for name, versions in sorted(inventory.versions().items())
            if name.area == "corpora"
            and name not in holding
            and any(self._look.papers_hold(name, one) for one in versions if inventory.tag(name.beside(one)))
        ]

    def _pinned(self, labels: Collection[str]) -> list[str]:
        found = []
        for label in labels:
            path, version = label.split("@")
            if self._look.holds(Name(*path.split("/")), version):
                found.append(
                    f"remote {self._bucket.address}: {label} is pinned and holds the rows: "
                    f"vlm-assets unpin {version}, vlm-assets prune --remote --release-pins, then {self._again}"
                )
        return found

    def _shown(self) -> list[str]:
        """Names that still show a version with the rows: pushed by a machine that had not heard of the takedown."""
        inventory = take_inventory(self._bucket, ["datasets/", "corpora/"])
        found = []
        for name in inventory.names():
            shown = shown_version(self._bucket, self._memory, name, inventory.keys[name.current].etag)
            if self._look.holds(name, shown):
                found.append(
                    f"remote {self._bucket.address}: {name} shows version {shown} of another machine, which holds "
                    f"the rows. There, or here after vlm-assets restore: {self._again}; of a source that is in no "
                    f"catalogue any more: vlm-assets prune --remote --drop {name.area}/{name.group}"
                )
        return found


class RemoteLook:
    """Whether versions at the remote hold what was taken down; what is not on this machine is fetched to be seen."""

    def __init__(self, bucket: Bucket, root: DataRoot, takedowns: StoredTombstones | None = None) -> None:
        self._bucket = bucket
        self._root = root
        self._takedowns = read_tombstones(root) if takedowns is None else takedowns
        self._known: dict[tuple[Name, str], bool] = {}

    def holds(self, name: Name, version: str) -> bool:
        """Whether it does; one that cannot be read is taken to.

        Raises:
            RemoteError: the remote does not give it.
        """
        key = (name, version)
        if key not in self._known:
            self._known[key] = self._judge(name, version)
        return self._known[key]

    def _judge(self, name: Name, version: str) -> bool:
        here = name.versions(self._root) / version
        try:
            if (here / MANIFEST).is_file() and not away_in(here):
                return bool(taken_down_in(here, self._takedowns))
            return self._fetched(name, version)
        except StoreError as error:
            logger.warning("%s@%s: %s; taken to hold the rows", name, version, error)
            return True

    def papers_hold(self, name: Name, version: str) -> bool:
        """Whether the papers of a version at the remote show what was taken down; unreadable ones are taken to."""
        stored = read_remote_version(self._bucket, name, version)
        folder = self._root.path / ".remote" / "look" / f"{name.leaf}-{version}-papers"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        try:
            return self._shown_by_papers(stored, folder)
        except StoreError as error:
            logger.warning("%s@%s: %s; taken to show the rows", name, version, error)
            return True
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _shown_by_papers(self, stored: StoredVersion, folder: Path) -> bool:
        entry = stored.beside.files.get(SHOWN_FILE)
        if entry is None:
            return False
        fetch_object(self._bucket, entry, folder / SHOWN_FILE)
        down = self._takedowns
        return bool(shown_rows(folder, down.ids, down.image_sha256, down.urls))

    def _fetched(self, name: Name, version: str) -> bool:
        """Looks at its papers and indexes, and only where these have covered rows at what they show."""
        stored = read_remote_version(self._bucket, name, version)
        folder = self._root.path / ".remote" / "look" / f"{name.leaf}-{version}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        try:
            if self._shown_by_papers(stored, folder):
                return True
            for path in (path for path in stored.files if path.startswith("index")):
                fetch_object(self._bucket, stored.files[path], folder / path)
                covered = covered_rows(folder / path, self._takedowns.ids, self._takedowns.image_sha256)
                if len(covered) and path != INDEX_FILE:
                    return True
                if len(covered):
                    return self._with_content(stored.files, folder)
            return False
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _with_content(self, files: dict[str, FileEntry], folder: Path) -> bool:
        for path in data_file_names(files):
            fetch_object(self._bucket, files[path], folder / path)
        return bool(taken_down_in(folder, self._takedowns))
