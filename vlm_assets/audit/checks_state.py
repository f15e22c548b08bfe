"""Checks of what changed around a corpus: staleness, drift, health of slices, rights. All are warnings."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from pydantic import ValidationError

from vlm_assets.audit.checks_rows import licence_figures
from vlm_assets.audit.corpus_rows import index_table, one_array
from vlm_assets.audit.findings import MAX_EXAMPLES, Verdict
from vlm_assets.audit.near import telling
from vlm_assets.audit.recount import Recount
from vlm_assets.audit.rules import differences
from vlm_assets.audit.words import I64, U64, fixed_words, numbers
from vlm_assets.images.likeness import SAME_PICTURE_BITS
from vlm_assets.ingest.rights import NO_TERMS, source_terms
from vlm_assets.ingest.slice import read_run
from vlm_assets.store.slices import INDEX_FILE
from vlm_assets.store.versions import current_version
from vlm_assets.words.counts import so_many
from vlm_assets.words.errors import RejectReason
from vlm_assets.words.layout import MANIFEST, VERSIONS, DataRoot
from vlm_assets.words.manifest import SliceManifest

SHRUNK: Final = 0.10
"""A slice that lost more of its rows than this is told."""
REJECTS_JUMPED: Final = 0.05
"""A slice whose share of rejects grew by more than this is told."""


def check_staleness(recount: Recount) -> Verdict:
    """Inputs of the corpus against those of now; whether a newer plan is in force."""
    evidence = recount.evidence
    told = differences(evidence.rules.content, evidence.rules_now.content)
    current = current_version(evidence.root.allocation(evidence.corpus.corpus, evidence.target))
    if current is not None and current.name != evidence.corpus.allocation_version:
        told.append(f"plan {current.name} is in force, the corpus is of {evidence.corpus.allocation_version}")
    if not told and not evidence.has_inputs and evidence.rules_now.hash != evidence.corpus.inputs_hash:
        told.append(
            f"inputs hash {evidence.rules_now.hash[:12]}…, the corpus has {evidence.corpus.inputs_hash[:12]}…"
        )
    return Verdict(
        "slices, sources, catalogue and takedowns as when the corpus was planned",
        f"{so_many(len(told), 'change')} since; the next build takes them in"
        if told
        else "nothing changed since",
        told[:MAX_EXAMPLES],
        len(told),
        {"changes": told[:1000]},
    )


@dataclass(frozen=True, slots=True)
class Predecessor:
    """The current version of a slice and the one before it."""

    name: str
    now: Path
    manifest: SliceManifest
    before: Path
    earlier: SliceManifest


def predecessors(root: DataRoot, source: str) -> Iterator[Predecessor]:
    """Slices of a source whose version before is still on disk. Reads manifests of versions not in force only."""
    folder = root.source(source)
    if not (folder / VERSIONS).is_dir():
        return
    current: dict[str, Path] = {}
    for link in sorted(folder.iterdir()):
        version = current_version(link) if link.is_symlink() else None
        if version is not None:
            current[link.name] = version
    in_force = {path.name for path in current.values()}
    older: defaultdict[str, list[tuple[float, Path, SliceManifest]]] = defaultdict(list)
    for path in (folder / VERSIONS).iterdir():
        if path.name in in_force:
            continue
        manifest = _slice_manifest(path)
        if manifest is not None:
            older[manifest.slice].append((_finished(path), path, manifest))
    for name, version in current.items():
        manifest = _slice_manifest(version) if older[name] else None
        if manifest is not None:
            _, before, earlier = max(older[name], key=lambda one: (one[0], one[1].name))
            yield Predecessor(f"{source}/{name}", version, manifest, before, earlier)


def _slice_manifest(path: Path) -> SliceManifest | None:
    try:
        return SliceManifest.from_bytes((path / MANIFEST).read_bytes())
    except (OSError, ValidationError):
        return None


def _finished(version: Path) -> float:
    run = read_run(version)
    return run.finished_at.timestamp() if run is not None and run.finished_at is not None else 0.0


def check_drift(recount: Recount) -> Verdict:
    """Records of unchanged place (item and number) with other bytes than in the version before, by dhash."""
    totals: Counter[str] = Counter()
    examples: list[str] = []
    by_slice: dict[str, dict[str, int]] = {}
    for source in recount.evidence.rules.sources:
        for pair in predecessors(recount.evidence.root, source):
            if pair.manifest.content_hash == pair.earlier.content_hash:
                continue
            counts, found = drift_between(pair.before, pair.now)
            totals.update(counts)
            examples += [f"{pair.name}: {one}" for one in found]
            by_slice[pair.name] = dict(counts)
    waiting, quarantined = _quarantined(recount)
    return Verdict(
        "no address gave another picture when it was fetched again",
        f"{totals['same']} unchanged, {totals['encoded_again']} the same picture encoded again, "
        f"{totals['another_picture']} another picture, {totals['unknown']} not comparable; "
        f"{quarantined} in quarantine",
        (examples + waiting)[:MAX_EXAMPLES],
        totals["another_picture"] + quarantined,
        {"slices": by_slice, "quarantined": quarantined, **totals},
    )


def _quarantined(recount: Recount) -> tuple[list[str], int]:
    """Slices in force with records in quarantine, in words, and how many records that are."""
    told: list[str] = []
    total = 0
    for one in recount.evidence.slices:
        count = one.manifest.rejects.get(RejectReason.DRIFTED, 0) if one.manifest is not None else 0
        if count:
            total += count
            told.append(
                f"{one.claim.name}: {count} in quarantine, see its drift.parquet; take them with build --source "
                f"{one.claim.source} --slice {one.claim.slice} --accept-drift"
            )
    return told, total


def drift_between(before: Path, now: Path) -> tuple[Counter[str], list[str]]:
    """What became of the records that both versions of a slice have; examples of those with another picture.

    Keys: `same`, `encoded_again` (dhash near), `another_picture`, `unknown` (no dhash in one of them, or a flat one).

    Raises:
        UnjudgedError: an index cannot be read.
    """
    columns = ("item_hash", "record", "images_sha256", "dhash", "origin")
    old, new = index_table(before / INDEX_FILE, columns), index_table(now / INDEX_FILE, columns)
    there, here = _shared_records(old, new)
    sha_old = fixed_words(one_array(old, "images_sha256"))
    sha_new = fixed_words(one_array(new, "images_sha256"))
    changed = (sha_old[there] != sha_new[here]).any(axis=1)
    there, here = there[changed], here[changed]
    left, right = _dhashes(old)[there], _dhashes(new)[here]
    bits = np.bitwise_count(left ^ right)
    known = telling(left) & telling(right)
    other = np.flatnonzero(known & (bits > SAME_PICTURE_BITS))
    counts = Counter(
        same=int((~changed).sum()),
        encoded_again=int((known & (bits <= SAME_PICTURE_BITS)).sum()),
        another_picture=len(other),
        unknown=int((~known).sum()),
    )
    origin = one_array(new, "origin")
    return counts, [f"{origin[int(here[at])]}: {bits[at]} of 64 dhash bits differ" for at in other[:3]]


def _dhashes(table: Any) -> U64:
    """dhashes; 0, which tells nothing, where there is none."""
    return numbers(one_array(table, "dhash")).astype(np.uint64)


def _shared_records(old: Any, new: Any) -> tuple[I64, I64]:
    """Rows (of old, of new) that are the same record of the same item."""

    def keys(table: Any) -> Any:
        item = one_array(table, "item_hash").to_numpy(zero_copy_only=False)
        record = one_array(table, "record").to_numpy(zero_copy_only=False)
        return item ^ (record.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15))

    _, there, here = np.intersect1d(keys(old), keys(new), return_indices=True)
    return there, here


def check_slice_health(recount: Recount) -> Verdict:
    """Rows and rejects of each slice against its version before."""
    faults = []
    compared = 0
    for source in recount.evidence.rules.sources:
        for pair in predecessors(recount.evidence.root, source):
            compared += 1
            rows, earlier = pair.manifest.rows, pair.earlier.rows
            if rows < earlier * (1 - SHRUNK):
                faults.append(f"{pair.name}: {so_many(rows, 'row')}, {earlier} before")
            share, share_before = _reject_share(pair.manifest), _reject_share(pair.earlier)
            if share > share_before + REJECTS_JUMPED:
                told = ", ".join(f"{reason} {n}" for reason, n in pair.manifest.rejects.items())
                faults.append(f"{pair.name}: {share:.1%} rejects ({told}), {share_before:.1%} before")
    return Verdict(
        f"no slice lost more than {SHRUNK:.0%} of its rows or gained {REJECTS_JUMPED:.0%} of rejects",
        f"{so_many(compared, 'slice')} with a version before; {len(faults)} stand out",
        faults[:MAX_EXAMPLES],
        len(faults),
    )


def _reject_share(manifest: SliceManifest) -> float:
    rejects = sum(manifest.rejects.values())
    return rejects / max(rejects + manifest.rows, 1)


def check_rights(recount: Recount) -> Verdict:
    """Rows and bytes a licence; takedowns; sources whose terms nobody accepted, and those never listed."""
    evidence = recount.evidence
    licences: Mapping[str, Mapping[str, int]] = licence_figures(recount)
    terms = source_terms(evidence.installation)
    waiting = [one.source for one in terms if one.state == "never listed"]
    unaccepted = [one for one in terms if one.state == "open"]
    faults = [
        f"{so_many(one['rows'], 'row')} under {name or 'no licence'}: it names no terms"
        for name, one in licences.items()
        if name.lower() in NO_TERMS
    ]
    faults += [f"source {name}: never listed; are there terms to accept first?" for name in waiting]
    faults += [f"source {one.source}: nobody has accepted its terms: {one.url}" for one in unaccepted]
    return Verdict(
        "every licence names terms, and no declared source waits",
        f"{so_many(len(licences), 'licence')}, {so_many(len(waiting), 'source')} never listed, "
        f"{len(unaccepted)} with terms to accept, "
        f"{so_many(len(evidence.tombstones.names), 'takedown')}",
        faults[:MAX_EXAMPLES],
        len(faults),
        {
            "licences": licences,
            "terms": [one.model_dump() for one in terms],
            "never_listed": waiting,
            "takedowns": len(evidence.tombstones.names),
        },
    )
