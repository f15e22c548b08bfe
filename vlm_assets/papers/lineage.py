"""Where the samples that papers show come from: item, record, revision, and the run that fetched them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from vlm_assets.corpus.manifest import index_name
from vlm_assets.ingest.slice import read_run
from vlm_assets.papers.contents import Place
from vlm_assets.papers.evidence import Evidence, FoundSlice
from vlm_assets.papers.shown import Sample
from vlm_assets.store.slices import ITEMS_FILE
from vlm_assets.store.sound_files import damage_named
from vlm_assets.store.taken_down import read_index
from vlm_assets.words.layout import key_hash

TRACED: Final = 12


@dataclass(frozen=True, slots=True)
class Traced:
    """A sample of the corpus and its way. Empty where nobody knows any more."""

    sample: Sample
    kind: str
    revision: str
    slice_version: str
    item: str
    record: int
    fetched: str
    """When its slice was fetched, UTC; rows that were taken over are older."""
    run: str


def trace(evidence: Evidence, samples: Sequence[Sample]) -> list[Traced]:
    """The ways of these samples of the corpus, in their order.

    Raises:
        StoreError: an index or a ledger is damaged.
    """
    shards = sorted({one.place.bits for one in samples if one.place is not None})
    indexes = {
        bits: read_index(evidence.version / index_name(bits), ("item_hash", "record")) for bits in shards
    }
    return [_trace(evidence, one, indexes) for one in samples]


def _trace(evidence: Evidence, sample: Sample, indexes: Mapping[str, pa.Table]) -> Traced:
    found = evidence.slices.get((sample.source, sample.slice))
    item, record = ("", 0) if sample.place is None else _item(sample.place, indexes, found)
    run = read_run(found.directory) if found else None
    return Traced(
        sample=sample,
        kind=found.manifest.kind if found else "",
        revision=found.manifest.revision if found else "",
        slice_version=found.directory.name if found else "",
        item=item,
        record=record,
        fetched=run.started_at.strftime("%Y-%m-%d %H:%M") if run else "",
        run=run.run_id if run else "",
    )


def _item(place: Place, indexes: Mapping[str, pa.Table], found: FoundSlice | None) -> tuple[str, int]:
    wanted, record = (indexes[place.bits].column(name)[place.row].as_py() for name in ("item_hash", "record"))
    return _key_of(found, wanted) if found else "", record


def _key_of(found: FoundSlice, wanted: int) -> str:
    path = found.directory / ITEMS_FILE
    if not path.is_file():
        return ""
    with damage_named(path):
        keys: pa.ChunkedArray = pq.read_table(path, columns=["key"]).column("key")
        return next((key for key in keys.to_pylist() if key_hash(key) == wanted), "")
