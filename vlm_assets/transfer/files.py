"""Identities of files on disk: sha256 cached by what the file system says about the file.

The cache is local and may be deleted at any time; it is never hashed into anything.
"""

import sqlite3
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import file_digest
from os import stat_result
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from vlm_assets.words.disk import naming_database
from vlm_assets.words.errors import write_error
from vlm_assets.words.moving import each_moving

_SETTLED_S: Final = 0.1
"""A file touched more recently may change again within one tick of the file system's clock: not cached."""
_FLUSH_ROWS: Final = 2000
_CHUNK_PATHS: Final = 64
"""Paths a task: a thread's hand-over costs more than a file that the cache knows."""

_Key = tuple[int, int, int, int]


class ChangingFileError(OSError):
    """A file that is written to while it is read."""


class FileHashes:
    """sha256 of files, each read once while its size, mtime, ctime and inode stay.

    ctime is in the key because copies that keep mtime (rsync, tar) can reuse an inode and a size; user code cannot
    set it. The device is not: its number changes between boots. Safe for threads; several processes may share the
    cache file. `save()` (or leaving the context) keeps what was hashed.
    """

    def __init__(self, cache_file: Path, *, workers: int = 4) -> None:
        self._file = cache_file
        self._workers = workers
        self._lock = threading.Lock()
        self._fresh: dict[_Key, str] = {}
        self.files_read = 0
        """Files that the cache did not know."""
        try:
            cache_file.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:  # not to be taken for what is said of the files that are hashed
            raise write_error(cache_file.parent, error) from error
        try:
            self._db = _open(cache_file)
        except sqlite3.DatabaseError:  # torn by a full disk: a cache is not worth an error
            cache_file.unlink(missing_ok=True)
            with naming_database(cache_file):
                self._db = _open(cache_file)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def sha256(self, path: Path) -> str:
        """sha256 hex of the file's present content.

        Raises:
            OSError: it cannot be read.
            ChangingFileError: it keeps changing while it is read.
        """
        for _ in range(3):
            before = path.stat()
            known = self._known(_key(before))
            if known is not None:
                return known
            with path.open("rb") as stream:
                digest = file_digest(stream, "sha256").hexdigest()
            after = path.stat()
            if _key(after) == _key(before):
                self._keep(after, digest)
                return digest
        raise ChangingFileError(f"{path} changes while it is read")

    def changed(self, path: Path, listed: str) -> bool:
        """Whether a file's content is another than the sha256 that was listed, or is being written to.

        False where it cannot be read, then or now (`listed` is ""): whoever reads it says so.
        """
        try:
            return bool(listed) and self.sha256(path) != listed
        except ChangingFileError:
            return True
        except OSError:
            return False

    def hash_many(self, paths: Sequence[Path | str]) -> list[str]:
        """sha256 of each path in order, read by several threads; "" where a file cannot be read.

        The fetch meets such a file again and rejects it there, so no item is lost.
        """
        chunks = [paths[i : i + _CHUNK_PATHS] for i in range(0, len(paths), _CHUNK_PATHS)]
        with ThreadPoolExecutor(self._workers) as pool:
            done = pool.map(lambda chunk: [self._sha256_or_empty(Path(path)) for path in chunk], chunks)
            told = each_moving("hashing files", (one for chunk in done for one in chunk), len(paths))
            return list(told)

    def save(self) -> None:
        """Keep what was hashed so far."""
        with self._lock:
            self._flush()

    def close(self) -> None:
        """Save and close; the object is done."""
        with self._lock:
            self._flush()
            self._db.close()

    def _sha256_or_empty(self, path: Path) -> str:
        try:
            return self.sha256(path)
        except OSError:
            return ""

    def _known(self, key: _Key) -> str | None:
        with self._lock, naming_database(self._file):
            if key in self._fresh:
                return self._fresh[key]
            row = self._db.execute(
                "SELECT sha256 FROM files WHERE inode=? AND size=? AND mtime=? AND ctime=?", key
            ).fetchone()
        return str(row[0]) if row else None

    def _keep(self, found: stat_result, digest: str) -> None:
        with self._lock:
            self.files_read += 1
            if time.time() - found.st_ctime < _SETTLED_S:
                return
            self._fresh[_key(found)] = digest
            if len(self._fresh) >= _FLUSH_ROWS:
                self._flush()

    def _flush(self) -> None:
        if self._fresh:
            rows = [(*key, digest) for key, digest in self._fresh.items()]
            with naming_database(self._file), self._db:
                self._db.executemany("INSERT OR REPLACE INTO files VALUES (?,?,?,?,?)", rows)
            self._fresh.clear()


def _open(cache_file: Path) -> sqlite3.Connection:
    db = sqlite3.connect(cache_file, timeout=30, check_same_thread=False)
    db.execute("PRAGMA synchronous=OFF")  # a cache lost to a crash is only slower
    db.execute(
        "CREATE TABLE IF NOT EXISTS files (inode INTEGER, size INTEGER, mtime INTEGER, ctime INTEGER, sha256 TEXT,"
        " PRIMARY KEY (inode, size, mtime, ctime)) WITHOUT ROWID"
    )
    db.commit()
    return db


def _key(found: stat_result) -> _Key:
    return (_signed(found.st_ino), found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def _signed(inode: int) -> int:
    """SQLite integers are signed; some network file systems use all 64 bits."""
    return inode - 2**64 if inode >= 2**63 else inode
