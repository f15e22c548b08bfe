"""Settings, data root and catalogue of one machine together: what every step works on."""

from dataclasses import dataclass
from pathlib import Path

from vlm_assets.catalog.load import load_catalog
from vlm_assets.catalog.spec import Catalog
from vlm_assets.errors import ConfigError, Problem
from vlm_assets.layout import DataRoot
from vlm_assets.settings import Settings, load_settings


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
    problems: list[Problem] = []
    root = None
    catalog = None
    try:
        root = settings.root
    except ConfigError as error:
        problems += error.problems
    try:
        catalog = load_catalog(settings.catalog_dir)
    except ConfigError as error:
        problems += error.problems
    if problems or root is None or catalog is None:
        raise ConfigError(problems)
    return Installation(settings, root, catalog)
