"""Rejects that papers show: a few of each reason, by name and fault, with a small picture where one is kept."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from vlm_assets.papers.evidence import Evidence, FoundSlice, SliceKey
from vlm_assets.papers.shown import in_turn
from vlm_assets.store.papers import ShownRow
from vlm_assets.store.rejected_pictures import RejectedPicture, kept_rejected, slices_with_pictures
from vlm_assets.store.slices import RejectEntry, read_rejects
from vlm_assets.store.tombstones import StoredTombstones
from vlm_assets.transfer.taken_urls import TakenUrls
from vlm_assets.transfer.urls import shown_url
from vlm_assets.words.errors import RejectReason
from vlm_assets.words.layout import sample_id

A_REASON: Final = 8
_SLICES: Final = 8
"""Of a reason: so many ledgers are read at most, whatever the number of slices."""
_LETTERS: Final = 160
"""Of a name or a fault."""
_NEVER: Final = frozenset({str(RejectReason.TOMBSTONED)})
"""Whose names are what was taken down."""


@dataclass(frozen=True, slots=True)
class ShownReject:
    """A record or item that did not become a row, as papers show it."""

    source: str
    slice: str
    name: str
    """Its key, of an address without what may be secret; cut."""
    detail: str
    picture: bytes | None
    shown: ShownRow
    """For the record of the papers."""

    @property
    def id(self) -> str:
        """Of the picture, apart from those of rows."""
        return f"rejected {self.shown.id} {self.name}"


def shown_rejects(evidence: Evidence, takedowns: StoredTombstones) -> dict[str, list[ShownReject]]:
    """A few rejects of the plan's slices by reason, in turn over sources; none that a takedown names.

    Raises:
        StoreError: a ledger is damaged.
    """
    reasons = {name for _, one in evidence.found for name, count in one.manifest.rejects.items() if count}
    ledgers: dict[SliceKey, dict[str, list[ShownReject]]] = {}
    found = {}
    for reason in sorted(reasons - _NEVER):
        chosen = _slices_with(evidence, reason)
        for key in chosen:
            if key not in ledgers:
                ledgers[key] = _rejects_of(evidence, key, takedowns)
        some = in_turn([ledgers[key].get(reason, []) for key in chosen])
        if rejects := [one for one, _ in zip(some, range(A_REASON), strict=False)]:
            found[reason] = rejects
    return found


def _slices_with(evidence: Evidence, reason: str) -> list[SliceKey]:
    """A few slices that have such rejects: of every source one, then a second; those with pictures first."""
    by_source: dict[str, list[SliceKey]] = {}
    for key, one in evidence.found:
        if one.manifest.rejects.get(reason):
            by_source.setdefault(key[0], []).append(key)
    for source, keys in by_source.items():
        pictured = slices_with_pictures(evidence.root, source)
        keys.sort(key=lambda key: (key[1] not in pictured, key))
    return [key for key, _ in zip(in_turn(by_source.values()), range(_SLICES), strict=False)]


def _rejects_of(
    evidence: Evidence, key: SliceKey, takedowns: StoredTombstones
) -> dict[str, list[ShownReject]]:
    """`A_REASON` rejects of a slice by reason, those with a picture first."""
    slice_ = evidence.slices[key]
    if slice_ is None:
        return {}
    pictures = {(one.key, one.record, one.reason): one for one in kept_rejected(evidence.root, *key)}
    pairs = [
        (entry, pictures.get((entry.key, entry.record, entry.reason)))
        for entry in read_rejects(slice_.directory)
    ]
    urls = TakenUrls(takedowns.urls)
    found: dict[str, list[ShownReject]] = {}
    for entry, picture in sorted(pairs, key=lambda pair: pair[1] is None):
        some = found.setdefault(str(entry.reason), [])
        if len(some) < A_REASON:
            one = _shown(slice_, entry, picture)
            if not one.shown.covered(takedowns.ids, takedowns.image_sha256, urls):
                some.append(one)
    return found


def _shown(slice_: FoundSlice, entry: RejectEntry, picture: RejectedPicture | None) -> ShownReject:
    manifest = slice_.manifest
    name = shown_url(entry.key) if entry.key.startswith(("http://", "https://")) else entry.key
    return ShownReject(
        source=manifest.source,
        slice=manifest.slice,
        name=_cut(name) + (f", record {entry.record}" if entry.record else ""),
        detail=_cut(entry.detail),
        picture=picture.jpeg if picture else None,
        shown=ShownRow(
            id=sample_id(manifest.source, manifest.slice, entry.key),
            image_sha256=(picture.image_sha256,) if picture else (),
            rejected=entry.key,
        ),
    )


def _cut(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LETTERS else f"{line[:_LETTERS]}…"


def rows_of_rejects(rejects: Mapping[str, Sequence[ShownReject]]) -> list[ShownRow]:
    """For the record of the papers."""
    return [one.shown for some in rejects.values() for one in some]


def with_pictures(rejects: Iterable[ShownReject]) -> list[ShownReject]:
    """Those of which there is a picture."""
    return [one for one in rejects if one.picture is not None]
