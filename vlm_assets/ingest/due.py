"""Decides what of a slice is to be fetched: pure, over manifest, ledgers and listing."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from vlm_assets.ingest.retries import is_due
from vlm_assets.store.slices import ItemEntry, RejectEntry
from vlm_assets.words.errors import Reject, RejectReason
from vlm_assets.words.manifest import ListingSlice, RunRecord
from vlm_assets.words.records import Item
from vlm_assets.words.schema import Row


class Due(StrEnum):
    """Why a slice is fetched, or that it is not."""

    COMMITTED = "committed"
    NEW = "new"
    CHANGED = "changed"
    RETRY = "retry"
    FORCED = "forced"
    RELEASED = "released"
    """It has rejects with reason `drifted`, and these are accepted now."""
    REDRAWN = "redrawn"
    """It was drawn under another renderer identity than this machine's, and this one's is accepted now."""


class Committed(Protocol):
    """What of a committed slice decides whether it is due: a manifest or its summary."""

    @property
    def listing_fingerprint(self) -> str:
        """Of the listing it was fetched for."""

    @property
    def content_hash(self) -> str:
        """Over its rows."""

    @property
    def container(self) -> bool:
        """Its items hold many records each."""

    @property
    def items_per_slice(self) -> int:
        """With it, how blocks are cut."""

    @property
    def transient_rejects(self) -> int:
        """Rejects that are due again some day."""

    @property
    def rejects(self) -> dict[str, int]:
        """All of them by reason."""

    @property
    def renderer(self) -> str | None:
        """Renderer identity of what was drawn here."""


def slice_due(
    listed: ListingSlice,
    manifest: Committed | None,
    run: RunRecord | None,
    *,
    now: float,
    force: bool = False,
    accept_drift: bool = False,
    accept_renderer: Callable[[], str | None] | None = None,
) -> Due:
    """Whether a listed slice is to be fetched, by evidence on disk alone.

    Args:
        listed: As it is listed now.
        manifest: Of the committed version.
        run: Its `run.json`.
        now: Unix seconds.
        force: Fetch whatever is committed.
        accept_drift: Fetch what is in quarantine.
        accept_renderer: Gives this machine's renderer identity, None where the source has none; fetch what was drawn
            under another. Only called for slices that have one.
    """
    if manifest is None:
        return Due.NEW
    if accept_renderer is not None and manifest.renderer not in {None, accept_renderer()}:
        return Due.REDRAWN
    if force:
        return Due.FORCED
    if manifest.listing_fingerprint != listed.fingerprint:
        return Due.CHANGED
    if manifest.transient_rejects and run is not None and is_due(run.next_retry, now):
        return Due.RETRY
    if accept_drift and manifest.rejects.get(RejectReason.DRIFTED):
        return Due.RELEASED
    return Due.COMMITTED


@dataclass(frozen=True, slots=True)
class ItemPlan:
    """The items of a slice, in canonical order: which are kept from the last version, which are fetched."""

    kept: Mapping[str, ItemEntry]
    fetched: Sequence[Item]
    attempts: Mapping[str, int]
    """Earlier attempts of items that are fetched again."""
    answered: Mapping[str, Sequence[Row | Reject]] = field(default_factory=dict)
    """Results of items that are neither: a lock gives them."""


def plan_items(
    items: Sequence[Item],
    ledger: Sequence[ItemEntry],
    rejects: Sequence[RejectEntry],
    *,
    formats_before: Sequence[str],
    formats: Sequence[str],
    formats_by_item: Mapping[str, frozenset[str]],
    accept_drift: bool = False,
) -> ItemPlan:
    """Keeps what is unchanged in key and identity, but for transient rejects and items whose format rule changed.

    Args:
        items: Listed now, canonical order.
        ledger: Items of the last version, made under the same byte configuration.
        rejects: Rows of its `rejects.parquet`.
        formats_before: `formats` it was made with.
        formats: `formats` now.
        formats_by_item: Formats of its admitted rows by item key; only looked at when `formats` changed.
        accept_drift: Items with rejects for drift are fetched again.
    """
    known = {entry.key: entry for entry in ledger}
    attempts = {reject.key: reject.attempts for reject in rejects if reject.transient}
    again = set(attempts)
    if accept_drift:
        again |= {reject.key for reject in rejects if reject.reason is RejectReason.DRIFTED}
    if set(formats) != set(formats_before):
        again |= {one.key for one in rejects if one.reason is RejectReason.FORMAT_NOT_ALLOWED}
        again |= {key for key, used in formats_by_item.items() if not used <= set(formats)}
    kept = {
        item.key: known[item.key]
        for item in items
        if item.key in known and known[item.key].identity == item.identity and item.key not in again
    }
    fetched = [item for item in items if item.key not in kept]
    return ItemPlan(kept, fetched, {item.key: attempts[item.key] for item in fetched if item.key in attempts})
