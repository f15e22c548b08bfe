"""Which column of a list of URLs holds conversations.

Nothing is read where no column is declared as one or has the name of one.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, Final, NamedTuple

import pyarrow as pa

from vlm_assets.captions.columns import find_messages_column, form_of
from vlm_assets.captions.turns import MESSAGES_NAMES, ConversationError, read_turns, says_nothing

_SAMPLES: Final = 8
"""First values that tell whether a column of text or JSON holds conversations."""
_LOOKED_AT_ROWS: Final = 1000
"""Rows among which these are looked for: a list may begin with images of which nothing is said."""

Rows = Callable[[], Iterable[Mapping[str, Any]]]
Kinds = Callable[[], Mapping[str, pa.DataType] | None]


class Talks(NamedTuple):
    """The column of conversations; what to tell of others that may be one."""

    column: str | None = None
    hints: Sequence[str] = ()


def find_talks(
    names: Sequence[str],
    rows: Rows,
    where: str,
    *,
    declared: str | None = None,
    others: Collection[str | None] = (),
    split: bool = False,
    kinds: Kinds | None = None,
) -> Talks:
    """The column declared, or the one that plainly holds conversations; none where images are split.

    `others`: columns that are something else. `kinds`: Arrow types by column; where there are none, values tell.

    Raises:
        SourceError: the declared column can be no conversation; several plainly are, and none is declared.
    """
    if declared is not None:
        if declared in names:
            samples = _samples([declared], rows)
            [kind] = _kinds(samples, kinds)
            form_of(kind, samples[declared], column=declared, where=where)
        return Talks(declared)
    looked_at = [] if split else [name for name in names if name in MESSAGES_NAMES and name not in others]
    if not looked_at:
        return Talks()
    samples = _samples(looked_at, rows)
    schema = pa.schema(list(zip(looked_at, _kinds(samples, kinds), strict=True)))
    found = find_messages_column(schema, samples, where=where)
    return Talks(
        found, () if found is not None else [_hint(name) for name in looked_at if _may_be(samples[name])]
    )


def _samples(names: Sequence[str], rows: Rows) -> dict[str, list[Any]]:
    """First values of these columns that say something."""
    found: dict[str, list[Any]] = {name: [] for name in names}
    for row in islice(rows(), _LOOKED_AT_ROWS):
        for name, values in found.items():
            if len(values) < _SAMPLES and not says_nothing(value := row.get(name)):
                values.append(value)
        if all(len(values) == _SAMPLES for values in found.values()):
            break
    return found


def _kinds(samples: Mapping[str, Sequence[Any]], kinds: Kinds | None) -> list[pa.DataType]:
    """The columns' Arrow types, in the order of the samples."""
    known = (None if kinds is None else kinds()) or {}
    return [known[name] if name in known else _kind_of(values) for name, values in samples.items()]


def _kind_of(values: Sequence[Any]) -> pa.DataType:
    """The type of values; where they have several, or there are none, text, which may be JSON."""
    try:
        return pa.array(values).type if values else pa.string()
    except MemoryError:  # Arrow's own is one of its exceptions too
        raise
    except (pa.ArrowException, OverflowError, ValueError):  # halves of surrogate pairs
        return pa.string()


def _may_be(values: Sequence[Any]) -> bool:
    """Whether a column that is not plainly of conversations looks like it: one is, or all are lists or objects."""
    return bool(values) and (
        all(isinstance(one, (list, dict)) for one in values) or any(map(_is_talk, values))
    )


def _is_talk(value: Any) -> bool:
    try:
        read_turns(value)
    except ConversationError:
        return False
    return True


def _hint(name: str) -> str:
    return f"column {name!r} goes into `extra`; say messages_column: {name} if its rows are conversations"
