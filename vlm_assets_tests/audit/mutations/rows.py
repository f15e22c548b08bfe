"""Rows of the corpus and the plan, resealed: as a writer with a bug would have left them."""

from typing import Any

import orjson
import pyarrow as pa

from vlm_assets.words.layout import MANIFEST
from vlm_assets.words.schema import INDEX_SCHEMA, SAMPLE_SCHEMA
from vlm_assets_tests.audit.breaking import Broken
from vlm_assets_tests.audit.mutations.registry import mutation


@mutation("corpus_sums", "sources_landed", why="its source has a row less than granted")
def drop_a_row(b: Broken) -> None:
    b.rewrite(_drop)


@mutation(
    "counts",
    "corpus_sums",
    "loadable",
    "row_values",
    "sources_landed",
    why="nobody counted: all totals are off",
)
def drop_a_row_and_do_not_count(b: Broken) -> None:
    b.rewrite(_drop, recount=False)


@mutation("corpus_sums", "sources_landed", why="its source has a row more than granted")
def duplicate_a_row(b: Broken) -> None:
    b.rewrite(_repeat)


@mutation(
    "corpus_sums", why="the foreign row resolves, the plan does not select it; its source's total stays"
)
def replace_a_row_by_one_not_selected(b: Broken) -> None:
    from vlm_assets.store.slices import data_file_names, read_rows

    plan = b.plan
    manifest = orjson.loads((plan / MANIFEST).read_bytes())
    with pa.OSFile(str(plan / "plan.arrow")) as file:
        chosen = pa.ipc.open_file(file).read_all().to_pylist()
    number = next(n for n, s in enumerate(manifest["slices"]) if s["source"] == "street")
    taken = {row["row"] for row in chosen if row["slice"] == number}
    folder = b.slice("street")
    rows = list(read_rows(folder, data_file_names(orjson.loads((folder / MANIFEST).read_bytes())["files"])))
    other = next(row for place, row in enumerate(rows) if place not in taken and row["images"])
    other = {**other, "images": [{"bytes": image, "path": None} for image in other["images"]]}

    shard = next(s for s, bits in enumerate(b.bits) if any(r["source"] == "street" for r in b.rows(bits)[1]))

    def change(data: list[dict[str, Any]], index: list[dict[str, Any]]) -> None:
        at = next(place for place, row in enumerate(index) if row["source"] == "street")
        data[at] = {key: other[key] for key in data[at]}
        index[at] = {key: other[key] for key in index[at]}

    b.rewrite(change, shard)


@mutation("image_bytes")
def swap_two_images(b: Broken) -> None:
    def change(data: list[dict[str, Any]], _index: list[dict[str, Any]]) -> None:
        data[0]["images"], data[1]["images"] = data[1]["images"], data[0]["images"]

    b.rewrite(change, _shard_with(b, 2))


@mutation(
    "decodes", "image_bytes", "loadable", why="the bytes are no image any more, and it is the first row"
)
def empty_an_image(b: Broken) -> None:
    def change(data: list[dict[str, Any]], _index: list[dict[str, Any]]) -> None:
        data[0]["images"][0]["bytes"] = b"no image"

    b.rewrite(change)


@mutation("labels")
def swap_two_labels(b: Broken) -> None:
    def change(data: list[dict[str, Any]], index: list[dict[str, Any]]) -> None:
        for rows in (data, index):
            one = next(row for row in rows if row["category"] == "photos")
            two = next(row for row in rows if row["category"] == "pages")
            for key in ("category", "subcategory"):
                one[key], two[key] = two[key], one[key]

    mixed = next(s for s, bits in enumerate(b.bits) if len({r["category"] for r in b.rows(bits)[1]}) == 2)
    b.rewrite(change, mixed)


@mutation("row_values")
def swap_two_texts_in_the_data(b: Broken) -> None:
    def change(data: list[dict[str, Any]], _index: list[dict[str, Any]]) -> None:
        data[0]["text"] = "another caption"

    b.rewrite(change)


@mutation("row_values")
def data_and_index_disagree(b: Broken) -> None:
    def change(data: list[dict[str, Any]], _index: list[dict[str, Any]]) -> None:
        data[0]["licence"] = "CC-BY-NC-4.0"

    b.rewrite(change)


@mutation("licences")
def wrong_licence(b: Broken) -> None:
    def change(data: list[dict[str, Any]], index: list[dict[str, Any]]) -> None:
        data[0]["licence"] = index[0]["licence"] = "MIT"

    b.rewrite(change)


@mutation("licences", "rights", why="`unknown` is denied, and names no terms")
def denied_licence(b: Broken) -> None:
    def change(data: list[dict[str, Any]], index: list[dict[str, Any]]) -> None:
        data[0]["licence"] = index[0]["licence"] = "unknown"

    b.rewrite(change)


@mutation(
    "image_bytes",
    "lineage",
    "row_values",
    why="no image has that hash, nor has the slice; the digest covers it",
)
def another_sha256(b: Broken) -> None:
    def change(data: list[dict[str, Any]], index: list[dict[str, Any]]) -> None:
        data[0]["image_facts"][0]["sha256"] = index[0]["image_facts"][0]["sha256"] = "0" * 64
        index[0]["images_sha256"] = bytes(32)

    b.rewrite(change)


@mutation(
    "corpus_sums",
    "lineage",
    "row_values",
    why="a row with another digest is no row of its slice, and one is lost",
)
def another_digest(b: Broken) -> None:
    def change(_data: list[dict[str, Any]], index: list[dict[str, Any]]) -> None:
        index[0]["digest"] = bytes(32)

    b.rewrite(change)


@mutation(
    "corpus_sums", "lineage", "row_values", "sources_landed", why="as above, and the source has a row less"
)
def row_of_an_undeclared_source(b: Broken) -> None:
    def change(data: list[dict[str, Any]], index: list[dict[str, Any]]) -> None:
        data[0]["source"] = index[0]["source"] = "stranger"

    b.rewrite(change)


@mutation(
    "row_values", "schema", why="without its column the values cannot be compared; `datasets` fills in nulls"
)
def column_dropped(b: Broken) -> None:
    data, index = b.rows(b.bits[0])
    kept = pa.schema([f for f in SAMPLE_SCHEMA if f.name != "extra"], SAMPLE_SCHEMA.metadata)
    b.write(b.bits[0], pa.Table.from_pylist(data, kept), pa.Table.from_pylist(index, INDEX_SCHEMA))
    b.reseal()


@mutation("loadable", "schema", why="without features `datasets` gives structs, not images")
def features_dropped(b: Broken) -> None:
    for bits in b.bits:
        data, index = b.rows(bits)
        bare = SAMPLE_SCHEMA.remove_metadata()
        b.write(bits, pa.Table.from_pylist(data, bare), pa.Table.from_pylist(index, INDEX_SCHEMA))
    b.reseal()


def _drop(*tables: list[dict[str, Any]]) -> None:
    for rows in tables:
        rows.pop()


def _repeat(*tables: list[dict[str, Any]]) -> None:
    for rows in tables:
        rows.append(rows[0])


def _shard_with(b: Broken, rows: int) -> int:
    return next(s for s, bits in enumerate(b.bits) if len(b.rows(bits)[0]) >= rows)
