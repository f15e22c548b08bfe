"""Values that hold still: of records whose content is as it was when the same annotator looked at it.

An annotator sees one image, or the words of one record, and nothing else. So a value follows from the annotator's
version and that content, and a slice that gained a record need have that one looked at alone. Another version of the
annotator, or other columns, take nothing over: everything is computed anew.
"""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from vlm_assets.annotate.files import Annotation
from vlm_assets.annotate.wanted import Wanted, filed_schema

Places = NDArray[np.int64]


def reusable(found: Annotation | None, wanted: Wanted) -> Annotation | None:
    """The older values, where any of them may hold still; imported ones are looked up anew instead."""
    if found is None or found.keys is None or wanted.spec.imported:
        return None
    same = found.header.version == wanted.version and found.table.schema == filed_schema(wanted.spec)
    return found if same else None


def kept_places(older: pa.Array | None, keys: pa.Array) -> Places:
    """Of each record its place among the older values; -1 where it is to be looked at.

    `keys`: of each record its content key; `older`: those of the older values. Where that is null they are of a
    record that is looked at once more.
    """
    if older is None:
        return np.full(len(keys), -1, np.int64)
    found = pc.index_in(keys, value_set=older, skip_nulls=True)
    places: Places = found.fill_null(-1).to_numpy().astype(np.int64)
    return places


def joined(ids: pa.Array, older: Annotation | None, places: Places, made: pa.Table) -> pa.Table:
    """The table of a file: older values at their places; where that is -1, those that were made, in their order."""
    if older is None or not (places >= 0).any():
        return made
    behind = older.table.num_rows + np.cumsum(places < 0) - 1
    both: Any = pa.concat_tables([older.table, made]).combine_chunks()
    table = both.take(pa.array(np.where(places >= 0, places, behind)))
    return table.set_column(0, made.schema.field(0), ids)


def with_keys(keys: pa.Array, withheld: NDArray[np.bool_]) -> pa.Array:
    """Content keys as a file has them: null for those whose values are not to be taken over."""
    return keys.take(pa.array(np.arange(len(keys)), mask=withheld))
