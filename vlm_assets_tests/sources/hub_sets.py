"""A small data set of a Hub on loopback: its files, and `hf_dataset` listing and fetching it."""

import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from vlm_assets.demo.services.pictures import picture
from vlm_assets.sources.hf_dataset import SOURCE, HfDatasetSpec
from vlm_assets.words.records import Listed
from vlm_assets_tests.sources.kit import (
    COMMON,
    Fetched,
    fetch_slice,
    list_context,
)

FEATURES = {"image": {"_type": "Image"}, "text": {"dtype": "string", "_type": "Value"},
            "label": {"names": ["kedi", "köpek"], "_type": "ClassLabel"}}  # fmt: skip


def image_struct(*names: str) -> list[dict[str, Any] | None]:
    return [{"bytes": picture(name).data, "path": f"{name}.jpg"} if name else None for name in names]


def table_of(names: list[str], features: dict[str, Any] | None = FEATURES, **columns: Any) -> pa.Table:
    data = {"image": image_struct(*names), "text": [f"resim {n}" for n in names],
            "label": [i % 2 for i in range(len(names))], **columns}  # fmt: skip
    table = pa.table(data)
    meta = {"huggingface": json.dumps({"info": {"features": features}})} if features else None
    return table.replace_schema_metadata(meta)


def parquet(names: list[str], **options: Any) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table_of(names, **options), buffer, row_group_size=4)
    return buffer.getvalue()


def arrow(names: list[str]) -> bytes:
    table, sink = table_of(names), pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def names_of(prefix: str, count: int) -> list[str]:
    return [f"{prefix}{i}" for i in range(count)]


def spec_of(**keys: Any) -> HfDatasetSpec:
    return HfDatasetSpec(**{**COMMON, "kind": "hf_dataset", "repo": "org/set", **keys})


def listed_of(folder: Path, spec: HfDatasetSpec | None = None, **options: Any) -> Listed:
    return SOURCE.list(spec or spec_of(), list_context(folder, **options))


def fetched_of(folder: Path, name: str, spec: HfDatasetSpec | None = None, **options: Any) -> Fetched:
    settings = options.get("settings")
    return fetch_slice(
        SOURCE, spec or spec_of(), folder, listed_of(folder, spec, settings=settings), name, **options
    )
