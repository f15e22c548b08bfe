"""What a build would do: slices, requests, bytes, hours, disk, quotas and shortfall. Writes nothing.

Sources that were listed are taken from their listing; the others are listed into a folder that is removed.
"""

import shutil
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from pydantic import BaseModel, Field

from vlm_assets.allocation.certificate import Certificate
from vlm_assets.allocation.committed import Supply, gather_supply
from vlm_assets.allocation.files import GRANTS_FILE
from vlm_assets.allocation.gram_memory import GramMemory
from vlm_assets.allocation.inputs import inputs_hash, target_rows
from vlm_assets.allocation.manifest import read_plan_head
from vlm_assets.allocation.plan import plan_allocation
from vlm_assets.allocation.step import tombstones_in_force
from vlm_assets.allocation.tree import CellSupply, asked_of, asked_of_all, bounds_of, build_tree, grants_of
from vlm_assets.annotate.costs import AnnotationForecast, annotation_forecasts
from vlm_assets.catalog.spec import ALL_ROWS, SourceSpec
from vlm_assets.corpus.range_costs import RangeCosts, range_costs
from vlm_assets.ingest.due import Due, slice_due
from vlm_assets.ingest.found import FoundSource
from vlm_assets.ingest.listing import MadeListing, is_listed_so, list_without_writing
from vlm_assets.ingest.slice import read_run
from vlm_assets.ingest.summary import SliceSummary
from vlm_assets.installation.opening import Installation
from vlm_assets.operate.first_ledger import FirstLedger, first_ledger
from vlm_assets.remote.away import leaves_at_once
from vlm_assets.remote.listings import read_remote_listing
from vlm_assets.sources.protocol import Requests
from vlm_assets.sources.registry import traits_of
from vlm_assets.store.versions import current_version, read_manifest
from vlm_assets.words.clock import days_since
from vlm_assets.words.errors import ConfigError, SourceError
from vlm_assets.words.layout import VERSIONS
from vlm_assets.words.manifest import Listing, SliceManifest

GP3_BASE_BYTES_PER_S = 125_000_000
"""Throughput of an EBS gp3 volume as it comes; the disk's part of the hours is counted with it."""
_UNSEEN = "labels not known yet"
_PACKED = "records of its files not counted yet"
ASSUMED_IMAGE_BYTES = 100_000
"""Where upstream tells no size."""


class SourceForecast(FirstLedger):
    """What one source would ask for. `rows` counts one row an item where a slice was never fetched."""

    kind: str
    slices: int = 0
    due: int = 0
    buckets: dict[str, int] = Field(default_factory=dict)
    requests: int = 0
    bytes: int = 0
    largest_slice_bytes: int = 0
    """Of those that are due; one slice of a source is fetched at a time."""
    bytes_assumed: bool = False
    hours: float = 0.0
    rows: int = 0
    packed: int = 0
    """Items never fetched that hold many records: each stands for one row here."""
    unknown_labels: int = 0
    """Items never fetched, of sources whose labels decide the subcategory: booked on none."""
    listing_days: float | None = None
    """Since the listing in force was made; None where it was listed for this plan."""
    problem: str = ""


class NodeForecast(BaseModel):
    """One node of the quota tree."""

    path: str
    asked: int
    supply: int
    granted: int
    shortfall: int
    excluded: dict[str, int] = {}
    cause: str = ""


class Forecast(BaseModel):
    """Everything `plan --json` prints."""

    target: str
    target_rows: int
    exact: bool
    """True where every slice is committed and annotated: the grants are those of the build. Else supplies are counts
    of items and rows, which no filter saw."""
    sources: list[SourceForecast]
    benchmarks: list[SourceForecast] = []
    """They are fetched too; no quota has a part in them."""
    nodes: list[NodeForecast]
    annotations: list[AnnotationForecast]
    fetch_bytes: int
    corpus_bytes: int
    range_requests: int | None = None
    """With a remote: requests for the rows, where no slice lies on the disk that shards are written on."""
    range_bytes: int | None = None
    """What these ask for."""
    disk_needed_bytes: int
    """High-water mark beyond what lies there now: fetched slices twice (spool and slice), the new corpus beside the
    old one. Where shards take their rows from the remote, slices and shards leave this disk as they are committed."""
    disk_free_bytes: int
    hours: float
    hints: list[str] = []
    """What the catalogue lacks before a build can make anything."""
    unannotated: list[str] = []
    """Values that filters read and that are not there yet, in words."""
    problems: list[str]


def forecast(
    installation: Installation,
    target: str,
    progress: Callable[[str, int, int], None] = lambda name, done, total: None,  # noqa: ARG005 - does nothing
) -> Forecast:
    """The dry run of a build. `progress` is told the source under way, how many are over, and how many there are;
    then `quotas`, with all of them over.

    Raises:
        AllocationError: no such target, or `shortfall: fail` and a quota that is not met.
    """
    rows_wanted = target_rows(installation.catalog, target)
    catalog = installation.catalog
    sources: list[SourceForecast] = []
    benchmarks: list[SourceForecast] = []
    supplies: dict[str, Mapping[str, int]] = {}
    found: dict[str, FoundSource] = {}
    enabled = [spec for spec in (*catalog.sources, *catalog.benchmarks) if spec.enabled]
    for number, spec in enumerate(enabled):
        progress(spec.name, number, len(enabled))
        here = found[spec.name] = FoundSource.of(installation.root, spec)
        one, counts = _forecast_source(installation, here)
        if catalog.is_benchmark(spec.name):
            benchmarks.append(one)
        else:
            sources.append(one)
            supplies[spec.name] = counts
    progress("quotas", len(enabled), len(enabled))
    asked = [*sources, *benchmarks]
    supply = gather_supply(installation, found)
    exact = not any(one.due or one.problem for one in asked) and not supply.unannotated
    unknown = {one.name: _PACKED for one in sources if one.packed}
    unknown |= {one.name: _UNSEEN for one in sources if one.unknown_labels}
    nodes = (
        _exact_nodes(installation, target, supply)
        if exact
        else _estimated_nodes(installation, target, supplies, unknown)
    )
    fetch_bytes = sum(one.bytes for one in asked if one.due)
    granted = sum(n.granted for n in nodes if "/" not in n.path)
    corpus_bytes = _corpus_bytes(found, sources, granted)
    ranged = _range_costs(installation, sources, granted, corpus_bytes)
    disk = 2 * fetch_bytes + corpus_bytes
    if leaves_at_once(installation.settings):
        disk = 2 * _largest_slices(asked) + min(corpus_bytes, _shards_at_once(installation))
    writing_hours = (2 * fetch_bytes + 2 * corpus_bytes) / GP3_BASE_BYTES_PER_S / 3600
    return Forecast(
        target=target,
        target_rows=granted if rows_wanted == ALL_ROWS else rows_wanted,
        exact=exact,
        sources=sources,
        benchmarks=benchmarks,
        nodes=nodes,
        annotations=annotation_forecasts(
            installation, {one.name: (one.slices, one.items) for one in sources}
        ),
        fetch_bytes=fetch_bytes,
        corpus_bytes=corpus_bytes,
        range_requests=None if ranged is None else ranged.requests,
        range_bytes=None if ranged is None else ranged.size_bytes,
        disk_needed_bytes=disk,
        disk_free_bytes=shutil.disk_usage(installation.root.path).free,
        hours=round(max((one.hours for one in asked), default=0.0) + writing_hours, 3),
        hints=[lack] if (lack := catalog.lack()) else [],
        unannotated=list(supply.unannotated),
        problems=[
            f"{one.name}: {one.problem.removeprefix(f'source {one.name}: ')}" for one in asked if one.problem
        ],
    )


def _largest_slices(sources: Sequence[SourceForecast]) -> int:
    """Bytes of one slice of each source, the largest: that much lies here at once where data does not stay."""
    return sum(one.largest_slice_bytes for one in sources if one.due)


def _shards_at_once(installation: Installation) -> int:
    return installation.settings.worker_count * installation.catalog.corpus.shard.max_bytes


def _forecast_source(
    installation: Installation, found: FoundSource
) -> tuple[SourceForecast, Mapping[str, int]]:
    spec, committed = found.spec, found.committed
    result = SourceForecast(name=spec.name, kind=spec.kind)
    try:
        made = _made_listing(installation, spec) if _is_to_list(installation, found) else None
    except (SourceError, ConfigError) as error:
        result.problem = str(error)
        return result, {}
    supply: defaultdict[str, int] = defaultdict(int)
    due_requests = 0
    if made is not None:
        found = replace(found, listing=made.listing)
    listing = found.listing
    if listing is None:
        result.problem = "held and never listed"
        return result, supply
    result.listing_days = days_since(installation.root.listing(spec.name))
    result.slices, result.buckets = len(listing.slices), listing.buckets
    versions, now = installation.root.source(spec.name) / VERSIONS, time.time()
    accept = not spec.quarantines_drift()
    for key, listed in listing.slices.items():
        one = committed.get(key)
        run = read_run(versions / one.version) if one is not None and one.transient_rejects else None
        why = slice_due(listed, one, run, now=now, accept_drift=accept)
        due = spec.active and why is not Due.COMMITTED
        if one is not None:
            result.rows += one.rows
            for subcategory, rows in _subcategories(versions, one).items():
                supply[subcategory] += rows
        else:
            result.rows += listed.items
            result.packed += listed.items if listed.container else 0
            if spec.subcategory is not None:
                supply[spec.subcategory] += listed.items
            else:
                result.unknown_labels += listed.items
        if due:
            result.due += 1
            result.bytes_assumed |= listed.size_bytes is None
            size_bytes = (
                listed.items * ASSUMED_IMAGE_BYTES if listed.size_bytes is None else listed.size_bytes
            )
            result.bytes += size_bytes
            result.largest_slice_bytes = max(result.largest_slice_bytes, size_bytes)
            due_requests += listed.items if listed.requests is None else listed.requests
    result.requests = _requests(spec, due_requests)
    result.hours = _request_hours(installation, spec, result)
    ledger = first_ledger(installation.root, found, made.left_out_examples if made else None)
    return result.model_copy(update=dict(ledger)), supply


def _subcategories(versions: Path, committed: SliceSummary) -> Mapping[str, int]:
    """Rows of a slice a subcategory; from its manifest where the summary was written without them."""
    if committed.subcategories is not None:
        return committed.subcategories
    return read_manifest(versions / committed.version, SliceManifest).subcategories


def _is_to_list(installation: Installation, found: FoundSource) -> bool:
    """Never listed; or of files of this machine, and the catalogue says something else of them than it did then."""
    listing, spec = found.listing, found.spec
    if listing is None:
        return True
    is_here = any(isinstance(getattr(spec, key), Path) for key in type(spec).model_fields)
    return spec.active and is_here and not is_listed_so(installation, spec, listing)


def _made_listing(installation: Installation, spec: SourceSpec) -> MadeListing | None:
    """Of a source that is looked at for a plan alone, and is not kept; hashes of files that are known are taken."""
    if not spec.active:
        return None
    with tempfile.TemporaryDirectory(prefix="vlm-plan-") as cache:
        for known in installation.root.cache_of(spec.name).glob("sha256.db*"):
            shutil.copy(known, cache)
        return list_without_writing(installation, spec, Path(cache), _remote_listing(installation, spec))


def _remote_listing(installation: Installation, spec: SourceSpec) -> Listing | None:
    """The listing that the remote has: a machine that is new takes its number of buckets."""
    return read_remote_listing(installation.settings, spec.name) if installation.settings.remote else None


def _requests(spec: SourceSpec, asked: int) -> int:
    """How many requests fetching takes, where `asked` are made for what is due item by item."""
    match traits_of(spec.kind).requests:
        case Requests.NONE:
            return 0
        case Requests.ONE_A_SOURCE:
            return min(asked, 1)
        case Requests.ONE_AN_ITEM:
            return asked


def _request_hours(installation: Installation, spec: SourceSpec, one: SourceForecast) -> float:
    """Hours that politeness alone takes: the rate and cooldown of the catalogue, else 10 requests a second a slot."""
    if not one.requests:
        return 0.0
    slots = min(
        spec.max_concurrency or installation.settings.http_per_host, installation.settings.http_per_host
    )
    rate = spec.requests_per_second or 10.0 * slots
    if spec.cooldown_s:
        rate = min(rate, 1 / spec.cooldown_s)
    return round(one.requests / rate / 3600, 3)


def _exact_nodes(installation: Installation, target: str, supply: Supply) -> list[NodeForecast]:
    """Grants of the plan that a build would make now."""
    return [
        NodeForecast(
            path="/".join(node.path), asked=node.asked, supply=node.supply, granted=node.granted,
            shortfall=node.shortfall, excluded=node.excluded, cause=node.cause,
        )
        for node in _certificate(installation, target, supply).nodes
    ]  # fmt: skip


def _certificate(installation: Installation, target: str, supply: Supply) -> Certificate:
    """Of the plan in force, where that has the inputs of now; else of a plan made for it, which reads every index."""
    catalog, base = installation.catalog, installation.catalog_dir
    tombstones = tombstones_in_force(installation.root)
    current = current_version(installation.root.allocation(catalog.corpus.name, target))
    if current is not None and (current / GRANTS_FILE).is_file():
        wanted = inputs_hash(catalog, target, supply.everything, tombstones, base_dir=base)
        if read_plan_head(current).inputs_hash == wanted:
            return Certificate.from_bytes((current / GRANTS_FILE).read_bytes())
    memory = GramMemory(installation.root)
    supplied = supply.everything
    return plan_allocation(catalog, target, supplied, tombstones, base_dir=base, memory=memory).certificate


def _estimated_nodes(
    installation: Installation,
    target: str,
    supplies: Mapping[str, Mapping[str, int]],
    unknown: Mapping[str, str],
) -> list[NodeForecast]:
    """Grants with item counts as supplies: before dedup, rejects and what containers hold.

    `unknown`: what nobody has seen of a source; where its category falls short, that is the cause.
    """
    sources = [spec for spec in installation.catalog.sources if spec.name in unknown]
    waiting = {spec.category: unknown[spec.name] for spec in sources}
    corpus = installation.catalog.corpus
    leaves = corpus.leaves()
    cells = [
        CellSupply(spec.category, subcategory, spec.name, rows, spec.weight)
        for spec in installation.catalog.sources
        for subcategory, rows in sorted(supplies.get(spec.name, {}).items())
        if (spec.category, subcategory) in leaves
    ]
    root = build_tree(corpus, cells)
    seats = target_rows(installation.catalog, target)
    granted = grants_of(root, seats, bounds_of(root))
    asked = asked_of_all(root, granted) if seats == ALL_ROWS else asked_of(root, seats)
    return [
        NodeForecast(
            path="/".join(node.path), asked=asked[node.path], supply=node.supply, granted=granted[node.path],
            shortfall=max(asked[node.path] - granted[node.path], 0),
            cause=waiting.get(node.path[0], "") if granted[node.path] < asked[node.path] else "",
        )
        for node in root.walk()
        if node.path
    ]  # fmt: skip


def _range_costs(
    installation: Installation, sources: list[SourceForecast], granted: int, corpus_bytes: int
) -> RangeCosts | None:
    """Of rows by range; None without a remote to read them from."""
    if not installation.settings.remote:
        return None
    supply = max(sum(one.rows for one in sources), granted)
    block_rows = installation.catalog.corpus.shard.block_rows
    return range_costs(granted, supply, corpus_bytes / max(granted, 1), block_rows)


def _corpus_bytes(found: Mapping[str, FoundSource], sources: list[SourceForecast], granted: int) -> int:
    rows = data = 0
    for one in sources:
        slices = found[one.name].committed.values()
        known_rows, known_bytes = sum(s.rows for s in slices), sum(s.data_bytes for s in slices)
        rows += max(one.rows, known_rows)
        data += known_bytes if not one.due else max(known_bytes, one.bytes)
    return int(granted * data / rows) if rows else granted * ASSUMED_IMAGE_BYTES
