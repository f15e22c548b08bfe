"""A data root as schema 1 had it: rows with one image in columns of their own, and no conversation."""

from hashlib import sha256
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from blake3 import blake3

from vlm_assets.ingest.listing import byte_config, items_fingerprint
from vlm_assets.installation.opening import Installation
from vlm_assets.operate.migration import Content
from vlm_assets.store.slices import data_file_names, read_rows
from vlm_assets.store.versions import swap_link
from vlm_assets.words.layout import MANIFEST, VERSIONS
from vlm_assets.words.records import Item, ListedSlice
from vlm_assets.words.schema import ASSIGNED_COLUMNS, Row

_IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
_FACTS = [
    ("image_sha256", pa.string()), ("dhash", pa.uint64()), ("width_px", pa.int32()), ("height_px", pa.int32()),
    ("orientation", pa.uint8()), ("frames", pa.int32()), ("format", pa.string()), ("dpi", pa.int32()),
    ("size_bytes", pa.int64()),
]  # fmt: skip
_TEXTS = ["id", "text", "extra", "label", "category", "subcategory", "source", "slice", "origin", "licence"]
DATA_1 = pa.schema([("image", _IMAGE), *((name, pa.string()) for name in _TEXTS), *_FACTS])
INDEX_1 = pa.schema(
    [
        *(field for field in DATA_1 if field.name not in ("image", "text", "extra")),
        ("row_bytes", pa.int64()), ("text_sha256", pa.binary(32)), ("item_hash", pa.uint64()),
        ("record", pa.int64()), ("digest", pa.binary(32)),
    ]
)  # fmt: skip


def row_1(row: Row) -> Row:
    """A row as schema 1 had it."""
    [fact] = row["image_facts"]
    facts = {name: fact[name] for name, _ in _FACTS if name != "image_sha256"}
    flat = {"image_sha256": fact["sha256"], **facts}
    image = None if row["images"] is None else {"bytes": row["images"][0], "path": None}
    told = [{**row, **flat}[name] for name in DATA_1.names if name not in ("image", *ASSIGNED_COLUMNS)]
    texts = sum(len(value.encode()) for name in (*_TEXTS, "format", "image_sha256")
                if name not in ASSIGNED_COLUMNS and (value := {**row, **flat}[name]) is not None)  # fmt: skip
    digest = b"of a row that was emptied".ljust(32) if image is None else sha256(orjson.dumps(told)).digest()
    return {**row, **flat, "image": image, "row_bytes": 92 + texts + fact["size_bytes"], "digest": digest}


def make_old(installation: Installation) -> None:
    """Turns listing, slices, plans and corpora into those of schema 1."""
    root = installation.root
    identities: dict[str, str] = {}
    for path in root.listings.glob("*.json"):
        content = orjson.loads(path.read_bytes())
        content |= _items_1(root.listings / content["items_file"], identities)
        path.write_bytes(orjson.dumps(_without(content) | {"schema_version": 1}))
    renamed: dict[str, str] = {}
    links = [
        one
        for area in ("datasets", "allocations", "corpora")
        for one in sorted(root.path.glob(f"{area}/*/*"))
    ]
    for link in [one for one in links if one.is_symlink()]:
        folder = link.resolve()
        content = orjson.loads((folder / MANIFEST).read_bytes()) | {"schema_version": 1}
        if content["type"] == "slice":
            content = _slice_1(installation, folder, content, identities)
        elif content["type"] == "corpus":
            content = _corpus_1(folder, content)
        data = orjson.dumps(content)
        for before, after in renamed.items():
            data = data.replace(before.encode(), after.encode())
        (folder / MANIFEST).unlink()
        (folder / MANIFEST).write_bytes(data)
        target = folder.with_name(blake3(data).hexdigest()[:12])
        folder.rename(target)
        renamed[folder.name] = target.name
        swap_link(link, Path(VERSIONS) / target.name)


_NEW = {
    "listing": ("upstream", "companions", "left_out", "left_out_file", "left_out_blake3", "captions_unused"),
    "slice": (
        "images", "multi_image_rows", "rows_with_text", "rows_with_messages", "rows_with_neither", "remarks",
        "upstream", "companions", "left_out", "caption_rows", "renderer",
    ),
}  # fmt: skip


def _without(content: Content) -> Content:
    return {name: value for name, value in content.items() if name not in _NEW[content["type"]]}


def _items_1(path: Path, identities: dict[str, str]) -> Content:
    """Captions as pairs, and as they are at the end of the identity."""
    table = pa.ipc.open_file(str(path)).read_all()
    batches = []
    for batch in table.to_batches():
        items = batch.to_pylist()
        for item in items:
            payload = orjson.loads(item["payload"])
            if "captions" in payload:
                payload["captions"] = [[one.get("text"), one.get("extra", {})] for one in payload["captions"]]
                told = orjson.dumps(payload["captions"], option=orjson.OPT_SORT_KEYS).decode()
                size, digest, _ = item["identity"].split(":")
                identities[item["key"]] = item["identity"] = f"{size}:{digest}:{told}"
                item["payload"] = orjson.dumps(payload).decode()
        batches.append(pa.RecordBatch.from_pylist(items, table.schema))
    path.unlink()
    with pa.OSFile(str(path), "w") as file, pa.ipc.new_file(file, table.schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return {"items_blake3": blake3(path.read_bytes()).hexdigest()}


def _write(path: Path, rows: list[Row], schema: pa.Schema) -> Content:
    path.unlink()
    maker = pa.ipc.new_file if path.name.startswith("index") else pa.ipc.new_stream
    with pa.OSFile(str(path), "w") as file, maker(file, schema) as writer:
        writer.write_table(pa.Table.from_pylist(rows, schema))
    data = path.read_bytes()
    return {"size_bytes": len(data), "blake3": blake3(data).hexdigest()}


def _corpus_1(folder: Path, content: Content) -> Content:
    for bits, shard in content["shards"].items():
        data, index = (folder / f"{name}-r{bits}.arrow" for name in ("data", "index"))
        own = pa.ipc.open_file(str(index)).read_all().to_pylist()
        whole = pa.ipc.open_stream(pa.OSFile(str(data))).read_all().to_pylist()
        for row in whole:
            row["images"] = [image["bytes"] for image in row["images"]]
        rows = [row_1({**row, **one}) for row, one in zip(whole, own, strict=True)]
        shard |= {"data": _write(data, rows, DATA_1), "index": _write(index, rows, INDEX_1)}
        content["files"] |= {data.name: shard["data"], index.name: shard["index"]}
    return content


def _slice_1(
    installation: Installation, folder: Path, content: Content, identities: dict[str, str]
) -> Content:
    names = data_file_names(content["files"])
    rows = [row_1(row) for row in read_rows(folder, names)]
    items = pq.read_table(folder / "items.parquet").select(["key", "identity", "fetched", "records", "rows"])
    before = zip(items["key"].to_pylist(), items["identity"].to_pylist(), strict=True)
    words = pa.array([identities.get(key, identity) for key, identity in before], pa.string())
    items = items.set_column(1, "identity", words)
    for name, schema in ((names[0], DATA_1), ("index.arrow", INDEX_1)):
        _write(folder / name, rows, schema)
    (folder / "left_out.parquet").unlink()
    del content["files"]["left_out.parquet"]
    (folder / "items.parquet").unlink()
    pq.write_table(items, folder / "items.parquet")
    for name in (names[0], "index.arrow", "items.parquet"):
        data = (folder / name).read_bytes()
        content["files"][name] = {"size_bytes": len(data), "blake3": blake3(data).hexdigest()}
    spec = installation.catalog.source(content["source"])
    config = byte_config(installation, spec, 1)
    digest = sha256(orjson.dumps(config, option=orjson.OPT_SORT_KEYS)).hexdigest()
    ledger = [Item(row["key"], row["identity"]) for row in items.to_pylist()]
    listed = ListedSlice(content["slice"], ledger, content["container"], content["items_per_slice"])
    print_of = items_fingerprint(digest + ",".join(content["formats"]), listed, ledger)
    return _without(content) | {
        "kind_version": 1, "config_fingerprint": digest, "listing_fingerprint": print_of,
        "content_hash": sha256(b"".join(row["digest"] for row in rows)).hexdigest(),
    }  # fmt: skip
