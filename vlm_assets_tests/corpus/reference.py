"""The corpus, slow and obvious: one dict a row, one Python loop a rule. Shares no code with the corpus package."""

from hashlib import sha256
from math import log2
from pathlib import Path
from typing import Any

import pyarrow as pa

from vlm_assets.allocation.manifest import AllocatedShard, AllocationManifest
from vlm_assets.store.slices import data_file_names, read_rows
from vlm_assets.store.versions import read_manifest
from vlm_assets.words.keys import splitmix64
from vlm_assets.words.layout import DataRoot
from vlm_assets.words.schema import INDEX_SCHEMA, SAMPLE_SCHEMA

Row = dict[str, Any]
Windows = list[list[Row]]


def reference_corpus(
    plan_dir: Path, root: DataRoot, taken_down: frozenset[str] = frozenset()
) -> dict[str, Windows]:
    """Bits → windows → rows, in written order; `taken_down` are image hashes."""
    plan = read_manifest(plan_dir, AllocationManifest)
    rows = _selected_rows(plan_dir, plan, root)
    rows.sort(key=lambda row: (row["block"], row["slice number"], row["group"], row["number"], row["place"]))
    shards: dict[str, Windows] = {}
    for bits, members in _leaves("", rows, plan.shard).items():
        windows = [_written(window, taken_down) for window in _windows(members, plan.shard.window_bytes)]
        shards[bits] = [window for window in windows if window]
    return shards


def _selected_rows(plan_dir: Path, plan: AllocationManifest, root: DataRoot) -> list[Row]:
    selected = pa.ipc.open_file(str(plan_dir / "plan.arrow")).read_all().to_pylist()
    found = []
    for number, entry in enumerate(plan.slices):
        version = root.source(entry.source) / ".versions" / entry.version
        rows = list(read_rows(version, data_file_names(p.name for p in version.iterdir())))
        h0 = int.from_bytes(
            sha256(f"{plan.seed}\0{entry.source}\0{entry.slice}".encode()).digest()[:8], "big"
        )
        for choice in selected:
            if choice["slice"] == number:
                cell = plan.cells[choice["cell"]]
                row = {**rows[choice["row"]], "slice number": number, "place": choice["row"]}
                row |= {name: getattr(cell, name) for name in ("category", "subcategory", "licence")}
                found.append(_placed(row, h0, entry.container, entry.items_per_slice, plan.shard.block_rows))
    return found


def _placed(row: Row, h0: int, container: bool, items_per_slice: int, block_rows: int) -> Row:  # noqa: FBT001 — five plain facts
    wanted = items_per_slice / block_rows
    bits = min(range(40), key=lambda g: (abs(2**g - wanted), g))
    assert bits == 0 or abs(log2(wanted) - bits) <= 1
    row["group"] = row["item_hash"] if container else row["item_hash"] >> (64 - bits)
    row["number"] = row["record"] // block_rows
    row["block"] = splitmix64(splitmix64(h0 ^ row["group"]) ^ row["number"])
    row["own hash"] = splitmix64(splitmix64(splitmix64(h0) ^ row["item_hash"]) ^ row["record"])
    assigned = row["category"] + row["subcategory"] + row["licence"]
    row["planned"] = row["row_bytes"] + len(assigned.encode())
    return row


def _leaves(bits: str, rows: list[Row], spec: AllocatedShard) -> dict[str, list[Row]]:
    size = sum(row["planned"] for row in rows)
    if size + 16_384 * (size // spec.window_bytes + 1) + 65_536 <= spec.max_bytes:
        return {bits: rows}
    halves: dict[str, list[Row]] = {"0": [], "1": []}
    for row in rows:
        halves[f"{row['block']:064b}{row['own hash']:064b}"[len(bits)]].append(row)
    return {
        name: members
        for bit, half in halves.items()
        if half
        for name, members in _leaves(bits + bit, half, spec).items()
    }


def _windows(rows: list[Row], window_bytes: int) -> list[list[Row]]:
    windows: list[list[Row]] = [[]]
    for row in rows:
        if sum(one["planned"] for one in windows[-1]) >= window_bytes:
            windows.append([])
        windows[-1].append(row)
    return windows


def _written(window: list[Row], taken_down: frozenset[str]) -> list[Row]:
    present = [row for row in window if not taken_down & {fact["sha256"] for fact in row["image_facts"]}]
    return sorted(present, key=lambda row: row["own hash"])


def data_row(row: Row) -> Row:
    """As it stands in the data file."""
    return {
        name: [{"bytes": one, "path": None} for one in row["images"]] if name == "images" else row[name]
        for name in SAMPLE_SCHEMA.names
    }


def index_row(row: Row) -> Row:
    """As it stands in the index file."""
    return {name: row[name] for name in INDEX_SCHEMA.names}
