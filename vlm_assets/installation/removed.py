"""Sources that lie in the data root and that the catalogue has no more. Counts names only; opens no data."""

from vlm_assets.installation.opening import Installation


def removed_sources(installation: Installation) -> dict[str, int]:
    """Number of slices by name of each source that is listed or committed here and not in the catalogue, sorted."""
    root = installation.root
    folders = root.path / "datasets"
    names = {path.name for path in folders.iterdir()} if folders.is_dir() else set()
    names |= {path.stem for path in root.listings.glob("*.json")}
    found: dict[str, int] = {}
    for name in sorted(names - {spec.name for spec in installation.catalog.fetched}):
        slices = len(slice_names(installation, name))
        if slices or root.listing(name).exists():
            found[name] = slices
    return found


def slice_names(installation: Installation, source: str) -> list[str]:
    """Folder names of a source's committed slices, listed or not, sorted."""
    folder = installation.root.source(source)
    if not folder.is_dir():
        return []
    return sorted(
        path.name for path in folder.iterdir() if path.is_symlink() and not path.name.startswith(".")
    )
