"""Slices, ledgers and listings: what upstream had, what became of it, who drew it."""

import shutil

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from vlm_assets.ingest.slice import build_slice
from vlm_assets.words.layout import MANIFEST
from vlm_assets.words.schema import INDEX_SCHEMA
from vlm_assets_tests.audit.breaking import Broken
from vlm_assets_tests.audit.mutations.registry import add_picture, mutation, private_folder, replace_table
from vlm_assets_tests.workplace import ingest, picture, relist


@mutation("upstream")
def more_upstream_than_was_listed(b: Broken) -> None:
    path = b.installation.root.listing("wild")
    listing = orjson.loads(path.read_bytes())
    listing["upstream"] += 1
    path.write_bytes(orjson.dumps(listing))


@mutation("upstream")
def left_out_lost_from_the_listing(b: Broken) -> None:
    listings = b.installation.root.listings
    path = listings / orjson.loads((listings / "street.json").read_bytes())["left_out_file"]
    replace_table(path, pq.read_table(path).slice(1))


@mutation("upstream")
def left_out_that_no_item_had(b: Broken) -> None:
    path = b.slice("street") / "left_out.parquet"
    row = {"key": "a.zip/x", "reason": "unknown_type", "detail": "", "size_bytes": 1, "item": "a.zip"}
    replace_table(path, pa.Table.from_pylist([row], pq.read_schema(path)))


@mutation("slice_ledgers", "upstream", why="its record is missing from both sums")
def item_lost_from_the_ledger(b: Broken) -> None:
    path = b.slice("street") / "items.parquet"
    table = pq.read_table(path)
    replace_table(path, table.slice(1))


@mutation("slice_ledgers")
def reject_lost(b: Broken) -> None:
    path = b.slice("street") / "rejects.parquet"
    replace_table(path, pq.read_table(path).slice(1))


@mutation("manifests", "slice_ledgers", why="edited by hand: its folder is named by the old one")
def reject_count_edited(b: Broken) -> None:
    path = b.slice("street") / MANIFEST
    manifest = orjson.loads(path.read_bytes())
    manifest["records_rejected"] += 1
    path.write_bytes(orjson.dumps(manifest))


@mutation(
    "slice_content", "lineage", "corpus_sums", why="rows of the corpus do not find that digest in their slice"
)
def digest_changed_in_a_slice(b: Broken) -> None:
    path = b.slice("wild", "sun") / "index.arrow"
    with pa.OSFile(str(path)) as file:
        rows = pa.ipc.open_file(file).read_all().to_pylist()
    digests = {r["digest"] for bits in b.bits for r in b.rows(bits)[1]}
    next(row for row in rows if row["digest"] in digests)["digest"] = bytes(32)
    path.unlink()
    with pa.OSFile(str(path), "w") as file, pa.ipc.new_file(file, INDEX_SCHEMA) as writer:
        writer.write_table(pa.Table.from_pylist(rows, INDEX_SCHEMA))


@mutation("staleness")
def slice_fetched_again(b: Broken) -> None:
    add_picture(b, "wild", "sun/new.jpg", 700)


@mutation("lineage", "slice_content", "staleness", why="the content of the plan is nowhere any more")
def slice_fetched_again_and_old_version_deleted(b: Broken) -> None:
    old = b.slice("wild", "sun")
    add_picture(b, "wild", "sun/new.jpg", 700)
    shutil.rmtree(old)


@mutation("drift", "staleness", why="other content is also staleness")
def address_gives_another_picture(b: Broken) -> None:
    add_picture(b, "wild", "sun/0103.jpeg", 701)


@mutation("slice_health", "staleness", why="other content is also staleness")
def slice_shrank(b: Broken) -> None:
    folder = private_folder(b, "wild")
    for number in (100, 101, 103):
        (folder / "sun" / f"{number:04d}.jpeg").unlink()
    installation = b.installation
    listing = relist(installation, "wild", accept_shrink=True)
    build_slice(installation, installation.catalog.source("wild"), listing, "sun")


@mutation("slice_health")
def rejects_jumped(b: Broken) -> None:
    folder = private_folder(b, "street")
    for number in range(6):
        (folder / f"cut{number}.jpg").write_bytes(picture(900 + number)[:400])
    ingest(b.installation, "street")


@mutation("drift")
def addresses_in_quarantine(b: Broken) -> None:
    """A slice of URLs in which one gives another picture: as `ingest` commits it, made from one with a reject."""
    folder = b.slice("street")
    rejects = pq.read_table(folder / "rejects.parquet")
    reasons = pa.array(["drifted"] * rejects.num_rows)
    place = rejects.schema.get_field_index("reason")
    replace_table(folder / "rejects.parquet", rejects.set_column(place, "reason", reasons))
    manifest = orjson.loads((folder / MANIFEST).read_bytes())
    manifest["rejects"] = {"drifted": rejects.num_rows}
    link = b.installation.root.slice("street", "root")
    b._put(folder, manifest, link)


@mutation("renderer")
def slice_drawn_by_two_machines(b: Broken) -> None:
    _drawn_under(b, "wild", "poppler-0123456789abcdef+poppler-fedcba9876543210", "moon")


@mutation("fonts")
def pages_drawn_without_their_glyphs(b: Broken) -> None:
    _drawn_under(b, "street", "poppler-0123456789abcdef")


@mutation("renderer")
def corpus_drawn_by_two_machines(b: Broken) -> None:
    _drawn_under(b, "wild", "poppler-0123456789abcdef", "moon")
    _drawn_under(b, "wild", "poppler-fedcba9876543210", "sun")


def _drawn_under(b: Broken, source: str, renderer: str, key: str = "root") -> None:
    """A slice as a machine of this identity commits it."""
    folder = b.slice(source, key)
    manifest = orjson.loads((folder / MANIFEST).read_bytes())
    manifest["renderer"] = renderer
    b._put(folder, manifest, b.installation.root.slice(source, key))
