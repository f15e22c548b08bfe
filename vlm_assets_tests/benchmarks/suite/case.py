"""What a case is: inputs, ways to deal with them, and which way is set beside which."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

Size = Literal["tiny", "small", "large"]
"""Tiny: to see that everything runs. Its figures are those of starting."""
PEER_SCRIPTS: Final = Path(__file__).parent / "peers"


@dataclass(frozen=True, slots=True)
class Inputs:
    """What all ways of a case are given."""

    folder: Path
    units: int
    """How many of the case's unit a way handles."""
    address: str = ""
    """Of a server that runs while the case does."""


@dataclass(frozen=True, slots=True)
class Peer:
    """A way that is another project's: a script in `peers/`, in an environment of its own."""

    script: str
    requirements: tuple[str, ...]
    """The first is the one whose version is printed, unless `alone` names one."""
    arguments: tuple[str, ...] = ()
    alone: tuple[str, ...] = ()
    """Packages that are installed without what they require: `requirements` then names what of that is used."""


@dataclass(frozen=True, slots=True)
class Bar:
    """`ours` is to be at least `least` times as fast as `peer`: by the clock, per processor second; or as small."""

    ours: str
    peer: str
    least: float
    per: Literal["second", "cpu", "memory"] = "second"
    why: str = ""
    """Where the bar is known to be missed: the reason, told beside it."""


@dataclass(frozen=True, slots=True)
class Limit:
    """A way that has no peer is to take at most so many seconds."""

    way: str
    most_s: float
    why: str = ""


@dataclass(frozen=True, slots=True)
class Case:
    """Ways to one end. A way is a function of the inputs and of an empty folder to write to, or a peer."""

    name: str
    unit: str
    inputs: Callable[[Path, Size], AbstractContextManager[Inputs]]
    """Makes the inputs in a folder; what serves them runs until it is left."""
    ways: Mapping[str, Callable[[Inputs, Path], object] | Peer]
    bars: Sequence[Bar] = ()
    imports: Sequence[str] = field(default=())
    """Modules that every way of the project imports before its clock starts."""
    cold: bool = False
    """Inputs are put out of the page cache before every run; else they are read once."""
    limits: Sequence[Limit] = ()
    times: Mapping[str, int] = field(default_factory=dict)
    """Ways that handle so many times the units; their cost is told, and compared, a unit."""
    answer: Callable[[Inputs, Path], str] | None = None
    """What a run gave, from the folder it wrote to: all ways must give what the first one gives."""
    prepared_by: Sequence[Peer] = ()
    """Scripts that add to the inputs, once, what only a peer can make."""
