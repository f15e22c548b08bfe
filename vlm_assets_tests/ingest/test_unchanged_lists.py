"""A list of URLs that is as it was is not read again; whatever may change a listing lets it be read."""

from pathlib import Path

import pytest

from vlm_assets.ingest.listing import list_without_writing, refresh_listing
from vlm_assets.installation.opening import Installation
from vlm_assets.sources._url_list import UrlList
from vlm_assets.store.listings import read_items, read_listing
from vlm_assets.store.tombstones import Tombstone, write_tombstone
from vlm_assets.words.errors import ListingShrunkError
from vlm_assets.words.manifest import Listing
from vlm_assets_tests.workplace import STREET, install

LINES = ["url,caption"] + [f"https://a.example/{n}.jpg,metin {n}" for n in range(9)]


def installed(folder: Path, **keys: object) -> Installation:
    source = {**STREET, "kind": "image_urls", "urls": folder / "urls.csv", "rows_per_slice": 4, **keys}
    return install(folder, source, contact="a@example.org")


def listed(installation: Installation) -> Listing:
    return refresh_listing(installation, installation.catalog.source("street")).listing


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Path]:
    """The lists that are opened."""
    opened: list[Path] = []
    whole = UrlList.__init__

    def noted(self: UrlList, path: Path, *options: object) -> None:
        opened.append(path)
        whole(self, path, *options)  # type: ignore[arg-type]

    monkeypatch.setattr(UrlList, "__init__", noted)
    (tmp_path / "urls.csv").write_text("\n".join(LINES))
    return opened


def test_what_has_not_changed_is_not_read(tmp_path: Path, read: list[Path]) -> None:
    installation = installed(tmp_path)
    first = listed(installation)
    assert (len(first.slices), first.items, first.upstream) == (3, 9, 9)
    files = sorted(path.name for path in installation.root.listings.iterdir())
    assert listed(installation) == first == read_listing(installation.root, "street")
    assert (
        list_without_writing(installation, installation.catalog.source("street"), tmp_path).listing == first
    )
    assert len(read) == 1
    assert sorted(path.name for path in installation.root.listings.iterdir()) == files
    keys = [item.key for name in first.slices for item in read_items(installation.root, first, name)]
    assert sorted(keys) == sorted(line.partition(",")[0] for line in LINES[1:])


@pytest.mark.parametrize("changed", ["file", "key", "force", "takedown", "beside"])
def test_what_may_change_a_listing_is_read(tmp_path: Path, read: list[Path], changed: str) -> None:
    installation = installed(tmp_path, urls=tmp_path / "lists")
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists/a.csv").write_text("\n".join(LINES))
    listed(installation)
    if changed == "file":
        (tmp_path / "lists/a.csv").write_text("\n".join([*LINES[:-1], "https://a.example/x.jpg,x"]))
    elif changed == "key":
        installation = installed(tmp_path, urls=tmp_path / "lists", text_column="caption")
    elif changed == "takedown":
        write_tombstone(installation.root, Tombstone(asked="id:x", ids=("street/x/y",)))
    elif changed == "beside":
        (tmp_path / "lists/Thumbs.db").write_bytes(b"?")
    refresh_listing(installation, installation.catalog.source("street"), force=changed == "force")
    assert len(read) == 2
    listed(installation)
    assert len(read) == 2 + (changed == "beside")  # a folder with more than lists in it is counted each time


def test_a_listing_that_fails_leaves_the_last_one_alone(tmp_path: Path, read: list[Path]) -> None:
    installation = installed(tmp_path)
    first = listed(installation)
    (tmp_path / "urls.csv").write_text("\n".join(LINES[:3]))
    with pytest.raises(ListingShrunkError):
        listed(installation)
    assert read_listing(installation.root, "street") == first
    assert [path for path in installation.root.listings.iterdir() if path.name.endswith(".tmp")] == []
    assert len(read) == 2
