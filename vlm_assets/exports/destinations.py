"""Where an export is made: a folder, or a prefix of an S3 bucket. A name that is there is complete."""

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from vlm_assets.exports.manifest import MANIFEST
from vlm_assets.exports.places import own_work
from vlm_assets.locks import hold_lock
from vlm_assets.remote.bucket import Bucket, Content, s3_client
from vlm_assets.remote.names import RemoteAddress
from vlm_assets.store.arrow_files import replace_file, sync_directory
from vlm_assets.store.papers import CROISSANT_FILE
from vlm_assets.store.slices import file_hash
from vlm_assets.words.errors import StoreError
from vlm_assets.words.layout import DataRoot
from vlm_assets.words.manifest import FileEntry

if TYPE_CHECKING:
    from vlm_assets.settings import Settings

DATA: Final = "data/"
"""Below it lie the files with rows; everything else is told by `export.json` or derived from it."""
CARD: Final = "README.md"
_CUT: Final = re.compile(rf"\.(?:{re.escape(MANIFEST)}|{re.escape(CARD)}|{re.escape(CROISSANT_FILE)})\..*tmp")
_HASH: Final = "blake3"


class Destination(Protocol):
    """A place of files by relative names. Safe to use from several threads, but for `cleared`."""

    name: str
    stays: bool
    """Whether a file stays where it was written, so that nobody reads it at once."""

    def alone(self) -> AbstractContextManager[None]:
        """Held while this process exports here.

        Raises:
            LockHeldError: another one of this machine does.
        """
        ...

    def first(self) -> str | None:
        """A name that is here, whatever it is; None where there is none."""
        ...

    def read(self, name: str) -> bytes | None:
        """A small file; None where there is none."""
        ...

    def write(self, name: str, data: bytes) -> None:
        """A small file, whole or as it was."""
        ...

    def cleared(self, keep: frozenset[str]) -> int:
        """Removes files with rows but those, and what cut exports left; returns how many files there were."""
        ...

    def holds(self, name: str, entry: FileEntry) -> bool:
        """Whether the file is there and is that one."""
        ...

    def temporary(self, name: str) -> Path:
        """A path on this machine at which the file may be written before it is `put`."""
        ...

    def put(self, name: str, entry: FileEntry) -> None:
        """Makes what was written at `temporary` the file of that name."""
        ...


def destination_of(root: DataRoot, settings: "Settings", out: str) -> Destination:
    """The folder or the `s3://bucket/prefix` that a person names.

    Raises:
        ConfigError: `s3://` without a bucket, or another scheme.
    """
    if "://" not in out:
        return _Folder(Path(out).absolute())
    address = RemoteAddress.parse(out, place="--out")
    client = s3_client(settings.remote_endpoint, settings.remote_concurrency)
    rate = settings.remote_mb_per_s * 1e6
    bucket = Bucket(address, client, concurrency=settings.remote_concurrency, bytes_per_s=rate)
    return _Prefix(bucket, root)


class _Folder:
    """A folder of this machine. Files are hashed before they are believed."""

    stays = True

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._path = path

    @contextmanager
    def alone(self) -> Iterator[None]:
        self._path.mkdir(parents=True, exist_ok=True)
        with hold_lock(self._path / ".lock", f"exporting into {self._path}"):
            yield

    def first(self) -> str | None:
        data = self._path / DATA
        empty = data.is_dir() and not any(data.iterdir())  # made before there is a manifest
        own = {".lock", *(path.name for path in self._cut()), *([data.name] if empty else ())}
        return min((path.name for path in self._path.iterdir() if path.name not in own), default=None)

    def _cut(self) -> list[Path]:
        """Small files that a killed export was writing."""
        return [path for path in self._path.iterdir() if _CUT.fullmatch(path.name)]

    def read(self, name: str) -> bytes | None:
        try:
            return (self._path / name).read_bytes()
        except FileNotFoundError:
            return None

    def write(self, name: str, data: bytes) -> None:
        replace_file(self._path / name, data)

    def cleared(self, keep: frozenset[str]) -> int:
        (self._path / DATA).mkdir(exist_ok=True)
        others = [path for path in (self._path / DATA).iterdir() if f"{DATA}{path.name}" not in keep]
        for path in [*others, *self._cut()]:
            path.unlink()
        return sum(not path.name.startswith(".") for path in others)

    def holds(self, name: str, entry: FileEntry) -> bool:
        path = self._path / name
        return path.is_file() and path.stat().st_size == entry.size_bytes and file_hash(path) == entry.blake3

    def temporary(self, name: str) -> Path:
        path = self._path / name
        return path.with_name(f".{path.name}.tmp")

    def put(self, name: str, entry: FileEntry) -> None:
        del entry
        path = self._path / name
        self.temporary(name).replace(path)
        sync_directory(path.parent)


class _Prefix:
    """A prefix of a bucket. Files are written to the data root and sent; each carries its hash as metadata.

    What the bucket holds was compared with SHA-256 as it arrived, so a file is believed by size and metadata.
    """

    stays = False

    def __init__(self, bucket: Bucket, root: DataRoot) -> None:
        self.name = str(bucket.address)
        self._bucket = bucket
        self._root = root
        self._work = Path()

    @contextmanager
    def alone(self) -> Iterator[None]:
        with own_work(self._root, self.name) as self._work:
            yield

    def first(self) -> str | None:
        return next((one.key for one in self._bucket.list("")), None)

    def read(self, name: str) -> bytes | None:
        found: Content | None = self._bucket.get(name)
        return None if found is None else found.data

    def write(self, name: str, data: bytes) -> None:
        self._bucket.put(name, data)

    def cleared(self, keep: frozenset[str]) -> int:
        self._bucket.abort_uploads(DATA)
        others = [one.key for one in self._bucket.list(DATA) if one.key not in keep]
        for key in others:
            self._bucket.call("delete_object", key)
        return len(others)

    def holds(self, name: str, entry: FileEntry) -> bool:
        head = self._bucket.head(name)
        return head is not None and (head["ContentLength"], head["Metadata"].get(_HASH)) == (
            entry.size_bytes,
            entry.blake3,
        )

    def temporary(self, name: str) -> Path:
        return self._work / name.replace("/", "-")

    def put(self, name: str, entry: FileEntry) -> None:
        path = self.temporary(name)
        self._bucket.send_file(name, path, {_HASH: entry.blake3})
        path.unlink()


def refuse_other_content(destination: Destination) -> None:
    """Returns where the place is empty.

    Raises:
        StoreError: it holds something; names it.
    """
    found = destination.first()
    if found is not None:
        raise StoreError(
            f"{destination.name} is not empty and holds no export ({found}, without {MANIFEST}); name another place"
        )
