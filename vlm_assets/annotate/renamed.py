"""Values of a slice whose source has another name now: they follow from content, and that is what it was."""

from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from vlm_assets.annotate.files import Annotation, read_annotation, write_annotation
from vlm_assets.annotate.slice import annotation_lock
from vlm_assets.locks import hold_lock
from vlm_assets.words.errors import AnnotationError
from vlm_assets.words.layout import DataRoot

_LOCK_WAIT_S: Final = 24 * 3600.0


def move_values(root: DataRoot, key: str, old: str, new: str) -> None:
    """Brings the computed values of a slice under its source's new name; nothing is left under the old one.

    They are stale there, since ids are part of a slice's content hash: who annotates next takes them over, and looks
    at no record. Imported values are looked up anew, some of them by id. What the new name has already stays.
    """
    purpose = f"renaming {old}/{key}"
    for path in sorted(root.annotations.glob(f"*/{old}/{key}.parquet")):
        target = root.annotation(path.parent.parent.name, new, key)
        with (
            hold_lock(annotation_lock(root, old, key), purpose, wait_s=_LOCK_WAIT_S),
            hold_lock(annotation_lock(root, new, key), purpose, wait_s=_LOCK_WAIT_S),
        ):
            try:
                found = read_annotation(path)
            except AnnotationError:
                found = None  # it is computed anew
            if found is not None and found.keys is not None and not target.exists():
                header = found.header.model_copy(update={"source": new})
                write_annotation(target, header, _renamed(found, old, new), found.keys)
            path.unlink(missing_ok=True)


def _renamed(found: Annotation, old: str, new: str) -> pa.Table:
    """With the ids of the new name."""
    ids = found.table.column("id")
    rest = pc.utf8_slice_codeunits(ids, len(old))
    renamed = pc.binary_join_element_wise(pa.scalar(new), rest, "")
    return found.table.set_column(0, found.table.schema.field(0), renamed)
