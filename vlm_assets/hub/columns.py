"""Which columns of a table are wanted as what. Light: the catalogue loads it."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Wanted:
    """The keys of a catalogue entry that say what columns mean. What is not given is found where it is plain."""

    image_column: str | Sequence[str] | None = None
    text_column: str | None = None
    messages_column: str | None = None
    split_images: bool = False

    @property
    def image_columns(self) -> tuple[str, ...]:
        """The columns named."""
        named = self.image_column
        return () if named is None else (named,) if isinstance(named, str) else tuple(named)

    @property
    def names(self) -> tuple[str, ...]:
        """All columns that are named; of `meta.caption` both parts."""
        named = (*self.image_columns, self.text_column, self.messages_column)
        given = [name for name in named if name is not None]
        return tuple(dict.fromkeys([*given, *(name.partition(".")[0] for name in given)]))
