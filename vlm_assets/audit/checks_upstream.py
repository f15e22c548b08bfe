"""The first ledger: what upstream shows against items, companions and what was left out, counted from the tables."""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from vlm_assets.audit.evidence import Evidence, FoundSlice
from vlm_assets.audit.findings import MAX_EXAMPLES, Verdict
from vlm_assets.audit.recount import Recount
from vlm_assets.store.listings import read_listing
from vlm_assets.store.slices import ITEMS_FILE
from vlm_assets.words.counts import so_many
from vlm_assets.words.manifest import Listing

_LEFT_OUT_FILE = "left_out.parquet"
_UNREADABLE = (OSError, pa.ArrowInvalid, pa.ArrowKeyError, KeyError)


def check_upstream(recount: Recount) -> Verdict:
    """Sums over the tables beside each listing and in each slice, against what the manifests claim."""
    evidence = recount.evidence
    sources = sorted({one.claim.source for one in evidence.slices})
    listings = [listing for name in sources if (listing := read_listing(evidence.root, name)) is not None]
    faults = [fault for listing in listings for fault in _listing_faults(evidence, listing)]
    with ThreadPoolExecutor(recount.threads) as pool:
        for found in pool.map(lambda one: list(_slice_faults(one)), evidence.slices):
            faults += found
    counted = [one for one in listings if one.upstream is not None]
    left_out = sum(sum((one.left_out or {}).values()) for one in counted)
    return Verdict(
        "upstream = items + companions + left out in every listing, and in the containers of every slice",
        f"{len(counted)} of {so_many(len(sources), 'source')} count "
        f"{so_many(sum(one.upstream or 0 for one in counted), 'thing')}, "
        f"{left_out} of them left out; {so_many(len(faults), 'fault')}",
        faults[:MAX_EXAMPLES],
        len(faults),
    )


def _listing_faults(evidence: Evidence, listing: Listing) -> Iterator[str]:
    name = f"listing {listing.source}"
    folder = evidence.root.listings
    try:
        left_out = pq.read_table(folder / listing.left_out_file) if listing.left_out_file else None
        items, both = _items(folder / listing.items_file, left_out)
    except _UNREADABLE as error:
        yield f"{name}: a table cannot be read: {error}"
        return
    reasons = _by_reason(left_out)
    if items != listing.items:
        yield f"{name}: {so_many(items, 'item')} in its table, its slices have {listing.items}"
    if both:
        yield f"{name}: {so_many(both, 'key')} both listed and left out"
    if listing.left_out is not None and reasons != listing.left_out:
        yield f"{name}: left out {reasons} by its table, it says {listing.left_out}"
    if listing.upstream is not None:
        yield from _sum_fault(name, listing.upstream, items, "items", listing.companions, reasons)


def _slice_faults(found: FoundSlice) -> Iterator[str]:
    if found.directory is None or found.manifest is None or found.manifest.upstream is None:
        return  # gone, as `slice_content` says; or of a time before this ledger
    name, manifest = found.claim.name, found.manifest
    try:
        items = pq.read_table(
            found.directory / ITEMS_FILE, columns=["key", "records", "companions", "left_out"]
        )
        left_out = pq.read_table(found.directory / _LEFT_OUT_FILE)
    except _UNREADABLE as error:
        yield f"{name}: a table cannot be read: {error}"
        return
    reasons = _by_reason(left_out)
    if reasons != manifest.left_out:
        yield f"{name}: left out {reasons} by its table, its manifest says {manifest.left_out}"
    if _by_item(left_out) != _noted(items):
        yield f"{name}: what was left out of each item is not what its items ledger counts"
    records, companions = (_sum(items, column) for column in ("records", "companions"))
    if companions != manifest.companions:
        yield f"{name}: {companions} companions by its ledger, its manifest says {manifest.companions}"
    yield from _sum_fault(name, found.manifest.upstream, records, "records", companions, reasons)


def _sum_fault(
    name: str, upstream: int, taken: int, what: str, companions: int | None, reasons: Mapping[str, int]
) -> Iterator[str]:
    left_out = sum(reasons.values())
    if upstream != taken + (companions or 0) + left_out:
        yield (
            f"{name}: upstream has {so_many(upstream, 'thing')}, {taken} {what} + {companions or 0} companions "
            f"+ {left_out} "
            "left out"
        )


def _items(path: Path, left_out: pa.Table | None) -> tuple[int, int]:
    """Items in a listing's table, and how many of their keys are left out too; one batch in memory at a time."""
    out = None if left_out is None else left_out.column("key").combine_chunks()
    items = both = 0
    with pa.memory_map(str(path)) as mapped, pa.ipc.open_file(mapped) as reader:
        for number in range(reader.num_record_batches):
            keys = reader.get_batch(number).column("key")
            items += len(keys)
            if out is not None:
                both += pc.sum(pc.is_in(keys, value_set=out)).as_py() or 0
    return items, both


def _by_reason(table: pa.Table | None) -> dict[str, int]:
    return {} if table is None else _counts(table.column("reason"))


def _by_item(table: pa.Table) -> dict[str, int]:
    return _counts(table.column("item"))


def _counts(column: pa.ChunkedArray) -> dict[str, int]:
    return {one["values"]: one["counts"] for one in pc.value_counts(column).to_pylist()}


def _noted(items: pa.Table) -> dict[str, int]:
    """What the items ledger counts as left out, of items that have any."""
    some = items.filter(pc.greater(items.column("left_out"), 0))
    return dict(zip(some.column("key").to_pylist(), some.column("left_out").to_pylist(), strict=True))


def _sum(table: pa.Table, column: str) -> int:
    return int(pc.sum(table.column(column)).as_py() or 0)
