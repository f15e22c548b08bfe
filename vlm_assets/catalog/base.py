"""What every spec of a catalogue is made of."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints

NAME_PATTERN = r"^[a-z0-9_]+$"
Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN, max_length=60)]


class Spec(BaseModel):
    """Base of every spec: frozen, no unknown keys. What is text may look like a number: `tag: 2024`."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", arbitrary_types_allowed=True, coerce_numbers_to_str=True
    )


class OnlySpec(Spec):
    """Which sources something is for: all, or those of some categories, or some by name."""

    category: tuple[Name, ...] = ()
    """Sources of these categories; none named: of all."""
    source: tuple[Name, ...] = ()
    """These sources; none named: all."""

    def covers(self, source: str, category: str) -> bool:
        """Whether it is for the source of that name, which is of that category."""
        return (not self.source or source in self.source) and (not self.category or category in self.category)
