"""`corpus`: plan the shards, write each as a step of its own, seal; a partition is a target.

What a shard is lies in `corpus`. Steps hand on paths and bits only; what exists already is found on disk by evidence,
so a new run, a retry and a re-execution from failure all go on where the last one stopped.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import dagster as dg

from vlm_assets.catalog.spec import Catalog
from vlm_assets.installation.opening import Installation
from vlm_assets.operate.logs import logging_where
from vlm_assets.orchestration.assets.groups import LINE_GROUP
from vlm_assets.orchestration.assets.metadata_line import corpus_metadata
from vlm_assets.orchestration.assets.targets import target_partitions
from vlm_assets.orchestration.names import ALLOCATION_KEY, CORPUS_KEY, CORPUS_POOL
from vlm_assets.orchestration.run.ecs import TARGET
from vlm_assets.orchestration.run.locks import hold_or_wait, lock_wait_s
from vlm_assets.orchestration.run.progress import ProgressLines
from vlm_assets.orchestration.run.resources import ProgressSink
from vlm_assets.remote.line import line_remote

ShardRef = tuple[str, str]
"""(staging folder, bits): all that a shard's writer needs."""

_TOLD: Final = (
    "The sealed corpus of a target: Arrow shards that `datasets.load_from_disk` opens, the same bytes for the same "
    "inputs. Shards that have not changed are hard links to the last version."
)


@dg.op(
    pool=CORPUS_POOL,
    tags=TARGET.tags,
    ins={"allocation": dg.In(dg.Nothing)},
    out={"staging": dg.Out(str), "shards": dg.DynamicOut()},
)
def plan_shards(
    context: dg.OpExecutionContext, installation: dg.ResourceParam[Installation]
) -> Iterator[dg.Output[str] | dg.DynamicOutput[ShardRef]]:
    """Lays out the corpus from the allocation; one dynamic output for each shard that is still to be written."""
    from vlm_assets.allocation.step import tombstones_in_force
    from vlm_assets.corpus.build import corpus_lock, pending_shards, prepare_pending
    from vlm_assets.corpus.shards import plan_shards as plan

    root, name, target = installation.root, installation.catalog.corpus.name, context.partition_key
    remote = line_remote(installation)
    remote.before_shards(target)
    lock = corpus_lock(root, name, target)
    purpose = f"planning corpus {name}/{target}"
    with (
        logging_where(context.run.run_id, f"{name}/{target}"),
        hold_or_wait(lock, purpose, wait_s=lock_wait_s(context.run), log=context.log),
    ):
        staging, work = plan(root.allocation(name, target), root, tombstones_in_force(root))
    pending = tuple(remote.to_write(staging, pending_shards(staging)))
    prepare_pending(staging, pending)
    context.log.info("%d of %d shards are to be written", len(pending), len(work.shards))
    yield dg.Output(str(staging), "staging")
    for shard in pending:
        yield dg.DynamicOutput((str(staging), shard.bits), mapping_key=f"r{shard.bits}", output_name="shards")


@dg.op(pool=CORPUS_POOL, tags=TARGET.tags, out=dg.Out(str))
def write_shard(
    context: dg.OpExecutionContext,
    installation: dg.ResourceParam[Installation],
    progress: dg.ResourceParam[ProgressSink],
    shard: ShardRef,
) -> str:
    """Writes one shard; does nothing where it is complete."""
    from vlm_assets.corpus.work import Staging
    from vlm_assets.corpus.writer import ShardProgress
    from vlm_assets.corpus.writer import write_shard as write

    remote = line_remote(installation)
    staging, bits = remote.staging_here(context.partition_key, Path(shard[0])), shard[1]
    name, rows = f"shard r{bits}", Staging(staging).read_plan().find(bits).rows
    lines = ProgressLines(name, rows, context.log.info)
    seen = ShardProgress(bits, 0, 0)

    def on_window(now: ShardProgress) -> None:
        nonlocal seen
        lines.advance(now.rows - seen.rows, now.size_bytes - seen.size_bytes)
        progress.advance(name, now.rows - seen.rows, now.size_bytes - seen.size_bytes)
        seen = now
        lines.tell()

    progress.start(name, rows)
    try:
        with logging_where(context.run.run_id, f"{context.partition_key} {name}"):
            write(staging, bits, on_window=on_window)
    finally:
        progress.finish(name)
    remote.after_shard(staging, bits)
    return bits


@dg.op(pool=CORPUS_POOL, tags=TARGET.tags, out=dg.Out(dg.Nothing))
def seal(
    context: dg.OpExecutionContext,
    installation: dg.ResourceParam[Installation],
    staging: str,
    written: Sequence[str],
) -> dg.Output[None]:
    """Makes the staged shards the target's corpus in one step.

    A run that was killed or cancelled leaves shards that no step stands for: a re-execution from failure knows only
    the mapped steps that had begun (seen in 1.13). Those are written here.
    """
    from vlm_assets.corpus.build import corpus_lock, write_pending
    from vlm_assets.corpus.seal import seal as seal_corpus

    corpus, target = installation.catalog.corpus, context.partition_key
    remote = line_remote(installation)
    here = remote.before_seal(target, Path(staging))
    lock, purpose = (
        corpus_lock(installation.root, corpus.name, target),
        f"sealing corpus {corpus.name}/{target}",
    )
    with (
        logging_where(context.run.run_id, f"{corpus.name}/{target}"),
        hold_or_wait(lock, purpose, wait_s=lock_wait_s(context.run), log=context.log),
    ):
        late = write_pending(here, workers=installation.settings.worker_count)
        manifest = seal_corpus(here, keep_versions=corpus.keep_versions)
    remote.after_seal(target)
    path = installation.root.corpus(corpus.name, target)
    return dg.Output(
        None,
        metadata=corpus_metadata(manifest, path, shards_written=len(written) + late),
        data_version=dg.DataVersion(manifest.root_hash),
    )


def corpus_asset(catalog: Catalog) -> dg.AssetsDefinition:
    """The graph-backed corpus asset."""

    @dg.graph_asset(
        key=CORPUS_KEY,
        ins={"allocation": dg.AssetIn(ALLOCATION_KEY, dagster_type=dg.Nothing)},
        partitions_def=target_partitions(catalog),
        backfill_policy=dg.BackfillPolicy.multi_run(1),
        group_name=LINE_GROUP,
        kinds={"arrow", "huggingface"},
        description=_TOLD,
    )
    def corpus(allocation: Any) -> Any:
        staging, shards = plan_shards(allocation)
        return seal(staging, shards.map(write_shard).collect())

    return corpus
