"""Faults of Dagster's own databases as errors of ours: the file and the fix, no statement with its parameters.

Dagster lets SQLAlchemy's errors through, into the event log, standard error and whoever called it.
"""

import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from sqlalchemy import Engine, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DBAPIError

from vlm_assets.words.disk import database_error, is_of_the_disk
from vlm_assets.words.errors import StoreError

_DAMAGED: Final = ("malformed", "not a database")
_STATEMENT: Final = re.compile(r"\n\[SQL: |\n\(Background on this error")
_BY_SQLALCHEMY: Final = re.compile(r"sqlalchemy\.[\w.]+: (?:\([\w.]+\) )?")


def name_storage_faults() -> None:
    """From now on what the disk says of a sqlite database raises `DiskFullError` or `StoreError` in this process.

    Whatever Dagster answers itself (locks, rows that are there already, tables that are not) stays as it is.
    """
    if not event.contains(Engine, "handle_error", _named):
        event.listen(Engine, "handle_error", _named)


def _named(context: ExceptionContext) -> StoreError | None:
    said = context.original_exception
    if not isinstance(said, sqlite3.DatabaseError):
        return None
    home = os.environ.get("DAGSTER_HOME", ".dagster")
    path = (context.engine.url.database if context.engine else None) or f"{home}/*.db"
    if any(words in str(said) for words in _DAMAGED):
        return StoreError(
            f"{path}: {said}; move {home} away while nothing works on it: the next build gives a new one the "
            "history of what lies on disk"
        )
    return database_error(path, said) if is_of_the_disk(said) else None


def without_statement(message: str) -> str:
    """What SQLAlchemy says of a database as a sentence; any other message as it is."""
    found = _BY_SQLALCHEMY.match(message)
    if found is None:
        return message
    said = " ".join(_STATEMENT.split(message[found.end() :], maxsplit=1)[0].split())
    return f"StoreError: {storage_says(said)}"


@contextmanager
def saying_storage() -> Iterator[None]:
    """What else a database says raises `StoreError`, without the statement."""
    try:
        yield
    except DBAPIError as error:
        raise StoreError(storage_says(error.orig)) from error


def storage_says(said: object) -> str:
    """The sentence about what a database says that is not of this machine's disk."""
    home = os.environ.get("DAGSTER_HOME", ".dagster")
    return f"{home}: Dagster's storage says: {said}; is its server up?"
