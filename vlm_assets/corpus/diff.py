"""What changed between two corpora: rows added, removed and kept, per source and subcategory.

Reads index files of corpus versions; writes nothing. A row is the same row when its content digest and its place in
the quota tree are: a relabelled row is removed in one subcategory and added in another.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from vlm_assets.installation.opening import Installation
from vlm_assets.store.versions import current_version
from vlm_assets.words.errors import StoreError
from vlm_assets.words.layout import MANIFEST, VERSIONS, key_hash
from vlm_assets.words.nearest import nearest

if TYPE_CHECKING:
    import pandas as pd

_KEYS: Final = ("source", "category", "subcategory")
_COLUMNS: Final = (*_KEYS, "digest")


@dataclass(frozen=True, slots=True)
class CorpusDiff:
    """Rows added, removed and kept from A to B. `table` has one line a (source, category, subcategory)."""

    a: str
    b: str
    table: "pd.DataFrame"
    """Columns source, category, subcategory, added, removed, kept; sorted by the first three."""

    @property
    def totals(self) -> dict[str, int]:
        """added, removed, kept over all."""
        return {name: int(self.table[name].sum()) for name in ("added", "removed", "kept")}

    def to_json(self) -> dict[str, Any]:
        """Stable JSON: a, b (version folders), totals, rows (one object a line of the table)."""
        return {"a": self.a, "b": self.b, "totals": self.totals, "rows": self.table.to_dict("records")}


def diff_corpora(installation: Installation, a: str, b: str) -> CorpusDiff:
    """Compares two corpora, each given as a target (`10m`), a version (`10m@<hash>` or `<hash>`) or a folder.

    Memory: about 30 bytes a row.

    Raises:
        StoreError: no such corpus; the message lists what there is.
    """
    return diff_versions(find_corpus(installation, a), find_corpus(installation, b))


def find_corpus(installation: Installation, name: str) -> Path:
    """Version folder of a corpus given as target, `target@version`, version or folder.

    Raises:
        StoreError: none; the message lists targets and versions.
    """
    folder = installation.root.path / "corpora" / installation.catalog.corpus.name
    version = name.rpartition("@")[2]
    given = Path(name)
    current = current_version(folder / name) if "/" not in name else None
    for path in (current, folder / VERSIONS / version, given.resolve() if given.is_dir() else None):
        if path is not None and (path / MANIFEST).is_file():
            return path
    targets = sorted(p.name for p in folder.iterdir() if p.is_symlink()) if folder.is_dir() else []
    versions = sorted(p.parent.name for p in folder.glob(f"{VERSIONS}/*/{MANIFEST}"))
    near = nearest(version, [*targets, *versions])
    raise StoreError(
        f"no corpus {name!r}; {f'did you mean {near}? ' if near else ''}there are targets "
        f"{', '.join(targets) or 'none'} and versions {', '.join(versions) or 'none'}"
    )


def diff_versions(a: Path, b: Path) -> CorpusDiff:
    """Compares two version folders.

    Raises:
        StoreError: an index file cannot be read.
    """
    import pandas as pd  # noqa: PLC0415 - half a second, for a table that is shown

    before, after = _read(a), _read(b)
    counts = []
    for label, one, other in (("removed", before, after), ("added", after, before)):
        stays = np.isin(one.rows, other.rows)
        counts.append(_count(one, ~stays, label))
        if label == "added":
            counts.append(_count(one, stays, "kept"))
    table = pd.concat(counts).groupby(list(_KEYS), dropna=False, sort=True).sum().fillna(0)
    table = table[["added", "removed", "kept"]].astype("int64").reset_index()
    return CorpusDiff(
        str(a), str(b), table[table[["added", "removed", "kept"]].any(axis=1)].reset_index(drop=True)
    )


@dataclass(frozen=True, slots=True)
class _Rows:
    rows: NDArray[np.uint64]
    """First 8 bytes of each digest, mixed with the hash of the row's cell."""
    cell: NDArray[np.int64]
    cells: list[tuple[str, ...]]


def _read(version: Path) -> _Rows:
    rows, places = [], []
    numbers: dict[tuple[str, ...], int] = {}
    for path in sorted(version.glob("index-r*.arrow")):
        table = _index(path)
        digests = table.column("digest").combine_chunks()
        words = np.frombuffer(digests.buffers()[1], "<u8", 4 * len(digests), 32 * digests.offset)
        joined = pc.binary_join_element_wise(
            *(table.column(key) for key in _KEYS), "\0", null_handling="replace", null_replacement=""
        ).combine_chunks()
        encoded = joined.dictionary_encode()
        names = [tuple(value.split("\0")) for value in encoded.dictionary.to_pylist()]
        known = np.array([numbers.setdefault(name, len(numbers)) for name in names], np.int64)
        cell = known[encoded.indices.to_numpy(zero_copy_only=False)] if len(table) else known[:0]
        marks = np.array([_mark(name) for name in names], np.uint64)
        places.append(cell)
        mixed = marks[encoded.indices.to_numpy(zero_copy_only=False)] if len(table) else marks[:0]
        rows.append(words.reshape(-1, 4)[:, 0] ^ mixed)
    empty = np.empty(0, np.uint64)
    return _Rows(
        np.concatenate([empty, *rows]), np.concatenate([np.empty(0, np.int64), *places]), list(numbers)
    )


def _mark(name: tuple[str, ...]) -> int:
    return key_hash("\0".join(name[1:]))


def _index(path: Path) -> pa.Table:
    try:
        with pa.OSFile(str(path)) as file:
            return pa.ipc.open_file(file).read_all().select(list(_COLUMNS))
    except (OSError, pa.ArrowInvalid, KeyError) as error:
        raise StoreError(f"{path}: {error}; run `vlm-assets verify`") from error


def _count(rows: _Rows, mask: NDArray[np.bool_], label: str) -> "pd.DataFrame":
    import pandas as pd  # noqa: PLC0415 - half a second, for a table that is shown

    counts = np.bincount(rows.cell[mask], minlength=len(rows.cells)).astype(np.int64)
    table = pd.DataFrame(rows.cells, columns=list(_KEYS))
    table[label] = counts
    return table
