"""Rows wherever their slices lie: on this disk, or at the remote, of which they are asked for by range."""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from vlm_assets.corpus.batches import I64, MappedFile
from vlm_assets.corpus.images import ImagePlaces
from vlm_assets.corpus.index_rows import U32
from vlm_assets.corpus.ranged_rows import RangedRows
from vlm_assets.corpus.ranges import RangedObjects
from vlm_assets.corpus.slice_files import SliceFiles
from vlm_assets.corpus.slice_rows import RowColumns, SliceRows
from vlm_assets.store.arrays import array_of, canonical
from vlm_assets.words.errors import CorpusError


class RowPlaces:
    """Rows of a set of slices, numbered as in the plan. For several threads at once."""

    def __init__(self, slices: Mapping[int, SliceFiles], objects: RangedObjects | None = None) -> None:
        """Opens the slices.

        Raises:
            CorpusError: see `SliceRows` and `RangedRows`; or a slice lies at a remote, and none is given.
        """
        away = {number: files for number, files in slices.items() if files.objects}
        self._local = SliceRows({number: files for number, files in slices.items() if number not in away})
        self._is_away = np.zeros(max(slices, default=-1) + 1, np.bool_)
        self._is_away[list(away)] = True
        self.some_away = bool(away)
        if away and objects is None:
            name = next(iter(away.values())).name
            raise CorpusError(
                f"{name}: its rows lie at the remote alone, and it is not looked at; set VLM_ROWS_FROM=remote"
            )
        self._ranged = RangedRows(away, objects) if away and objects is not None else None

    @property
    def files(self) -> Sequence[MappedFile]:
        """The data files on this disk, numbered as in `ImagePlaces`."""
        return self._local.files

    def read(self, slices: U32, rows: U32) -> RowColumns:
        """Columns of these rows, in this order, and where their images lie.

        Raises:
            CorpusError: see `SliceRows.read` and `RangedRows.read`.
            RemoteError: see `RangedRows.read`.
        """
        away = self._is_away[slices]
        if self._ranged is None or not away.any():
            return self._local.read(slices, rows)
        if away.all():
            return self._ranged.read(slices, rows)
        here, there = np.flatnonzero(~away), np.flatnonzero(away)
        parts = self._local.read(slices[here], rows[here]), self._ranged.read(slices[there], rows[there])
        place = np.empty(len(slices), np.int64)
        place[np.concatenate((here, there))] = np.arange(len(slices))
        return _merged(*parts, place)


def _merged(local: RowColumns, ranged: RowColumns, place: I64) -> RowColumns:
    """Rows of both; the n-th is the one at `place[n]` of all of them one after the other."""
    taken = array_of(place, pa.int64())

    def joined(first: pa.Array, second: pa.Array) -> pa.Array:
        return canonical(pa.concat_arrays([first, second]).take(taken))

    columns = {name: joined(column, ranged.columns[name]) for name, column in local.columns.items()}
    file, begin, size = (
        np.concatenate((getattr(local.images, name), getattr(ranged.images, name)))[place]
        for name in ("file", "begin", "size")
    )
    images = ImagePlaces(file, begin, size, ranged.images.held)
    return RowColumns(columns, joined(local.sizes, ranged.sizes), images)
