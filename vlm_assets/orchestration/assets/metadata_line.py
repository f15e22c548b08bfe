"""What a person reads about allocations and corpora: grants, shortfalls and causes, rows by source, hashes, paths.

Turns manifests into Dagster metadata. Decides nothing.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from vlm_assets.orchestration.assets.metadata import column_schema, counts_table

if TYPE_CHECKING:  # these load pyarrow, which the code location does without
    from vlm_assets.allocation.certificate import Certificate, NodeGrant, SourceTotal
    from vlm_assets.allocation.step import AllocationOutcome
    from vlm_assets.corpus.manifest import CorpusManifest
    from vlm_assets.operate.outcome import TargetOutcome


def allocation_metadata(outcome: "AllocationOutcome") -> dict[str, Any]:
    """Grants of every node with what it asked for, and what became of every source's rows."""
    from vlm_assets.allocation.certificate import Certificate
    from vlm_assets.allocation.files import GRANTS_FILE

    manifest = outcome.manifest
    grants = Certificate.from_bytes((outcome.path / GRANTS_FILE).read_bytes())
    return {
        "dagster/partition_row_count": manifest.granted_rows,
        "granted rows": manifest.granted_rows,
        "target rows": manifest.target_rows,
        "capacity": grants.capacity,
        "grants": dg.MetadataValue.md(grants_table(grants.nodes)),
        "sources": dg.MetadataValue.md(totals_table(grants.sources)),
        "excluded": dg.MetadataValue.md(counts_table("reason", _present(manifest.excluded))),
        "shortfall": dg.MetadataValue.md(shortfalls(grants)),
        "inputs hash": manifest.inputs_hash,
        "kept": "inputs unchanged: the plan in force was kept" if outcome.reused else "new plan",
        "dagster/uri": str(outcome.path),
    }


def grants_table(nodes: "Sequence[NodeGrant]") -> str:
    """The quota tree as a markdown table, children indented below their parents."""
    lines = ["| node | share | asked | supply | granted | why less |", "|---|---:|---:|---:|---:|---|"]
    for node in nodes:
        name = "&nbsp;&nbsp;" * (len(node.path) - 1) + node.path[-1]
        share = node.share or "count"
        lines.append(
            f"| {name} | {share} | {node.asked:,} | {node.supply:,} | {node.granted:,} | {node.cause} |"
        )
    return "\n".join(lines)


def totals_table(sources: "Sequence[SourceTotal]") -> str:
    """A line a source: admitted = selected + excluded + not selected."""
    lines = [
        "| source | admitted | selected | excluded | not selected | why none |",
        "|---|---:|---:|---:|---:|---|",
    ]
    for one in sources:
        excluded = ", ".join(f"{name} {rows:,}" for name, rows in one.excluded.items()) or "0"
        counts = f"{one.admitted:,} | {one.selected:,} | {excluded} | {one.not_selected:,}"
        lines.append(f"| {one.source} | {counts} | {one.cause} |")
    return "\n".join(lines)


def shortfalls(grants: "Certificate") -> str:
    """Nodes that got less than they asked for, with the cause."""
    short = [
        f"- {'/'.join(node.path)}: asked {node.asked:,}, granted {node.granted:,}: {node.cause}"
        for node in grants.nodes
        if node.shortfall
    ]
    missing = grants.target_rows - grants.granted_rows
    head = [f"{missing:,} rows of the target cannot be filled"] if missing else []
    return "\n".join(head + short) or "none"


def corpus_metadata(
    manifest: "CorpusManifest", outcome: "TargetOutcome", link: Path, *, shards_written: int
) -> dict[str, Any]:
    """What the corpus holds beside what was asked for, where it lies, and its hashes."""
    rows = {
        f"{category}/{name}": n
        for category, names in manifest.categories.items()
        for name, n in names.items()
    }
    return {
        "dagster/partition_row_count": manifest.rows,
        "asked and got": dg.MetadataValue.md(
            "\n".join(f"- {line.strip()}" for line in outcome.told) or "every quota is met"
        ),
        "rows": manifest.rows,
        "holes": manifest.holes,
        "target rows": manifest.target_rows,
        "shards": len(manifest.shards),
        "shards written": shards_written,
        "mean fill of a shard": round(manifest.mean_fill, 3),
        "data bytes": manifest.data_bytes,
        "rows by subcategory": dg.MetadataValue.md(counts_table("subcategory", rows)),
        "rows by source": dg.MetadataValue.md(counts_table("source", manifest.sources)),
        "root hash": manifest.root_hash,
        "rows hash": manifest.rows_hash,
        "inputs hash": manifest.inputs_hash,
        "path for trainers": dg.MetadataValue.path(str(link.resolve())),
        "dagster/uri": str(link),
        "dagster/column_schema": column_schema(),
    }


def rights_table(figures: Mapping[str, Any]) -> str:
    """Rows and image bytes a licence, then the terms and who accepted them, out of a card's figures."""
    lines = ["| licence | rows | image bytes |", "|---|---:|---:|"]
    for name, one in figures["licences"].items():
        lines.append(f"| {name} | {one['rows']:,} | {one['image_bytes']:,} |")
    terms = [
        f"\nTerms of {one['source']}: {one['url']} {one['accepted'] or 'NOT ACCEPTED'}"
        for one in figures["terms"]
    ]
    return "\n".join(lines + terms)


def _present(counts: dict[str, int]) -> dict[str, int]:
    return {name: count for name, count in counts.items() if count}
