"""Test mode: the same catalogue and the same code on capped slices, in a data root that holds nothing else.

The root lies beside the real one, `<data root>-test`, with a marker of its own. Nothing is pushed, nobody notified.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vlm_assets.errors import ConfigError, Problem
from vlm_assets.layout import DataRoot

if TYPE_CHECKING:
    from vlm_assets.settings import Settings

SUFFIX: Final = "-test"
_NO_REACH: Final = {"remote": None, "notify_sns_topic": None, "notify_webhook": None, "nightly": False}


def confined(settings: "Settings") -> "Settings":
    """The settings of test mode: its data root beside the given one, without remote, messages and nightly runs."""
    given = settings.data_root
    if given is not None and not DataRoot(given.absolute()).test_marker.is_file():
        given = test_root_of(given)
    return settings.model_copy(update={**_NO_REACH, "data_root": given})


def test_root_of(data_root: Path) -> Path:
    """`<data root>-test`."""
    root = data_root.absolute()
    return root.with_name(root.name + SUFFIX)


def check_instance(settings: "Settings") -> None:
    """Returns where DAGSTER_HOME fits the mode: that of test mode lies under its data root.

    Raises:
        ConfigError: test mode would leave its events in the instance of the real data root.
    """
    home = os.environ.get("DAGSTER_HOME")
    if not settings.test_mode or settings.data_root is None or not home:
        return
    if not Path(home).resolve().is_relative_to(settings.data_root.resolve()):
        told = f"{home} is not of test mode; set DAGSTER_HOME={settings.data_root / '.dagster'}"
        raise ConfigError(Problem("environment", "DAGSTER_HOME", told))


def make_test_root(settings: "Settings") -> None:
    """Makes the data root of test mode where it is missing. `settings`: as `confined` gives them.

    Raises:
        ConfigError: there is a folder of that name that is not of test mode; or the real root has no marker.
    """
    if settings.data_root is None:
        return  # `Settings.root` says so
    root = DataRoot(settings.data_root)
    if root.test_marker.is_file():
        return
    real = DataRoot(root.path.with_name(root.path.name.removesuffix(SUFFIX)))
    told = ""
    if not real.marker.is_file():
        told = f"{real.path} has no {real.marker.name} marker. Is the volume mounted?"
    elif root.path.exists() and any(root.path.iterdir()):
        told = f"{root.path} is where test mode would work, and it holds something else; move it away"
    if told:
        raise ConfigError(Problem("settings", "VLM_DATA_ROOT", told))
    root.path.mkdir(exist_ok=True)
    root.test_marker.touch()
    root.marker.touch()
