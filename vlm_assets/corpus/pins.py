"""Pins: corpus versions in use, which neither a build nor a prune removes."""

from pathlib import Path

from vlm_assets.corpus.manifest import CorpusManifest
from vlm_assets.corpus.seal import PINS
from vlm_assets.installation.opening import Installation
from vlm_assets.store.arrow_files import replace_file
from vlm_assets.store.versions import current_version, read_manifest
from vlm_assets.words.disk import named_disk_errors
from vlm_assets.words.errors import CorpusError
from vlm_assets.words.nearest import nearest


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


def unpin_version(installation: Installation, version: str) -> str:
    """Takes a pin away; `version` is the hash, or the path that pinning printed. Returns the hash.

    Raises:
        CorpusError: no such pin; the message lists those there are, each with its target.
    """
    pins = installation.root.corpus(installation.catalog.corpus.name, "x").parent / PINS
    there = sorted(path.name for path in pins.iterdir()) if pins.is_dir() else []
    name = Path(version).name
    if name not in there:
        told = {one: (pins / one).read_text("utf-8").split(" ", 1)[0].strip() for one in there}
        by_target = [one for one, target in told.items() if target == name]
        near = by_target[0] if len(by_target) == 1 else nearest(name, there)
        shown = ", ".join(f"{one} ({target})" for one, target in told.items()) or "none"
        raise CorpusError(
            f"{version} is not pinned; {f'did you mean {near}? ' if near else ''}pinned: {shown}"
        )
    (pins / name).unlink()
    return name
