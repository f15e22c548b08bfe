"""An upstream, what becomes of it, and the corpus that is built and locked of it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import ZipFile

from vlm_assets.allocation.step import allocate, tombstones_in_force
from vlm_assets.corpus.build import build_corpus
from vlm_assets.corpus.manifest import CorpusManifest
from vlm_assets.ingest.listing import refresh_listing
from vlm_assets.ingest.slice import SliceOptions, build_slice
from vlm_assets.installation.opening import Installation
from vlm_assets.store.corpus_lock import Locked, keep_lock, kept_lock
from vlm_assets_tests.workplace import STREET, fill, picture

SOURCE = {**STREET, "text": "sidecar", "reject_tolerance": 0.6}
CORPUS: dict[str, Any] = {"targets": {"10": 10, "1k": 1000}, "seed": 7}


def upstream(folder: Path) -> Path:
    """Two folders, of which one has a file that is no image; an archive with a member that is damaged."""
    fill(folder / "a", 8)
    fill(folder / "b", 8, start=100)
    (folder / "a" / "0003.txt").write_text("three", "utf-8")
    (folder / "b" / "bad.jpg").write_bytes(b"rubbish")
    with ZipFile(folder / "c.zip", "w") as archive:
        for number in range(4):
            data = picture(200 + number)
            archive.writestr(f"{number}.jpg", data[:300] if number == 1 else data)
    return folder


def corpus_of(installation: Installation, locked: Locked | None = None) -> CorpusManifest:
    """Lists, fetches, plans and builds `10`; what is not as locked raises."""
    spec = installation.catalog.source("street")
    listing = refresh_listing(installation, spec, locked=locked).listing
    for key in listing.slices:
        build_slice(installation, spec, listing, key, SliceOptions(locked=locked))
    return target_of(installation, locked)


def target_of(installation: Installation, locked: Locked | None = None) -> CorpusManifest:
    root = installation.root
    plan = allocate(installation, "10", locked=locked)
    return build_corpus(plan.path, root, tombstones=tombstones_in_force(root))


@dataclass(frozen=True)
class Made:
    """A corpus that was built and locked; nobody changes it."""

    base: Path
    installation: Installation
    manifest: CorpusManifest


@dataclass
class Again:
    """An empty data root with catalogue, lock and a copy of upstream."""

    installation: Installation
    folder: Path

    @property
    def locked(self) -> Locked:
        root, lock_file = self.installation.root, self.installation.catalog_dir / "corpus.lock"
        return kept_lock(root, keep_lock(root, lock_file))


def later(folder: Path) -> None:
    fill(folder / "a", 1, start=50)
    fill(folder / "new", 3, start=300)


def mended(folder: Path) -> None:
    (folder / "b" / "bad.jpg").write_bytes(picture(400))


def text_changed(folder: Path) -> None:
    (folder / "a" / "0003.txt").write_text("drei", "utf-8")


def image_changed(folder: Path) -> None:
    (folder / "a" / "0003.jpeg").write_bytes(picture(401))


def image_gone(folder: Path) -> None:
    (folder / "a" / "0003.jpeg").unlink()
    (folder / "a" / "0003.txt").unlink()
