"""Files, manifests and the plan, changed behind the back of what is written about them."""

import shutil

import orjson
import pyarrow as pa

from vlm_assets.words.layout import MANIFEST
from vlm_assets.words.schema import INDEX_SCHEMA
from vlm_assets_tests.audit.breaking import Broken
from vlm_assets_tests.audit.mutations.registry import mutation


@mutation("image_bytes", "shard_files", why="the byte is in an image, and in a file")
def change_a_byte_of_an_image(b: Broken) -> None:
    path = b.corpus / f"data-r{b.bits[0]}.arrow"
    content = bytearray(path.read_bytes())
    image = b.rows(b.bits[0])[0][0]["images"][0]["bytes"]
    content[content.index(image) + len(image) // 2] ^= 0x40
    path.write_bytes(content)


@mutation("lineage", "row_values", "shard_files", why="a byte of a hash: it fits nothing any more")
def change_a_byte_of_an_index(b: Broken) -> None:
    path = b.corpus / f"index-r{b.bits[0]}.arrow"
    digest = b.rows(b.bits[0])[1][0]["images_sha256"]
    content = path.read_bytes()
    other = digest[:5] + bytes([digest[5] ^ 1]) + digest[6:]
    path.write_bytes(content.replace(digest, other))


@mutation("records_whole")
def tear_a_record(b: Broken) -> None:
    folder = b.slice("street")
    with pa.OSFile(str(folder / "index.arrow")) as file:
        rows = pa.ipc.open_file(file).read_all().to_pylist()
    rows[0]["images_upstream"] = 2
    (folder / "index.arrow").unlink()
    with pa.OSFile(str(folder / "index.arrow"), "w") as out, pa.ipc.new_file(out, INDEX_SCHEMA) as writer:
        writer.write_table(pa.Table.from_pylist(rows, INDEX_SCHEMA))


@mutation("loadable", "row_values", "shard_files", why="nobody can read it to its end")
def truncate_a_shard(b: Broken) -> None:
    path = b.corpus / f"data-r{b.bits[0]}.arrow"
    path.write_bytes(path.read_bytes()[:-2_000])


@mutation("loadable", "row_values", "shard_files", why="nobody can read it")
def remove_a_shard(b: Broken) -> None:
    (b.corpus / f"data-r{b.bits[0]}.arrow").unlink()


@mutation("row_values", "shard_files", why="rows have nothing to be compared with")
def remove_an_index(b: Broken) -> None:
    (b.corpus / f"index-r{b.bits[0]}.arrow").unlink()


@mutation("shard_files")
def add_a_file(b: Broken) -> None:
    shutil.copy(b.corpus / f"data-r{b.bits[0]}.arrow", b.corpus / "data-r111111.arrow")


@mutation("shard_files")
def shards_in_another_order(b: Broken) -> None:
    path = b.corpus / "state.json"
    state = orjson.loads(path.read_bytes())
    state["_data_files"].reverse()
    path.write_bytes(orjson.dumps(state))


@mutation("counts", "manifests", why="edited by hand: the folder is named by the old one")
def count_edited_in_the_manifest(b: Broken) -> None:
    b.edit_manifest(lambda m: m["sources"].update(street=m["sources"]["street"] + 1), rename=False)


@mutation("counts", "corpus_sums", why="rows + holes are not what was granted")
def count_wrong_from_the_start(b: Broken) -> None:
    b.edit_manifest(lambda m: m.update(rows=m["rows"] + 1))


@mutation("corpus_sums")
def holes_that_are_none(b: Broken) -> None:
    b.edit_manifest(lambda m: m.update(holes=1, rows=m["rows"]))


@mutation("root_hash")
def another_root_hash(b: Broken) -> None:
    b.edit_manifest(lambda m: m.update(root_hash="ab" * 32))


@mutation("root_hash")
def another_rows_hash(b: Broken) -> None:
    b.edit_manifest(lambda m: m["shards"][b.bits[0]].update(rows_hash="ab" * 32))


@mutation("manifests")
def stale_inputs_hash(b: Broken) -> None:
    b.edit_manifest(lambda m: m.update(inputs_hash="ab" * 32))


@mutation("manifests")
def stale_manifest_without_its_plan(b: Broken) -> None:
    b.edit_manifest(lambda m: m.update(allocation_version="0123456789ab"))


@mutation("manifests")
def manifest_that_is_cut(b: Broken) -> None:
    path = b.corpus / MANIFEST
    path.write_bytes(path.read_bytes()[:200])


@mutation("shard_files")
def cap_that_files_exceed(b: Broken) -> None:
    b.edit_manifest(lambda m: m["shard"].update(max_bytes=4_000))


@mutation("allocation_sums")
def excluded_count_edited(b: Broken) -> None:
    b.edit_plan(lambda m: m["excluded"].update(duplicate=5))


@mutation("allocation_sums")
def grants_edited(b: Broken) -> None:
    b.edit_plan_file("grants.json", lambda g: g["sources"][0].update(not_selected=1))


@mutation("manifests")
def plan_file_changed(b: Broken) -> None:
    path = b.plan / "grants.json"
    path.write_bytes(path.read_bytes() + b"\n")


@mutation("manifests")
def inputs_edited(b: Broken) -> None:
    b.edit_plan_file("inputs.json", lambda i: i["dedup"].update(precedence=["street"]))
