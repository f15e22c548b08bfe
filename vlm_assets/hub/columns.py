"""Which columns of a table are wanted as what. Light: the catalogue loads it."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from vlm_assets.words.errors import SourceError

_TOLD: Final = 20


@dataclass(frozen=True, slots=True)
class LabelRule:
    """Where a source's labels come from, and those that its map knows."""

    place: str
    """In words: `column 'class'`, `folder 2 of the URL`."""
    column: str = ""
    """Its name, if it is one."""
    known: frozenset[str] | None = None
    """None: there is no map, every label is a subcategory."""

    @property
    def by_number(self) -> bool:
        """Whether the map is written by the numbers of classes."""
        return bool(self.known) and all(label.isdecimal() for label in self.known or ())

    def check(self, labels: Collection[str], where: str) -> None:
        """Returns where there are labels, and one of them is in the map.

        Raises:
            SourceError: none is; tells both.
        """
        if not labels or (self.known is not None and self.known.isdisjoint(labels)):
            raise SourceError(f"{where}: {self.missed(labels)}")

    def missed(self, labels: Collection[str]) -> str:
        """What is wrong where none of the labels that there are gives a subcategory."""
        if not labels:
            return f"nothing has a label in {self.place} (subcategory_from)"
        return (
            f"subcategory_from.map knows none of the labels in {self.place}; there are: {_some(labels)}; "
            f"the map has: {_some(self.known or ())}"
        )


def _some(labels: Collection[str]) -> str:
    told = ", ".join(sorted(labels)[:_TOLD])
    return told if len(labels) <= _TOLD else f"{told} and {len(labels) - _TOLD} more"


@dataclass(frozen=True, slots=True)
class Wanted:
    """The keys of a catalogue entry that say what columns mean. What is not given is found where it is plain."""

    image_column: str | Sequence[str] | None = None
    text_column: str | None = None
    messages_column: str | None = None
    split_images: bool = False
    label: LabelRule | None = None
    names_images: bool = True
    """Whether the kind has `image_column`."""

    @property
    def image_columns(self) -> tuple[str, ...]:
        """The columns named."""
        named = self.image_column
        return () if named is None else (named,) if isinstance(named, str) else tuple(named)

    @property
    def words_only(self) -> bool:
        """Whether no image is looked for: an empty list says so."""
        return self.image_column is not None and not self.image_columns

    @property
    def names(self) -> tuple[str, ...]:
        """All columns that are named; of `meta.caption` both parts."""
        named = (*self.image_columns, self.text_column, self.messages_column)
        given = [name for name in named if name is not None]
        return tuple(dict.fromkeys([*given, *(name.partition(".")[0] for name in given)]))
