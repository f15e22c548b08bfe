"""Keys of the remote, and which name on disk each belongs to. Pure, but for walking the data root.

<prefix>/objects/<blake3 of the file>              every file once, whoever names it
<prefix>/<area>/<group>/<leaf>/.versions/<hash>/metadata.json    the manifest, byte for byte as on disk
                                              …/beside.json      files outside the manifest: history, card
<prefix>/<area>/<group>/<leaf>/current             `Pointer`, written last and conditionally
<prefix>/corpora/<corpus>/.pins/<version>          as on disk
<prefix>/listings/<source>.json                    as on disk; its item table is an object
<prefix>/tombstones/<hash>.json, catalogs/<hash>.json
<prefix>/locks/<hash>.lock                         a `corpus.lock`; its items file is an object
<prefix>/annotations/<name>/<source>/<slice>.parquet    as on disk
<prefix>/dagster/<host>/storage/…                  a name like the others: Dagster's SQLite files of that host
<prefix>/leases/…                                  who is at work: `leases`
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from vlm_assets.words.errors import ConfigError, Problem
from vlm_assets.words.layout import MANIFEST, VERSIONS, DataRoot

OBJECTS: Final = "objects/"
LISTINGS: Final = "listings/"
TOMBSTONES: Final = "tombstones/"
CATALOGS: Final = "catalogs/"
LOCKS: Final = "locks/"
ANNOTATIONS: Final = "annotations/"
DAGSTER: Final = "dagster"
AREAS: Final = ("datasets", "allocations", "corpora")
PINS: Final = ".pins"
BESIDE: Final = "beside.json"
CURRENT: Final = "current"


@dataclass(frozen=True, slots=True)
class RemoteAddress:
    """`s3://bucket/prefix`. `prefix` is empty or ends in `/`."""

    bucket: str
    prefix: str

    @classmethod
    def parse(cls, url: str, *, place: str = "settings") -> Self:
        """The address that a setting names, or `place`.

        Raises:
            ConfigError: not of that form.
        """
        scheme, _, rest = url.partition("://")
        bucket, _, prefix = rest.partition("/")
        if scheme != "s3" or not bucket:
            key = "VLM_REMOTE" if place == "settings" else ""
            raise ConfigError(Problem(place, key, f"{url!r} is not of the form s3://bucket/prefix"))
        prefix = prefix.strip("/")
        return cls(bucket, f"{prefix}/" if prefix else "")

    def __str__(self) -> str:
        """As it is written in the settings."""
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")


def object_key(blake3_hex: str) -> str:
    """Where a file lies."""
    return f"{OBJECTS}{blake3_hex}"


@dataclass(frozen=True, slots=True, order=True)
class Name:
    """A name that shows versions: a slice, a target's plan, a target's corpus."""

    area: str
    group: str
    leaf: str

    def __str__(self) -> str:
        """Path under the data root."""
        return f"{self.area}/{self.group}/{self.leaf}"

    def link(self, root: DataRoot) -> Path:
        """The symlink on disk."""
        return root.path / self.area / self.group / self.leaf

    def versions(self, root: DataRoot) -> Path:
        """The folder of versions on disk; those of other names of the group lie there too."""
        return root.path / self.area / self.group / VERSIONS

    @property
    def current(self) -> str:
        """Key of the pointer."""
        return f"{self}/{CURRENT}"

    def manifest(self, version: str) -> str:
        """Key of a version's manifest."""
        return f"{self}/{VERSIONS}/{version}/{MANIFEST}"

    def beside(self, version: str) -> str:
        """Key of the table of a version's files outside the manifest."""
        return f"{self}/{VERSIONS}/{version}/{BESIDE}"


def name_of_key(key: str) -> Name | None:
    """The name that a key below an area belongs to; None for pins and the like."""
    parts = key.split("/")
    return Name(*parts[:3]) if len(parts) > 3 and parts[1] != PINS and parts[2] != PINS else None


def version_of_key(key: str) -> str | None:
    """The version whose manifest the key is; None for any other key."""
    parts = key.split("/")
    return parts[4] if len(parts) == 6 and parts[3] == VERSIONS and parts[5] == MANIFEST else None


def names_on_disk(root: DataRoot) -> Iterator[Name]:
    """Every name of the data root, in order of area, group and leaf."""
    for area in AREAS:
        folder = root.path / area
        for group in sorted(folder.iterdir()) if folder.is_dir() else ():
            if not group.is_dir():
                continue
            for link in sorted(group.iterdir()):
                if link.is_symlink() and not link.name.startswith("."):
                    yield Name(area, group.name, link.name)


def pins_on_disk(root: DataRoot) -> Iterator[tuple[str, Path]]:
    """(corpus, pin file) of every pin."""
    for path in sorted((root.path / "corpora").glob(f"*/{PINS}/*")):
        yield path.parent.parent.name, path


def pin_key(corpus: str, version: str) -> str:
    """Key of a pin."""
    return f"corpora/{corpus}/{PINS}/{version}"


def lock_of(root: DataRoot, name: Name) -> Path:
    """The OS lock that whoever commits this name holds: the same as in `ingest`, `allocation` and `corpus`."""
    kind = {"datasets": "slice", "allocations": "allocation", "corpora": "corpus"}[name.area]
    return root.locks / f"{kind}.{name.group}.{name.leaf}"
