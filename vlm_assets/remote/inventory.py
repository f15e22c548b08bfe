"""What the remote holds, by listing it: the truth that a backup compares with, a thousand keys a request."""

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final

from vlm_assets.remote.bucket import Bucket, Listed
from vlm_assets.remote.names import AREAS, CURRENT, DAGSTER, OBJECTS, Name, name_of_key, version_of_key


@dataclass(frozen=True, slots=True)
class Inventory:
    """Keys of the remote without its objects, and the objects by hash."""

    keys: dict[str, Listed] = field(default_factory=dict)
    objects: dict[str, Listed] = field(default_factory=dict)

    def tag(self, key: str) -> str | None:
        """Tag of a key; None where there is none."""
        listed = self.keys.get(key)
        return listed.etag if listed is not None else None

    def holds(self, blake3_hex: str, size_bytes: int) -> bool:
        """Whether the object is there in its whole length. The store compared its checksum when it was sent."""
        listed = self.objects.get(blake3_hex)
        return listed is not None and listed.size_bytes == size_bytes

    def names(self) -> list[Name]:
        """Names with a pointer, sorted."""
        found = (name_of_key(key) for key in self.keys if key.endswith(f"/{CURRENT}"))
        return sorted(name for name in found if name is not None and name.current in self.keys)

    def versions(self) -> dict[Name, dict[str, Listed]]:
        """Versions whose manifest is there, by name; the listing entries of their manifests."""
        found: defaultdict[Name, dict[str, Listed]] = defaultdict(dict)
        for key, listed in self.keys.items():
            version, name = version_of_key(key), name_of_key(key)
            if version is not None and name is not None:
                found[name][version] = listed
        return dict(found)


_TOLD_EACH: Final = 1_000
"""Keys: as many as an answer has."""
_SMALL = (
    "annotations/",
    "listings/",
    "tombstones/",
    "catalogs/",
    "locks/",
    *(f"{area}/" for area in (*AREAS, DAGSTER)),
)


def take_inventory(
    bucket: Bucket,
    prefixes: Iterable[str] = (*_SMALL, OBJECTS),
    *,
    listed: Callable[[int], None] = lambda keys: None,  # noqa: ARG005 - does nothing
) -> Inventory:
    """Lists the remote below the prefixes, side by side. `listed` is told now and then how many keys that are."""
    wanted = tuple(prefixes)
    seen = itertools.count(1)

    def of_prefix(prefix: str) -> list[Listed]:
        found = []
        for one in bucket.list(prefix):
            found.append(one)
            if (number := next(seen)) % _TOLD_EACH == 0:
                listed(number)
        return found

    with ThreadPoolExecutor(max(1, min(bucket.concurrency, len(wanted))), "vlm-list") as pool:
        entries = list(pool.map(of_prefix, wanted))
    inventory = Inventory()
    for one in itertools.chain.from_iterable(entries):
        if one.key.startswith(OBJECTS):
            inventory.objects[one.key.removeprefix(OBJECTS)] = one
        else:
            inventory.keys[one.key] = one
    return inventory
