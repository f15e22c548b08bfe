"""What backup, restore and prune tell: plain JSON, and the exit code that a command gives for it."""

from collections.abc import Callable
from typing import Protocol

from pydantic import BaseModel, Field

StepProgress = Callable[[str, int, int | None], None]
"""Is told what is being done, how much of it is over, and how much there is; None where nobody knows."""


def no_steps(name: str, done: int, total: int | None) -> None:
    """Tells nobody."""
    del name, done, total


class TransferProgress(Protocol):
    """Where a person sees a transfer move."""

    def start(self, objects: int, size_bytes: int) -> None:
        """So many objects and bytes are to come."""

    def advance(self, size_bytes: int) -> None:
        """So many bytes more. Called from worker threads."""


class SilentProgress:
    """Says nothing."""

    def start(self, objects: int, size_bytes: int) -> None:
        """Nothing."""

    def advance(self, size_bytes: int) -> None:
        """Nothing."""


class TransferReport(BaseModel):
    """Common part of the reports."""

    remote: str
    done: list[str] = Field(default_factory=list)
    """Names (`datasets/<source>/<slice>` and so on) and small files that were brought over."""
    unchanged: int = 0
    failed: dict[str, str] = Field(default_factory=dict)
    """What did not come over, with the reason; everything else did."""
    objects: int = 0
    transferred_bytes: int = 0
    found_bytes: int = 0
    """Of objects and parts that an interrupted run had brought over before."""
    requests: dict[str, int] = Field(default_factory=dict)
    seconds: float = 0.0

    @property
    def exit_code(self) -> int:
        """0: all is over there; 1: something failed and is named. Usage and configuration (2) are raised."""
        return 1 if self.failed else 0


class BackupReport(TransferReport):
    """What a backup did."""


class RestoreReport(TransferReport):
    """What a restore or a hydration did."""

    linked: int = 0
    """Files that are hard links to one that was there or fetched for another name."""
    kept: dict[str, str] = Field(default_factory=dict)
    """Names whose version on this machine was never pushed, and so was left alone; with words."""
    root_hashes: dict[str, str] = Field(default_factory=dict)
    """Of the corpora restored or found equal, by `corpora/<corpus>/<target>`. What was fetched is verified."""


class PruneReport(BaseModel):
    """What a prune of the remote deleted, or would."""

    remote: str
    dry_run: bool
    versions: list[str] = Field(default_factory=list)
    """`<name>@<version>`."""
    objects: int = 0
    object_bytes: int = 0
    pinned: list[str] = Field(default_factory=list)
    """Versions that would go but for a pin."""
    outstanding: list[str] = Field(default_factory=list)
    """Of those, the ones that a purge or a drop asked for."""
    young_objects: int = 0
    """Unreferenced objects younger than the grace time, left alone."""
    requests: dict[str, int] = Field(default_factory=dict)
    seconds: float = 0.0

    @property
    def exit_code(self) -> int:
        """0: all that was asked for is gone; 1: pins hold something of it."""
        return 1 if self.outstanding else 0
