"""Checks of the slices that a corpus was made from: ledgers against counts, index against content hash."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from vlm_assets.audit.corpus_rows import index_table, one_array
from vlm_assets.audit.evidence import Evidence, FoundSlice, UnjudgedError
from vlm_assets.audit.findings import MAX_EXAMPLES, Verdict
from vlm_assets.audit.recount import Recount
from vlm_assets.audit.scan import SliceFacts
from vlm_assets.audit.words import Bool, sure_distinct
from vlm_assets.store.away import readable
from vlm_assets.store.listings import read_listing
from vlm_assets.store.slices import INDEX_FILE, ITEMS_FILE, REJECTS_FILE, data_file_names
from vlm_assets.words.counts import so_many
from vlm_assets.words.errors import OperationError
from vlm_assets.words.layout import key_hash
from vlm_assets.words.manifest import SliceManifest

_ORDER_SAMPLE: Final = 2_000


def _found(evidence: Evidence) -> list[tuple[FoundSlice, Path, SliceManifest]]:
    return [
        (one, one.directory, one.manifest)
        for one in evidence.slices
        if one.directory is not None and one.manifest is not None
    ]


def check_records_whole(recount: Recount) -> Verdict:
    """Images of each slice row against how many its record had upstream; sources that split them by order apart."""
    evidence = recount.evidence
    split = {
        spec.name for spec in evidence.installation.catalog.sources if getattr(spec, "split_images", False)
    }
    faults: list[str] = []
    torn = rows = 0
    for number, (found, facts) in enumerate(zip(evidence.slices, recount.slice_facts, strict=True)):
        if isinstance(facts, UnjudgedError):
            raise facts
        if facts is None or found.claim.source in split:
            continue
        rows += facts.rows
        torn += len(facts.torn)
        begin = int(evidence.starts[number])
        faults += [
            f"{recount.name_of(begin + row)}: not all of its images are there" for row in facts.torn[:3]
        ]
    return Verdict(
        "every row has all the images of its record",
        f"{torn} of {so_many(rows, 'row')} not whole",
        faults[:MAX_EXAMPLES],
        torn,
    )


def _faults(recount: Recount, check: Any) -> list[str]:
    """Faults of all slices, read in threads (parquet and hashing release the GIL)."""
    found = _found(recount.evidence)
    with ThreadPoolExecutor(recount.threads) as pool:
        lists = pool.map(lambda one: list(check(recount, *one)), found)
        return [fault for faults in lists for fault in faults]


def check_slice_ledgers(recount: Recount) -> Verdict:
    """Sums over `items.parquet` and `rejects.parquet` and the index, against each other and the manifest."""
    faults = _faults(recount, _ledger_faults)
    totals: dict[str, int] = {}
    for _, _, manifest in _found(recount.evidence):
        for key in ("items", "items_fetched", "items_rejected", "records", "rows", "records_rejected"):
            totals[key] = totals.get(key, 0) + getattr(manifest, key)
    return Verdict(
        "items = fetched + rejected and records = rows + rejected in every slice's ledgers",
        f"{so_many(len(_found(recount.evidence)), 'slice')}, {so_many(totals.get('items', 0), 'item')}, "
        f"{so_many(totals.get('records', 0), 'record')}; {so_many(len(faults), 'fault')}",
        faults[:MAX_EXAMPLES],
        len(faults),
        totals,
    )


def _ledger_faults(
    recount: Recount, found: FoundSlice, directory: Path, manifest: SliceManifest
) -> Iterator[str]:
    name = found.claim.name
    try:
        items = _parquet(directory / ITEMS_FILE, ["key", "fetched", "records", "rows"])
        rejects = _parquet(directory / REJECTS_FILE, ["key", "record", "reason"])
    except (OSError, pa.ArrowInvalid) as error:
        yield f"{name}: a ledger cannot be read: {error}"
        return
    whole = rejects.filter(pc.is_null(rejects.column("record")))
    rejected = set(whole.column("key").to_pylist())
    unfetched = items.filter(pc.invert(items.column("fetched"))).column("key").to_pylist()
    counted = {
        "items": items.num_rows,
        "items_fetched": items.num_rows - len(unfetched),
        "items_rejected": len(rejected),
        "records": pc.sum(items.column("records")).as_py() or 0,
        "rows": pc.sum(items.column("rows")).as_py() or 0,
        "records_rejected": rejects.num_rows - whole.num_rows,
    }
    if counted["items"] != counted["items_fetched"] + counted["items_rejected"]:
        yield (
            f"{name}: {so_many(counted['items'], 'item')}, {counted['items_fetched']} fetched + "
            f"{counted['items_rejected']} rejected"
        )
    if rejected != set(unfetched):
        yield f"{name}: items not fetched and items with a reject are not the same"
    if twice := _repeats(items.column("key")):
        yield f"{name}: {so_many(twice, 'item')} twice in the ledger"
    if counted["records"] != counted["rows"] + counted["records_rejected"]:
        yield (
            f"{name}: {so_many(counted['records'], 'record')}, {so_many(counted['rows'], 'row')} + "
            f"{counted['records_rejected']} rejected"
        )
    for key, value in counted.items():
        if getattr(manifest, key) != value:
            yield f"{name}: {key} {value} by its ledgers, its manifest says {getattr(manifest, key)}"
    reasons = {one["values"]: one["counts"] for one in pc.value_counts(rejects.column("reason")).to_pylist()}
    if reasons != manifest.rejects:
        yield f"{name}: rejects {reasons}, its manifest says {manifest.rejects}"
    yield from _listing_faults(recount.evidence, found, manifest, items.num_rows)
    if recount.evidence.full:
        keys, rows = (items.column(column).to_pylist() for column in ("key", "rows"))
        yield from _order_faults(name, directory, keys, rows)


def _parquet(path: Path, columns: list[str]) -> pa.Table:
    with pq.ParquetFile(path) as file:
        return file.read(columns=columns, use_threads=False)


def _repeats(keys: pa.ChunkedArray) -> int:
    """How many keys stand there again. Counting distinct ones takes longer than all else about a ledger."""
    if keys.num_chunks == 1 and sure_distinct(keys.chunk(0)):
        return 0
    return len(keys) - int(pc.count_distinct(keys).as_py())


def _listing_faults(
    evidence: Evidence, found: FoundSlice, manifest: SliceManifest, items: int
) -> Iterator[str]:
    """Every listed item is in the ledger, where the listing is still the one that was fetched."""
    listing = read_listing(evidence.root, found.claim.source)
    listed = None if listing is None else listing.slices.get(found.claim.slice)
    if listed is not None and listed.fingerprint == manifest.listing_fingerprint and listed.items != items:
        yield f"{found.claim.name}: {so_many(listed.items, 'item')} listed, {items} in its ledger"


def _order_faults(name: str, directory: Path, keys: list[str], rows: list[int]) -> Iterator[str]:
    """Rows of the index belong to the items of the ledger, in its order; of at most some thousand items a slice."""
    try:
        table = index_table(directory / INDEX_FILE, ("item_hash",))
    except UnjudgedError:
        return  # `slice_content` says so
    found = one_array(table, "item_hash").to_numpy(zero_copy_only=False)
    ends = np.cumsum(np.array(rows, np.int64))
    if not len(ends) or ends[-1] != len(found):
        return  # the counts above say so
    for place in range(0, len(keys), max(1, len(keys) // _ORDER_SAMPLE)):
        own = found[ends[place] - rows[place] : ends[place]]
        if (own != np.uint64(key_hash(keys[place]))).any():
            yield f"{name}: rows from {ends[place] - rows[place]} on are not of {keys[place]!r}, as its ledger says"
            return


def check_slice_content(recount: Recount) -> Verdict:
    """Content hash, rows and image bytes from the index; the plan's content hash too."""
    gone = [
        f"{one.claim.name}: version {one.claim.version} of the plan is gone, and the current one has other content"
        for one in recount.evidence.slices
        if one.directory is None
    ]
    faults = [*gone, *_content_faults(recount)]
    return Verdict(
        f"the index of each of {so_many(len(recount.evidence.slices), 'slice')} hashes to its content_hash",
        f"{so_many(len(faults), 'fault')}",
        faults[:MAX_EXAMPLES],
        len(faults),
    )


def _content_faults(recount: Recount) -> Iterator[str]:
    for found, facts in zip(recount.evidence.slices, recount.slice_facts, strict=True):
        name, manifest = found.claim.name, found.manifest
        if isinstance(facts, UnjudgedError):
            yield f"{name}: {facts}"
        if not isinstance(facts, SliceFacts) or manifest is None:
            continue
        if facts.content_hash != manifest.content_hash:
            yield (
                f"{name}: content_hash {facts.content_hash[:16]}…, "
                f"its manifest says {manifest.content_hash[:16]}…"
            )
        for said, counted, what in (
            (manifest.rows, facts.rows, "rows"),
            (found.claim.rows, facts.rows, "rows in the plan"),
            (manifest.image_bytes, facts.image_bytes, "image_bytes"),
        ):
            if said != counted:
                yield f"{name}: {counted} {what} by its index, claimed {said}"


def check_renderer(recount: Recount) -> Verdict:
    """Renderer identities in the manifests of the slices in force, by renderer."""
    slices: dict[str, dict[str, list[str]]] = {}
    mixed = []
    for found, _, manifest in _found(recount.evidence):
        identities = (manifest.renderer or "").split("+")
        if len(identities) > 1:
            mixed.append(f"{found.claim.name}: drawn under {' and '.join(identities)}")
        for identity in filter(None, identities):
            by_identity = slices.setdefault(identity.rpartition("-")[0], {})
            by_identity.setdefault(identity, []).append(found.claim.name)
    several = [
        f"{identity} drew {so_many(len(names), 'slice')}, among them {names[0]}"
        for by_identity in slices.values()
        if len(by_identity) > 1
        for identity, names in sorted(by_identity.items())
    ]
    counts = {identity: len(names) for found in slices.values() for identity, names in sorted(found.items())}
    return Verdict(
        "one renderer identity in every slice and, of each renderer, in the corpus",
        ", ".join(f"{so_many(count, 'slice')} of {identity}" for identity, count in counts.items())
        or "nothing was drawn here",
        [*mixed, *several],
        figures={"slices": counts, "mixed_slices": len(mixed)},
        milder=not mixed,
    )


def check_fonts(recount: Recount) -> Verdict:
    """Pages in the corpus whose fonts were substituted or had no glyph, by what their rows say of them."""
    evidence = recount.evidence
    substituted = lacking = 0
    examples: list[str] = []
    for number, one in enumerate(evidence.slices):
        if one.directory is None or one.manifest is None or one.manifest.renderer is None:
            continue  # nothing was drawn in it
        begin = int(evidence.starts[number])
        planned = recount.planned[begin : int(evidence.starts[number + 1])]
        substituted += int((_flagged(one.directory, one.manifest, "substituted") & planned).sum())
        places = np.flatnonzero(_flagged(one.directory, one.manifest, "no_glyph") & planned)
        lacking += len(places)
        examples += [f"{recount.name_of(begin + int(row))}: text may be missing" for row in places[:3]]
    return Verdict(
        "every page has a glyph for what it asks for",
        f"{so_many(lacking, 'page')} without some glyphs; {substituted} drawn with other fonts than asked for",
        examples[:MAX_EXAMPLES],
        lacking,
        {"no_glyph": lacking, "substituted": substituted},
    )


def _flagged(directory: Path, manifest: SliceManifest, flag: str) -> Bool:
    """Rows of a slice with a page flag. Of a data file nothing is read but this column."""
    found = [np.empty(0, bool)]
    for name in data_file_names(manifest.files):
        try:
            with (
                readable(directory / name) as here,
                pa.memory_map(str(here)) as mapped,
                pa.ipc.open_stream(mapped) as reader,
            ):
                for batch in reader:
                    column = batch.column("extra")
                    column.validate(full=True)
                    flagged = pc.match_substring_regex(column, rf'"flags":\[[^\]]*"{flag}"')
                    found.append(pc.fill_null(flagged, fill_value=False).to_numpy(zero_copy_only=False))
        except (OSError, pa.ArrowInvalid, OperationError) as error:
            raise UnjudgedError(f"{directory / name}: {error}") from error
    return np.concatenate(found)
