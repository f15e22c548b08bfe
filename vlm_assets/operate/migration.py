"""Data of an older schema version: what there is, what becomes of it, and the rewriting of it, without fetching.

Listings and slices are rewritten by the migrations registered in `MIGRATIONS`. What none can be made from is taken
out of force: the next build lists, fetches or builds it again. So are plans and corpora, which follow from slices.
Old versions stay on disk until `prune`. Each step is one symlink or file swapped, so the next run finishes a cut one.
"""

import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import orjson
import pyarrow as pa
from pydantic import BaseModel, ValidationError

from vlm_assets.allocation.manifest import PLAN_SCHEMA_VERSION
from vlm_assets.ingest.summary import refresh_summary
from vlm_assets.installation.opening import Installation
from vlm_assets.locks import hold_lock
from vlm_assets.operate import schema_1
from vlm_assets.store.arrow_files import replace_file
from vlm_assets.store.away import came_back
from vlm_assets.store.listings import read_listing
from vlm_assets.store.slices import INDEX_FILE
from vlm_assets.store.sound_files import IndexFile
from vlm_assets.store.versions import commit_version, current_version
from vlm_assets.words.disk import named_disk_errors
from vlm_assets.words.errors import LockHeldError, StoreError, VlmAssetsError
from vlm_assets.words.layout import MANIFEST, STAGING, DataRoot
from vlm_assets.words.manifest import SCHEMA_VERSION, FileEntry, Listing, SliceManifest
from vlm_assets.words.schema import INDEX_SCHEMA

logger = logging.getLogger("vlm_assets.migration")

_REWRITE: Final = ".migrate"
"""What the name of a folder ends in, in which a slice is rewritten."""
_LOCK_WAIT_S: Final = 3600.0
Content = dict[str, Any]
"""A manifest as plain JSON."""
Action = Literal["migrate", "list again", "fetch again", "build again", "newer"]
Files = Mapping[str, FileEntry]


@dataclass(frozen=True, slots=True)
class Migration:
    """From one schema version to the next. None: it cannot be made from what is on disk.

    `slice_` is given the old folder, an empty one, and the old manifest. It writes the files that change into the
    empty one and returns the new manifest and the entries of those files; the others are linked. `takes` says of an
    old folder and its manifest whether it can be made; without it, each can.
    """

    told: str
    """What it changes, for a person."""
    listing: Callable[[Content], Content] | None
    slice_: Callable[[Installation, Path, Path, Content], tuple[Content, Files]] | None
    takes: Callable[[Path, Content], bool] = lambda folder, content: True  # noqa: ARG005 - each can
    stays: Callable[[Path, Content], bool] = lambda folder, content: True  # noqa: ARG005 - each does
    """Whether the next build finds a slice committed once it is made; else it fetches it again."""


MIGRATIONS: dict[int, Migration] = {
    1: Migration(
        "a row holds a list of images and a conversation",
        lambda content: content,
        schema_1.migrate_slice,
        schema_1.can_be_made,
        schema_1.is_what_a_fetch_gives,
    )
}
"""By the version they start from. A new `SCHEMA_VERSION` comes with an entry for the version before it."""


class Outdated(BaseModel):
    """One listing, slice, plan or corpus that this program does not read as it is."""

    kind: Literal["listing", "slice", "allocation", "corpus"]
    name: str
    found: int
    """Its schema version."""
    action: Action
    told: str
    requests: int = 0
    """What fetching it again asks for: at most so many items. 0 where that is not due."""
    size_bytes: int = 0
    """Bytes that fetching it again brings, as far as is known."""
    done: bool = False
    problem: str = ""


class MigrationReport(BaseModel):
    """What `migrate --json` prints."""

    schema_version: int = SCHEMA_VERSION
    applied: bool
    found: list[Outdated] = []

    @property
    def exit_code(self) -> Literal[0, 1]:
        """0: nothing is left to migrate; 1: something is."""
        return 0 if all(one.done for one in self.found) else 1


@named_disk_errors
def migrate(
    installation: Installation,
    *,
    apply: bool = False,
    progress: Callable[[str, int, int], None] = lambda name, done, total: None,  # noqa: ARG005 - does nothing
) -> MigrationReport:
    """Finds everything of another schema version; with `apply`, brings it to this one or takes it out of force.

    `progress` is told of each: its name, how many are over, how many there are.
    """
    root = installation.root
    if apply:
        _remove_leftovers(root)
    report = MigrationReport(applied=apply, found=list(outdated(root)))
    for number, one in enumerate(report.found if apply else ()):
        progress(f"{one.kind} {one.name}", number, len(report.found))
        try:
            named_disk_errors(_ACTIONS[one.kind])(installation, one)
        except (VlmAssetsError, OSError, pa.ArrowInvalid, ValidationError, KeyError, ValueError) as error:
            one.problem = f"{type(error).__name__}: {error}"
            logger.exception("%s %s was not migrated", one.kind, one.name)
    if apply:
        _refresh_summaries(root, report.found)
    return report


def outdated(root: DataRoot) -> Iterator[Outdated]:
    """Listings first: a slice is committed beside its listing."""
    for path in sorted(root.listings.glob("*.json")):
        found = _version_of(path)
        if found != SCHEMA_VERSION:
            path_known = _path_from(found, "listing")
            yield _outdated("listing", path.stem, found, "migrate" if path_known else "list again")
    for link in _links(root.path / "datasets"):
        found = _version_of(link / MANIFEST)
        if found != SCHEMA_VERSION:
            yield _outdated_slice(link, found)
        elif not _same_columns(link / INDEX_FILE):
            told = "its files have other columns than its manifest says; no migration knows them"
            yield Outdated(kind="slice", name=_name(link), found=found, action="fetch again", told=told)
    for link in _links(root.path / "allocations"):
        found = _version_of(link / MANIFEST)
        if found != PLAN_SCHEMA_VERSION:
            yield _outdated("allocation", _name(link), found, "build again", PLAN_SCHEMA_VERSION)
    for link in _links(root.path / "corpora"):
        found = _version_of(link / MANIFEST)
        if found != SCHEMA_VERSION:
            yield _outdated("corpus", _name(link), found, "build again")


def _outdated_slice(link: Path, found: int) -> Outdated:
    """With what fetching it again would take, where it cannot be made from what is on disk."""
    content: Content = orjson.loads((link / MANIFEST).read_bytes())
    first = MIGRATIONS.get(found)
    known = _path_from(found, "slice_") and first is not None and first.takes(link, content)
    one = _outdated("slice", _name(link), found, "migrate" if known else "fetch again")
    due = known and first is not None and not first.stays(link, content)
    if due:
        one.told += "; used as it is until the next build fetches it again, for its kind reads more now"
    if (due or not known) and one.action != "newer":
        one.requests, one.size_bytes = int(content.get("items", 0)), int(content.get("image_bytes", 0))
    return one


def _outdated(
    kind: Literal["listing", "slice", "allocation", "corpus"],
    name: str,
    found: int,
    action: Action,
    current: int = SCHEMA_VERSION,
) -> Outdated:
    if found > current:
        told = f"made by a newer version of this program, which reads {found}; upgrade this one"
        return Outdated(kind=kind, name=name, found=found, action="newer", told=told)
    steps = [MIGRATIONS[number].told for number in range(found, SCHEMA_VERSION) if number in MIGRATIONS]
    told = (
        "; ".join(steps)
        if action == "migrate"
        else f"taken out of force: the next build will {action} what is due"
    )
    return Outdated(kind=kind, name=name, found=found, action=action, told=told)


def _links(folder: Path) -> list[Path]:
    """Names in force below a folder's folders: slices, plans, corpora."""
    links = [link for link in folder.glob("*/*") if link.is_symlink() and not link.name.startswith(".")]
    return sorted(link for link in links if current_version(link) is not None)


def _name(link: Path) -> str:
    return f"{link.parent.name}/{link.name}"


def _version_of(path: Path) -> int:
    """Schema version of a manifest; 0 where it names none or cannot be read."""
    try:
        return int(orjson.loads(path.read_bytes()).get("schema_version", 0))
    except (OSError, orjson.JSONDecodeError, AttributeError, TypeError, ValueError):
        return 0


def _path_from(found: int, what: Literal["listing", "slice_"]) -> bool:
    """Whether migrations lead from a version to this one."""
    steps = [MIGRATIONS.get(number) for number in range(found, SCHEMA_VERSION)]
    return bool(steps) and all(step is not None and getattr(step, what) is not None for step in steps)


def _same_columns(index: Path) -> bool:
    try:
        return bool(IndexFile(index).schema.equals(INDEX_SCHEMA))
    except (OSError, pa.ArrowInvalid):
        return True  # damaged: `verify` says so


def _migrate_listing(installation: Installation, one: Outdated) -> None:
    root = installation.root
    path = root.listing(one.name)
    with hold_lock(root.locks / f"listing.{one.name}", f"migrating listing {one.name}", wait_s=_LOCK_WAIT_S):
        if one.action == "migrate":
            content: Content = orjson.loads(path.read_bytes())
            for number in range(one.found, SCHEMA_VERSION):
                change = MIGRATIONS[number].listing
                content = {**(change(content) if change else content), "schema_version": number + 1}
            replace_file(path, Listing.model_validate_json(orjson.dumps(content)).to_bytes())
        elif one.action == "list again":
            path.unlink(missing_ok=True)
    one.done = one.action != "newer"


def _migrate_slice(installation: Installation, one: Outdated) -> None:
    root = installation.root
    source, key = one.name.split("/", 1)
    link = root.slice(source, key)
    with hold_lock(root.locks / f"slice.{source}.{key}", f"migrating slice {one.name}", wait_s=_LOCK_WAIT_S):
        version = current_version(link)
        if version is None or one.action == "newer":
            return
        if one.action == "migrate":
            _rewrite_slice(installation, link, version, one.found)
        else:
            link.unlink()
    one.done = True


def _refresh_summaries(root: DataRoot, found: Sequence[Outdated]) -> None:
    """Of sources whose listing and slices all can be read now; the others' stay until their next run."""
    of_sources = [one for one in found if one.kind in ("listing", "slice")]
    left = {one.name.split("/")[0] for one in of_sources if not one.done}
    for source in sorted({one.name.split("/")[0] for one in of_sources} - left):
        listing = read_listing(root, source)
        if listing is not None:
            refresh_summary(root, source, listing)


def _rewrite_slice(installation: Installation, link: Path, version: Path, found: int) -> None:
    """Step by step into folders of their own, each linking what it does not change; the last is committed."""
    staging = link.parent / STAGING / f"{link.name}{_REWRITE}"
    shutil.rmtree(staging, ignore_errors=True)
    folder, content = version, orjson.loads((version / MANIFEST).read_bytes())
    try:
        for number in range(found, SCHEMA_VERSION):
            into = staging / str(number + 1)
            into.mkdir(parents=True)
            content = _step(installation, MIGRATIONS[number], (folder, into), content)
            folder = into
        manifest = SliceManifest.model_validate_json(orjson.dumps(content))
        missing = [name for name in manifest.files if not (folder / name).is_file()]
        if missing:
            raise StoreError(f"{link.parent.name}/{link.name}: the migration left out {', '.join(missing)}")
        commit_version(folder, link, manifest)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _remove_leftovers(root: DataRoot) -> None:
    """Folders of rewrites that ended before they could remove them, unless somebody is at one."""
    for staging in sorted(root.path.glob(f"datasets/*/{STAGING}/*{_REWRITE}")):
        source, key = staging.parent.parent.name, staging.name.removesuffix(_REWRITE)
        with (
            suppress(LockHeldError),
            hold_lock(root.locks / f"slice.{source}.{key}", f"tidying after slice {source}/{key}"),
        ):
            shutil.rmtree(staging, ignore_errors=True)


def _step(
    installation: Installation, migration: Migration, places: tuple[Path, Path], content: Content
) -> Content:
    folder, into = places
    number = int(content["schema_version"]) + 1
    if migration.slice_ is None:
        raise StoreError(f"schema version {number} cannot be made from what is on disk")
    content, written = migration.slice_(installation, folder, into, dict(content))
    for path in folder.iterdir():
        if path.is_file() and path.name != MANIFEST and not (into / path.name).exists():
            os.link(path, into / path.name)
    came_back(into / name for name in written)
    files = {**content["files"], **{name: entry.model_dump() for name, entry in written.items()}}
    return {**content, "files": files, "schema_version": number}


def _take_out(installation: Installation, one: Outdated) -> None:
    """Plans and corpora follow from slices: without its link a target counts as not built."""
    if one.action == "newer":
        return
    folder = "allocations" if one.kind == "allocation" else "corpora"
    (installation.root.path / folder / one.name).unlink(missing_ok=True)
    one.done = True


_ACTIONS: Final[Mapping[str, Callable[[Installation, Outdated], None]]] = {
    "listing": _migrate_listing,
    "slice": _migrate_slice,
    "allocation": _take_out,
    "corpus": _take_out,
}
