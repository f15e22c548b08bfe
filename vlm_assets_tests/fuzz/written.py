"""Files that the product itself wrote, out of a small installation: made anew at each run."""

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from vlm_assets.allocation.step import allocate
from vlm_assets.corpus.build import build_corpus
from vlm_assets.operate.lock import lock_file_of, write_lock
from vlm_assets.store.corpus_lock import items_path
from vlm_assets.store.tombstones import Tombstone, write_tombstone
from vlm_assets_tests.workplace import STREET, fill, ingest, install


def written() -> dict[str, bytes]:
    """Bytes by the name that a door knows them by."""
    with TemporaryDirectory() as folder:
        base = Path(folder)
        try:
            return _written(base)
        finally:
            shutil.rmtree(base / "data", ignore_errors=True)


def _written(base: Path) -> dict[str, bytes]:
    fill(base / "in", 6)
    (base / "in" / "bad.jpg").write_bytes(b"rubbish")
    (base / "in" / "note.xyz").write_bytes(b"?")
    installation = install(base, {**STREET, "path": base / "in", "reject_tolerance": 0.6})
    version = next(iter(ingest(installation).values())).path
    root = installation.root
    build_corpus(allocate(installation, "10").path, root)
    write_lock(installation)
    lock = lock_file_of(installation)
    name = write_tombstone(
        root, Tombstone(asked="id:i", urls=("http://x/",), image_sha256=("a" * 64,), ids=("i",))
    )
    found = {one.name: one for one in version.iterdir()}
    found |= {"street.json": root.listing("street"), "tombstone": root.tombstones / f"{name}.json"}
    found |= {one.name: one for one in (lock, items_path(lock))}
    found |= {"items.arrow": next(root.listings.glob("*.items.arrow"))}
    return {name: path.read_bytes() for name, path in sorted(found.items())}
