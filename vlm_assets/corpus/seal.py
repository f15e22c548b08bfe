"""The seal: every shard is there, the manifest says so, the name points to it.

Reads a staging folder; writes a corpus version, swaps the symlink, removes versions that are no longer kept.
"""

from pathlib import Path

from vlm_assets.corpus.manifest import (
    CorpusManifest,
    ShardEntry,
    corpus_rows_hash,
    data_name,
    index_name,
    root_hash,
)
from vlm_assets.corpus.order import ORDER_VERSION
from vlm_assets.corpus.staging import CorpusPlan, ShardResult, Staging
from vlm_assets.store.arrow_files import dataset_state, write_bytes
from vlm_assets.store.away import away, note_of
from vlm_assets.store.versions import (
    commit_version,
    current_version,
    read_manifest,
    remove_version,
    swap_link,
)
from vlm_assets.words.counts import so_many
from vlm_assets.words.disk import named_disk_errors, remove_tree
from vlm_assets.words.errors import CorpusError, StoreError
from vlm_assets.words.layout import MANIFEST, STAGING, VERSIONS, DataRoot
from vlm_assets.words.manifest import FileEntry

PINS = ".pins"


@named_disk_errors
def seal(staging_path: Path, *, keep_versions: int = 2) -> CorpusManifest:
    """Makes the staged shards the target's corpus; returns its manifest. The caller holds the corpus lock.

    One that was cut after it had placed the version goes on from there.

    Raises:
        CorpusError: a shard is missing or changed; names those.
    """
    staging = Staging(staging_path)
    plan = staging.read_plan()
    link = DataRoot(Path(plan.data_root)).corpus(plan.corpus, plan.target)
    placed = None if staging.files.is_dir() else _placed(plan, link)
    if placed is not None:
        swap_link(link, Path(VERSIONS) / placed.version)
        _clean_up(link, keep_versions)
        return placed
    results = _results(staging, plan)
    files = {data_name(bits): result.data.entry for bits, result in results.items()}
    files |= {index_name(bits): result.index.entry for bits, result in results.items()}
    root = root_hash(files)
    _remove_strangers(staging, files)
    data_files = [data_name(bits) for bits in sorted(results)]
    for name, content in dataset_state(data_files, root[:16]).items():
        (staging.files / name).unlink(missing_ok=True)
        files[name] = write_bytes(staging.files / name, content)
    manifest = _manifest(plan, results, files, root)
    commit_version(staging.files, link, manifest)
    _clean_up(link, keep_versions)
    return manifest


def _placed(plan: CorpusPlan, link: Path) -> CorpusManifest | None:
    """The version that was made of this plan, where there is one."""
    shards = {shard.bits: shard.inputs_digest for shard in plan.shards}
    for folder in sorted((link.parent / VERSIONS).glob("*")):
        try:
            found = read_manifest(folder, CorpusManifest)
        except StoreError:
            continue
        made_of = found.target, found.allocation_version, found.tombstones
        if made_of == (plan.target, plan.allocation_version, plan.tombstones) and shards == {
            bits: shard.inputs_digest for bits, shard in found.shards.items()
        }:
            return found
    return None


def _results(staging: Staging, plan: CorpusPlan) -> dict[str, ShardResult]:
    found = {shard.bits: staging.result(shard) for shard in plan.shards}
    missing = [f"r{bits}" for bits, result in found.items() if result is None]
    if missing:
        raise CorpusError(
            f"{plan.corpus}/{plan.target}: {len(missing)} of {so_many(len(found), 'shard')} not complete "
            f"({', '.join(missing[:8])}); write them first"
        )
    return {bits: result for bits, result in found.items() if result is not None}


def _remove_strangers(staging: Staging, files: dict[str, FileEntry]) -> None:
    """Removes what a killed writer or another layout left in the version's folder."""
    notes = {note_of(path).name for path in map(staging.files.joinpath, files) if away(path) is not None}
    for path in staging.files.iterdir():
        if path.name not in files and path.name not in notes:
            path.unlink()


def _manifest(
    plan: CorpusPlan, results: dict[str, ShardResult], files: dict[str, FileEntry], root: str
) -> CorpusManifest:
    shards = {
        shard.bits: ShardEntry(
            rows=shard.rows,
            holes=shard.holes,
            planned_bytes=shard.planned_bytes,
            inputs_digest=shard.inputs_digest,
            data=results[shard.bits].data.entry,
            index=results[shard.bits].index.entry,
            rows_hash=shard.rows_hash,
        )
        for shard in plan.shards
    }
    return CorpusManifest(
        corpus=plan.corpus,
        target=plan.target,
        target_rows=plan.target_rows,
        rows=sum(entry.rows for entry in shards.values()),
        holes=sum(entry.holes for entry in shards.values()),
        seed=plan.seed,
        inputs_hash=plan.inputs_hash,
        algorithm_version=plan.algorithm_version,
        order_version=ORDER_VERSION,
        allocation_version=plan.allocation_version,
        shard=plan.shard,
        shards=shards,
        root_hash=root,
        rows_hash=corpus_rows_hash((bits, entry.rows_hash) for bits, entry in shards.items()),
        tombstones=plan.tombstones,
        sources=plan.sources,
        categories=plan.categories,
        data_bytes=sum(entry.data.size_bytes for entry in shards.values()),
        files=files,
    )


def _clean_up(link: Path, keep_versions: int) -> None:
    """Removes this target's staging folders and the versions beyond those kept."""
    for path in (link.parent / STAGING).glob(f"{link.name}-*"):
        remove_tree(path)
    prune_versions(link, keep_versions)


def pinned_versions(corpus_dir: Path) -> frozenset[str]:
    """Versions that must not be deleted: one file each, `<corpus>/.pins/<version>`, whatever it says."""
    folder = corpus_dir / PINS
    return frozenset(path.name for path in folder.iterdir()) if folder.is_dir() else frozenset()


def prune_versions(link: Path, keep_versions: int, *, dry_run: bool = False) -> list[Path]:
    """Deletes versions of this target but the current, the newest `keep_versions` and the pinned; returns them.

    Newest by the time their manifest was written. Versions of other targets of the corpus, which stand in the
    same folder, are not looked at. `dry_run` deletes none.
    """
    current = current_version(link)
    pinned = pinned_versions(link.parent)
    own: list[tuple[bool, int, Path]] = []
    for path in (link.parent / VERSIONS).iterdir():
        try:
            target = read_manifest(path, CorpusManifest).target
        except StoreError:
            continue
        if target == link.name:
            own.append((path == current, (path / MANIFEST).stat().st_mtime_ns, path))
    removed = []
    for _, _, path in sorted(own, reverse=True)[keep_versions:]:
        if path.name not in pinned and path != current:
            if not dry_run:
                remove_version(path)
            removed.append(path)
    return removed
