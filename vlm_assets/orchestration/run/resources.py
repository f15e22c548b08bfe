"""What asset bodies are given: the installation snapshot and where progress goes. Holds no logic."""

from dataclasses import dataclass
from typing import Any, Final, Protocol

import dagster as dg

from vlm_assets.installation.opening import Installation
from vlm_assets.words.errors import ConfigError, Problem


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
    """Resources by the argument names of the asset bodies, and where the few values between steps go.

    Raises:
        ConfigError: steps are to be tasks, and there is no S3 place for their values or no remote for their data.
    """
    resources: dict[str, object] = {"installation": installation, "progress": progress}
    settings = installation.settings
    if settings.step_executor == "ecs":
        missing = [name for name in ("step_storage", "remote") if not getattr(settings, name)]
        if missing:
            told = "not set, and VLM_STEP_EXECUTOR=ecs needs it; name s3://bucket/prefix"
            raise ConfigError([Problem("settings", f"VLM_{name.upper()}", told) for name in missing])
    if settings.step_storage:
        resources["io_manager"] = _values_on_s3(settings.step_storage, settings.remote_endpoint)
    return resources


def _values_on_s3(url: str, endpoint: str | None) -> dg.IOManagerDefinition:
    """dagster-aws's S3 IO manager. Not its `S3PickleIOManager`, whose nested resource warns of Dagster's own API."""
    from vlm_assets.remote.names import RemoteAddress

    place = RemoteAddress.parse(url)

    @dg.io_manager
    def values() -> Any:
        from dagster_aws.s3.io_manager import PickledObjectS3IOManager

        from vlm_assets.remote.bucket import s3_client

        prefix = place.prefix.rstrip("/") or "steps"
        return PickledObjectS3IOManager(place.bucket, s3_client(endpoint, 8), prefix)

    return values
