"""Pins: corpus versions in use, which neither a build nor a prune removes."""

from pathlib import Path

from vlm_assets.corpus.manifest import CorpusManifest
from vlm_assets.corpus.seal import PINS
from vlm_assets.installation.opening import Installation
from vlm_assets.store.arrow_files import replace_file
from vlm_assets.store.versions import current_version, read_manifest
from vlm_assets.words.disk import named_disk_errors
from vlm_assets.words.errors import CorpusError


@named_disk_errors
def pin_version(installation: Installation, target: str, note: str = "") -> Path:
    """Pins the current version of a target; returns its real path. Pinned twice, the newer note stays.

    Raises:
        CorpusError: the target was never built.
    """
    link = installation.root.corpus(installation.catalog.corpus.name, target)
    version = current_version(link)
    if version is None:
        raise CorpusError(f"{target}: there is no corpus; vlm-assets build --target {target}")
    manifest = read_manifest(version, CorpusManifest)
    pins = link.parent / PINS
    pins.mkdir(exist_ok=True)
    replace_file(pins / version.name, f"{manifest.target} {note}\n".encode())
    return version


def unpin_version(installation: Installation, version: str) -> None:
    """Takes a pin away.

    Raises:
        CorpusError: no such pin; the message lists those there are.
    """
    pins = installation.root.corpus(installation.catalog.corpus.name, "x").parent / PINS
    there = sorted(path.name for path in pins.iterdir()) if pins.is_dir() else []
    if version not in there:
        raise CorpusError(f"{version} is not pinned; pinned: {', '.join(there) or 'none'}")
    (pins / version).unlink()
