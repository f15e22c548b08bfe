import re

import pytest

from vlm_assets.corpus.diff import diff_corpora
from vlm_assets.corpus.pins import pin_version, unpin_version
from vlm_assets.ingest.slice import SliceOptions
from vlm_assets.operate.lineage import show_row
from vlm_assets.store.last_failures import note_failure
from vlm_assets.words.errors import CorpusError, StoreError
from vlm_assets_tests.audit.breaking import TARGET, copy_of, good_once, sha_of
from vlm_assets_tests.workplace import STREET, fill, ingest, install, picture, relist


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    return good_once(tmp_path_factory)


def test_a_row_is_traced_to_its_item_and_its_corpora(good, tmp_path):
    b = copy_of(good, tmp_path)
    row, place = next((r, p) for p, r in enumerate(b.rows(b.bits[0])[1]))
    (found,) = show_row(b.installation, row["id"])
    assert found.source == row["source"]
    assert found.item == row["origin"]
    assert found.image_sha256 == sha_of(row)
    assert found.revision == "folder"
    assert found.licence == row["licence"]
    assert found.fetched_by is not None
    here = next(one for one in found.corpora if one.target == TARGET)
    assert (here.file, here.row) == (f"data-r{b.bits[0]}.arrow", place)
    assert "images" not in found.row
    assert found.model_dump(mode="json")


def test_by_sha256_all_rows_with_the_image(good):
    from hashlib import sha256

    found = show_row(good, sha256(picture(3)).hexdigest())
    assert {one.id for one in found} == {"scans/0001-of-0003/copy3.jpg", "street/root/0003.jpeg"}


def test_the_run_that_fetched_is_named_after_the_slice_was_fetched_again(good, tmp_path):
    b = copy_of(good, tmp_path)
    first = show_row(b.installation, "street/root/0005.jpeg")[0].fetched_by
    folder = tmp_path / "pictures"
    import shutil

    import yaml

    shutil.copytree(good.catalog.source("street").path, folder)
    (folder / "0700.jpeg").write_bytes(picture(700))
    path = tmp_path / "catalog" / "sources" / "all.yaml"
    content = yaml.safe_load(path.read_text("utf-8"))
    next(s for s in content["sources"] if s["name"] == "street")["path"] = str(folder)
    path.write_text(yaml.safe_dump(content), "utf-8")
    ingest(b.installation, "street", SliceOptions(run_id="second"))
    assert show_row(b.installation, "street/root/0005.jpeg")[0].fetched_by == first
    newest = show_row(b.installation, "street/root/0700.jpeg")[0].fetched_by
    assert newest is not None
    assert newest.run_id == "second"


@pytest.fixture(scope="module")
def with_rejects(tmp_path_factory):
    base = tmp_path_factory.mktemp("rejects")
    folder = fill(base / "in", 3)
    fill(folder / "a", 3, start=10)
    (folder / "a" / "torn.jpg").write_bytes(picture(9)[:300])
    (folder / "Thumbs.db").write_bytes(b"junk")
    installation = install(base, {**STREET, "path": folder})
    ingest(installation)
    fill(folder / "later", 1)
    relist(installation)
    note_failure(
        installation.root, "street", "later", "street/later: 1 of 1 …:\n  later/x.jpg: empty\nMend it"
    )
    return installation


TORN = "street/a: a/torn.jpg is a reject: truncated"


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        pytest.param("torn.jpg", TORN, id="name"),
        pytest.param("a/torn.jpg", TORN, id="key"),
        pytest.param("street/a/a/torn.jpg", TORN, id="id"),
        pytest.param("Thumbs.db", "street: Thumbs.db is left out of the listing: os_junk", id="left-out"),
        pytest.param(
            "x.jpg", "street/later failed, and nothing of it is here: later/x.jpg: empty", id="failed"
        ),
    ],
)
def test_what_is_no_row_is_told_with_why(with_rejects, wanted, told):
    with pytest.raises(StoreError, match=re.escape(f"no row {wanted!r}, and on record is why:\n  {told}")):
        show_row(with_rejects, wanted)


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        ("street/root/0005.jpg", "did you mean street/root/0005.jpeg?"),
        ("street/rot/0005.jpeg", "source street has no slice 'rot'; did you mean root?"),
        ("stret/root/0005.jpeg", "no source 'stret'; did you mean street?"),
        ("street/root/none", "ids are <source>/<slice>/<key>"),
        ("street", "give an id"),
        ("0" * 64, "give an id <source>/<slice>/<key>, or an image's sha256"),
        ("0" * 63, "a sha256 has 64 hex digits, this has 63"),
    ],
)
def test_what_is_not_there_is_said_with_what_was_meant(good, wanted, told):
    with pytest.raises(StoreError, match=re.escape(told)):
        show_row(good, wanted)


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        ("t31", "did you mean t30?"),
        ("t13", "there are targets t12, t30 and versions"),
        (lambda version: version[:5], "did you mean {version}?"),
    ],
    ids=["target", "all", "beginning of a version"],
)
def test_a_corpus_that_is_not_there(good, wanted, told):
    version = good.root.corpus("good", TARGET).resolve().name
    name = wanted if isinstance(wanted, str) else wanted(version)
    with pytest.raises(StoreError, match=re.escape(told.format(version=version))):
        diff_corpora(good, name, TARGET)


def test_a_pin_is_taken_away_by_its_path_and_others_are_guessed(good, tmp_path):
    b = copy_of(good, tmp_path)
    path = pin_version(b.installation, TARGET, "a trainer")
    for given in (TARGET, path.name[:-1] + "x", path.name[:4]):
        with pytest.raises(CorpusError, match=rf"did you mean {path.name}\?.*{path.name} \({TARGET}\)"):
            unpin_version(b.installation, given)
    assert unpin_version(b.installation, str(path)) == path.name
    with pytest.raises(CorpusError, match="pinned: none"):
        unpin_version(b.installation, path.name)


def test_taken_down_rows_say_so(good):
    found = show_row(good, "wild/sun/sun/0102.jpeg")
    assert len(found[0].tombstones) == 1
    assert found[0].corpora == ()


def test_diff_counts_per_source_and_subcategory(good):
    same = diff_corpora(good, TARGET, TARGET)
    assert same.totals == {"added": 0, "removed": 0, "kept": 30}
    grown = diff_corpora(good, "t12", TARGET)
    assert grown.totals == {"added": 18, "removed": 0, "kept": 12}
    line = next(one for one in grown.to_json()["rows"] if one["source"] == "scans")
    assert line["added"] + line["kept"] == 12
    assert grown.to_json()["rows"]
    back = diff_corpora(good, TARGET, f"t12@{good.root.corpus('good', 't12').resolve().name}")
    assert back.totals == {"added": 0, "removed": 18, "kept": 12}
