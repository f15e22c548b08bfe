"""What a takedown would do, before it is given. Writes nothing."""

from pydantic import BaseModel

from vlm_assets.installation.opening import Installation
from vlm_assets.operate.takedown.corpora import corpus_links
from vlm_assets.operate.takedown.order import TakedownOrder, records_per_image, tombstone_of
from vlm_assets.store.taken_down import covered_rows
from vlm_assets.store.versions import current_version


class Preview(BaseModel):
    """What an order covers on this machine. JSON-able."""

    asked: str
    only_row: bool
    found: bool
    """Whether any row here is what the order names."""
    ids: tuple[str, ...]
    urls: tuple[str, ...]
    records_per_image: dict[str, int]
    """How many records have each image that is meant, by sha256."""
    slices: tuple[str, ...]
    corpora: tuple[str, ...]
    """Those in force that have one of the rows."""


def preview_takedown(installation: Installation, order: TakedownOrder) -> Preview:
    """What `take_down` would cover.

    Raises:
        StoreError: as `take_down`.
    """
    root = installation.root
    tombstone = tombstone_of(root, order)
    ids = frozenset(tombstone.ids)
    hashes = frozenset() if tombstone.only_row else frozenset(tombstone.image_sha256)
    corpora = [
        f"{link.parent.name}/{link.name}"
        for link in corpus_links(root)
        if (version := current_version(link)) is not None
        and any(len(covered_rows(path, ids, hashes)) for path in version.glob("index-r*.arrow"))
    ]
    return Preview(
        asked=tombstone.asked,
        only_row=tombstone.only_row,
        found=bool(ids),
        ids=tombstone.ids,
        urls=tombstone.urls,
        records_per_image=records_per_image(root, frozenset(tombstone.image_sha256)),
        slices=tuple(sorted({"/".join(one.split("/", 2)[:2]) for one in ids})),
        corpora=tuple(corpora),
    )
