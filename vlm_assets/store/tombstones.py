"""Takedowns on disk: one file each under `tombstones/`, named by the hash of its content."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Self

import orjson
from blake3 import blake3
from pydantic import Field, ValidationError

from vlm_assets.store.arrow_files import replace_file
from vlm_assets.words.errors import StoreError
from vlm_assets.words.layout import DataRoot
from vlm_assets.words.manifest import VERSION_HASH_LENGTH, Manifest


class Tombstone(Manifest):
    """One takedown: what was asked, and everything it was found to cover. Holds no clock."""

    asked: str
    """`url:…`, `sha256:…`, `id:…` or `like:<sha256>`, as the operator gave it; `lock:…`: what a lock leaves out;
    `renamed:…`: what that takedown means under the new name of a source; `met:<source>/<slice>`: items that came in
    with an image that was taken down before."""
    only_row: bool = False
    """Covers the named rows alone, not equal images in other places."""
    reason: str = ""
    urls: tuple[str, ...] = Field(default=())
    """Never requested again."""
    image_sha256: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()
    met: dict[str, str] = Field(default_factory=dict)
    """Ids of records whose image was taken down before, with the identity of their item: what its listing says of
    them is emptied. Nothing else follows from it, so that no plan is another for it: the image is covered already."""

    def to_bytes(self) -> bytes:
        """As of any manifest; without `met` what it was before there was any."""
        fields = self.model_dump(mode="json", exclude=None if self.met else {"met"})
        return orjson.dumps(fields, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS)

    @property
    def name(self) -> str:
        """File name without `.json`."""
        return blake3(self.to_bytes()).hexdigest()[:VERSION_HASH_LENGTH]


@dataclass(frozen=True, slots=True)
class StoredTombstones:
    """All takedowns of a data root as sets; `names` identifies the state, of which `met` is no part."""

    names: tuple[str, ...]
    urls: frozenset[str]
    image_sha256: frozenset[str]
    ids: frozenset[str]
    met: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Ids whose words are emptied, with the identities that their items had; see `Tombstone`."""
    whole_urls: frozenset[str] = frozenset()
    """Those of `urls` that mean everything from there, not one row alone."""

    @classmethod
    def none(cls) -> Self:
        """Nothing was ever taken down."""
        return cls((), frozenset(), frozenset(), frozenset())


def read_tombstones(
    root: DataRoot,
    wanted: Callable[[str, Tombstone], bool] = lambda name, one: True,  # noqa: ARG005 - all
) -> StoredTombstones:
    """Every takedown on record, or those that are `wanted` by name and content.

    Raises:
        StoreError: a file that cannot be read; nothing may be fetched or built past a takedown.
    """
    names = (path.stem for path in sorted(root.tombstones.glob("*.json")))
    found = {name: read_tombstone(root, name) for name in names}
    return in_force({name: one for name, one in found.items() if wanted(name, one)})


def read_tombstone(root: DataRoot, name: str) -> Tombstone:
    """One takedown on record.

    Raises:
        StoreError: it cannot be read.
    """
    path = root.tombstones / f"{name}.json"
    try:
        return Tombstone.from_bytes(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise StoreError(f"{path}: not a tombstone: {error}") from error


def in_force(found: Mapping[str, Tombstone]) -> StoredTombstones:
    """Takedowns by name as sets."""
    every = found.values()
    met: dict[str, frozenset[str]] = {}
    for one in every:
        for row_id, identity in one.met.items():
            met[row_id] = met.get(row_id, frozenset()) | {identity}
    return StoredTombstones(
        names=tuple(name for name, one in found.items() if not one.met),
        urls=frozenset(url for one in every for url in one.urls),
        image_sha256=frozenset(h for one in every if not one.only_row for h in one.image_sha256),
        ids=frozenset(i for one in every for i in one.ids),
        met=met,
        whole_urls=frozenset(url for one in every if not one.only_row for url in one.urls),
    )


def write_tombstone(root: DataRoot, tombstone: Tombstone) -> str:
    """Puts a takedown on record; returns its name. The same takedown twice is one file."""
    root.tombstones.mkdir(parents=True, exist_ok=True)
    replace_file(root.tombstones / f"{tombstone.name}.json", tombstone.to_bytes())
    return tombstone.name
