"""Shards of a corpus that is not sealed yet, at the remote: written by one machine, sealed by another.

<prefix>/staging/<corpus>/<staging folder>/r<bits>.json says which two objects a complete shard is. The folder's name
is made from plan and takedowns, so machines that work on the same corpus find each other's shards under it.
"""

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Final, Literal

from pydantic import ValidationError

from vlm_assets.corpus.manifest import CorpusManifest, data_name, index_name
from vlm_assets.corpus.staging import FileProof, ShardPlan, ShardResult, Staging
from vlm_assets.locks import hold_lock
from vlm_assets.remote.away import free_files
from vlm_assets.remote.bucket import Bucket
from vlm_assets.remote.fetch import Fetcher, read_remote_version
from vlm_assets.remote.leases import hold_work_lease
from vlm_assets.remote.memory import Memory
from vlm_assets.remote.names import Name, object_key
from vlm_assets.remote.pointers import read_pointer
from vlm_assets.remote.push import Push, Pusher, Write
from vlm_assets.remote.takedowns import pull_tombstones
from vlm_assets.store.arrow_files import sync_directory
from vlm_assets.store.away import came_back, note_away
from vlm_assets.store.taken_down import covered_rows
from vlm_assets.store.tombstones import read_tombstones
from vlm_assets.words.disk import named_disk_errors
from vlm_assets.words.errors import RemoteError, TakenDownError
from vlm_assets.words.layout import DataRoot
from vlm_assets.words.manifest import FileEntry, Manifest

STAGED: Final = "staging/"
_LOCK_WAIT_S: Final = 24 * 3600.0


class StagedShard(Manifest):
    """A complete shard as the remote has it."""

    type: Literal["staged_shard"] = "staged_shard"
    inputs_digest: str
    data: FileEntry
    index: FileEntry


def staged_prefix(corpus: str, staging: str) -> str:
    """Below which the sidecars of a staging folder lie."""
    return f"{STAGED}{corpus}/{staging}/"


@named_disk_errors
def push_shard(bucket: Bucket, root: DataRoot, staging_path: Path, bits: str) -> bool:
    """Pushes a complete shard of a staging folder; False where the remote had it.

    Raises:
        RemoteError: the shard is not complete here, or the remote refused.
        TakenDownError: rows of it were taken down since it was planned.
        LockHeldError: a prune of the remote is under way.
    """
    staging = Staging(staging_path)
    plan = staging.read_plan()
    result = staging.result(plan.find(bits))
    if result is None:
        raise RemoteError(f"{staging_path}: shard r{bits} is not complete; write it first")
    key = _key(plan.corpus, staging_path.name, bits)
    shard = StagedShard(inputs_digest=result.inputs_digest, data=result.data.entry, index=result.index.entry)
    with hold_work_lease(bucket, f"push of shard r{bits}") as lease:
        found = bucket.get(key)
        if found is not None and found.data == shard.to_bytes() and _is_there(bucket, shard):
            return False
        pull_tombstones(bucket, root)
        _refuse(root, key, staging.index(bits))
        files = ((staging.data(bits), shard.data), (staging.index(bits), shard.index))
        lacking = tuple(
            (path, entry)
            for path, entry in files
            if bucket.size_of(object_key(entry.blake3)) != entry.size_bytes
        )
        push = Push(key, lacking, (Write(key, shard.to_bytes()),))
        pushed = Pusher(bucket, Memory(root, bucket.address), lease).run([push])
    for error in pushed.failed.values():
        raise error
    return True


def free_shard(bucket: Bucket, staging_path: Path, bits: str) -> int:
    """Frees the data file of a complete shard that the remote is seen to have; returns how many bytes.

    Raises:
        RemoteError: the remote does not answer.
    """
    staging = Staging(staging_path)
    with hold_lock(staging.lock(bits), f"freeing shard r{bits}", wait_s=_LOCK_WAIT_S):
        result = staging.result(staging.read_plan().find(bits))
        return 0 if result is None else free_files(bucket, {staging.data(bits): result.data.entry})


def _refuse(root: DataRoot, key: str, index: Path) -> None:
    takedowns = read_tombstones(root)
    if len(covered_rows(index, takedowns.ids, takedowns.image_sha256)):
        raise TakenDownError(f"{key}: rows of it were taken down since it was planned; run the corpus again")


def known_shards(bucket: Bucket, staging_path: Path, shards: Iterable[ShardPlan]) -> dict[str, StagedShard]:
    """Of these shards, by bits, those that the remote has whole: staged ones, and equal ones of the corpus shown.

    Raises:
        RemoteError: a sidecar or the manifest of the corpus shown cannot be read.
    """
    plan = Staging(staging_path).read_plan()
    sealed = _sealed(bucket, Name("corpora", plan.corpus, plan.target))
    prefix = staged_prefix(plan.corpus, staging_path.name)
    staged = {one.key.removeprefix(prefix) for one in bucket.list(prefix)}
    found: dict[str, StagedShard] = {}
    for shard in shards:
        known = sealed.get(shard.inputs_digest)
        if known is None and f"r{shard.bits}.json" in staged:
            known = _read(bucket, _key(plan.corpus, staging_path.name, shard.bits))
        if known is not None and known.inputs_digest == shard.inputs_digest and _is_there(bucket, known):
            found[shard.bits] = known
    return found


@named_disk_errors
def pull_shards(
    bucket: Bucket, root: DataRoot, staging_path: Path, shards: Collection[ShardPlan], *, whole: bool = True
) -> list[str]:
    """Brings those of the shards into the staging folder that the remote has; returns their bits.

    Each file is verified while it is fetched; the sidecar here comes last. Not `whole`: their data stays there. The
    caller holds the lock `restore`.

    Raises:
        RemoteError: an object is damaged.
        DiskFullError: the volume is full.
    """
    known = known_shards(bucket, staging_path, shards)
    if not known:
        return []
    staging = Staging(staging_path)
    fetcher, complete = Fetcher(bucket, root), False
    try:
        data = {data_name(bits): one.data for bits, one in known.items()}
        files = {index_name(bits): one.index for bits, one in known.items()}
        fetcher.place_files(staging.files, files | (data if whole else {}))
        if whole:
            came_back(map(staging.files.joinpath, data))
        else:
            for name, entry in data.items():
                (staging.files / name).unlink(missing_ok=True)
                note_away(staging.files / name, entry, str(bucket.address))
        complete = True
    finally:
        fetcher.close(complete=complete)
    sync_directory(staging.files)
    for bits, one in sorted(known.items()):
        staging.write_result(
            ShardResult(
                bits=bits,
                inputs_digest=one.inputs_digest,
                data=FileProof.of(staging.data(bits), one.data) if whole else FileProof.of_away(one.data),
                index=FileProof.of(staging.index(bits), one.index),
                how="reused",
            )
        )
    return sorted(known)


def _key(corpus: str, staging: str, bits: str) -> str:
    return f"{staged_prefix(corpus, staging)}r{bits}.json"


def _read(bucket: Bucket, key: str) -> StagedShard | None:
    content = bucket.get(key)
    try:
        return None if content is None else StagedShard.from_bytes(content.data)
    except ValidationError as error:
        raise RemoteError(f"{bucket.address}/{key}: not a staged shard: {error}") from error


def _sealed(bucket: Bucket, name: Name) -> dict[str, StagedShard]:
    """Shards of the corpus that the remote shows, by inputs digest."""
    found = read_pointer(bucket, name)
    if found is None:
        return {}
    try:
        stored = read_remote_version(bucket, name, found[0].version)
        manifest = CorpusManifest.from_bytes(stored.manifest)
    except ValidationError:
        return {}  # of an older schema: nothing to take over
    return {
        one.inputs_digest: StagedShard(inputs_digest=one.inputs_digest, data=one.data, index=one.index)
        for one in manifest.shards.values()
    }


def _is_there(bucket: Bucket, shard: StagedShard) -> bool:
    return all(
        bucket.size_of(object_key(entry.blake3)) == entry.size_bytes for entry in (shard.data, shard.index)
    )
