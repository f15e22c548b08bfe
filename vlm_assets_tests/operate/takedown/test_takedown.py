import io
import os
import shutil
from functools import partial
from pathlib import Path

import datasets
import orjson
import pytest

from vlm_assets.commands.takedowns import carry_out
from vlm_assets.ingest.slice import SliceOptions
from vlm_assets.installation.opening import Installation
from vlm_assets.operate.prune import prune_data_root
from vlm_assets.operate.takedown import (
    Receipt,
    TakedownOrder,
    corpora,
    finish_takedowns,
    preview_takedown,
    run,
    take_down,
    unfinished_takedowns,
)
from vlm_assets.operate.verify import verify
from vlm_assets.store import versions
from vlm_assets.store.slices import data_file_names, read_rows
from vlm_assets.store.tombstones import read_tombstones
from vlm_assets.words.errors import StoreError
from vlm_assets.words.layout import MANIFEST
from vlm_assets_tests.audit.breaking import TARGET, build, copy_of, failed, good_once, sha_of
from vlm_assets_tests.workplace import ingest, picture


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    return good_once(tmp_path_factory)


@pytest.fixture
def copy(good, tmp_path):
    return copy_of(good, tmp_path)


def a_row(broken, source="scans", number=0):
    rows = [row for bits in broken.bits for row in broken.rows(bits)[1] if row["source"] == source]
    return rows[number]


def version(installation: Installation) -> Path:
    return installation.root.corpus("good", TARGET).resolve()


def held(installation: Installation, digest: str) -> list[str]:
    """Files under the data root with these image bytes."""
    image = next(
        picture(n) for n in range(1000) if __import__("hashlib").sha256(picture(n)).hexdigest() == digest
    )
    return [
        str(path.relative_to(installation.root.path))
        for path in installation.root.path.rglob("*")
        if path.is_file() and not path.is_symlink() and image in path.read_bytes()
    ]


def test_by_id_covers_equal_images_and_leaves_no_bytes(copy):
    installation = copy.installation
    row = next(r for bits in copy.bits for r in copy.rows(bits)[1] if r["id"].endswith("copy3.jpg"))
    assert len(held(installation, sha_of(row))) == 3  # two slices and the corpus
    before = {path.name: path.stat().st_ino for path in version(installation).glob("data-r*.arrow")}
    receipt = take_down(installation, TakedownOrder(id=row["id"], reason="asked by the owner"))
    assert receipt.exit_code == 0
    assert receipt.ids == ("scans/0001-of-0003/copy3.jpg", "street/root/0003.jpeg")
    assert set(receipt.slices_emptied) == {"scans/0001-of-0003", "street/root"}
    assert held(installation, sha_of(row)) == []
    (rewrite,) = receipt.corpora
    assert (rewrite.rows_removed, rewrite.holes, len(rewrite.shards_rewritten)) == (1, 1, 1)
    after = {path.name: path.stat().st_ino for path in version(installation).glob("data-r*.arrow")}
    changed = {name for name in before if before[name] != after.get(name)}
    assert changed == {f"data-{rewrite.shards_rewritten[0]}.arrow"}
    assert failed(installation, full=True) == {"staleness"}  # the next plan fills the hole
    assert "29 = 30 - 1" in (version(installation) / "README.md").read_text("utf-8").replace(",", "")
    assert verify(installation).problems == []
    assert len(datasets.load_from_disk(str(version(installation)))) == 29
    for source in installation.catalog.sources:
        for slice_ in installation.root.source(source.name).iterdir():
            if slice_.is_symlink() and orjson.loads((slice_ / MANIFEST).read_bytes())["rows"]:
                datasets.load_from_disk(str(slice_.resolve()))


def test_the_next_build_fills_the_hole(copy):
    installation = copy.installation
    row = a_row(copy)
    take_down(installation, TakedownOrder(sha256=sha_of(row)))
    build(installation)
    manifest = orjson.loads((version(installation) / MANIFEST).read_bytes())
    assert (manifest["rows"], manifest["holes"]) == (30, 0)
    assert failed(installation, full=True) == set()


def test_fetching_again_does_not_bring_it_back(copy):
    installation = copy.installation
    row = a_row(copy, "street")
    take_down(installation, TakedownOrder(sha256=sha_of(row)))
    content = orjson.loads((copy.slice("street") / MANIFEST).read_bytes())["content_hash"]
    outcome = ingest(installation, "street", SliceOptions(force=True))["root"]
    assert outcome.manifest.content_hash == content
    assert held(installation, sha_of(row)) == []
    rows = {r["id"]: r for r in read_rows(outcome.path, data_file_names(outcome.manifest.files))}
    assert rows[row["id"]]["images"] is None
    assert rows[row["id"]]["row_bytes"] == row["row_bytes"]


def test_a_shard_that_is_nothing_but_holes_is_no_fault(copy):
    installation = copy.installation
    bits = min(copy.bits, key=lambda one: len(copy.rows(one)[1]))
    for row in copy.rows(bits)[1]:
        take_down(installation, TakedownOrder(id=row["id"]))
    manifest = orjson.loads((version(installation) / MANIFEST).read_bytes())
    assert manifest["shards"][bits]["rows"] == 0
    assert failed(installation, full=True) == {"staleness"}


class CutError(Exception):
    pass


def cut(*_: object) -> None:
    raise CutError


def test_cut_short_anywhere_the_next_command_finishes_it(copy, monkeypatch):
    """Each time at a later step, each time as another process would find it."""
    installation = copy.installation
    row = a_row(copy, "street")
    steps = [
        (run, "clear_staging"), (corpora.Corpora, "rewrite"), (run, "empty_slices"), (run, "empty_listings"),
        (versions, "remove_tree"), (corpora.Corpora, "delete_old"), (run, "clean_papers"),
        (run, "remove_uncommitted"),
        (run, "clean_caches"),
    ]  # fmt: skip
    for number, (where, step) in enumerate(steps):
        with monkeypatch.context() as patch:
            patch.setattr(where, step, cut)
            first = partial(take_down, installation, TakedownOrder(id=row["id"]))
            with pytest.raises(CutError):
                (partial(finish_takedowns, installation) if number else first)()
        assert len(unfinished_takedowns(installation.root)) == 1
        assert verify(installation).exit_code == 1
    assert all(one.complete for one in finish_takedowns(installation))
    assert finish_takedowns(installation) == []
    assert held(installation, sha_of(row)) == []
    assert len(read_tombstones(installation.root).names) == 2
    assert failed(installation, full=True) == {"staleness"}


def test_cut_between_a_corpus_and_its_card_the_next_command_writes_the_card(copy, monkeypatch):
    installation = copy.installation
    with monkeypatch.context() as patch:
        patch.setattr(corpora, "write_papers", cut)
        with pytest.raises(CutError):
            take_down(installation, TakedownOrder(id=a_row(copy)["id"]))
    assert not (version(installation) / "README.md").exists()
    (receipt,) = finish_takedowns(installation)
    assert receipt.complete
    assert "29 = 30 - 1" in (version(installation) / "README.md").read_text("utf-8").replace(",", "")


def test_a_folder_without_manifest_is_named_and_removed(copy, monkeypatch):
    """What a deletion leaves that was cut between the manifest and the rest, though a plan still names it."""
    installation = copy.installation
    row = a_row(copy, "street")
    with monkeypatch.context() as patch:
        patch.setattr(versions, "remove_tree", cut)
        with pytest.raises(CutError):
            take_down(installation, TakedownOrder(id=row["id"]))
    temporary = installation.root.listings / ".street.json.0123abcd.tmp"
    temporary.write_text("cut")
    os.utime(temporary, (0, 0))
    left, cut_write = verify(installation).leftovers
    assert left.startswith("datasets/street/.versions/")
    assert cut_write == "listings/.street.json.0123abcd.tmp"
    assert {left, cut_write} <= set(prune_data_root(installation).removed)
    assert verify(installation).leftovers == []


def test_a_preview_writes_nothing_and_tells_a_url_that_is_nowhere(copy):
    installation = copy.installation
    row = a_row(copy, "street")
    before = sorted(path.name for path in installation.root.tombstones.iterdir())
    found = preview_takedown(installation, TakedownOrder(sha256=sha_of(row)))
    assert (found.found, row["id"] in found.ids, found.records_per_image[sha_of(row)]) == (True, True, 1)
    assert f"good/{TARGET}" in found.corpora
    nowhere = preview_takedown(installation, TakedownOrder(url="https://example.org/none.jpg"))
    assert (nowhere.found, nowhere.ids, nowhere.corpora) == (False, (), ())
    assert sorted(path.name for path in installation.root.tombstones.iterdir()) == before
    receipt = take_down(installation, TakedownOrder(url="https://example.org/none.jpg"))
    assert not receipt.found
    assert any("no row on this machine" in one for one in receipt.remarks)


class Terminal(io.StringIO):
    """Somebody who types."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("typed", "taken"), [("n\n", 0), ("y\n", 1)])
def test_a_terminal_is_asked_before_anything_goes(copy, monkeypatch, typed, taken):
    monkeypatch.setattr("sys.stdin", Terminal(typed))
    before = len(read_tombstones(copy.installation.root).names)
    order = TakedownOrder(sha256=sha_of(a_row(copy, "street")))
    assert carry_out(copy.installation, order, dry_run=False, ask=True, as_json=True) == 1 - taken
    assert len(read_tombstones(copy.installation.root).names) == before + taken


def test_other_sources_caches_lose_the_image_too(copy):
    installation = copy.installation
    row = a_row(copy, "street")
    folder = installation.root.cache_of("wild") / "spool" / "half"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "under_way.jpg").write_bytes(picture(int(Path(row["id"]).stem)))
    take_down(installation, TakedownOrder(sha256=sha_of(row)))
    assert held(installation, sha_of(row)) == []


def test_only_row_leaves_the_equal_image_of_another_source(copy):
    installation = copy.installation
    receipt = take_down(installation, TakedownOrder(id="scans/0001-of-0003/copy3.jpg", only_row=True))
    assert receipt.ids == ("scans/0001-of-0003/copy3.jpg",)
    assert receipt.slices_emptied == ("scans/0001-of-0003",)
    assert (
        read_tombstones(installation.root).image_sha256
        == read_tombstones(copy.installation.root).image_sha256
    )
    assert failed(installation) == {"staleness"}


def test_like_finds_the_same_picture_in_another_size(copy, tmp_path):
    from PIL import Image

    installation = copy.installation
    row = a_row(copy, "wild")
    number = int(Path(row["id"]).stem)
    source = tmp_path / "original.jpg"
    source.write_bytes(picture(number))
    other = tmp_path / "smaller.png"
    with Image.open(source) as image:
        image.resize((96, 72)).save(other)
    receipt = take_down(installation, TakedownOrder(like=other, like_bits=8))
    assert row["id"] in receipt.ids
    assert receipt.asked.startswith("like:")


def test_a_pinned_version_stands_on_the_receipt(copy):
    installation = copy.installation
    old = version(installation)
    pins = old.parent.parent / ".pins"
    pins.mkdir()
    (pins / old.name).touch()
    row = a_row(copy)
    receipt = take_down(installation, TakedownOrder(id=row["id"]))
    assert receipt.exit_code == 1
    assert [one.path for one in receipt.pinned] == [str(old)]
    assert "unpin" in receipt.outstanding[0]
    assert old.is_dir()
    (pins / old.name).unlink()
    again = take_down(installation, TakedownOrder(id=row["id"]))
    assert again.exit_code == 0
    assert not old.exists()
    assert again.tombstone == receipt.tombstone
    stored = installation.root.tombstones / "receipts" / f"{again.tombstone}.json"
    assert Receipt.model_validate_json(stored.read_bytes()) == again


def test_caches_of_the_source_are_emptied(copy):
    installation = copy.installation
    folder = installation.root.cache_of("scans")
    (folder / "archive.zip").write_bytes(b"x")
    shutil.copytree(folder / "spool", folder / "downloads", dirs_exist_ok=True)
    receipt = take_down(installation, TakedownOrder(id=a_row(copy)["id"]))
    assert receipt.caches_cleaned == ("scans",)
    assert sorted(path.name for path in folder.iterdir()) in (["sha256.db"], [])


def test_by_url_the_address_is_on_record_even_where_no_row_has_it(copy):
    installation = copy.installation
    receipt = take_down(installation, TakedownOrder(url="https://example.org/a.jpg"))
    assert receipt.ids == ()
    assert "https://example.org/a.jpg" in read_tombstones(installation.root).urls


@pytest.mark.parametrize(
    ("order", "told"),
    [
        (TakedownOrder(), "exactly one of"),
        (TakedownOrder(id="scans/x/y"), "no row has the id"),
        (TakedownOrder(like=Path(__file__)), "cannot be read as an image"),
    ],
)
def test_an_order_that_cannot_be_followed_says_why(copy, order, told):
    with pytest.raises(StoreError, match=told):
        take_down(copy.installation, order)
    assert len(read_tombstones(copy.installation.root).names) == 1
