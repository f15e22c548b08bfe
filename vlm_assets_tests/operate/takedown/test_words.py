"""Words of what is taken down: in listings, ledgers and slices, now and after the source is listed again."""

from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from vlm_assets.ingest.slice import SliceOptions
from vlm_assets.installation.opening import Installation
from vlm_assets.operate.takedown import TakedownOrder, take_down
from vlm_assets_tests.servers import FaultServer, Reply
from vlm_assets_tests.workplace import STREET, fill, ingest, install, picture, relist

SECRET = "the name was Ayse Yilmaz"
OTHER = "a tram in the rain"


def files_with(installation: Installation, word: str) -> list[str]:
    """Files under the data root that say it, packed ones included."""
    root = installation.root.path

    def said(path: Path) -> bool:
        if path.suffix == ".parquet":
            return word in str(pq.read_table(path).to_pylist())
        return word.encode() in path.read_bytes()

    files = [path for path in sorted(root.rglob("*")) if path.is_file() and not path.is_symlink()]
    return [path.relative_to(root).as_posix() for path in files if said(path)]


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


def test_an_image_that_comes_in_by_another_way_brings_no_words(tmp_path):
    """The slice finds it by its bytes; the listing of the next night says nothing of it."""
    source = captioned_folder(tmp_path)
    installation = install(tmp_path, source)
    take_down(installation, TakedownOrder(sha256=sha256(picture(0)).hexdigest()))
    ingest(installation)
    assert not [one for one in files_with(installation, SECRET) if one.startswith("datasets/")]
    relist(installation)
    take_down(installation, TakedownOrder(sha256=sha256(picture(0)).hexdigest()))
    assert files_with(installation, SECRET) == []
