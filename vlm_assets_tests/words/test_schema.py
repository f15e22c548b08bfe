import json
from hashlib import sha256

import datasets
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from vlm_assets.words.schema import ASSIGNED_COLUMNS, COLUMN_NAMES, SAMPLE_SCHEMA, row_bytes, row_digest

ROW = {
    "image": b"abc", "id": "s/x/k", "text": None, "extra": None, "label": "ışık", "category": "c",
    "subcategory": None, "source": "s", "slice": "x", "origin": "k", "licence": "MIT", "image_sha256": "0" * 64,
    "dhash": 2**64 - 1, "width_px": 1, "height_px": 2, "orientation": None, "frames": 1, "format": "PNG",
    "dpi": None, "size_bytes": 3,
}  # fmt: skip


def test_datasets_finds_the_features_of_every_column():
    features = datasets.Features.from_arrow_schema(SAMPLE_SCHEMA)
    assert list(features) == list(COLUMN_NAMES)
    assert isinstance(features["image"], datasets.Image)
    assert features["dhash"].dtype == "uint64"


def test_the_digest_is_fixed_and_ignores_what_the_catalogue_decides():
    assert (
        row_digest(ROW).hex() == row_digest(ROW | {"category": "z", "licence": "y", "subcategory": "q"}).hex()
    )
    kept = [ROW[name] for name in COLUMN_NAMES if name not in {"image", *ASSIGNED_COLUMNS}]
    plain = json.dumps(kept, ensure_ascii=False, separators=(",", ":")).encode()
    assert row_digest(ROW) == sha256(plain).digest()
    assert row_digest(ROW).hex()[:16] == "09fee042369b10b1"
    changed = {name for name in COLUMN_NAMES if row_digest(ROW | {name: "other"}) != row_digest(ROW)}
    assert changed == set(COLUMN_NAMES) - {"image", *ASSIGNED_COLUMNS}


text = st.none() | st.text(st.characters(codec="utf-8"), max_size=30)


@given(
    st.lists(
        st.fixed_dictionaries({"text": text, "label": text, "extra": text, "image": st.binary()}), max_size=9
    )
)
def test_row_bytes_bound_what_arrow_takes(changes):
    rows = [ROW | c | {"size_bytes": len(c["image"])} for c in changes]
    arrays = [
        pa.array(
            [{"bytes": r["image"], "path": None} if f.name == "image" else r[f.name] for r in rows], f.type
        )
        for f in SAMPLE_SCHEMA
    ]
    batch = pa.RecordBatch.from_arrays(arrays, schema=SAMPLE_SCHEMA)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, SAMPLE_SCHEMA) as writer:
        writer.write_batch(batch)
    assigned = sum(len((r[name] or "").encode()) for r in rows for name in ASSIGNED_COLUMNS)
    assert sink.getvalue().size <= sum(row_bytes(r) for r in rows) + assigned + 16 * 1024 + 64 * 1024
