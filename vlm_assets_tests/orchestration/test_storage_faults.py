"""What the disk says under Dagster's own databases, as whoever asked Dagster meets it."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.exc import IntegrityError, OperationalError

from vlm_assets.orchestration.run.storage_faults import name_storage_faults, saying_storage
from vlm_assets.words.errors import DiskFullError, StoreError

STAYS = "what is committed stays valid"


@pytest.fixture(autouse=True)
def named() -> None:
    name_storage_faults()
    name_storage_faults()  # a second time changes nothing


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    made = create_engine(f"sqlite:///{tmp_path}/index.db")
    with made.begin() as connection:
        connection.execute(text("CREATE TABLE event_logs (id INTEGER PRIMARY KEY)"))
    return made


@pytest.mark.parametrize(
    ("said", "kind", "told"),
    [
        ("disk I/O error", StoreError, f"(Input/output error); {STAYS}: see to the disk, then run it again"),
        ("database or disk is full", DiskFullError, f"(No space left on device); {STAYS}: make room, then"),
        ("attempt to write a readonly database", StoreError, f"{STAYS}: see to the disk, then run it again"),
        ("unable to open database file", StoreError, f"{STAYS}: see to the disk, then run it again"),
        ("database disk image is malformed", StoreError, "move /home/d away while nothing works on it"),
    ],
)
def test_the_file_and_the_fix_are_named_and_no_statement(
    engine: Engine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    said: str,
    kind: type[StoreError],
    told: str,
):
    def fails(*_: Any) -> None:
        raise sqlite3.OperationalError(said)

    monkeypatch.setenv("DAGSTER_HOME", "/home/d")
    event.listen(engine, "do_execute", fails)
    with engine.connect() as connection, pytest.raises(StoreError) as raised:
        connection.execute(text("INSERT INTO event_logs VALUES (1)"))
    assert type(raised.value) is kind
    assert str(raised.value).startswith(f"{tmp_path}/index.db: {said}")
    assert told in str(raised.value)
    assert "INSERT" not in str(raised.value)


def test_a_database_that_cannot_be_opened_is_named(tmp_path: Path):
    with pytest.raises(StoreError, match=r"gone/index\.db: unable to open database file"):
        create_engine(f"sqlite:///{tmp_path}/gone/index.db").connect()


@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        ("INSERT INTO event_logs VALUES (1), (1)", IntegrityError),
        ("SELECT * FROM asset_keys", OperationalError),
    ],
    ids=["there-already", "no-table"],
)
def test_what_dagster_answers_itself_stays(engine: Engine, statement: str, kind: type[Exception]):
    with engine.connect() as connection, pytest.raises(kind):
        connection.execute(text(statement))


def test_what_a_server_says_is_told_without_the_statement(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DAGSTER_HOME", "/home/d")
    with pytest.raises(StoreError) as raised, saying_storage():
        raise OperationalError("INSERT INTO event_logs", {"run_id": "e6"}, ConnectionError("no server"))
    assert str(raised.value) == "/home/d: Dagster's storage says: no server; is its server up?"
