"""What the rows of data files have of the columns that a catalogue names, told while a source is listed."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from vlm_assets.hub.columns import LabelRule
from vlm_assets.words.errors import SourceError
from vlm_assets.words.layout import nfc

if TYPE_CHECKING:
    import pyarrow as pa

    from vlm_assets.hub.looks import TableLook

FEW_ROWS: Final = 10_000
"""Of a file that lies elsewhere, whose labels are looked at."""
_KEPT: Final = 1000
_END: Final = object()


def labels_in(
    table: "TableLook", rule: LabelRule | None, *, most: int | None = None, partial: bool = False
) -> Mapping[str, Any]:
    """`columns` of a table; and its `labels`, where these are known to be all: those of a class by its head.

    One label is enough where it gives a subcategory. `most`: rows that are looked at, at most; `partial`: there are
    others elsewhere. A column that cannot be read is one whose labels only fetching tells.

    Raises:
        SourceError: its head cannot be read.
    """
    schema = table.schema() if rule is not None and rule.column else None
    if rule is None or schema is None:
        return {}
    told = labels_of(schema, rule)
    if "labels" in told or rule.column not in schema.names:
        return told
    try:
        labels = _found(table.values(rule.column), rule, most)
    except SourceError:
        labels = None
    if partial and not (labels and (rule.known is None or labels[0] in rule.known)):
        labels = None
    return told if labels is None else {**told, "labels": labels}


def labels_of(schema: "pa.Schema", rule: LabelRule | None) -> Mapping[str, Any]:
    """The same, of what a head tells without any row."""
    from vlm_assets.hub.tables import class_names

    if rule is None or not rule.column:
        return {}
    told: dict[str, Any] = {"columns": list(schema.names)}
    names = class_names(schema, {}).get(rule.column)
    if not names:
        return told
    return {**told, "labels": _found([*names, *range(len(names))], rule, None)}


def _found(values: Iterable[Any], rule: LabelRule, most: int | None) -> list[str] | None:
    """The labels that there are, or one that will do; None where others may be."""
    seen: dict[str, None] = {}
    rows = iter(values)
    for label in _labels(rows if most is None else islice(rows, most)):
        if label is None:
            return None
        if rule.known is None or label in rule.known:
            return [label]
        if len(seen) < _KEPT:
            seen[label] = None
    return list(seen) if next(rows, _END) is _END else None


def _labels(values: Iterator[Any]) -> Iterator[str | None]:
    """As rows have them; None of one that is no text and no number."""
    for value in values:
        if isinstance(value, str | int | float):
            if text := nfc(str(value)):
                yield text
        elif value is not None:
            yield None
