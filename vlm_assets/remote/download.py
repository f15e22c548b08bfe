"""Fetches objects into files: hashed while read, resumed after a cut, never taken over unverified."""

import logging
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, Final

from blake3 import blake3

from vlm_assets.remote.bucket import Bucket
from vlm_assets.remote.faults import broken_connections
from vlm_assets.remote.names import object_key
from vlm_assets.words.disk import naming
from vlm_assets.words.errors import RemoteError, write_error
from vlm_assets.words.manifest import FileEntry

logger = logging.getLogger("vlm_assets.remote")

_CHUNK_BYTES: Final = 2**20
_CUTS: Final = 8
"""Connections that may break within one object before it has failed."""
_FIRST_WAIT_S: Final = 0.2
_TRIES: Final = 2
"""Whole fetches of an object whose bytes do not hash as they must; the second tells the wire from the store."""

OnReceived = Callable[[int], None]


def fetch_object(bucket: Bucket, entry: FileEntry, path: Path, on_received: OnReceived | None = None) -> None:
    """Puts the object at `path`, complete and verified by blake3, synced. `path` appears last.

    What an earlier try left in `<path>.part` is read again and continued.

    Raises:
        RemoteError: missing, or its bytes are not those of its name, twice in a row.
        DiskFullError: the volume is full.
        StoreError: the file cannot be written for another reason.
    """
    part = path.with_name(f"{path.name}.part")
    for _ in range(_TRIES):
        found = _fetch(bucket, entry, part, on_received or (lambda _: None))
        if found == (entry.size_bytes, entry.blake3):
            part.replace(path)
            return
        part.unlink()
        logger.warning("%s: fetched bytes hash to %s", object_key(entry.blake3), found[1][:16])
    raise RemoteError(
        f"{bucket.address}/{object_key(entry.blake3)}: {found[0]} bytes with blake3 {found[1][:16]}…, expected "
        f"{entry.size_bytes} with {entry.blake3[:16]}… ({path.name}): the remote's copy is damaged. On a versioned "
        "bucket restore an older version of that object, or delete it and back up again from a machine that has it."
    )


def read_object(bucket: Bucket, entry: FileEntry) -> bytes:
    """A small object's bytes, verified.

    Raises:
        RemoteError: missing or damaged.
    """
    content = bucket.get(object_key(entry.blake3))
    if content is None or blake3(content.data).hexdigest() != entry.blake3:
        state = "is missing" if content is None else "is damaged"
        raise RemoteError(f"{bucket.address}/{object_key(entry.blake3)} {state}")
    return content.data


def _fetch(bucket: Bucket, entry: FileEntry, part: Path, on_received: OnReceived) -> tuple[int, str]:
    """Size and blake3 of what lies in `part` afterwards."""
    digest = blake3()
    with part.open("ab+", buffering=0) as file:
        size = _hash_again(file, digest, entry.size_bytes)
        on_received(size)
        cuts, broken = 0, broken_connections()
        while size < entry.size_bytes:
            before = size
            try:
                for chunk in body_of(bucket, entry, size):
                    _write(file, chunk, part)
                    digest.update(chunk)
                    size += len(chunk)
                    on_received(len(chunk))
                cut: Exception | str = "the body ended early"
            except broken as error:
                cut = error
            if size >= entry.size_bytes:
                break
            cuts = 1 if size > before else cuts + 1
            if cuts > _CUTS:
                raise RemoteError(f"{object_key(entry.blake3)}: {size} of {entry.size_bytes} bytes: {cut}")
            logger.warning("%s: cut at %d bytes: %s", object_key(entry.blake3), size, cut)
            time.sleep(_FIRST_WAIT_S * 2 ** (cuts - 1))
        with naming(part):
            os.fsync(file.fileno())
    return size, digest.hexdigest()


def _hash_again(file: IO[bytes], digest: Any, limit: int) -> int:
    """Hashes what is there already; returns its size, 0 where it is too long to be a beginning."""
    file.seek(0, 2)
    size = file.tell()
    if size > limit:
        file.truncate(0)
        return 0
    file.seek(0)
    while chunk := file.read(_CHUNK_BYTES):
        digest.update(chunk)
    return size


def body_of(bucket: Bucket, entry: FileEntry, offset: int = 0) -> Iterator[bytes]:
    """An object's bytes from an offset on, at the bucket's pace; ends early where the connection does."""
    wanted = {"Range": f"bytes={offset}-"} if offset else {}
    answer = bucket.call("get_object", object_key(entry.blake3), **wanted)
    body = answer["Body"]
    try:
        left = entry.size_bytes - offset
        while left > 0 and (chunk := body.read(min(_CHUNK_BYTES, left))):
            bucket.pace.wait(len(chunk))
            left -= len(chunk)
            yield chunk
    finally:
        body.close()


def _write(file: IO[bytes], chunk: bytes, part: Path) -> None:
    done = 0
    try:
        while done < len(chunk):
            done += file.write(chunk[done:])
    except OSError as error:
        raise write_error(part, error) from error
