"""What a person reads about allocations and corpora: grants, shortfalls and causes, rows by source, hashes, paths.

Turns manifests into Dagster metadata. Decides nothing.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from vlm_assets.orchestration.assets.metadata import column_schema, shortened, version_of
from vlm_assets.orchestration.assets.tables import counted, listed, table, wrapping
from vlm_assets.words.counts import so_many

if TYPE_CHECKING:  # these load pyarrow, which the code location does without
    from vlm_assets.allocation.certificate import Certificate, NodeGrant, SourceTotal
    from vlm_assets.allocation.step import AllocationOutcome
    from vlm_assets.corpus.manifest import CorpusManifest
    from vlm_assets.corpus.outcome import TargetOutcome


def allocation_metadata(outcome: "AllocationOutcome") -> dict[str, Any]:
    """Grants of every node with what it asked for, and what became of every source's rows."""
    from vlm_assets.allocation.certificate import Certificate
    from vlm_assets.allocation.files import GRANTS_FILE

    manifest = outcome.manifest
    grants = Certificate.from_bytes((outcome.path / GRANTS_FILE).read_bytes())
    return {
        "what came out": dg.MetadataValue.md(shortfalls(grants)),
        "dagster/row_count": manifest.granted_rows,
        "granted rows": manifest.granted_rows,
        "target rows": manifest.target_rows,
        "capacity": grants.capacity,
        "grants": grants_table(grants.nodes),
        "sources": totals_table(grants.sources),
        "excluded": counted("reason", _present(manifest.excluded)),
        **benchmark_tables(grants),
        "inputs hash": shortened(manifest.inputs_hash),
        "kept": "inputs unchanged: the plan in force was kept" if outcome.reused else "new plan",
        "version": version_of(str(outcome.path)),
    }


def grants_table(nodes: "Sequence[NodeGrant]") -> dg.MetadataValue[Any]:
    """The quota tree, every node by its whole path."""
    return table(
        {
            "node": "/".join(node.path), "granted": node.granted, "asked": node.asked, "supply": node.supply,
            "share": node.share or "count", "why less": node.cause,
        }
        for node in nodes
    )  # fmt: skip


def totals_table(sources: "Sequence[SourceTotal]") -> dg.MetadataValue[Any]:
    """A line a source: admitted = selected + excluded + not selected."""
    return table(
        {
            "source": one.source, "selected": one.selected, "admitted": one.admitted,
            "not selected": one.not_selected,
            "excluded": ", ".join(f"{name} {rows:,}" for name, rows in one.excluded.items()) or "0",
            "why none": one.cause,
        }
        for one in sources
    )  # fmt: skip


def benchmark_tables(grants: "Certificate") -> dict[str, Any]:
    """Source by benchmark, where there are benchmarks or lists: rows that match, and are excluded."""
    if not grants.benchmarks:
        return {}
    matrix = table(
        {
            "source": one.source, "benchmark": one.benchmark, "excluded": one.rows, "exact": one.exact,
            "near": one.near, "text": one.text, "such as": ", ".join(one.examples).replace("/", "/ "),
        }
        for one in grants.contamination
    )  # fmt: skip
    held = table(
        {"benchmark": one.name, "images": one.images, "pictures": one.pictures, "runs of words": one.grams}
        for one in grants.benchmarks
    )
    return {"contamination": matrix, "benchmarks": held}


_NAMED = 6


def shortfalls(grants: "Certificate") -> str:
    """What was granted of what was asked for, and which categories and subcategories got less, with the cause."""
    from vlm_assets.allocation.certificate import told_once

    short = [
        f"- {wrapping('/'.join(node.path))}: asked {node.asked:,}, granted {node.granted:,}: {node.cause}"
        for node in told_once(grants.nodes)
    ]
    head = f"**{grants.granted_rows:,} of {so_many(grants.target_rows, 'row')}** are granted."
    missing = grants.target_rows - grants.granted_rows
    if missing:
        head += f" {so_many(missing, 'row')} of the target cannot be filled."
    more = [f"- and {len(short) - _NAMED} more, in the table of grants"] if len(short) > _NAMED else []
    return "\n".join([head if short else f"{head} Every quota is met.", "", *short[:_NAMED], *more]).strip()


def corpus_metadata(
    manifest: "CorpusManifest",
    outcome: "TargetOutcome",
    link: Path,
    *,
    shards_written: int,
    captions: Sequence[str],
    pictures: Sequence[str] = (),
) -> dict[str, Any]:
    """What the corpus holds beside what was asked for, where it lies, and its hashes."""
    rows = {
        f"{category}/{name}": n
        for category, names in manifest.categories.items()
        for name, n in names.items()
    }
    return {
        "what came out": dg.MetadataValue.md(corpus_told(manifest, outcome)),
        **(
            {"first images": dg.MetadataValue.md(" ".join(f"![]({one})" for one in pictures))}
            if pictures
            else {}
        ),
        "rows by subcategory": counted("subcategory", rows),
        "rows by source": counted("source", manifest.sources),
        "captions": listed("captions", captions),
        "dagster/row_count": manifest.rows,
        "rows": manifest.rows,
        "target rows": manifest.target_rows,
        "holes": manifest.holes,
        "shards": len(manifest.shards),
        "shards written": shards_written,
        "mean fill of a shard": round(manifest.mean_fill, 3),
        "data bytes": manifest.data_bytes,
        "version": version_of(str(link.resolve())),
        "root hash": shortened(manifest.root_hash),
        "rows hash": shortened(manifest.rows_hash),
        "inputs hash": shortened(manifest.inputs_hash),
        "dagster/column_schema": column_schema(),
    }


_MOST_TOLD = 900
"""Markdown of 1,000 characters and more waits for a click."""


def corpus_told(manifest: "CorpusManifest", outcome: "TargetOutcome") -> str:
    """What the corpus holds of what was asked for, and what it lacks."""
    head = f"**{so_many(manifest.rows, 'row')}** of {manifest.target_rows:,} asked for, from "
    head += f"{so_many(len(manifest.sources), 'source')}."
    if manifest.holes:
        head += f" {manifest.holes:,} were taken down since the plan."
    lines = [f"- {wrapping(line.strip())}" for line in outcome.told] or ["Every quota is met."]
    text = "\n".join([head, "", *lines])
    while len(text) > _MOST_TOLD and len(lines) > 1:
        lines.pop()
        text = "\n".join([head, "", *lines, "- and more, on the page of the allocation"])
    return text


def card_tables(figures: Mapping[str, Any]) -> dict[str, dg.MetadataValue[Any]]:
    """Composition, sources and ledgers of a card, as tables that stand open."""
    sources = ("source", "present", "selected", "admitted", "slices", "image_bytes")
    return {
        "composition": table(
            {
                "subcategory": f"{one['category']}/{one['subcategory']}", "present": one["present"],
                "granted": one["granted"], "asked": one["asked"], "supply": one["supply"], "share": one["share"],
                "why less": one["cause"],
            }
            for one in figures["composition"]
        ),
        "sources": table(
            {name.replace("_", " "): one[name] for name in sources} for one in figures["sources"]
        ),
        "excluded": counted("reason", _present(figures["excluded"])),
        "rejects": counted("reason", figures["rejects"]),
        "upstream": table(figures["upstream"]),
        "captions": listed(
            "captions", (f"{source}: {fact}" for source, facts in figures["captions"].items() for fact in facts)
        ),
    }  # fmt: skip


def rights_table(figures: Mapping[str, Any]) -> dg.MetadataValue[Any]:
    """Rows and image bytes a licence, out of a card's figures."""
    return table(
        {"licence": name, "rows": one["rows"], "image bytes": one["image_bytes"]}
        for name, one in figures["licences"].items()
    )


def terms_table(figures: Mapping[str, Any]) -> dg.MetadataValue[Any]:
    """Terms of the sources, and who accepted them."""
    return table(
        {"source": one["source"], "terms": one["url"], "accepted": one["accepted"] or "NOT ACCEPTED"}
        for one in figures["terms"]
    )


def _present(counts: dict[str, int]) -> dict[str, int]:
    return {name: count for name, count in counts.items() if count}
