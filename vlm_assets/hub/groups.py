"""Data files of a split as slices: one, or buckets by file name when there is too much for one."""

from collections.abc import Mapping, MutableMapping, Sequence

from vlm_assets.words.layout import bucket_name, bucket_of
from vlm_assets.words.records import Item, ListedSlice


def buckets_for_bytes(items: Sequence[Item], slice_bytes: int) -> int:
    """How many slices of about `slice_bytes` the data files make; never more than there are files."""
    total = sum(item.size_bytes or 0 for item in items)
    return max(1, min(-(-total // slice_bytes), len(items)))


def slices_of_group(
    group: str,
    items: Sequence[Item],
    planned: int,
    *,
    fixed: int | None,
    previous: Mapping[str, int],
    buckets: MutableMapping[str, int],
    container: bool = True,
    items_per_slice: int = 1,
) -> list[ListedSlice]:
    """The group as one slice of its name, or as buckets of it. An item more changes its own bucket only.

    The number of buckets is `fixed` (key `buckets`), else that of the last listing, else `planned`; it is put into
    `buckets` for the next one. Empty buckets are left out.
    """
    count = buckets[group] = fixed or previous.get(group) or max(planned, 1)
    by_bucket: dict[int, list[Item]] = {}
    for item in items:
        by_bucket.setdefault(bucket_of(item.key, count), []).append(item)
    return [
        ListedSlice(
            group if count == 1 else f"{group}--{bucket_name(bucket, count)}",
            members,
            container,
            items_per_slice,
        )
        for bucket, members in sorted(by_bucket.items())
    ]
