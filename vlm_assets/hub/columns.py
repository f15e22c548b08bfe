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
