"""An event log of Dagster that a fault cut while it was made: completed, or every command would end on it for ever.

Dagster makes the tables of the index where its file is missing, and never looks again
(`dagster._core.storage.event_log.sqlite`). Those of runs, of schedules and of each run it completes by itself.
"""

import sqlite3
from contextlib import closing
from pathlib import Path

import dagster as dg
from dagster._core.storage.event_log.sqlite.sqlite_event_log import INDEX_SHARD_NAME, SqliteEventLogStorage
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from vlm_assets.words.disk import naming_database

_BUSY_S = 60.0


def complete_event_log(instance: dg.DagsterInstance) -> bool:
    """Makes what lacks of the event log's index, and tells whether something did. What is in it stays.

    Raises:
        DiskFullError, StoreError: the disk does not let it.
    """
    storage = instance.event_log_storage
    if not isinstance(storage, SqliteEventLogStorage):
        return False
    path = Path(storage.path_for_shard(INDEX_SHARD_NAME))
    if _is_whole(path):
        return False
    address = storage.conn_string_for_shard(INDEX_SHARD_NAME)
    engine = create_engine(address, poolclass=NullPool, connect_args={"timeout": _BUSY_S})
    storage._initdb(engine, for_index_shard=True)  # noqa: SLF001 - as Dagster does where there is no file
    storage.reindex_events()
    storage.reindex_assets()
    return True


def _is_whole(path: Path) -> bool:
    """Whether its revision is written down, which Dagster does once all tables are there."""
    with naming_database(path), closing(sqlite3.connect(path, timeout=_BUSY_S)) as database:
        known = "SELECT count(*) FROM sqlite_master WHERE name = 'alembic_version'"
        if not database.execute(known).fetchone()[0]:
            return False
        return bool(database.execute("SELECT count(*) FROM alembic_version").fetchone()[0])
