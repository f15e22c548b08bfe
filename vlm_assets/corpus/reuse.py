"""Shards that exist already: found by the digest of what decides their bytes, taken over by hard link."""

import os
from dataclasses import dataclass
from pathlib import Path

from vlm_assets.corpus.manifest import CorpusManifest, data_name, index_name
from vlm_assets.corpus.staging import FileProof, ShardPlan, ShardResult, Staging, read_result
from vlm_assets.store.arrow_files import sync_directory
from vlm_assets.store.away import away, came_back, note_away
from vlm_assets.store.versions import read_manifest
from vlm_assets.words.errors import StoreError
from vlm_assets.words.layout import MANIFEST, STAGING, VERSIONS
from vlm_assets.words.manifest import FileEntry


@dataclass(frozen=True, slots=True)
class ExistingShard:
    """Files of a complete shard in a committed version, or in the staging folder of a build that did not end."""

    data: Path
    index: Path
    data_entry: FileEntry
    index_entry: FileEntry


def existing_shards(corpus_dir: Path) -> dict[str, ExistingShard]:
    """Complete shards of any version and target of a corpus, by inputs digest. Committed versions win."""
    found: dict[str, ExistingShard] = {}
    for sidecar in sorted(corpus_dir.glob(f"{STAGING}/*/done/r*.json")):
        result = read_result(sidecar)
        staging = Staging(sidecar.parent.parent)
        if result is None:
            continue
        data, index = staging.data(result.bits), staging.index(result.bits)
        if result.data.holds(data) and result.index.holds(index):
            found[result.inputs_digest] = ExistingShard(data, index, result.data.entry, result.index.entry)
    for path in sorted(corpus_dir.glob(f"{VERSIONS}/*/{MANIFEST}")):
        try:
            manifest = read_manifest(path.parent, CorpusManifest)
        except StoreError:
            continue  # of an older schema: nothing to take over
        for bits, entry in manifest.shards.items():
            found[entry.inputs_digest] = ExistingShard(
                path.parent / data_name(bits), path.parent / index_name(bits), entry.data, entry.index
            )
    return found


def take_over(staging: Staging, shard: ShardPlan, existing: ExistingShard) -> ShardResult | None:
    """Links an equal shard into the staging folder; None where its files are gone or not of their size.

    What is away of it is away there too.
    """
    proofs = []
    for source, target, entry in (
        (existing.data, staging.data(shard.bits), existing.data_entry),
        (existing.index, staging.index(shard.bits), existing.index_entry),
    ):
        gone = away(source)
        if gone is not None and gone.entry == entry:
            target.unlink(missing_ok=True)
            note_away(target, entry, gone.remote)
            proofs.append(FileProof.of_away(entry))
            continue
        try:
            if source.stat().st_size != entry.size_bytes:
                return None
            target.unlink(missing_ok=True)
            os.link(source, target)
        except FileNotFoundError:
            return None
        came_back([target])
        proofs.append(FileProof.of(target, entry))
    sync_directory(staging.files)
    result = ShardResult(
        bits=shard.bits, inputs_digest=shard.inputs_digest, data=proofs[0], index=proofs[1], how="reused"
    )
    staging.write_result(result)
    return result
