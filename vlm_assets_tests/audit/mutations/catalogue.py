"""The catalogue and the takedowns, changed after the corpus was built."""

from vlm_assets_tests.audit.breaking import (
    Broken,
    sha_of,
)
from vlm_assets_tests.audit.mutations.registry import edit_catalog, mutation


@mutation("staleness")
def source_removed_from_the_catalogue(b: Broken) -> None:
    edit_catalog(b, lambda sources: sources.remove(next(s for s in sources if s["name"] == "wild")))


@mutation("staleness")
def licence_changed_in_the_catalogue(b: Broken) -> None:
    edit_catalog(b, lambda sources: sources[0].update(licence="CC-BY-SA-4.0"))


@mutation("rights", "staleness", why="a source more is also staleness")
def source_never_listed(b: Broken) -> None:
    edit_catalog(b, lambda sources: sources.append({**sources[0], "name": "gated", "max_samples": 3}))


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
