"""What `build --locked` does before and after the line: keeps the lock for the runs; compares what came with it."""

from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING

from vlm_assets.installation.opening import Installation
from vlm_assets.remote.line import line_remote
from vlm_assets.words.errors import ConfigError, Problem

if TYPE_CHECKING:
    from vlm_assets.store.corpus_lock import CorpusLock, Locked


def open_lock(installation: Installation, say: Callable[[str], None]) -> "Locked":
    """The catalogue's lock, kept in the data root, with the takedowns that it was made with on record there.

    Raises:
        ConfigError: the catalogue is not the one that was locked, or holds a source; names every difference.
        StoreError: there is no lock, or its items are neither beside it nor at the remote.
    """
    from vlm_assets.allocation.step import adopt_takedowns
    from vlm_assets.operate.lock import catalog_differences, lock_file_of, program_differences
    from vlm_assets.store.corpus_lock import keep_lock, kept_lock, read_lock

    lock_file = lock_file_of(installation)
    lock = read_lock(lock_file)
    if problems := [Problem(lock_file.name, "", one) for one in catalog_differences(installation, lock)]:
        raise ConfigError(problems)
    if problems := _held(installation, lock):
        raise ConfigError(problems)
    for one in program_differences(lock):
        say(f"{lock_file.name}: {one}: the bytes may differ")
    remote = line_remote(installation)
    remote.before_slices()
    remote.before_keeping(lock_file, lock)
    locked = kept_lock(installation.root, keep_lock(installation.root, lock_file))
    remote.after_keeping(locked.lock.version)
    if adopt_takedowns(installation.root, locked):
        say("What was taken down before the lock stays out here too: its rows are on record in tombstones/")
    return locked


def _held(installation: Installation, lock: "CorpusLock") -> list[Problem]:
    """Sources that are held, and lack something of the lock: it would never come."""
    from vlm_assets.operate.lock import unlocked_slices

    return [
        Problem(
            "corpus.lock", f"{name}.hold", "a held source is not fetched, and not all that is locked is here"
        )
        for name in lock.sources
        if installation.catalog.source(name).hold and unlocked_slices(installation, lock, [name])
    ]


def targets_of(lock: "CorpusLock", wanted: Sequence[str]) -> tuple[str, ...]:
    """The targets to build: those wanted, or all that are locked.

    Raises:
        ConfigError: one that is not locked.
    """
    told = f"not locked; there are: {', '.join(lock.targets)}"
    if problems := [Problem("corpus.lock", name, told) for name in wanted if name not in lock.targets]:
        raise ConfigError(problems)
    return tuple(wanted) or tuple(lock.targets)


def slices_as_locked(
    installation: Installation, lock: "CorpusLock", sources: Collection[str], say: Callable[[str], None]
) -> bool:
    """Whether every slice of these sources is what the lock says; tells which are not."""
    from vlm_assets.operate.lock import unlocked_slices

    faults = unlocked_slices(installation, lock, sources)
    for one in faults:
        say(f"NOT AS LOCKED {one}")
    return not faults


def targets_as_locked(
    installation: Installation, lock: "CorpusLock", targets: Sequence[str], say: Callable[[str], None]
) -> bool:
    """Whether the corpora are those of the lock, but for holes; tells of each."""
    from vlm_assets.operate.lock import sealed_corpus

    same = True
    for name in targets:
        manifest, locked = sealed_corpus(installation, name), lock.targets[name]
        if manifest is not None and manifest.root_hash == locked.root_hash:
            say(f"{name}: the corpus of the lock, root hash {locked.root_hash}")
        elif manifest is not None and manifest.holes and manifest.rows + manifest.holes == locked.rows:
            holes = f"{manifest.holes} hole{'s' if manifest.holes > 1 else ''}"
            say(
                f"{name}: the corpus of the lock with {holes}, for what was taken down since: "
                f"root hash {manifest.root_hash} instead of {locked.root_hash}"
            )
        else:
            found = "not built" if manifest is None else f"root hash {manifest.root_hash}"
            say(f"NOT AS LOCKED {name}: {found}, locked is {locked.root_hash}")
            same = False
    return same
