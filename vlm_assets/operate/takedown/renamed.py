"""Takedowns that name rows of a source under a name that it has no more: on record under the new one too."""

from vlm_assets.store.met import unnamed
from vlm_assets.store.renames import Pairs, read_renames, under_new_names
from vlm_assets.store.tombstones import Tombstone, read_tombstone, read_tombstones, write_tombstone
from vlm_assets.words.layout import DataRoot


def record_under_new_names(root: DataRoot, pairs: Pairs | None = None) -> list[str]:
    """Writes for each takedown by ids what it means after these renames (none given: those on record).

    Its images and addresses hold under any name as they are. Returns the names of the takedowns that are new.

    Raises:
        StoreError: a takedown or the renames cannot be read.
    """
    pairs = read_renames(root) if pairs is None else pairs
    if not pairs:
        return []
    stored = read_tombstones(root)
    written = []
    for path in sorted(root.tombstones.glob("*.json")):
        one = read_tombstone(root, path.stem)
        ids = under_new_names(one.ids, pairs)
        met = {new: identity for old, identity in one.met.items() for new in under_new_names([old], pairs)}
        if ids - stored.ids or unnamed(stored, met):
            moved = Tombstone(
                asked=f"renamed:{path.stem}",
                only_row=True,
                reason=one.reason,
                ids=tuple(sorted(ids)),
                met=met,
            )
            written.append(write_tombstone(root, moved))
    return written
