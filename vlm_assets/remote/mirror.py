"""The remote's manifests as a data root without data: enough to decide what is due where no run works on this disk.

Where runs are tasks, the process that decides has nothing of what they committed but this.
"""

from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from blake3 import blake3

from vlm_assets.annotate.files import without_values
from vlm_assets.catalog.filters import annotations_read
from vlm_assets.installation.opening import Installation
from vlm_assets.locks import hold_lock
from vlm_assets.remote.bucket import Bucket, open_remote
from vlm_assets.remote.download import read_object
from vlm_assets.remote.fetch import read_remote_version
from vlm_assets.remote.inventory import Inventory, take_inventory
from vlm_assets.remote.memory import Memory
from vlm_assets.remote.names import LISTINGS, TOMBSTONES, Name, names_on_disk
from vlm_assets.remote.pointers import shown_version
from vlm_assets.remote.takedowns import pull_tombstones
from vlm_assets.store.arrow_files import replace_file
from vlm_assets.store.slices import RUN_FILE
from vlm_assets.store.versions import current_version, swap_link
from vlm_assets.words.layout import MANIFEST, VERSIONS, DataRoot

_ANNOTATIONS: Final = "annotations/"


def mirrored(
    installation: Installation, sources: Collection[str] | None = None, *, bucket: Bucket | None = None
) -> Installation:
    """The installation over listings, takedowns and manifests as the remote shows them now; no file of data.

    Without `sources` those of all, and the corpora too. What has not changed since the last look costs a listing of
    the keys, a thousand a request.

    Raises:
        RemoteError: the remote does not answer, or a manifest is not what its version says.
    """
    bucket = bucket or open_remote(installation.settings)
    root = DataRoot(installation.root.path / ".remote" / "mirror")
    with hold_lock(installation.root.locks / "mirror", f"mirror of {bucket.address}", wait_s=600):
        root.path.mkdir(parents=True, exist_ok=True)
        root.marker.touch()
        prefixes = ["datasets/", "corpora/", LISTINGS]
        if sources is None:
            read = sorted(annotations_read(installation.catalog.corpus.filters))
            prefixes += [f"{_ANNOTATIONS}{name}/" for name in read]
        else:
            prefixes = [
                *(f"datasets/{one}/" for one in sources),
                *(f"{LISTINGS}{one}.json" for one in sources),
            ]
        inventory = take_inventory(bucket, [*prefixes, TOMBSTONES])
        memory = Memory(root, bucket.address)
        _Mirror(bucket, root, memory, inventory).bring(tuple(prefixes))
        memory.save()
    return replace(installation, root=root)


@dataclass(frozen=True, slots=True)
class _Mirror:
    """One look at the remote."""

    bucket: Bucket
    root: DataRoot
    memory: Memory
    inventory: Inventory

    def bring(self, prefixes: tuple[str, ...]) -> None:
        """Takedowns first; then what changed, and away with names that the remote no longer has."""
        pull_tombstones(self.bucket, self.root, self.inventory)
        names = self.inventory.names()
        with ThreadPoolExecutor(self.bucket.concurrency, "vlm-mirror") as pool:
            list(pool.map(self._listing, [key for key in self.inventory.keys if key.startswith(LISTINGS)]))
            list(pool.map(self._name, names))
            list(
                pool.map(
                    self._annotation, [key for key in self.inventory.keys if key.startswith(_ANNOTATIONS)]
                )
            )
        for name in set(names_on_disk(self.root)) - set(names):
            if f"{name}/".startswith(prefixes):
                name.link(self.root).unlink()
        for path in self.root.annotations.rglob("*.parquet"):
            key = path.relative_to(self.root.path).as_posix()
            if key.startswith(prefixes) and key not in self.inventory.keys:
                path.unlink()

    def _listing(self, key: str) -> None:
        etag, path = self.inventory.keys[key].etag, self.root.path / key
        if self.memory.content(key, etag) is not None and path.is_file():
            return
        content = self.bucket.get(key)
        if content is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(path, content.data)
            self.memory.note(key, content.etag, blake3(content.data).hexdigest())

    def _annotation(self, key: str) -> None:
        """What the file says of itself, for that decides; its values are content, and stay where they are."""
        etag, path = self.inventory.keys[key].etag, self.root.path / key
        if self.memory.content(key, etag) is not None and path.is_file():
            return
        content = self.bucket.get(key)
        if content is None:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, without_values(content.data, key))
        self.memory.note(key, content.etag, blake3(content.data).hexdigest())

    def _name(self, name: Name) -> None:
        version = shown_version(self.bucket, self.memory, name, self.inventory.keys[name.current].etag)
        directory, beside = name.versions(self.root) / version, name.beside(version)
        etag = self.inventory.tag(beside)
        known = etag is None or self.memory.content(beside, etag) is not None
        if not (known and (directory / MANIFEST).is_file()):
            self._version(name, version, directory)
            if etag is not None:
                self.memory.note(beside, etag, "seen")
        here = current_version(name.link(self.root))
        if here is None or here.name != version:
            swap_link(name.link(self.root), Path(VERSIONS) / version)

    def _version(self, name: Name, version: str, directory: Path) -> None:
        stored = read_remote_version(self.bucket, name, version, self.inventory)
        directory.mkdir(parents=True, exist_ok=True)
        run = stored.beside.files.get(RUN_FILE)
        if run is not None:  # says when rejects are due again
            replace_file(directory / RUN_FILE, read_object(self.bucket, run))
        replace_file(directory / MANIFEST, stored.manifest)
