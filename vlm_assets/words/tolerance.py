"""How many rejects and unread files a source tolerates. Pure."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

FEW: Final = 3
"""So many are admitted where the catalogue says nothing, as long as they are no more than one of `FEW_OF`."""
FEW_OF: Final = 3
_FINE: Final = ((10, 1), (100, 2))
"""A share of at least one in ten is told with one decimal, one of at least one in a hundred with two."""


@dataclass(frozen=True, slots=True)
class Tolerance:
    """A share of all records; where nobody said it also a few of a small number, which one bad file must not fail."""

    share: float
    said: bool = True
    """Whether the catalogue names the share: then it is exact."""

    def allows(self, rejects: int, total: int) -> bool:
        """Whether so many rejects among so many records pass."""
        if rejects <= Decimal(str(self.share)) * total:
            return True
        return not self.said and rejects <= FEW and rejects * FEW_OF <= total

    def __str__(self) -> str:
        """As messages name it, behind `more than`."""
        few = "" if self.said else f", or {FEW} that are at most a third"
        return f"reject_tolerance {self.share:g}{few}"


def tolerance_for(rejects: int, total: int) -> str:
    """The least round share that lets so many rejects pass, as YAML has it."""
    decimals = next((places for part, places in _FINE if rejects * part >= total), 3)
    return f"{-(-rejects * 10**decimals // total) / 10**decimals:g}"
