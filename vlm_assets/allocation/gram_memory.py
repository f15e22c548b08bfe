"""What slices have in common with benchmarks, kept beside the downloads: words are read once, not at each plan.

No evidence: what is missing, damaged, or of other grams or content is found again. It holds hashes of grams and row
numbers, nothing of what was said.
"""

from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import Final

import numpy as np

from vlm_assets.allocation.grams import GramSet, Numbers
from vlm_assets.allocation.supply import SupplySlice
from vlm_assets.allocation.texts import slice_grams
from vlm_assets.store.arrow_files import replace_file
from vlm_assets.words.keys import Words
from vlm_assets.words.layout import DataRoot

_FOLDER: Final = "grams"
_DIGEST_BYTES: Final = 16
GRAMS_VERSION: Final = 1
"""Raised by hand when equal words give other hashes."""


class GramMemory:
    """Finds what slices say that benchmarks say too. `keep`: writes down what it found."""

    def __init__(self, root: DataRoot | None = None, *, keep: bool = False) -> None:
        """Without a data root every slice is read."""
        self._root = root
        self._keep = keep

    def asked_for(self, grams: Words) -> Callable[[SupplySlice], tuple[Words, Numbers]]:
        """What finds, of a slice, the grams that are among these (sorted), and the row of each.

        It raises `AllocationError` where a data file is missing or damaged.
        """
        every = GramSet(grams)
        asked = blake2b(grams.tobytes(), digest_size=_DIGEST_BYTES, salt=bytes([GRAMS_VERSION])).hexdigest()

        def find(entry: SupplySlice) -> tuple[Words, Numbers]:
            path = self._path(entry, asked)
            found = _read(path) if path is not None else None
            if found is None:
                found = _said_too(entry, every)
                if path is not None and self._keep:
                    _write(path, *found)
            return found

        return find

    def _path(self, entry: SupplySlice, asked: str) -> Path | None:
        if self._root is None:
            return None
        of_content = blake2b(f"{asked}\0{entry.content_hash}".encode(), digest_size=_DIGEST_BYTES).hexdigest()
        return self._root.cache_of(entry.source) / _FOLDER / f"{entry.slice}.{of_content}"


def _said_too(entry: SupplySlice, every: GramSet) -> tuple[Words, Numbers]:
    said, rows = [np.empty(0, np.uint64)], [np.empty(0, np.int64)]
    for hashes, owner in slice_grams(entry):
        at = every.places_of(hashes)
        if len(at):
            said.append(hashes[at])
            rows.append(owner[at])
    return np.concatenate(said), np.concatenate(rows)


def _read(path: Path) -> tuple[Words, Numbers] | None:
    """None where there is nothing whole."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    digest, values = data[:_DIGEST_BYTES], data[_DIGEST_BYTES:]
    if len(values) % 16 or _digest(values) != digest:
        return None
    both = np.frombuffer(values, "<u8").reshape(2, -1)
    return both[0].astype(np.uint64), both[1].astype(np.int64)


def _write(path: Path, said: Words, rows: Numbers) -> None:
    values = np.stack((said, rows.astype(np.uint64))).astype("<u8").tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, _digest(values) + values)


def _digest(values: bytes) -> bytes:
    return blake2b(values, digest_size=_DIGEST_BYTES).digest()
