"""Sealed corpora to export: pictures with conversations over them, in two categories."""

from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq

from vlm_assets.allocation.step import allocate, tombstones_in_force
from vlm_assets.corpus.build import build_corpus
from vlm_assets.installation.opening import Installation
from vlm_assets_tests.workplace import ingest, install, picture

COUNT = 60
IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
TURNS = pa.list_(pa.struct([("user", pa.string()), ("assistant", pa.string())]))
SCHEMA = pa.schema([("images", pa.list_(IMAGE)), ("texts", TURNS), ("note", pa.string())])
QUOTAS = {"photos": {"share": 1, "subcategories": {"street": {"share": 1}}}}


def upstream(number: int) -> dict[str, Any]:
    """One to three pictures, a conversation over them in every second row."""
    forms = ("JPEG", "PNG", "WEBP")[: 1 + number % 3]
    pictures = [picture(10 * number + n, size=(64, 48), form=form) for n, form in enumerate(forms)]
    turns = [{"user": "<image>" * len(pictures) + " kaç?", "assistant": f"{number} — ğİş"}]
    return {
        "images": [{"bytes": one, "path": None} for one in pictures],
        "texts": turns if number % 2 else None,
        "note": f"not {number}",
    }


def add_rows(base: Path, numbers: range, name: str, folder: str = "upstream") -> None:
    table = pa.Table.from_pylist([upstream(n) for n in numbers], SCHEMA)
    (base / folder).mkdir(exist_ok=True)
    pq.write_table(table, base / folder / f"{name}.parquet")


def seal(base: Path, **settings: Any) -> Installation:
    """The corpus `t` of all rows under `upstream`, and of those under `drawings` as another category."""
    common = {"kind": "hf_disk", "licence": "CC0-1.0"}
    sources = [
        {
            **common,
            "name": "talks",
            "path": str(base / "upstream"),
            "category": "photos",
            "subcategory": "street",
        }
    ]
    quotas: dict[str, Any] = QUOTAS
    if (base / "drawings").exists():
        sources.append(
            {
                **common,
                "name": "drawn",
                "path": str(base / "drawings"),
                "category": "art",
                "subcategory": "ink",
            }
        )
        quotas = {
            "photos": {"share": "1/2", "subcategories": {"street": {"share": 1}}},
            "art": {"share": "1/2", "subcategories": {"ink": {"share": 1}}},
        }
    corpus = {
        "targets": {"t": 1000},
        "quotas": quotas,
        "shortfall": "report",
        "shard": {"max_bytes": 150_000, "block_rows": 4, "window_bytes": 30_000},
    }
    installation = install(base, *sources, corpus=corpus, **settings)
    for source in sources:
        ingest(installation, source["name"])
    plan = allocate(installation, "t")
    build_corpus(plan.path, installation.root, tombstones_in_force(installation.root))
    return installation


def corpus_rows(installation: Installation) -> list[dict[str, Any]]:
    corpus = datasets.load_from_disk(str(installation.root.corpus("small", "t").resolve()))
    return list(corpus.cast_column("images", datasets.List(datasets.Image(decode=False))))
