"""Data of an older schema version: what there is, what becomes of it, and the rewriting of it, without fetching.

Listings and slices are rewritten by the migrations registered in `MIGRATIONS`. What none can be made from is taken
out of force: the next build lists, fetches or builds it again. So are plans and corpora, which follow from slices.
Old versions stay on disk until `prune`. Each step is one symlink or file swapped, so the next run finishes a cut one.
"""

import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import orjson
import pyarrow as pa
from pydantic import BaseModel, ValidationError

from vlm_assets.allocation.manifest import PLAN_SCHEMA_VERSION
from vlm_assets.ingest.summary import refresh_summary
from vlm_assets.store.arrow_files import map_ipc_file, replace_file
from vlm_assets.store.listings import read_listing
from vlm_assets.store.locks import hold_lock
from vlm_assets.store.slices import INDEX_FILE
from vlm_assets.store.versions import commit_version, current_version
from vlm_assets.words.errors import StoreError, VlmAssetsError
from vlm_assets.words.layout import MANIFEST, STAGING, DataRoot
from vlm_assets.words.manifest import SCHEMA_VERSION, FileEntry, Listing, SliceManifest
from vlm_assets.words.schema import INDEX_SCHEMA

logger = logging.getLogger("vlm_assets.migration")

_LOCK_WAIT_S: Final = 3600.0
Content = dict[str, Any]
"""A manifest as plain JSON."""
Action = Literal["migrate", "list again", "fetch again", "build again", "newer"]
Files = Mapping[str, FileEntry]


@dataclass(frozen=True, slots=True)
class Migration:
    """From one schema version to the next. None: it cannot be made from what is on disk.

    `slice_` is given the old folder, an empty one, and the old manifest. It writes the files that change into the
    empty one and returns the new manifest and the entries of those files; the others are linked.
    """

    told: str
    """What it changes, for a person."""
    listing: Callable[[Content], Content] | None
    slice_: Callable[[Path, Path, Content], tuple[Content, Files]] | None


MIGRATIONS: dict[int, Migration] = {}
"""By the version they start from. A new `SCHEMA_VERSION` comes with an entry for the version before it."""


class Outdated(BaseModel):
    """One listing, slice, plan or corpus that this program does not read as it is."""

    kind: Literal["listing", "slice", "allocation", "corpus"]
    name: str
    found: int
    """Its schema version."""
    action: Action
    told: str
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


def migrate(
    root: DataRoot,
    *,
    apply: bool = False,
    progress: Callable[[str], None] = lambda name: None,  # noqa: ARG005 - does nothing
) -> MigrationReport:
    """Finds everything of another schema version; with `apply`, brings it to this one or takes it out of force."""
    report = MigrationReport(applied=apply, found=list(outdated(root)))
    for one in report.found if apply else ():
        progress(f"{one.kind} {one.name}")
        try:
            _ACTIONS[one.kind](root, one)
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
            path_known = _path_from(found, "slice_")
            yield _outdated("slice", _name(link), found, "migrate" if path_known else "fetch again")
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
        return bool(map_ipc_file(index).schema.equals(INDEX_SCHEMA))
    except (OSError, pa.ArrowInvalid):
        return True  # damaged: `verify` says so


def _migrate_listing(root: DataRoot, one: Outdated) -> None:
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


def _migrate_slice(root: DataRoot, one: Outdated) -> None:
    source, key = one.name.split("/", 1)
    link = root.slice(source, key)
    with hold_lock(root.locks / f"slice.{source}.{key}", f"migrating slice {one.name}", wait_s=_LOCK_WAIT_S):
        version = current_version(link)
        if version is None or one.action == "newer":
            return
        if one.action == "migrate":
            _rewrite_slice(link, version, one.found)
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


def _rewrite_slice(link: Path, version: Path, found: int) -> None:
    """Step by step into folders of their own, each linking what it does not change; the last is committed."""
    staging = link.parent / STAGING / f"{link.name}.migrate"
    shutil.rmtree(staging, ignore_errors=True)
    folder, content = version, orjson.loads((version / MANIFEST).read_bytes())
    try:
        for number in range(found, SCHEMA_VERSION):
            into = staging / str(number + 1)
            into.mkdir(parents=True)
            content = _step(MIGRATIONS[number], folder, into, content, number + 1)
            folder = into
        manifest = SliceManifest.model_validate_json(orjson.dumps(content))
        missing = [name for name in manifest.files if not (folder / name).is_file()]
        if missing:
            raise StoreError(f"{link.parent.name}/{link.name}: the migration left out {', '.join(missing)}")
        commit_version(folder, link, manifest)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _step(migration: Migration, folder: Path, into: Path, content: Content, number: int) -> Content:
    if migration.slice_ is None:
        raise StoreError(f"schema version {number} cannot be made from what is on disk")
    content, written = migration.slice_(folder, into, dict(content))
    for path in folder.iterdir():
        if path.is_file() and path.name != MANIFEST and not (into / path.name).exists():
            os.link(path, into / path.name)
    files = {**content["files"], **{name: entry.model_dump() for name, entry in written.items()}}
    return {**content, "files": files, "schema_version": number}


def _take_out(root: DataRoot, one: Outdated) -> None:
    """Plans and corpora follow from slices: without its link a target counts as not built."""
    if one.action == "newer":
        return
    folder = "allocations" if one.kind == "allocation" else "corpora"
    (root.path / folder / one.name).unlink(missing_ok=True)
    one.done = True


_ACTIONS: Final[Mapping[str, Callable[[DataRoot, Outdated], None]]] = {
    "listing": _migrate_listing,
    "slice": _migrate_slice,
    "allocation": _take_out,
    "corpus": _take_out,
}
