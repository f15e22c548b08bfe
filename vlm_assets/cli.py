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
from vlm_assets.words.errors import ConfigError, VlmAssetsError

__all__ = ["app", "main"]


def main() -> None:
    """Runs a command.

    `.env` of the working directory counts below the environment, DAGSTER_HOME and tokens in it included.
    """
    load_dotenv(Path(".env").absolute(), override=False)
    try:
        app()
    except ConfigError as error:
        print_problems(error.problems)
        sys.exit(2)
    except VlmAssetsError as error:
        errors.print(f"{type(error).__name__}: {error}", markup=False, soft_wrap=True)
        sys.exit(1)
