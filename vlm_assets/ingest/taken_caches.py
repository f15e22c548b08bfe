"""Caches of sources that have something taken down: upstream's own files still have it, so none is kept.

Other sources keep what they downloaded: a version never changes, and to ask again would cost its server.
"""

from typing import Final

from vlm_assets.ingest.due import Due, slice_due
from vlm_assets.store.caches import downloads, remove_download
from vlm_assets.store.tombstones import read_tombstones
from vlm_assets.store.versions import current_version, read_manifest
from vlm_assets.words.layout import DataRoot
from vlm_assets.words.manifest import Listing, SliceManifest

_FETCHING: Final = ("spool", ".zip")
"""A fetch beside the listing may be at them."""
_NAMES: Final = (".json",)
"""Names, sizes and hashes of files: no words."""
_CRAWLED: Final = "crawl-"
"""Names and dates of issues; to ask for them again would cost an archive thousands of requests."""


def clear_after_listing(root: DataRoot, source: str) -> None:
    """Removes tables of words that the listing fetched, where something of the source is taken down."""
    folder = root.cache_of(source)
    if not _has_taken(root, source) or not folder.is_dir():
        return
    for path in downloads(folder):
        if not path.name.endswith((*_FETCHING, *_NAMES)) and not path.name.startswith(_CRAWLED):
            remove_download(path)


def clear_after_fetch(root: DataRoot, listing: Listing) -> None:
    """Removes downloads once no slice of the source is due, where something of it is taken down.

    The caller holds the lock of the source's fetches.
    """
    folder = root.cache_of(listing.source)
    if not _has_taken(root, listing.source) or not folder.is_dir() or not _is_done(root, listing):
        return
    for path in downloads(folder):
        if not path.name.endswith(_NAMES) and not path.name.startswith(_CRAWLED):
            remove_download(path)


def _has_taken(root: DataRoot, source: str) -> bool:
    takedowns = read_tombstones(root)
    return any(one.startswith(f"{source}/") for one in (*takedowns.ids, *takedowns.met))


def _is_done(root: DataRoot, listing: Listing) -> bool:
    for key, listed in listing.slices.items():
        version = current_version(root.slice(listing.source, key))
        manifest = None if version is None else read_manifest(version, SliceManifest)
        if slice_due(listed, manifest, None, now=0) is not Due.COMMITTED:
            return False
    return True
