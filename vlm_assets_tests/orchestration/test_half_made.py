"""What a fault leaves of Dagster's event log while it is made for the first time: the next command completes it."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import dagster as dg
import pytest

from vlm_assets.orchestration.run.half_made import complete_event_log


def emptied(index: Path) -> None:
    for path in index.parent.glob("index.db*"):
        path.unlink()
    index.touch()


def without(*tables: str) -> Callable[[Path], None]:
    def drop(index: Path) -> None:
        with closing(sqlite3.connect(index)) as database:
            for table in tables:
                database.execute(f"DROP TABLE {table}")
            database.commit()

    return drop


def unstamped(index: Path) -> None:
    with closing(sqlite3.connect(index)) as database:
        database.execute("DELETE FROM alembic_version")
        database.commit()


@pytest.mark.parametrize(
    "cut",
    [
        pytest.param(emptied, id="no-table"),
        pytest.param(without("alembic_version", "dynamic_partitions", "asset_keys"), id="some-tables"),
        pytest.param(without("alembic_version"), id="all-tables"),
        pytest.param(unstamped, id="no-revision"),
    ],
)
def test_an_index_that_was_cut_is_completed(instance: dg.DagsterInstance, cut: Callable[[Path], None]):
    assert not complete_event_log(instance)
    cut(Path(instance.root_directory) / "history" / "runs" / "index.db")
    with dg.DagsterInstance.from_config(instance.root_directory) as again:
        assert complete_event_log(again)
        assert not complete_event_log(again)
        again.add_dynamic_partitions("slices", ["a"])
        assert again.get_dynamic_partitions("slices") == ["a"]
        assert again.get_latest_materialization_event(dg.AssetKey("a")) is None


def test_what_is_in_it_stays(instance: dg.DagsterInstance):
    instance.add_dynamic_partitions("slices", ["a"])
    unstamped(Path(instance.root_directory) / "history" / "runs" / "index.db")
    assert complete_event_log(instance)
    assert instance.get_dynamic_partitions("slices") == ["a"]
