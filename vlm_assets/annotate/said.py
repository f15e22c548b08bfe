"""What one annotator says of the records of a slice, put into columns as records are complete."""

from collections import Counter
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Final

import numpy as np
import pyarrow as pa

from vlm_assets.annotate.content import Bool, SliceContent
from vlm_assets.annotate.values import table_of
from vlm_assets.annotate.wanted import Wanted, filed_schema
from vlm_assets.annotators.protocol import Reads, Values
from vlm_assets.words.errors import AnnotationError

_RECORDS_AT_ONCE: Final = 4_096
"""So many have their values as Python objects, which take a hundred times as much memory."""


class Said:
    """Of one annotator: values come in the order of the records; several of one record behind each other."""

    def __init__(self, wanted: Wanted, reads: Reads, content: SliceContent, due: Bool) -> None:
        """`due`: records that are looked at. The table has those, and those that are taken down."""
        self.wanted = wanted
        self.due = due
        self.fault = ""
        """Why what it gave are no values; from then on nothing is taken in."""
        self.failed: Counter[str] = Counter()
        """On how many things it broke, by how."""
        self.broken: set[int] = set()
        """Records of which it broke on something."""
        self._reads = reads
        self._ids = content.ids
        self._made = due | content.gone
        self._begin = 0
        self._pending: dict[int, list[Values]] = {}
        self._tables: list[pa.Table] = []

    def add(self, rows: Sequence[int], values: Sequence[Values], broken: Mapping[int, str]) -> None:
        """What was said of things of these records, and on which of them it broke, by place, how."""
        for row, one in zip(rows, values, strict=True):
            self._pending.setdefault(row, []).append(one)
        for place, how in broken.items():
            self.broken.add(rows[place])
            self.failed[how] += 1

    def settle(self, end: int, absent: AbstractSet[int], *, all_of_it: bool = False) -> None:
        """Nothing more will come of records before `end`. `absent`: those that have nothing of what is read."""
        if end - self._begin < _RECORDS_AT_ONCE and not all_of_it:
            return
        rows = (self._begin + np.flatnonzero(self._made[self._begin : end])).tolist()
        self._begin = end
        said = [self._of(row, absent) for row in rows]
        if self.fault:
            return
        try:
            ids = self._ids.take(pa.array(rows, pa.int64())).to_pylist()
            self._tables.append(table_of(self.wanted.name, filed_schema(self.wanted.spec), ids, said))
        except AnnotationError as error:
            self.fault = str(error)

    def _of(self, row: int, absent: AbstractSet[int]) -> Values | list[Values]:
        """A record's values, or those of each of its images; None: it has none."""
        said = self._pending.pop(row, [])
        if self._reads is Reads.TEXT:
            return said[0] if said else None
        return None if row in absent else said

    def table(self) -> pa.Table:
        """The values of all records that were made, once everything is settled."""
        return pa.concat_tables(self._tables)
