"""What upstream has now against what is locked: items by name. Fetches nothing, writes nothing but the cache."""

from collections.abc import Mapping, Sequence

from pydantic import BaseModel

from vlm_assets.ingest.listing import list_items
from vlm_assets.installation.opening import Installation
from vlm_assets.operate.lock import lock_file_of, unmatched_source
from vlm_assets.store.corpus_lock import Locked, items_path, read_lock
from vlm_assets.words.errors import ConfigError, SourceError, StoreError
from vlm_assets.words.records import Item


class SliceChange(BaseModel):
    """One slice that upstream changed; keys of items, sorted."""

    source: str
    slice: str
    added: list[str]
    gone: list[str]
    changed: list[str]
    """Upstream gives them another identity: a hash, an ETag, a time. Their rows may be the same."""


class LockDiff(BaseModel):
    """What `diff --lock --json` prints."""

    lock: str
    """Path."""
    slices: list[SliceChange] = []
    unlisted: dict[str, str] = {}
    """Sources of the lock that could not be listed, and why."""
    not_locked: list[str] = []
    """Sources that the catalogue enables and the lock does not know: nothing to compare them with."""

    @property
    def totals(self) -> dict[str, int]:
        """added, gone, changed over all."""
        return {
            name: sum(len(getattr(one, name)) for one in self.slices) for name in ("added", "gone", "changed")
        }

    @property
    def exit_code(self) -> int:
        """0: all of the lock was compared, whatever came out."""
        return 1 if self.unlisted else 0


def diff_lock(installation: Installation) -> LockDiff:
    """Lists every source of the catalogue's lock and compares.

    Raises:
        StoreError: there is no lock, or its items file is not beside it.
    """
    lock_file = lock_file_of(installation)
    locked = Locked(read_lock(lock_file), items_path(lock_file))
    if not locked.items_path.is_file():
        raise StoreError(f"{locked.items_path}: no such file; `build --locked` brings it from the remote")
    active = {spec.name: spec for spec in installation.catalog.fetched if spec.active}
    result = LockDiff(lock=str(lock_file), not_locked=sorted(active.keys() - locked.lock.sources.keys()))
    for name in sorted(locked.lock.sources):
        if name not in active:
            result.unlisted[name] = _why_not(installation, name)
            continue
        spec = active[name]
        try:
            now = list_items(
                installation, spec, installation.root.cache_of(spec.name), locked.source(spec.name).buckets
            )
        except (SourceError, ConfigError) as error:
            result.unlisted[name] = str(error)
            continue
        result.slices += _changes(locked, name, now)
    return result


def _why_not(installation: Installation, name: str) -> str:
    held = any(spec.name == name and spec.enabled for spec in installation.catalog.fetched)
    return (
        f"source {name}: locked, held by the catalogue"
        if held
        else unmatched_source(installation, name, locked=True)
    )


def _changes(locked: Locked, source: str, now: Mapping[str, Sequence[Item]]) -> list[SliceChange]:
    found = []
    for key in sorted({*now, *locked.source(source).slices}):
        there = locked.identities(source, key) if key in locked.source(source).slices else {}
        here = {item.key: item.identity for item in now.get(key, ())}
        change = SliceChange(
            source=source,
            slice=key,
            added=sorted(here.keys() - there.keys()),
            gone=sorted(there.keys() - here.keys()),
            changed=sorted(one for one in here.keys() & there.keys() if here[one] != there[one]),
        )
        if change.added or change.gone or change.changed:
            found.append(change)
    return found
