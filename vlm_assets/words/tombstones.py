"""What was taken down, as one value: what a plan excludes and a corpus leaves out.

Holds no I/O: the store reads and writes the files.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tombstones:
    """The takedowns in force.

    `image_sha256` (hex) covers every row with that image in every source; `ids` covers the named rows only.
    `hashes` names the files read, sorted: the set P of a plan, by content.
    """

    image_sha256: frozenset[str] = frozenset()
    ids: frozenset[str] = frozenset()
    hashes: tuple[str, ...] = ()
