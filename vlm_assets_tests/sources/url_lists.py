"""A list of URLs on disk, listed and fetched without a corpus around it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from vlm_assets.settings import Settings
from vlm_assets.sources.image_urls import SOURCE, ImageUrlsSpec
from vlm_assets.words.contexts import FetchContext, ListContext
from vlm_assets.words.errors import Reject
from vlm_assets.words.records import Item, Listed, Record
from vlm_assets_tests.waiting import HANG_S

SETTINGS = Settings(_env_file=None, allow_private_hosts=("127.0.0.1",), http_timeout_s=HANG_S)


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def spec_of(urls: Path, **keys: Any) -> ImageUrlsSpec:
    fixed = {"name": "web", "kind": "image_urls", "category": "photos", "licence": "CC0-1.0", "urls": urls}
    return ImageUrlsSpec.model_validate(
        {**fixed, **({} if "subcategory_from" in keys else {"subcategory": "x"}), **keys}
    )


def listed(spec: ImageUrlsSpec, tmp_path: Path, **context: Any) -> Listed:
    return SOURCE.list(spec, ListContext(SETTINGS, tmp_path / "cache", tmp_path / "locks", **context))


def items_of(spec: ImageUrlsSpec, tmp_path: Path, **context: Any) -> dict[str, Item]:
    return {item.key: item for part in listed(spec, tmp_path, **context).slices for item in part.items}


def fetched(
    spec: ImageUrlsSpec, items: Sequence[Item], tmp_path: Path, **changes: Any
) -> list[Record | Reject]:
    context = FetchContext(
        SETTINGS, "web", "s", "r", {}, tmp_path / "cache", tmp_path / "spool", tmp_path / "locks", **changes
    )
    return list(SOURCE.fetch(spec, items, context))


def parquet(path: Path, columns: dict[str, Any]) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


def jsonl(rows: list[dict[str, Any]]) -> bytes:
    return b"\n".join(orjson.dumps(row) for row in rows)
