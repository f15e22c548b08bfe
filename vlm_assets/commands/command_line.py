"""The command line of `vlm-assets`: registers the commands, turns errors into messages and exit codes."""

import os
import sqlite3
import sys
from pathlib import Path
from pwd import getpwuid
from typing import TYPE_CHECKING

from dotenv import load_dotenv

import vlm_assets.commands.annotate
import vlm_assets.commands.docs
import vlm_assets.commands.exports
import vlm_assets.commands.keep
import vlm_assets.commands.line
import vlm_assets.commands.lock
import vlm_assets.commands.papers
import vlm_assets.commands.setup
import vlm_assets.commands.start
import vlm_assets.commands.trust  # noqa: F401 - each import registers its commands
from vlm_assets.commands.app import app, errors, print_problems
from vlm_assets.settings import check_env_file
from vlm_assets.words.disk import named_disk_errors, naming_database
from vlm_assets.words.errors import ConfigError, StoreError, VlmAssetsError

if TYPE_CHECKING:
    from sqlalchemy.exc import DBAPIError

__all__ = ["app", "run"]


@named_disk_errors
def _command() -> None:
    """What is asked for; whatever the disk says on the way, in logs and catalogue too, becomes a message."""
    try:
        check_env_file(Path(".env"))
        load_dotenv(Path(".env").absolute(), override=False)
        app()
    except PermissionError as error:
        errors.print(_not_allowed(error), markup=False, soft_wrap=True)
        sys.exit(1)
    except _errors_of_storage() as error:
        home = Path(os.environ.get("DAGSTER_HOME", ".dagster"))
        if isinstance(error.orig, sqlite3.DatabaseError):
            with naming_database(home / "*.db"):
                raise error.orig from None
        from vlm_assets.orchestration.run.storage_faults import storage_says

        raise StoreError(storage_says(error.orig)) from error


def _errors_of_storage() -> "tuple[type[DBAPIError], ...]":
    """What Dagster's storage raises, where a command has loaded it: sqlite's own error is in it."""
    loaded = sys.modules.get("sqlalchemy.exc")
    return () if loaded is None else (loaded.DBAPIError,)


def run() -> None:
    """Runs a command.

    `.env` of the working directory counts below the environment, DAGSTER_HOME and tokens in it included.

    Raises:
        SystemExit: what it came to, where that is not 0.
    """
    try:
        _command()
    except ConfigError as error:
        print_problems(error.problems)
        sys.exit(2)
    except VlmAssetsError as error:
        errors.print(f"{type(error).__name__}: {error}", markup=False, soft_wrap=True)
        sys.exit(1)


def _not_allowed(error: PermissionError) -> str:
    """The path, who may not, and what to do."""
    where = error.filename if error.filename is not None else "A file"
    user = getpwuid(os.geteuid()).pw_name
    return f"{where}: the user {user} may not do that ({error.strerror}); give the right, or run as its owner"
