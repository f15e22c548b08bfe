"""Values that others computed, by image or by id: read once, looked up for every slice."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from vlm_assets.annotate.content import SliceContent
from vlm_assets.annotate.wanted import IMAGE_SHA256, Wanted, columns_of, filed_schema, scores_of
from vlm_assets.catalog.annotations import AnnotationSpec
from vlm_assets.store.slices import INDEX_FILE
from vlm_assets.store.taken_down import images_of, read_index
from vlm_assets.words.errors import AnnotationError

Halves = NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Scores:
    """Imported values in memory: 16 bytes of each key's hash, sorted, and the columns beside."""

    first: Halves
    second: Halves
    values: pa.Table

    @classmethod
    def read(cls, spec: AnnotationSpec) -> Self:
        """All files of an imported annotation.

        Raises:
            AnnotationError: a file is damaged, a key is none, or has values that differ.
        """
        columns = columns_of(spec)
        kinds = {name: column.type for name, column in columns.items()}
        keys, tables = [], []
        for path in scores_of(spec):
            for table in _read(spec, path, list(kinds)):
                keys.append(_keys(spec, path, table.column(str(spec.key)).to_pylist()))
                tables.append(_cast(spec, path, table.select(list(kinds)), kinds))
        schema = pa.schema(list(kinds.items()))
        found = np.concatenate(keys) if keys else np.zeros((0, 2), np.uint64)
        values = pa.concat_tables(tables) if tables else schema.empty_table()
        order = np.lexsort((found[:, 1], found[:, 0]))
        found = found[order]
        values = values.take(pa.array(order)).combine_chunks()
        _refuse_contradictions(spec, found, values, order)
        return cls(np.ascontiguousarray(found[:, 0]), np.ascontiguousarray(found[:, 1]), values)

    def of(self, keys: Sequence[str], *, hashed: bool) -> pa.Table:
        """The values of each key, nulls where nobody gave any. `hashed`: the keys are hex sha256 themselves."""
        wanted = _halves(keys, hashed=hashed)
        places = np.searchsorted(self.first, wanted[:, 0])
        rows = np.full(len(wanted), -1, np.int64)
        # Two keys that share 8 bytes of a hash are no matter of practice; they are looked through all the same.
        for number, place in enumerate(places.tolist()):
            while place < len(self.first) and self.first[place] == wanted[number, 0]:
                if self.second[place] == wanted[number, 1]:
                    rows[number] = place
                    break
                place += 1  # noqa: PLW2901 - the next one that shares them
        return self.values.take(pa.array(rows, mask=rows < 0)).combine_chunks()


def imported_table(content: SliceContent, one: Wanted, scores: Scores) -> pa.Table:
    """The table of a file: values of a slice's records among imported ones; none of records that are taken down."""
    schema = filed_schema(one.spec)
    keep = pa.array(np.arange(len(content.ids)), mask=content.gone)
    if one.spec.key != IMAGE_SHA256:
        values = scores.of(content.ids.to_pylist(), hashed=False)
        columns = [_one_chunk(values.column(name)).take(keep) for name in schema.names[1:]]
    else:
        images = images_of(read_index(content.version / INDEX_FILE))
        values = scores.of(images.column("sha256").to_pylist(), hashed=True)
        counts = np.bincount(images.column("row").to_numpy(), minlength=len(content.ids))
        offsets = pa.array(np.concatenate(([0], np.cumsum(counts))), pa.int32())
        columns = [
            pa.ListArray.from_arrays(offsets, _one_chunk(values.column(name))).take(keep)
            for name in schema.names[1:]
        ]
    return pa.table([content.ids, *columns], schema=schema)


def _one_chunk(column: pa.ChunkedArray) -> pa.Array:
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)


def _read(spec: AnnotationSpec, path: Path, names: list[str]) -> list[pa.Table]:
    try:
        with pq.ParquetFile(path) as file:
            wanted = [str(spec.key), *names]
            return [pa.Table.from_batches([one]) for one in file.iter_batches(columns=wanted)]
    except (OSError, pa.ArrowException, ValueError) as error:
        raise AnnotationError(f"annotation {spec.name}: {path} cannot be read: {error}") from error


def _cast(spec: AnnotationSpec, path: Path, table: pa.Table, kinds: dict[str, pa.DataType]) -> pa.Table:
    try:
        cast = table.cast(pa.schema([(name, kinds[name]) for name in table.schema.names]))
        return pa.table({name: _numbers(cast.column(name)) for name in cast.schema.names})
    except pa.ArrowException as error:
        raise AnnotationError(f"annotation {spec.name}: {path}: {error}") from error


def _numbers(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Null where it is not a number: no filter can compare that."""
    if not pa.types.is_floating(column.type):
        return column
    return pc.if_else(pc.is_finite(column), column, pa.scalar(None, column.type))


def _keys(spec: AnnotationSpec, path: Path, keys: list[Any]) -> Halves:
    try:
        return _halves(keys, hashed=spec.key == IMAGE_SHA256)
    except (ValueError, AttributeError, TypeError):
        wrong = next(one for one in keys if not _is_key(one, hashed=spec.key == IMAGE_SHA256))
        wanted = "64 hex digits" if spec.key == IMAGE_SHA256 else "text"
        told = f"{path}: {spec.key} is {wrong!r}, expected {wanted}"
        raise AnnotationError(f"annotation {spec.name}: {told}") from None


def _is_key(key: Any, *, hashed: bool) -> bool:
    try:
        _halves([key], hashed=hashed)
    except (ValueError, AttributeError, TypeError):
        return False
    return True


def _halves(keys: Sequence[str], *, hashed: bool) -> Halves:
    """Two words of each key's sha256, of that itself where the keys are one."""
    digests = [_digest(key) if hashed else sha256(key.encode()).digest() for key in keys]
    whole = np.frombuffer(b"".join(digests), np.uint64).reshape(len(digests), 4)
    return np.array(whole[:, :2])


def _digest(key: str) -> bytes:
    digest = bytes.fromhex(key)
    if len(digest) != 32:
        raise ValueError(key)
    return digest


def _refuse_contradictions(
    spec: AnnotationSpec, keys: Halves, values: pa.Table, order: NDArray[np.int64]
) -> None:
    """Raises where two rows are of one key and say different things."""
    same = np.flatnonzero((keys[1:] == keys[:-1]).all(axis=1))
    if not len(same):
        return
    one, other = (values.take(pa.array(places)) for places in (same, same + 1))
    if one.equals(other):
        return
    for place, a, b in zip(same.tolist(), one.to_pylist(), other.to_pylist(), strict=True):
        if a != b:
            rows = sorted((int(order[place]), int(order[place + 1])))
            raise AnnotationError(
                f"annotation {spec.name}: rows {rows[0]} and {rows[1]} (from 0, files by name one after another) are "
                f"of the same {spec.key} and differ: {a} and {b}"
            )
