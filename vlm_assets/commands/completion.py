"""Names of the catalogue that a shell completes: none where it cannot be read, for a line half typed has no error."""

from typing import TYPE_CHECKING

from vlm_assets.words.errors import VlmAssetsError

if TYPE_CHECKING:
    from vlm_assets.catalog.spec import Catalog


def target_names() -> list[str]:
    """Targets of `corpus.yaml`, for the command line to choose from."""
    catalog = _catalog()
    return [] if catalog is None else list(catalog.corpus.targets)


def source_names() -> list[str]:
    """Sources and benchmarks, for the command line to choose from."""
    catalog = _catalog()
    return [] if catalog is None else [spec.name for spec in catalog.fetched]


def _catalog() -> "Catalog | None":
    from vlm_assets.installation.load import load_catalog
    from vlm_assets.settings import load_settings

    try:
        return load_catalog(load_settings().catalog_dir)
    except (VlmAssetsError, OSError):
        return None
