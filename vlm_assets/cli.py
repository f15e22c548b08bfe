"""Entry point of `vlm-assets`: registers the commands, turns errors into messages and exit codes."""

import sys
from pathlib import Path

from dotenv import load_dotenv

import vlm_assets.commands.docs
import vlm_assets.commands.exports
import vlm_assets.commands.keep
import vlm_assets.commands.line
import vlm_assets.commands.lock
import vlm_assets.commands.setup
import vlm_assets.commands.start
import vlm_assets.commands.trust  # noqa: F401 - each import registers its commands
from vlm_assets.commands.app import app, errors, print_problems
from vlm_assets.words.disk import named_disk_errors
from vlm_assets.words.errors import ConfigError, VlmAssetsError

__all__ = ["app", "main"]


@named_disk_errors
def _command() -> None:
    """What is asked for; whatever the disk says on the way, in logs and catalogue too, becomes a message."""
    app()


def main() -> None:
    """Runs a command.

    `.env` of the working directory counts below the environment, DAGSTER_HOME and tokens in it included.
    """
    load_dotenv(Path(".env").absolute(), override=False)
    try:
        _command()
    except ConfigError as error:
        print_problems(error.problems)
        sys.exit(2)
    except VlmAssetsError as error:
        errors.print(f"{type(error).__name__}: {error}", markup=False, soft_wrap=True)
        sys.exit(1)
