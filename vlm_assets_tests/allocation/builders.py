"""Small catalogues and committed index files for the tests of the allocation, one line each."""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa

from vlm_assets.allocation.supply import SupplySlice
from vlm_assets.catalog.spec import Catalog, CorpusSpec, QuotaNode, SourceSpec
from vlm_assets.words.schema import INDEX_SCHEMA, SAMPLE_SCHEMA, images_hash

Row = dict[str, Any]


def hex_of(name: object) -> str:
    return sha256(str(name).encode()).hexdigest()


def source(name: str, category: str = "photos", **keys: Any) -> SourceSpec:
    keys.setdefault("licence", "CC0-1.0")
    if "subcategory_from" not in keys:
        keys.setdefault("subcategory", "street")
    return SourceSpec(name=name, kind="client_folder", category=category, **keys)


def quota(share: object = None, /, **keys: Any) -> QuotaNode:
    return QuotaNode(share=None if share is None else Fraction(str(share)), **keys)


def catalog(
    sources: Sequence[SourceSpec], quotas: Mapping[str, QuotaNode] | None = None, **keys: Any
) -> Catalog:
    quotas = quotas or {"photos": quota(1, subcategories={"street": quota(1)})}
    keys.setdefault("targets", {"t": 10})
    benchmarks = keys.pop("benchmarks", ())
    corpus = CorpusSpec(name="corpus", seed=keys.pop("seed", 7), quotas=dict(quotas), **keys)
    return Catalog(
        corpus=corpus,
        sources=tuple(sorted(sources, key=lambda spec: spec.name)),
        benchmarks=tuple(sorted(benchmarks, key=lambda spec: spec.name)),
        hash="0" * 64,
    )


def row(image: object, **keys: Any) -> Row:
    """A row of a slice: `image` (or `images`) names its picture; `key` ends its id (default: the image)."""
    return {"image": image, **keys}


def commit(
    root: Path, source_name: str, slice_name: str, rows: Sequence[Row], *, batch_rows: int = 3
) -> SupplySlice:
    """Writes the index of a slice as the store does (several batches) and returns its supply entry.

    Where rows say something their words are written too, in a data file without images.
    """
    path = root / source_name / slice_name
    path.mkdir(parents=True)
    says = any(given.get("text") or given.get("messages") for given in rows)
    if says:
        _write_words(path / "data-00000.arrow", rows, batch_rows)
    full = [index_row(source_name, slice_name, number, given) for number, given in enumerate(rows)]
    table = pa.Table.from_pylist(full, schema=INDEX_SCHEMA)
    with pa.ipc.new_file(str(path / "index.arrow"), INDEX_SCHEMA) as writer:
        for batch in table.to_batches(max_chunksize=batch_rows):
            writer.write_batch(batch)
    return SupplySlice(
        source=source_name,
        slice=slice_name,
        version=hex_of(f"{source_name}/{slice_name}/{len(rows)}")[:12],
        content_hash=sha256(b"".join(one["digest"] for one in full)).hexdigest(),
        rows=len(rows),
        container=False,
        items_per_slice=len(rows),
        path=path,
        multi_image_rows=sum(one["image_count"] > 1 for one in full),
        has_words=says,
    )


def _write_words(path: Path, rows: Sequence[Row], batch_rows: int) -> None:
    full = [
        dict.fromkeys(SAMPLE_SCHEMA.names)
        | {
            "text": given.get("text"),
            "messages": [turn(said) for said in given.get("messages") or ()] or None,
        }
        for given in rows
    ]
    table = pa.Table.from_pylist(full, schema=SAMPLE_SCHEMA)
    with pa.ipc.new_stream(str(path), SAMPLE_SCHEMA) as writer:
        for batch in table.to_batches(max_chunksize=batch_rows):
            writer.write_batch(batch)


def turn(said: str) -> Row:
    """A turn of a conversation: an image, then these words."""
    return {"role": "user", "content": [{"type": "image", "text": None}, {"type": "text", "text": said}]}


def index_row(source_name: str, slice_name: str, number: int, given: Row) -> Row:
    """`image` or `images` name pictures, `sha256` is the hash of one; `text`, `messages` are words."""
    names = given.get("images", [given["image"]])
    facts = [fact(name, dhash) for name, dhash in zip(names, _dhashes(given, len(names)), strict=True)]
    if "sha256" in given:
        facts[0]["sha256"] = given["sha256"]
    images = images_hash([bytes.fromhex(one["sha256"]) for one in facts])
    text, messages = (sha256(str(given.get(name, "")).encode()).digest() for name in ("text", "messages"))
    values: Row = {
        "id": f"{source_name}/{slice_name}/{given.get('key', given['image'])}",
        "label": None,
        "category": "stale",
        "subcategory": "stale",
        "source": source_name,
        "slice": slice_name,
        "origin": f"file{number}",
        "licence": "stale",
        "image_facts": facts,
        "image_count": len(facts),
        "images_upstream": len(facts),
        "image_bytes": 1000 * len(facts),
        "min_side_px": 100,
        "dhash": facts[0]["dhash"] if len(facts) == 1 else None,
        "images_sha256": images,
        "text_sha256": text,
        "messages_sha256": messages,
        "content_sha256": sha256(images + text + messages).digest(),
        "row_bytes": 1200,
        "item_hash": number,
        "record": 0,
        **{name: value for name, value in given.items() if name in INDEX_SCHEMA.names and name != "dhash"},
    }
    values["digest"] = sha256(repr(sorted(values.items())).encode()).digest()
    return values


def _dhashes(given: Row, count: int) -> list[int | None]:
    found = given.get("dhash")
    return list(found) if isinstance(found, (list, tuple)) else [found] * count


def fact(name: object, dhash: int | None) -> Row:
    return {
        "name": None, "origin": None, "sha256": hex_of(name), "dhash": dhash, "width_px": 100, "height_px": 100,
        "orientation": None, "frames": 1, "format": "JPEG", "dpi": None, "size_bytes": 1000,
    }  # fmt: skip
