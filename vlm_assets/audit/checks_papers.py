"""The papers of a corpus against a recount: card, Croissant, summary and report, as they lie beside its manifest.

The counting is the audit's own; nothing here is shared with what wrote the papers but the names of their files.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import yaml

from vlm_assets.audit.checks_plan import source_sums
from vlm_assets.audit.checks_rows import licence_figures
from vlm_assets.audit.corpus_rows import index_batches
from vlm_assets.audit.findings import MAX_EXAMPLES, Verdict
from vlm_assets.audit.recount import Recount
from vlm_assets.ingest.slice import read_run
from vlm_assets.sources.registry import traits_of
from vlm_assets.store.papers import (
    CARD_FILE,
    CROISSANT_FILE,
    PAPER_FILES,
    REPORT_FILE,
    SHOWN_FILE,
    SUMMARY_FILE,
    read_papers,
)
from vlm_assets.transfer.taken_urls import TakenUrls
from vlm_assets.words.counts import so_many
from vlm_assets.words.errors import StoreError
from vlm_assets.words.schema import NO_WORDS
from vlm_assets.words.yaml_text import check_shape

_AGAIN: Final = "vlm-assets report writes them anew"
_COLUMNS: Final = (
    "source", "category", "subcategory", "licence", "origin", "image_count", "image_bytes", "image_facts",
    "text_sha256", "messages_sha256",
)  # fmt: skip
_OPT_OUTS: Final = ("robots", "noai", "tdm_reserved", "forbidden", "tombstoned")


def check_papers(recount: Recount) -> Verdict:
    """Every figure of the papers that is there, counted again. Before they are written there is nothing to judge."""
    folder = recount.evidence.directory
    there = [name for name in (*PAPER_FILES, SHOWN_FILE) if (folder / name).is_file()]
    if not there:
        return Verdict(
            "papers that say what the ledgers say", "no papers are written yet", figures={"papers": []}
        )
    faults = [*_shown_faults(recount), *_missing_faults(there)]
    counts = _count(recount)
    later: list[str] = []
    if SUMMARY_FILE in there:
        summary = _json(folder / SUMMARY_FILE)
        faults += _differences(SUMMARY_FILE, _of_rows(recount, counts), summary)
        later += _differences(SUMMARY_FILE, _of_ledgers(recount, counts), summary)
    if CROISSANT_FILE in there:
        faults += _croissant_faults(recount, counts, _json(folder / CROISSANT_FILE))
    faults += _text_faults(recount, folder, there)
    found = [*faults, *later]
    return Verdict(
        "card, Croissant, summary and report say what the ledgers say, and show nothing that was taken down",
        f"{so_many(len(there), 'file')}, {so_many(len(found), 'fault')}" + (f"; {_AGAIN}" if found else ""),
        found[:MAX_EXAMPLES],
        len(found),
        {"papers": there},
        milder=bool(later) and not faults,
    )


def _missing_faults(there: list[str]) -> Iterator[str]:
    for name in (*PAPER_FILES, SHOWN_FILE):
        if name not in there:
            yield f"{name}: missing beside the other papers"


def _shown_faults(recount: Recount) -> Iterator[str]:
    """What the papers show against every takedown on record now."""
    takedowns = recount.evidence.tombstones
    try:
        papers = read_papers(recount.evidence.directory)
    except StoreError as error:
        yield str(error)
        return
    if papers is not None and not papers.complete:
        yield f"{SHOWN_FILE}: the papers were not written to their end"
    urls = TakenUrls(takedowns.urls)
    for row in papers.shown if papers else ():
        named = row.id in takedowns.ids or (row.rejected is not None and row.rejected in urls)
        if named or not takedowns.image_sha256.isdisjoint(row.image_sha256):
            yield f"{row.id}: taken down, and still shown by a paper"


@dataclass(slots=True)
class _Counts:
    """Of every row of the corpus, from its index files."""

    rows: Counter[str] = field(default_factory=Counter)
    """By source; likewise the next two."""
    images: Counter[str] = field(default_factory=Counter)
    image_bytes: Counter[str] = field(default_factory=Counter)
    licences: dict[str, set[str]] = field(default_factory=dict)
    cells: Counter[tuple[str, str]] = field(default_factory=Counter)
    formats: dict[str, Counter[str]] = field(default_factory=dict)
    domains: dict[str, Counter[str]] = field(default_factory=dict)
    words: Counter[str] = field(default_factory=Counter)


def _count(recount: Recount) -> _Counts:
    counts = _Counts()
    for bits in recount.evidence.shard_bits:
        for batch in index_batches(recount.evidence.directory / f"index-r{bits}.arrow", _COLUMNS):
            _count_rows(counts, batch)
            _count_images(counts, batch)
    return counts


def _count_rows(counts: _Counts, batch: pa.RecordBatch) -> None:
    keys = ["source", "category", "subcategory", "licence"]
    table = pa.Table.from_batches([batch]).select([*keys, "image_count", "image_bytes"])
    sums = [("image_count", "sum"), ("image_bytes", "sum"), ("image_count", "count")]
    for line in table.group_by(keys).aggregate(sums).to_pylist():
        source, rows = line["source"], line["image_count_count"]
        counts.rows[source] += rows
        counts.images[source] += line["image_count_sum"]
        counts.image_bytes[source] += line["image_bytes_sum"]
        counts.cells[line["category"], line["subcategory"]] += rows
        counts.licences.setdefault(source, set()).add(line["licence"])
    silent = pa.scalar(NO_WORDS, pa.binary(32))
    text, messages = (
        pc.not_equal(batch.column(name), silent).to_numpy(zero_copy_only=False)
        for name in ("text_sha256", "messages_sha256")
    )
    counts.words["rows_with_text"] += int(text.sum())
    counts.words["rows_with_messages"] += int(messages.sum())
    counts.words["rows_with_neither"] += int((~text & ~messages).sum())


def _count_images(counts: _Counts, batch: pa.RecordBatch) -> None:
    lists = batch.column("image_facts")
    facts = lists.flatten()
    whole = batch.column("origin").take(pc.list_parent_indices(lists))
    origin = pc.if_else(pc.is_valid(facts.field("origin")), facts.field("origin"), whole)
    for found, names in ((counts.formats, facts.field("format")), (counts.domains, hosts_of(origin))):
        table = pa.table({"name": names, "size": facts.field("size_bytes")})
        for line in table.group_by("name").aggregate([("size", "sum"), ("size", "count")]).to_pylist():
            one = found.setdefault(line["name"], Counter())
            one.update(images=line["size_count"], image_bytes=line["size_sum"])


def hosts_of(addresses: pa.StringArray) -> pa.StringArray:
    """The host of each http(s) URL, in lower case; "" of what is none."""
    lowered = pc.utf8_lower(pc.fill_null(addresses, ""))
    bare = pc.replace_substring_regex(lowered, r"^https?://", "")
    authority = pc.replace_substring_regex(bare, r"[/?#][\s\S]*$", "")
    host = pc.replace_substring_regex(authority, r"^.*@", "")
    without_port = pc.replace_substring_regex(host, r":[0-9]*$", "")
    return pc.if_else(pc.equal(lowered, bare), "", pc.utf8_rtrim(without_port, "."))


def _of_rows(recount: Recount, counts: _Counts) -> dict[str, Any]:
    """What `summary.json` says of rows, counted again, by the path of each figure."""
    evidence = recount.evidence
    domains = {name: dict(one) for name, one in counts.domains.items() if name}
    return {
        "general.version": evidence.directory.name,
        "general.root_hash": evidence.corpus.root_hash,
        "general.rows": sum(counts.rows.values()),
        "general.modalities.image.images": sum(counts.images.values()),
        "general.modalities.image.bytes": sum(counts.image_bytes.values()),
        "general.modalities.image.formats": {name: dict(one) for name, one in counts.formats.items()},
        "general.modalities.text": dict(counts.words),
        "domains.count": len(domains),
        "domains.by_bytes": _by_bytes(domains),
        "licences": licence_figures(recount),
        "processing.excluded": _excluded(recount),
        **_contamination(recount),
        "processing.takedowns": {
            "before_the_plan": len(evidence.plan.tombstones), "since": len(evidence.corpus.tombstones)
        },
        "processing.rows_taken_down_since": evidence.corpus.holes,
    }  # fmt: skip


def _contamination(recount: Recount) -> dict[str, Any]:
    """Rows that match a benchmark; nothing where takedowns took what told so, or the plan is of a time before."""
    if recount.supply.unsure or "contamination" not in recount.evidence.grants:
        return {}
    lines = [
        {"source": source, "benchmark": benchmark, **counts}
        for (source, benchmark), counts in sorted(recount.supply.contamination.items())
    ]
    return {"processing.contamination": lines}


def _excluded(recount: Recount) -> dict[str, int]:
    """Rows of the supply that are excluded, by reason, whatever reasons there are."""
    total: Counter[str] = Counter()
    if (
        recount.supply.unsure
    ):  # values that filters read are gone with a takedown: `allocation_sums` says how many
        return {name: rows for name, rows in recount.evidence.plan.excluded.items() if rows}
    for one in source_sums(recount).values():
        excluded = one["excluded"]
        total.update(excluded if isinstance(excluded, dict) else {})
    return dict(total)


def _by_bytes(domains: Mapping[str, Mapping[str, int]]) -> list[dict[str, Any]]:
    ordered = sorted(domains, key=lambda name: (-domains[name]["image_bytes"], name))
    return [{"domain": name, **domains[name]} for name in ordered]


def _of_ledgers(recount: Recount, counts: _Counts) -> dict[str, Any]:
    """What it says of slices; nothing where one of them is gone from this disk, or was fetched again since."""
    slices = recount.evidence.slices
    if any(one.manifest is None for one in slices):
        return {}
    rejects: Counter[str] = Counter()
    kinds: dict[str, str] = {}
    for one in slices:
        if one.manifest is not None:
            rejects.update(one.manifest.rejects)
            kinds[one.claim.source] = one.manifest.kind
    return {
        "processing.rejects": dict(rejects),
        "processing.opt_outs_honoured": {name: rejects[name] for name in _OPT_OUTS},
        "general.collected": _period(recount),
        "sources": _sources(counts, kinds),
    }


def _period(recount: Recount) -> dict[str, str] | None:
    runs = [run for one in recount.evidence.slices if one.directory and (run := read_run(one.directory))]
    if not runs:
        return None
    ends = [run.finished_at or run.started_at for run in runs]
    return {"from": str(min(run.started_at for run in runs).date()), "to": str(max(ends).date())}


_OF_A_SOURCE: Final = ("source", "rows", "images", "image_bytes", "licences")


def _sources(counts: _Counts, kinds: Mapping[str, str]) -> dict[str, list[dict[str, Any]]]:
    """By class; of each source what is counted."""
    found: dict[str, list[dict[str, Any]]] = {}
    for source in sorted(counts.rows):
        values = (
            source, counts.rows[source], counts.images[source], counts.image_bytes[source],
            sorted(counts.licences[source]),
        )  # fmt: skip
        line = dict(zip(_OF_A_SOURCE, values, strict=True))
        found.setdefault(str(traits_of(kinds[source]).obtained), []).append(line)
    return found


def _differences(file: str, counted: Mapping[str, Any], content: Any) -> Iterator[str]:
    for path, value in counted.items():
        said = _at(content, path)
        if path == "sources" and isinstance(said, dict):
            said = {name: [_part(one) for one in some] for name, some in said.items() if some}
        if said != value:
            yield f"{file}: {path}: counted {_short(value)}, it says {_short(said)}"


def _part(source: Any) -> Any:
    return {key: source.get(key) for key in _OF_A_SOURCE} if isinstance(source, dict) else source


def _at(content: Any, path: str) -> Any:
    for key in path.split("."):
        content = content.get(key) if isinstance(content, dict) else None
    return content


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 120 else f"{text[:120]}…"


def _croissant_faults(recount: Recount, counts: _Counts, content: Any) -> Iterator[str]:
    sets = _at(content, "recordSet")
    lines = (
        {one.get("@id"): one.get("data", []) for one in sets if isinstance(one, dict)}
        if isinstance(sets, list)
        else {}
    )
    said = {
        (one.get("composition/category"), one.get("composition/subcategory")): one.get("composition/present")
        for one in lines.get("composition", [])
    }
    for cell, rows in sorted(counts.cells.items()):
        if said.get(cell) != rows:
            yield f"{CROISSANT_FILE}: {'/'.join(cell)}: counted {so_many(rows, 'row')}, it says {said.get(cell)}"
    told = {one.get("sources/source"): one.get("sources/rows") for one in lines.get("sources", [])}
    for source, rows in sorted(counts.rows.items()):
        if told.get(source) != rows:
            yield f"{CROISSANT_FILE}: source {source}: counted {so_many(rows, 'row')}, it says {told.get(source)}"
    root_hash = recount.evidence.corpus.root_hash
    if root_hash not in str(_at(content, "citeAs")):
        yield f"{CROISSANT_FILE}: it cites another corpus than {root_hash}"
    taken = recount.evidence.tombstones
    for one in lines.get("samples", []):
        hashes = str(one.get("samples/image_sha256")).split()
        if one.get("samples/id") in taken.ids or not taken.image_sha256.isdisjoint(hashes):
            yield f"{CROISSANT_FILE}: sample {one.get('samples/id')} is taken down"


def _text_faults(recount: Recount, folder: Path, there: list[str]) -> Iterator[str]:
    corpus = recount.evidence.corpus
    for name in (CARD_FILE, REPORT_FILE):
        text = (folder / name).read_text("utf-8", "replace") if name in there else corpus.root_hash
        if corpus.root_hash not in text:
            yield f"{name}: it is of another corpus than {corpus.root_hash}"
        elif name == CARD_FILE and name in there:
            yield from _card_faults(recount, text)


def _card_faults(recount: Recount, text: str) -> Iterator[str]:
    try:
        head = text.split("---\n", 2)[1]
        check_shape(head)
        header = yaml.safe_load(head)
        (split,) = header["dataset_info"]["splits"]
        said = split["num_examples"]
    except (yaml.YAMLError, IndexError, KeyError, TypeError, ValueError, OverflowError) as error:
        yield f"{CARD_FILE}: its header cannot be read: {error}"
        return
    rows = int(recount.rows.starts[-1])
    if said != rows:
        yield f"{CARD_FILE}: counted {so_many(rows, 'row')}, its header says {said}"


def _json(path: Path) -> Any:
    try:
        return orjson.loads(path.read_bytes())
    except orjson.JSONDecodeError:
        return None
