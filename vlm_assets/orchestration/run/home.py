"""The DAGSTER_HOME of the commands: the one that is set, or one under the data root. Starts nothing."""

import os
from pathlib import Path
from typing import Final

import yaml
from rich.console import Console

from vlm_assets.installation.opening import Installation
from vlm_assets.orchestration.run.log_helpers import keep_ctrl_c_from_log_helpers
from vlm_assets.orchestration.run.storage_faults import name_storage_faults
from vlm_assets.words.errors import ConfigError, Problem
from vlm_assets.words.plain_files import read_plain

_INSTANCE_FILE: Final = "dagster.yaml"
_MAX_INSTANCE_BYTES: Final = 2**20
_TOP: Final = Path(__file__).resolve().parents[3]


def dagster_home(installation: Installation, console: Console) -> Path:
    """The instance's folder, made where it is missing, with the project's dagster.yaml linked into it.

    Test mode has its own under its data root, whatever DAGSTER_HOME says. From now on faults of its databases are
    named (`name_storage_faults`), and Ctrl-C ends no helper of a step's log with a traceback.

    Raises:
        ConfigError: its dagster.yaml is no YAML, or there can be no such folder.
    """
    name_storage_faults()
    keep_ctrl_c_from_log_helpers()
    told = None if installation.settings.test_mode else os.environ.get("DAGSTER_HOME")
    home = Path(told) if told else home_under(installation.root.path)
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        why = f"{home} is no folder and cannot be made one: {error.strerror}"
        raise ConfigError(Problem("environment", "DAGSTER_HOME", why)) from error
    if not told:
        os.environ["DAGSTER_HOME"] = str(home)
        why = "Test mode" if installation.settings.test_mode else "DAGSTER_HOME is not set"
        console.print(f"{why}: using {home}", soft_wrap=True, markup=False)
    if linked := link_instance_file(home):
        console.print(f"linked {linked} into {home}", soft_wrap=True, markup=False)
    _check_instance_file(home / _INSTANCE_FILE)
    return home


def _check_instance_file(path: Path) -> None:
    try:
        yaml.safe_load(read_plain(path, _MAX_INSTANCE_BYTES) if path.exists() else b"")
    except OSError as error:
        raise ConfigError(Problem(str(path), "", f"cannot be read: {error.strerror}")) from error
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        place = (None, None) if mark is None else (mark.line + 1, mark.column + 1)
        told = f"Dagster cannot read it, it is not YAML: {getattr(error, 'problem', None) or error}"
        raise ConfigError(Problem(str(path), "", told, *place)) from error


def home_under(data_root: Path) -> Path:
    """The folder of the commands' own instance."""
    return data_root / ".dagster"


def link_instance_file(home: Path) -> Path | None:
    """Links the project's dagster.yaml into an instance's folder that has none; the file that it linked."""
    link, target = home / _INSTANCE_FILE, _TOP / _INSTANCE_FILE
    if link.is_file() or not target.is_file():
        return None
    link.unlink(missing_ok=True)  # a link to a project that has moved
    link.symlink_to(target)
    return target
