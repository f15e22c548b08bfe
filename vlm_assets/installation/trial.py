"""Test mode: the same catalogue and the same code on capped slices, in a data root that holds nothing else.

The root lies beside the real one, `<data root>-test`, with a marker of its own. Nothing is pushed, nobody notified.
"""

import os
from pathlib import Path

from vlm_assets.settings import TEST_ROOT_SUFFIX, Settings
from vlm_assets.words.errors import ConfigError, Problem
from vlm_assets.words.layout import DataRoot


def check_instance(settings: Settings) -> None:
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


def make_test_root(settings: Settings) -> None:
    """Makes the data root of test mode where it is missing. `settings`: as `confined` gives them.

    Raises:
        ConfigError: there is a folder of that name that is not of test mode; or the real root has no marker.
    """
    if settings.data_root is None:
        return  # `Settings.root` says so
    root = DataRoot(settings.data_root)
    if root.test_marker.is_file():
        return
    real = DataRoot(root.path.with_name(root.path.name.removesuffix(TEST_ROOT_SUFFIX)))
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
