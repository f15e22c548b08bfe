"""Downloads that nobody has looked at for long, or that are too many: removed, the oldest first.

A cache only saves asking again. What a live process works on is left alone, and tables of file hashes stay, for they
save reading every file again.
"""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vlm_assets.installation.opening import Installation
from vlm_assets.locks import hold_lock
from vlm_assets.operate.prune import PruneReport, remove_tree
from vlm_assets.words.errors import LockHeldError
from vlm_assets.words.layout import ANNOTATING, DataRoot

_TABLES: Final = (".db", ".sqlite")
_BY_SLICE: Final = {"spool": "slice", ANNOTATING: "annotate"}
"""Folders with one for each slice, and the lock of whoever works on that."""
_DAY_S: Final = 86_400.0


@dataclass(frozen=True, slots=True)
class _Entry:
    """One thing in a source's cache: removed as a whole."""

    path: Path
    locks: tuple[str, ...]
    used_at: float
    size_bytes: int


def prune_cache(installation: Installation, *, now: float) -> PruneReport:
    """Removes what `cache_days` and `cache_max_gb` of the settings leave no room for. `now` in Unix seconds."""
    settings, root = installation.settings, installation.root
    entries = sorted(_entries(root), key=lambda one: (one.used_at, one.path))
    oldest = now - settings.cache_days * _DAY_S if settings.cache_days else 0.0
    aged = [one for one in entries if one.used_at < oldest]
    left = entries[len(aged) :]
    surplus = _surplus(left, settings.cache_max_gb * 1e9) if settings.cache_max_gb else []
    report = PruneReport()
    for one in [*aged, *surplus]:
        _remove(root, one, report)
    return report


def _surplus(entries: Iterable[_Entry], most_bytes: float) -> list[_Entry]:
    """The oldest entries without which the others fit."""
    entries = list(entries)
    too_many = sum(one.size_bytes for one in entries) - most_bytes
    found = []
    for one in entries:
        if too_many <= 0:
            break
        found.append(one)
        too_many -= one.size_bytes
    return found


def _entries(root: DataRoot) -> Iterator[_Entry]:
    for folder in sorted(root.cache.iterdir()) if root.cache.is_dir() else ():
        if not folder.is_dir():
            continue
        for path in sorted(folder.iterdir()):
            if path.name not in _BY_SLICE:
                if path.suffix not in _TABLES:
                    yield _entry(path, f"fetch.{folder.name}", f"listing.{folder.name}")
                continue
            for one in sorted(path.iterdir()):
                yield _entry(one, f"{_BY_SLICE[path.name]}.{folder.name}.{one.name}")


def _entry(path: Path, *locks: str) -> _Entry:
    """With the time at which any of its files was last read or written, as far as the volume notes reads."""
    stats = [one.stat(follow_symlinks=False) for one in (path, *path.rglob("*"))]
    files = stats if len(stats) == 1 else stats[1:]  # a folder's own times change when it is listed
    used_at = max(max(one.st_mtime, one.st_atime) for one in files)
    return _Entry(path, locks, used_at, sum(one.st_size for one in files))


def _remove(root: DataRoot, entry: _Entry, report: PruneReport) -> None:
    with ExitStack() as stack:
        try:
            for name in entry.locks:
                stack.enter_context(hold_lock(root.locks / name, f"pruning {entry.path.name}"))
        except LockHeldError as error:
            report.kept.append(str(error))
            return
        remove_tree(root, entry.path, report)
