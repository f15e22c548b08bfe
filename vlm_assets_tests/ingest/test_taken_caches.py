"""Downloads of sources that have something taken down are not kept."""

import pytest

from vlm_assets.ingest.taken_caches import clear_after_fetch, clear_after_listing
from vlm_assets.store.tombstones import Tombstone, write_tombstone
from vlm_assets_tests.workplace import STREET, fill, ingest, install, relist

FILES = (
    "sha256.db",
    "tree-a.json",
    "a--b--1.3.table",
    "a--b--1.zip",
    "hub/x",
    "spool/root/1",
    "crawl-a/pages",
    "rejected/other.json",
)
ROW = "street/root/0000.jpeg"


LEFT_BY_FETCH = ("crawl-a/pages", "rejected/other.json", "sha256.db", "tree-a.json")
"""Once a row is taken down: neither downloads nor the picture of its slice's rejects."""
LEFT_BY_LISTING = tuple(sorted((*LEFT_BY_FETCH, "a--b--1.zip", "spool/root/1")))


@pytest.mark.parametrize(
    ("tombstone", "after_listing", "after_fetch"),
    [
        pytest.param(None, FILES, FILES, id="nothing-taken"),
        pytest.param(Tombstone(asked="id:x", ids=("other/root/1",)), FILES, FILES, id="of-another-source"),
        pytest.param(
            Tombstone(asked=f"id:{ROW}", ids=(ROW,)),
            LEFT_BY_LISTING,
            LEFT_BY_FETCH,
            id="a-row",
        ),
        pytest.param(
            Tombstone(asked="met:street/root", only_row=True, met={ROW: ""}),
            LEFT_BY_LISTING,
            LEFT_BY_FETCH,
            id="a-row-that-was-met",
        ),
    ],
)
def test_of_downloads_only_names_and_pictures_of_rejects_stay(
    tmp_path, tombstone, after_listing, after_fetch
):
    installation = install(tmp_path, {**STREET, "path": fill(tmp_path / "in", 2)})
    root, listing = installation.root, relist(installation)
    if tombstone is not None:
        write_tombstone(root, tombstone)
    folder = root.cache_of("street")
    for name in FILES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")

    def left() -> list[str]:
        return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())

    clear_after_listing(root, "street")
    assert [one for one in left() if one in FILES] == sorted(after_listing)
    clear_after_fetch(root, listing)  # the slice is due: whoever fetches it goes on with what is there
    assert [one for one in left() if one in FILES] == sorted(after_listing)
    ingest(installation)
    (folder / "spool" / "root").mkdir(parents=True, exist_ok=True)
    (folder / "spool" / "root" / "1").write_bytes(b"x")
    clear_after_fetch(root, listing)
    assert [one for one in left() if one in FILES] == sorted(after_fetch)
