"""What asset bodies are given: the installation snapshot and where progress goes. Holds no logic."""

from dataclasses import dataclass
from typing import Final, Protocol

from vlm_assets.installation import Installation


class ProgressSink(Protocol):
    """Where a person sees a step move."""

    def start(self, name: str, items: int) -> None:
        """`name` begins, with so many items to come."""

    def advance(self, name: str, items: int, size_bytes: int) -> None:
        """So many items and bytes more. Called from worker threads."""

    def finish(self, name: str) -> None:
        """`name` is done, well or not."""


@dataclass(frozen=True)
class NoProgress:
    """Says nothing: queued runs log lines instead."""

    def start(self, name: str, items: int) -> None:
        """Nothing."""

    def advance(self, name: str, items: int, size_bytes: int) -> None:
        """Nothing."""

    def finish(self, name: str) -> None:
        """Nothing."""


SILENT: Final = NoProgress()


def line_resources(installation: Installation, progress: ProgressSink = SILENT) -> dict[str, object]:
    """Resources by the argument names of the asset bodies."""
    return {"installation": installation, "progress": progress}
