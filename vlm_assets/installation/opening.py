"""Settings, data root and catalogue of one machine together: what every step works on."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from vlm_assets.catalog.spec import Catalog
from vlm_assets.installation.load import catalog_problems, load_catalog, unreadable
from vlm_assets.settings import Settings, load_settings
from vlm_assets.sources.registry import kinds
from vlm_assets.words.errors import ConfigError, Problem
from vlm_assets.words.layout import DataRoot

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Installation:
    """One snapshot: a run keeps it whatever is edited meanwhile."""

    settings: Settings
    root: DataRoot
    catalog: Catalog

    @property
    def catalog_dir(self) -> Path:
        """Directory that the catalogue was read from."""
        return self.settings.catalog_dir


def open_installation(settings: Settings | None = None) -> Installation:
    """Reads settings (unless given) and catalogue, and checks the data root.

    Raises:
        ConfigError: every fault of settings, data root and catalogue, in one go.
    """
    settings = settings or load_settings()
    problems = _unknown_kinds(settings)
    root = _or_problems(lambda: settings.root, problems)
    catalog = _or_problems(lambda: load_catalog(settings.catalog_dir), problems)
    if problems or root is None or catalog is None:
        raise ConfigError(problems)
    return Installation(settings, root, catalog)


def problems_of_everything() -> list[Problem]:
    """Every fault of settings, data root and catalogue, missing folders included: what `check` prints."""
    problems: list[Problem] = []
    settings = _or_problems(load_settings, problems)
    if settings is not None:
        problems += _unknown_kinds(settings)
        root = _or_problems(lambda: settings.root, problems)
        problems += _places(settings, root)
        directory = _or_problems(lambda: settings.catalog_dir, problems)
        problems += catalog_problems(directory) if directory else []
    return problems


def _places(settings: Settings, root: DataRoot | None) -> list[Problem]:
    """Paths of the settings that this user cannot use."""
    problems = []
    if settings.ca_bundle is not None and (why := unreadable(settings.ca_bundle)):
        problems.append(Problem("settings", "VLM_CA_BUNDLE", why))
    if root is not None and not os.access(root.path, os.W_OK | os.X_OK):
        problems.append(Problem("settings", "VLM_DATA_ROOT", f"{root.path} may not be written by this user"))
    return problems


def _unknown_kinds(settings: Settings) -> list[Problem]:
    """Names of no kind among the settings: what they ask for would never come about."""
    told = f"no such kind; there are: {', '.join(kinds())}"
    return [
        Problem("settings", f"VLM_KIND_SLOTS.{name}", told)
        for name in settings.kind_slots
        if name not in kinds()
    ]


def _or_problems(read: Callable[[], T], problems: list[Problem]) -> T | None:
    try:
        return read()
    except ConfigError as error:
        problems += error.problems
        return None
