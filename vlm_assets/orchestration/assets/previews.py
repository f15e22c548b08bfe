"""Takes previews of pictures out of the event log, where they would outlive a takedown.

The UI shows pictures only from the metadata of an event, so a slice's event holds a few (`thumbnails`). Dagster's
SQL storages cannot wipe a partition (`wipe_asset_partitions` is not implemented in 1.13), and wiping the asset would
lose the history of all its slices: so the pictures alone are cut out of the stored events. Decides nothing.
"""

import os
import re
from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import dagster as dg
import sqlalchemy as db
from dagster._core.storage.event_log.schema import AssetKeyTable, SqlEventLogStorageTable
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage

from vlm_assets.installation.opening import Installation
from vlm_assets.orchestration.names import CORPUS_KEY, DATASET, REJECTED
from vlm_assets.orchestration.run.storage_faults import name_storage_faults, saying_storage

_MARK: Final = "data:image/jpeg;base64,"
_PICTURE: Final = re.compile(r"!\[[a-z_]*\]\(data:image/jpeg;base64,[A-Za-z0-9+/=]*\)")
_REJECT: Final = re.compile(r"!\[[a-z_]+\]\(data:image/jpeg;base64,[A-Za-z0-9+/=]*\)")
"""A picture under the reason of its reject; those of rows have no words."""
_INSTEAD: Final = "(removed by a takedown)"
_EVENTS: Final = SqlEventLogStorageTable.c


@dataclass(frozen=True, slots=True)
class _Stored:
    """An event with pictures: where it is mirrored, and what it is about."""

    id: int
    run_id: str
    asset_key: str
    partition: str
    has_rejects: bool


def forget_previews(installation: Installation, slices: Collection[tuple[str, str]]) -> list[str]:
    """Cuts pictures out of the events of these (source, slice), in every instance this installation has used.

    A corpus draws on all of them: where a slice is named, its events lose theirs too. Elsewhere pictures go from all
    but a partition's newest event: older ones show versions that may be gone from disk, so nothing tells whether they
    show what is taken down. Pictures of rejects go everywhere, for no index knows their hashes. Returns what
    was cleaned, `source/slice`, sorted.

    Raises:
        StoreError, OSError: an instance cannot be reached or changed; what is done stays done.
    """
    name_storage_faults()
    cleaned: set[str] = set()
    for home in _homes(installation):
        with saying_storage(), dg.DagsterInstance.from_config(str(home)) as instance:
            storage = _sql_storage(instance)
            if storage is not None:
                cleaned |= _clean(storage, slices)
    return sorted(cleaned)


def _homes(installation: Installation) -> list[Path]:
    """DAGSTER_HOME, and the one that the commands use under the data root where none is set."""
    told = os.environ.get("DAGSTER_HOME")
    found = [Path(told)] if told else []
    found.append(installation.root.path / ".dagster")
    return list(dict.fromkeys(home.resolve() for home in found if (home / "dagster.yaml").is_file()))


def _sql_storage(instance: dg.DagsterInstance) -> SqlEventLogStorage | None:
    storage: Any = instance.event_log_storage
    while not isinstance(storage, SqlEventLogStorage):
        storage = getattr(storage, "event_log_storage", None) or getattr(storage, "_storage", None)
        if storage is None:
            return None  # in memory: gone with its process
    return storage


def _clean(storage: SqlEventLogStorage, slices: Collection[tuple[str, str]]) -> set[str]:
    wanted = {(dg.AssetKey([DATASET, source]).to_string(), key) for source, key in slices}
    stored = _with_pictures(storage)
    going, with_rejects = list(_to_clean(stored, wanted)), [one for one in stored if one.has_rejects]
    _strip(storage, going, _PICTURE)
    _strip(storage, with_rejects, _REJECT)
    every = (*going, *with_rejects)
    return {f"{dg.AssetKey.from_db_string(one.asset_key).path[-1]}/{one.partition}" for one in every}  # type: ignore[union-attr]  # written by `to_string`


def _strip(storage: SqlEventLogStorage, going: Collection[_Stored], what: re.Pattern[str]) -> None:
    """Cuts pictures out of these events, wherever each is mirrored."""
    with storage.index_connection() as connection:
        _shred(connection)
        _strip_events(connection, _EVENTS.id.in_([one.id for one in going]), what)
        _strip_keys(connection, {one.asset_key for one in going}, what)
    by_run: defaultdict[str, set[tuple[str, str]]] = defaultdict(set)
    for one in going:
        by_run[one.run_id].add((one.asset_key, one.partition))
    for run_id, about in by_run.items():
        with storage.run_connection(
            run_id
        ) as connection:  # SQLite has a file a run, with the event once more
            _shred(connection)
            if any(asset_key == CORPUS_KEY.to_string() for asset_key, _ in about):
                # The corpus is the output of a step, whose own event repeats what is said of the asset.
                own = db.and_(_EVENTS.run_id == run_id, _EVENTS.asset_key.is_(None))
                _strip_events(connection, own, what)
            for asset_key, partition in about:
                one_of = (
                    _EVENTS.run_id == run_id,
                    _EVENTS.asset_key == asset_key,
                    _EVENTS.partition == partition,
                )
                _strip_events(connection, db.and_(*one_of), what)


def _with_pictures(storage: SqlEventLogStorage) -> list[_Stored]:
    """Events with pictures, newest first."""
    query = (
        db.select(
            _EVENTS.id, _EVENTS.run_id, _EVENTS.asset_key, _EVENTS.partition, _EVENTS.event.contains(REJECTED)
        )
        .where(_EVENTS.asset_key.is_not(None), _EVENTS.partition.is_not(None), _EVENTS.event.contains(_MARK))
        .order_by(_EVENTS.id.desc())
    )
    with storage.index_connection() as connection:
        return [_Stored(*row) for row in connection.execute(query)]


def _to_clean(stored: Iterable[_Stored], wanted: Collection[tuple[str, str]]) -> Iterable[_Stored]:
    seen: set[tuple[str, str]] = set()
    for one in stored:
        about = (one.asset_key, one.partition)
        of_corpus = bool(wanted) and one.asset_key == CORPUS_KEY.to_string()
        if of_corpus or about in wanted or about in seen:
            yield one
        seen.add(about)


def _shred(connection: Any) -> None:
    """SQLite overwrites what it frees from now on; a database server has its own rules for free space."""
    if connection.dialect.name == "sqlite":
        connection.execute(db.text("PRAGMA secure_delete = ON"))


def _strip_events(connection: Any, which: Any, what: re.Pattern[str]) -> None:
    for row in connection.execute(db.select(_EVENTS.id, _EVENTS.event).where(which)).fetchall():
        if _MARK in row.event:
            stripped = what.sub(_INSTEAD, row.event)
            connection.execute(
                SqlEventLogStorageTable.update().where(_EVENTS.id == row.id).values(event=stripped)
            )


def _strip_keys(connection: Any, asset_keys: Collection[str], what: re.Pattern[str]) -> None:
    """The newest event of an asset stands beside its key once more, whichever partition it is of."""
    keys = AssetKeyTable.c
    query = db.select(keys.asset_key, keys.last_materialization).where(keys.asset_key.in_(asset_keys))
    for row in connection.execute(query).fetchall():
        if row.last_materialization and _MARK in row.last_materialization:
            stripped = what.sub(_INSTEAD, row.last_materialization)
            connection.execute(
                AssetKeyTable.update()
                .where(keys.asset_key == row.asset_key)
                .values(last_materialization=stripped)
            )
