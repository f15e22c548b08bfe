"""Words of what is taken down: in listings, ledgers and slices, now and after the source is listed again."""

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson
import pytest

from vlm_assets.ingest import listing as listing_module
from vlm_assets.ingest import slice as slice_module
from vlm_assets.ingest.slice import SliceOptions, build_slice
from vlm_assets.ingest.taken_words import TakenWords
from vlm_assets.installation.opening import Installation
from vlm_assets.operate.takedown import TakedownOrder, finish_takedowns, take_down
from vlm_assets.operate.verify import verify
from vlm_assets.store.slices import data_file_names, read_rows
from vlm_assets.store.tombstones import Tombstone, read_tombstones
from vlm_assets_tests.servers import FaultServer, Reply
from vlm_assets_tests.workplace import STREET, files_that_say, fill, ingest, install, picture, relist

SECRET = "the name was Ayse Yilmaz"
OTHER = "a tram in the rain"


def files_with(installation: Installation, word: str) -> list[str]:
    return files_that_say(word, installation.root.path)


def captioned_folder(base: Path) -> dict[str, Any]:
    folder = fill(base / "pictures", 3)
    rows = [f"0000.jpeg,{SECRET}", f"0001.jpeg,{OTHER}", "0002.jpeg,nothing"]
    (folder / "metadata.csv").write_text("\n".join(["file_name,text", *rows]), "utf-8")
    return {**STREET, "path": folder, "text": "metadata.csv"}


def several_captions(base: Path) -> dict[str, Any]:
    """Two samples of one image, of which one is taken down."""
    folder = fill(base / "pictures", 2)
    rows = [f"0000.jpeg,{SECRET}", f"0000.jpeg,{OTHER}"]
    (folder / "metadata.csv").write_text("\n".join(["file_name,text", *rows]), "utf-8")
    return {**STREET, "path": folder, "text": "metadata.csv"}


@pytest.mark.parametrize(
    ("source", "order"),
    [
        pytest.param(captioned_folder, TakedownOrder(sha256=sha256(picture(0)).hexdigest()), id="by-image"),
        pytest.param(
            several_captions,
            TakedownOrder(id="street/root/0000.jpeg#caption=1", only_row=True),
            id="one-caption",
        ),
    ],
)
def test_no_file_says_it_any_more(tmp_path, source, order):
    installation = install(tmp_path, source(tmp_path))
    ingest(installation)
    relist(installation, force=True)
    assert any(name.startswith("listings/") for name in files_with(installation, SECRET))
    receipt = take_down(installation, order)
    assert receipt.complete
    assert receipt.listings_emptied == ("street",)
    fingerprints = {key: one.fingerprint for key, one in relist(installation).slices.items()}
    assert files_with(installation, SECRET) == []
    assert files_with(installation, OTHER) != []
    outcomes = ingest(installation, options=SliceOptions(force=True))
    assert {key: one.manifest.listing_fingerprint for key, one in outcomes.items()} == fingerprints
    assert files_with(installation, SECRET) == []


def test_a_list_of_urls_says_nothing_of_it(tmp_path):
    pages = {f"/{n}.jpg": [Reply(body=picture(n))] for n in range(3)}
    with FaultServer(pages) as server:
        lines = [f"{server.url(f'/{n}.jpg')},{said}" for n, said in enumerate((SECRET, OTHER, "nothing"))]
        listed = tmp_path / "urls.csv"
        listed.write_text("\n".join(["url,caption", *lines]), "utf-8")
        source = {**STREET, "kind": "image_urls", "urls": listed, "text_column": "caption"}
        installation = install(tmp_path, source, allow_private_hosts=("127.0.0.1",), contact="a@b.example")
        ingest(installation)
        assert files_with(installation, SECRET) != []
        assert take_down(installation, TakedownOrder(url=server.url("/0.jpg"))).complete
        relist(installation)
    assert files_with(installation, SECRET) == []
    assert files_with(installation, OTHER) != []


def listed_with(base: Path, pictures: Sequence[int], **source: Any) -> dict[str, Any]:
    """A list of URLs that nobody asks: a listing alone."""
    listed = base / "urls.csv"
    lines = [f"http://127.0.0.2/{n}.jpg,{SECRET if n == 0 else OTHER}" for n in pictures]
    listed.write_text("\n".join(["url,caption", *lines]), "utf-8")
    return {**STREET, "kind": "image_urls", "urls": listed, "text_column": "caption", **source}


@pytest.mark.parametrize(
    "address", ["http://127.0.0.2/0.jpg", "http://127.2/0.jpg", "HTTP://127.0.0.2:80/0.jpg#page=1"]
)
def test_an_address_is_known_before_anything_is_fetched(tmp_path, monkeypatch, address):
    """Listed first, or taken down first: nothing is said of it, and the slice is what it was."""
    installation = install(tmp_path, listed_with(tmp_path, range(3)))
    before = relist(installation)
    assert files_with(installation, SECRET) != []
    taken = address != "HTTP://127.0.0.2:80/0.jpg#page=1"  # a part of it is not the whole
    receipt = take_down(installation, TakedownOrder(url=address))
    assert (receipt.complete, receipt.listings_emptied) == (True, ("street",) if taken else ())
    assert (files_with(installation, SECRET) == []) == taken
    assert relist(installation, force=True).slices == before.slices
    assert (files_with(installation, SECRET) == []) == taken
    for path in installation.root.listings.iterdir():  # as a program left it that did not look at addresses
        path.unlink()
    with monkeypatch.context() as patched:
        patched.setattr(listing_module, "taken_words", lambda *_: TakenWords())
        relist(installation)
    assert len(finish_takedowns(installation, thorough=True)) == taken
    assert (files_with(installation, SECRET) == []) == taken
    assert files_with(installation, OTHER) != []


def rejected_folder(base: Path) -> dict[str, Any]:
    """The picture beside one that is none: the record is a reject, and its picture was still there."""
    folder = fill(base / "pictures", 3)
    (folder / "broken.jpeg").write_bytes(b"no picture")
    rows = [
        {"file_names": ["0000.jpeg", "broken.jpeg"], "text": SECRET},
        {"file_name": "0001.jpeg", "text": OTHER},
    ]
    (folder / "metadata.jsonl").write_bytes(b"\n".join(map(orjson.dumps, rows)))
    return {**STREET, "path": folder, "text": "metadata.jsonl", "reject_tolerance": 1}


BY_IMAGE = TakedownOrder(sha256=sha256(picture(0)).hexdigest())


@pytest.mark.parametrize(
    "source",
    [
        pytest.param(captioned_folder, id="a-caption"),
        pytest.param(several_captions, id="several-captions"),
        pytest.param(rejected_folder, id="a-reject"),
    ],
)
def test_an_image_that_comes_in_by_another_way_brings_no_words(tmp_path, source):
    """The slice finds it by its bytes; by what it then puts on record, listings say nothing of it."""
    installation = install(tmp_path, source(tmp_path))
    assert take_down(installation, BY_IMAGE).complete
    known = read_tombstones(installation.root).names
    built = ingest(installation)
    assert not [one for one in files_with(installation, SECRET) if not one.startswith("listings/")]
    [receipt] = finish_takedowns(installation)
    assert (receipt.complete, receipt.asked, receipt.listings_emptied) == (
        True,
        "met:street/root",
        ("street",),
    )
    assert files_with(installation, SECRET) == []
    # Nothing is due by it, nothing is planned anew, and nothing is met again.
    assert read_tombstones(installation.root).names == known
    assert {key: str(one.due) for key, one in ingest(installation).items()} == dict.fromkeys(
        built, "committed"
    )
    again = ingest(installation, options=SliceOptions(force=True))
    assert [one.manifest.content_hash for one in again.values()] == [
        one.manifest.content_hash for one in built.values()
    ]
    assert finish_takedowns(installation) == []
    assert files_with(installation, SECRET) == []
    assert (files_with(installation, OTHER) == []) == (source is several_captions)  # of the same image


def test_another_picture_under_its_name_has_its_words(tmp_path):
    """Words go with the item as it was listed: what upstream puts in its place comes in whole."""
    installation = install(tmp_path, captioned_folder(tmp_path))
    take_down(installation, BY_IMAGE)
    ingest(installation)
    finish_takedowns(installation)
    (tmp_path / "pictures" / "0000.jpeg").write_bytes(picture(7))
    [built] = ingest(installation).values()
    rows = list(read_rows(built.path, data_file_names(built.manifest.files)))
    assert (len(rows), [row["id"] for row in rows if row["text"] == SECRET]) == (3, ["street/root/0000.jpeg"])
    assert finish_takedowns(installation) == []


def met_once(base: Path) -> str:
    """Content hash of the slice that an undisturbed fetch makes of a folder whose first picture was taken down."""
    base.mkdir()
    installation = install(base, captioned_folder(base))
    take_down(installation, BY_IMAGE)
    [built] = ingest(installation).values()
    return built.manifest.content_hash


@pytest.mark.parametrize("cut", ["commit_version", "settle_met"])
def test_a_fetch_that_is_cut_as_it_meets_it(tmp_path, monkeypatch, cut):
    """Before its commit nothing is on record, or the rerun would have other words; after it everything is."""
    wanted = met_once(tmp_path / "undisturbed")
    installation = install(tmp_path, captioned_folder(tmp_path))
    take_down(installation, BY_IMAGE)

    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(slice_module, cut, dies)
        with pytest.raises(KeyboardInterrupt):
            ingest(installation)
    assert verify(installation).unfinished == ["street/root"]
    receipts = finish_takedowns(installation)
    assert len(receipts) == (cut == "settle_met")
    assert (files_with(installation, SECRET) == []) == (cut == "settle_met")
    assert verify(installation).exit_code == 0
    [built] = ingest(installation).values()
    assert built.manifest.content_hash == wanted
    finish_takedowns(installation)
    assert files_with(installation, SECRET) == []


def test_a_run_that_began_before_reads_the_listing_in_force(tmp_path):
    """Its table went as a slice before it met something; what is said of the others is the same."""
    folder = fill(tmp_path / "pictures" / "a", 1)
    fill(tmp_path / "pictures" / "b", 2, start=5)
    (folder / "metadata.csv").write_text(f"file_name,text\n0000.jpeg,{SECRET}", "utf-8")
    installation = install(tmp_path, {**STREET, "path": tmp_path / "pictures", "text": "metadata.csv"})
    take_down(installation, BY_IMAGE)
    listing, spec = relist(installation), installation.catalog.source("street")
    first, second = sorted(listing.slices)
    build_slice(installation, spec, listing, first)
    finish_takedowns(installation)
    assert not (installation.root.listings / listing.items_file).exists()
    assert build_slice(installation, spec, listing, second).manifest.rows == 2


def test_what_stood_there_before_is_found_when_it_is_asked_for(tmp_path):
    """Slices of another machine, or of a program that put nothing on record."""
    installation = install(tmp_path, captioned_folder(tmp_path))
    take_down(installation, BY_IMAGE)
    ingest(installation)
    for path in installation.root.tombstones.glob("*.json"):
        if Tombstone.from_bytes(path.read_bytes()).met:
            path.unlink()
    assert finish_takedowns(installation) == []
    assert files_with(installation, SECRET) != []
    [receipt] = finish_takedowns(installation, thorough=True)
    assert receipt.ids == ("street/root/0000.jpeg",)
    assert files_with(installation, SECRET) == []
