"""Rows on their way back to upstream, as `show` prints them. Decides nothing."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console

from vlm_assets.operate.tables import size

if TYPE_CHECKING:
    from vlm_assets.operate.lineage import RowLineage


def show_lineage(console: Console, rows: "Sequence[RowLineage]") -> None:
    """Every row from the corpus back to upstream."""
    for row in rows:
        facts: dict[str, object] = {
            "id": row.id,
            "text": row.row.get("text"),
            "category": f"{row.row.get('category')}/{row.row.get('subcategory')}",
            **_pictures(row.row["image_facts"]),
            "licence": row.licence,
            "source": f"{row.source} ({row.kind}) at revision {row.revision}",
            "origin": row.origin,
            "item": row.item + (f" [{row.item_identity}]" if row.item_identity else ""),
            "slice": f"{row.slice}, version {row.slice_version}, row {row.slice_row}",
            "fetched by": _fetched(row),
            "in": ", ".join(f"{p.corpus}/{p.target} ({p.file} row {p.row})" for p in row.corpora)
            or "no corpus",
            "taken down": ", ".join(row.tombstones) or "no",
        }
        width = max(map(len, facts))
        for name, value in facts.items():
            console.print(f"{name:>{width}}  {'–' if value is None else value}", markup=False, soft_wrap=True)


def _pictures(facts: "Sequence[Mapping[str, Any]]") -> dict[str, object]:
    """A line and a hash for each image."""
    lines: dict[str, object] = {}
    for number, fact in enumerate(facts, 1):
        which = f" {number}" if len(facts) > 1 else ""
        told = "{format} {width_px} x {height_px}, ".format(**fact) + size(fact["size_bytes"])
        lines[f"picture{which}"] = told + (f", {fact['name']}" if fact["name"] else "")
        lines[f"sha256{which}"] = fact["sha256"]
    return lines


def _fetched(row: "RowLineage") -> str:
    if row.fetched_by is None:
        return "unknown: the version that fetched it is gone"
    one = row.fetched_by
    return f"run {one.run_id or 'without id'} on {one.host} at {one.started_at}, slice version {one.slice_version}"
