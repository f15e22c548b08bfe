"""What is to be done, by evidence on disk: slices that are due, targets whose inputs have changed. Knows no Dagster.

The sensors and the build command decide by the same functions, so they agree.
"""

from collections.abc import Sequence
from hashlib import sha256
from typing import TYPE_CHECKING

from vlm_assets.catalog.spec import SourceSpec
from vlm_assets.installation.opening import Installation
from vlm_assets.words.layout import MANIFEST, VERSIONS

if TYPE_CHECKING:  # loads pyarrow, which the code location does without
    from vlm_assets.corpus.states import TargetState
    from vlm_assets.ingest.due import Due
    from vlm_assets.store.corpus_lock import Locked


def due_slices(
    installation: Installation,
    spec: SourceSpec,
    *,
    now: float,
    force: bool = False,
    accept_drift: bool = False,
    accept_renderer: bool = False,
    locked: "Locked | None" = None,
) -> dict[str, "Due"]:
    """Partition keys of a source's slices that are to be fetched, sorted, each with the reason.

    `locked`: those that are not as this lock says.
    """
    from vlm_assets.ingest.due import Due, slice_due
    from vlm_assets.ingest.locked import lock_of
    from vlm_assets.ingest.renderer import identity_asked
    from vlm_assets.ingest.slice import read_run
    from vlm_assets.ingest.summary import summarise_source
    from vlm_assets.store.listings import read_listing

    installation = _with_manifests(installation, (spec.name,))
    listing = read_listing(installation.root, spec.name)
    if listing is None or not spec.active:
        return {}
    committed = summarise_source(installation.root, spec.name).slices
    versions = installation.root.source(spec.name) / VERSIONS
    found: dict[str, Due] = {}
    for key, listed in listing.slices.items():
        one = committed.get(key)
        if locked is not None:
            lock = lock_of(locked, spec.name, key) if key in locked.source(spec.name).slices else None
            if lock is not None and lock.due(one) is not Due.COMMITTED:
                found[key] = lock.due(one)
            continue
        run = read_run(versions / one.version) if one is not None and one.transient_rejects else None
        due = slice_due(
            listed, one, run, now=now, force=force,
            accept_drift=accept_drift or not spec.quarantines_drift(),
            accept_renderer=identity_asked(spec, accept_renderer=accept_renderer),
        )  # fmt: skip
        if due is not Due.COMMITTED:
            found[key] = due
    return found


def _with_manifests(installation: Installation, sources: tuple[str, ...] | None = None) -> Installation:
    """The installation over the manifests that decide: those on this disk, or the remote's where runs are tasks."""
    if installation.settings.manifests_from == "disk":
        return installation
    from vlm_assets.remote.mirror import mirrored

    return mirrored(installation, sources)


def annotations_state(installation: Installation) -> str:
    """A hash that is another whenever annotations may be due: catalogue, versions, and when slices were committed."""
    from vlm_assets.annotate.wanted import usable_annotations

    usable, lacking = usable_annotations(installation.catalog)
    wanted = [*((one.name, one.version) for one in usable), *sorted(lacking)]
    summaries = [
        (path.parent.name, path.stat().st_mtime_ns)
        for path in sorted((installation.root.path / "datasets").glob(f"*/{MANIFEST}"))
    ]
    return sha256(repr((installation.catalog.hash, wanted, summaries)).encode()).hexdigest()


def annotations_lacking(installation: Installation) -> dict[str, str]:
    """Annotations of the catalogue that cannot be made on this machine, by name, and why not."""
    from vlm_assets.annotate.wanted import usable_annotations

    return usable_annotations(installation.catalog)[1]


def annotation_ranges(
    installation: Installation, spec: SourceSpec, order: Sequence[str]
) -> tuple[list[tuple[str, str]], int]:
    """First and last partition key of each run over what is to be annotated of a source, and how many slices that is.

    A fresh slice between due ones is only looked at, an annotation that cannot be made here is left out. `order`: of
    the partitions.
    """
    from vlm_assets.annotate.states import due_slices
    from vlm_assets.annotate.wanted import usable_annotations

    usable, _ = usable_annotations(installation.catalog)
    wanted = [one for one in usable if one.covers(spec)]
    due = due_slices(installation, wanted, spec.name) if wanted and spec.enabled else {}
    keys = [key for key in order if key in due]
    most = installation.settings.slices_per_run
    parts = [keys[start : start + most] for start in range(0, len(keys), most)]
    return [(part[0], part[-1]) for part in parts], len(keys)


def target_states(
    installation: Installation, targets: tuple[str, ...], locked: "Locked | None" = None
) -> "list[TargetState]":
    """The state of each target under the manifests that decide; `locked`: planned with the takedowns of this lock.

    Raises:
        AllocationError: the sources are not complete, and `require_complete` is on.
    """
    from vlm_assets.corpus.states import target_states as states

    return states(_with_manifests(installation), targets, locked)
