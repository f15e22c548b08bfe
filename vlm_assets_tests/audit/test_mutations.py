"""Ways to break a good corpus, and the findings that name each: these and no others.

A *resealed* mutation is what a writer or allocator with a bug would have left: hashes and counts fit what is there.

The table mutation → finding, as the tests below hold it: `python -m vlm_assets_tests.audit.test_mutations`.
"""

import shutil
from collections.abc import Callable
from random import Random
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from vlm_assets.audit.findings import FindingName, finding_names
from vlm_assets.audit.run import audit_corpus
from vlm_assets.ingest.slice import build_slice
from vlm_assets.installation.opening import open_installation
from vlm_assets.settings import load_settings
from vlm_assets.store.papers import DERIVED_FILES, remove_papers
from vlm_assets.words.layout import MANIFEST
from vlm_assets.words.schema import INDEX_SCHEMA, SAMPLE_SCHEMA
from vlm_assets_tests.audit.breaking import (
    TARGET,
    Broken,
    copy_of,
    good_once,
    sha_of,
)
from vlm_assets_tests.workplace import ingest, picture, relist

Mutation = Callable[[Broken], None]
CELLS = {
    "photos", "photos/street", "photos/nature", "photos/nature/day", "photos/nature/night", "pages", "pages/scans",
}  # fmt: skip
MUTATIONS: dict[str, tuple[Mutation, str, str]] = {}


def mutation(*findings: str, why: str = "") -> Callable[[Mutation], Mutation]:
    """Registers a mutation with the findings that must fail; `why` more than one."""

    def register(function: Mutation) -> Mutation:
        MUTATIONS[function.__name__] = (function, " ".join(sorted(findings)), why)
        return function

    return register


# rows, resealed


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


# files, not resealed


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


# manifests


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


# plan


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


# slices


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
    _replace(path, pq.read_table(path).slice(1))


@mutation("upstream")
def left_out_that_no_item_had(b: Broken) -> None:
    path = b.slice("street") / "left_out.parquet"
    row = {"key": "a.zip/x", "reason": "unknown_type", "detail": "", "size_bytes": 1, "item": "a.zip"}
    _replace(path, pa.Table.from_pylist([row], pq.read_schema(path)))


@mutation("slice_ledgers", "upstream", why="its record is missing from both sums")
def item_lost_from_the_ledger(b: Broken) -> None:
    path = b.slice("street") / "items.parquet"
    table = pq.read_table(path)
    _replace(path, table.slice(1))


@mutation("slice_ledgers")
def reject_lost(b: Broken) -> None:
    path = b.slice("street") / "rejects.parquet"
    _replace(path, pq.read_table(path).slice(1))


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
    _add_picture(b, "wild", "sun/new.jpg", 700)


@mutation("lineage", "slice_content", "staleness", why="the content of the plan is nowhere any more")
def slice_fetched_again_and_old_version_deleted(b: Broken) -> None:
    old = b.slice("wild", "sun")
    _add_picture(b, "wild", "sun/new.jpg", 700)
    shutil.rmtree(old)


@mutation("drift", "staleness", why="other content is also staleness")
def address_gives_another_picture(b: Broken) -> None:
    _add_picture(b, "wild", "sun/0103.jpeg", 701)


@mutation("slice_health", "staleness", why="other content is also staleness")
def slice_shrank(b: Broken) -> None:
    folder = _private_folder(b, "wild")
    for number in (100, 101, 103):
        (folder / "sun" / f"{number:04d}.jpeg").unlink()
    installation = b.installation
    listing = relist(installation, "wild", accept_shrink=True)
    build_slice(installation, installation.catalog.source("wild"), listing, "sun")


@mutation("slice_health")
def rejects_jumped(b: Broken) -> None:
    folder = _private_folder(b, "street")
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
    _replace(folder / "rejects.parquet", rejects.set_column(place, "reason", reasons))
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


# catalogue and takedowns


@mutation("staleness")
def source_removed_from_the_catalogue(b: Broken) -> None:
    _edit_catalog(b, lambda sources: sources.remove(next(s for s in sources if s["name"] == "wild")))


@mutation("staleness")
def licence_changed_in_the_catalogue(b: Broken) -> None:
    _edit_catalog(b, lambda sources: sources[0].update(licence="CC-BY-SA-4.0"))


@mutation("rights", "staleness", why="a source more is also staleness")
def source_never_listed(b: Broken) -> None:
    _edit_catalog(b, lambda sources: sources.append({**sources[0], "name": "gated", "max_samples": 3}))


@mutation("staleness", "tombstones", why="the next plan has to leave it out")
def present_image_taken_down(b: Broken) -> None:
    from vlm_assets.store.tombstones import Tombstone, write_tombstone

    digest = sha_of(b.rows(b.bits[0])[1][0])
    write_tombstone(b.installation.root, Tombstone(asked=f"sha256:{digest}", image_sha256=(digest,)))


@mutation("tombstones")
def old_version_deleted_in_half(b: Broken) -> None:
    folder = b.slice("street").with_name("0123456789ab")
    folder.mkdir()
    (folder / "data-00000.arrow").write_bytes(b"bytes of a row that was taken down")


@mutation("staleness", "tombstones", why="the next plan would take the row in again")
def takedown_lost(b: Broken) -> None:
    for path in b.installation.root.tombstones.glob("*.json"):
        path.unlink()


def _drop(*tables: list[dict[str, Any]]) -> None:
    for rows in tables:
        rows.pop()


def _repeat(*tables: list[dict[str, Any]]) -> None:
    for rows in tables:
        rows.append(rows[0])


def _shard_with(b: Broken, rows: int) -> int:
    return next(s for s, bits in enumerate(b.bits) if len(b.rows(bits)[0]) >= rows)


def _replace(path: Any, table: pa.Table) -> None:
    path.unlink()
    pq.write_table(table, path)


def _edit_catalog(b: Broken, change: Callable[[list[dict[str, Any]]], Any]) -> None:
    path = b.base / "catalog" / "sources" / "all.yaml"
    content = yaml.safe_load(path.read_text("utf-8"))
    change(content["sources"])
    path.write_text(yaml.safe_dump(content), "utf-8")
    if not any(s["name"] == "wild" for s in content["sources"]):
        corpus = b.base / "catalog" / "corpus.yaml"
        quotas = yaml.safe_load(corpus.read_text("utf-8"))
        quotas["quotas"]["photos"]["subcategories"] = {"street": {"share": 1}}
        corpus.write_text(yaml.safe_dump(quotas), "utf-8")


def _private_folder(b: Broken, source: str) -> Any:
    """A copy of a client's folder for this test alone, named in its catalogue."""
    folder = b.base / "pictures" / source
    _edit_catalog(b, lambda sources: _move(next(s for s in sources if s["name"] == source), folder))
    return folder


def _move(entry: dict[str, Any], folder: Any) -> None:
    shutil.copytree(entry["path"], folder)
    entry["path"] = str(folder)


def _add_picture(b: Broken, source: str, name: str, number: int) -> None:
    (_private_folder(b, source) / name).write_bytes(picture(number))
    ingest(b.installation, source)


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    return good_once(tmp_path_factory)


@pytest.mark.parametrize("full", [True, False], ids=["full", "quick"])
def test_a_good_once_has_no_finding(good, full):
    findings = audit_corpus(good, TARGET, full=full)
    assert [f.name for f in findings] == list(finding_names())
    assert [(f.name, f.observed, f.examples) for f in findings if not (f.passed and f.judged)] == []
    [quotas] = [f for f in findings if f.name == "quotas"]
    assert set(quotas.figures["granted"]) == CELLS


def test_a_quick_audit_hashes_small_data_files_whole(good, tmp_path):
    broken = copy_of(good, tmp_path)
    path = next(iter(sorted(broken.corpus.glob("data-*.arrow"))))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    findings = audit_corpus(broken.installation, TARGET, full=False)
    assert "shard_files" in {str(f.name) for f in findings if f.failed}


def edit_summary(b: Broken, change: Callable[[Any], None]) -> None:
    path = b.corpus / "summary.json"
    content = orjson.loads(path.read_bytes())
    change(content)
    path.write_bytes(orjson.dumps(content))


@mutation("papers")
def a_licence_with_a_row_more_in_the_summary(b: Broken) -> None:
    edit_summary(b, lambda content: content["licences"]["CC0-1.0"].update(rows=99))


@mutation("papers")
def a_reject_less_in_the_summary(b: Broken) -> None:
    edit_summary(b, lambda content: content["processing"].update(rejects={}))


@mutation("papers")
def a_private_source_told_to_be_public(b: Broken) -> None:
    def swap(content: Any) -> None:
        sources = content["sources"]
        sources["public_datasets"], sources["private_datasets"] = sources["private_datasets"], []

    edit_summary(b, swap)


@mutation("papers")
def another_count_in_croissant(b: Broken) -> None:
    path = b.corpus / "croissant.json"
    path.write_bytes(path.read_bytes().replace(b'"composition/present": 9', b'"composition/present": 8'))


@mutation("papers")
def rows_that_the_header_of_the_card_does_not_have(b: Broken) -> None:
    path = b.corpus / "README.md"
    path.write_text(path.read_text("utf-8").replace("num_examples: 30", "num_examples: 31"), "utf-8")


@mutation("papers")
def a_report_of_another_corpus(b: Broken) -> None:
    path = b.corpus / "report.html"
    path.write_text(path.read_text("utf-8").replace(b.manifest["root_hash"], "0" * 64), "utf-8")


@mutation("papers")
def a_paper_that_is_gone(b: Broken) -> None:
    (b.corpus / "summary.json").unlink()


@mutation("papers")
def papers_cut_while_they_were_written(b: Broken) -> None:
    path = b.corpus / "papers.json"
    path.write_bytes(path.read_bytes().replace(b'"complete": true', b'"complete": false'))


@pytest.mark.parametrize("name", MUTATIONS)
def test_mutation_is_caught_by_name(good, tmp_path, name):
    break_it, expected, _why = MUTATIONS[name]
    broken = copy_of(good, tmp_path)
    if "papers" not in expected:
        remove_papers(broken.corpus)  # they are of the good one
    break_it(broken)
    findings = audit_corpus(broken.installation, TARGET, full=True)
    told = {str(f.name): (f.observed, list(f.examples)) for f in findings if f.failed}
    assert " ".join(sorted(told)) == expected, told
    assert all(not f.passed for f in findings if not f.judged)
    assert orjson.dumps([f.to_json() for f in findings])


@pytest.mark.parametrize("seed", range(24))
def test_no_byte_of_corpus_or_plan_changes_unseen(good, tmp_path, seed):
    random = Random(seed)
    broken = copy_of(good, tmp_path)
    folder = broken.corpus if seed % 3 else broken.plan
    path = random.choice([p for p in sorted(folder.iterdir()) if p.name not in DERIVED_FILES])
    content = bytearray(path.read_bytes())
    for _ in range(random.choice((1, 1, 8))):
        content[random.randrange(len(content))] ^= 1 << random.randrange(8)
    path.write_bytes(content)
    findings = audit_corpus(broken.installation, TARGET, full=True)
    assert [f.name for f in findings] == list(finding_names())
    assert {str(f.name) for f in findings if f.failed} & {"manifests", "shard_files"}, path
    assert not [f.observed for f in findings if "the check itself" in f.observed]


def test_workers_find_what_one_process_finds(good, tmp_path, monkeypatch):
    monkeypatch.setattr("vlm_assets.audit.run._IN_PROCESS_BYTES", 0)
    broken = copy_of(good, tmp_path)
    remove_papers(broken.corpus)
    swap_two_images(broken)
    installation = open_installation(
        load_settings(None, catalog=tmp_path / "catalog", data_root=tmp_path / "data", workers=2)
    )
    told = []
    findings = audit_corpus(installation, TARGET, full=True, progress=lambda *step: told.append(step))
    (found,) = [f for f in findings if f.failed]
    assert (str(found.name), found.figures["rows"]) == ("image_bytes", 30)
    assert len(found.examples) == 2
    assert ("shard_files", 30) in told


def test_there_are_mutations_for_every_finding_of_files_rows_and_slices():
    named = {name for _, expected, _ in MUTATIONS.values() for name in expected.split()}
    by_bug = {"quotas", "ranks", "duplicates", "decontamination", "exclusions"}  # test_buggy_allocator
    by_bug |= {"filters"}  # test_filters
    assert named | by_bug == {str(name) for name in FindingName}
    assert len(MUTATIONS) >= 25


def table() -> str:
    """Markdown: a line a mutation, with the findings that catch it and why there is more than one."""
    lines = ["| mutation | caught by | why more than one |", "|---|---|---|"]
    for name, (_, findings, why) in MUTATIONS.items():
        caught = ", ".join(f"`{one}`" for one in findings.split())
        lines.append(f"| {name.replace('_', ' ')} | {caught} | {why} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
