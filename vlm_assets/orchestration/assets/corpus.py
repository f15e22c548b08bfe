"""`corpus`: plan the shards, write them, seal; a partition is a target.

What a shard is, and how shards are written on all cores, lies in `corpus`. Steps hand on paths and bits only; what
exists already is found on disk by evidence, so a new run, a retry and a re-execution from failure all go on where the
last one stopped.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import dagster as dg

from vlm_assets.installation.opening import Installation
from vlm_assets.locks import hold_lock
from vlm_assets.operate.logs import logging_where
from vlm_assets.orchestration.assets.groups import LINE_GROUP, catalog_references, owners_of
from vlm_assets.orchestration.assets.metadata_line import corpus_metadata
from vlm_assets.orchestration.assets.targets import target_partitions
from vlm_assets.orchestration.assets.thumbnails import corpus_thumbnails
from vlm_assets.orchestration.names import ALLOCATION_KEY, CORPUS_KEY, CORPUS_POOL
from vlm_assets.orchestration.run.ecs import TARGET
from vlm_assets.orchestration.run.locks import lock_wait_s
from vlm_assets.orchestration.run.progress import ProgressLines
from vlm_assets.orchestration.run.resources import ProgressSink
from vlm_assets.remote.line import line_remote
from vlm_assets.words.counts import so_many

Bundle = tuple[str, list[str]]
"""(staging folder, bits of shards): all that their writer needs."""

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
) -> Iterator[dg.Output[str] | dg.DynamicOutput[Bundle]]:
    """Lays out the corpus from the allocation; a dynamic output for each bundle of shards still to be written.

    One of all shards, which one step writes on all cores; one of each where steps are tasks on machines of their own.
    """
    from vlm_assets.allocation.step import tombstones_in_force
    from vlm_assets.corpus.build import corpus_lock, pending_shards
    from vlm_assets.corpus.shards import plan_shards as plan

    root, name, target = installation.root, installation.catalog.corpus.name, context.partition_key
    remote = line_remote(installation)
    remote.before_shards(target)
    lock = corpus_lock(root, name, target)
    purpose = f"planning corpus {name}/{target}"
    with (
        logging_where(context.run.run_id, f"{name}/{target}"),
        hold_lock(lock, purpose, wait_s=lock_wait_s(context.run)),
    ):
        staging, work = plan(root.allocation(name, target), root, tombstones_in_force(root))
    pending = [shard.bits for shard in remote.to_write(staging, pending_shards(staging))]
    context.log.info("%d of %d shards are to be written", len(pending), len(work.shards))
    yield dg.Output(str(staging), "staging")
    for key, bits in _bundles(pending, steps_are_tasks=installation.settings.step_executor == "ecs"):
        yield dg.DynamicOutput((str(staging), bits), mapping_key=key, output_name="shards")


def _bundles(pending: list[str], *, steps_are_tasks: bool) -> list[tuple[str, list[str]]]:
    """(mapping key, bits) of what each step writes."""
    if steps_are_tasks:
        return [(f"r{bits}", [bits]) for bits in pending]
    return [("all", pending)] if pending else []


@dg.op(pool=CORPUS_POOL, tags=TARGET.tags, out=dg.Out(int))
def write_shards(
    context: dg.OpExecutionContext,
    installation: dg.ResourceParam[Installation],
    progress: dg.ResourceParam[ProgressSink],
    shards: Bundle,
) -> int:
    """Writes those of the shards that are not complete, several at a time; how many these were."""
    from vlm_assets.corpus.build import BuildProgress, pending_shards
    from vlm_assets.corpus.build import write_shards as write

    remote, bits = line_remote(installation), frozenset(shards[1])
    objects = remote.row_objects()
    staging = remote.staging_here(context.partition_key, Path(shards[0]))
    rows = sum(shard.rows for shard in pending_shards(staging) if shard.bits in bits)
    name = f"{context.partition_key}: {so_many(len(bits), 'shard')}"
    lines, told = ProgressLines(name, rows, context.log.info), BuildProgress()

    def on_progress(now: BuildProgress) -> None:
        more = now.rows - told.rows, now.size_bytes - told.size_bytes
        told.rows, told.size_bytes = now.rows, now.size_bytes
        lines.advance(*more)
        progress.advance(name, *more)
        lines.tell()

    progress.start(name, rows)
    try:
        with logging_where(context.run.run_id, name):
            written = write(
                staging,
                bits,
                workers=installation.settings.worker_count,
                on_progress=on_progress,
                on_shard=lambda one: remote.after_shard(staging, one),
                objects=objects,
                shards_leave=remote.shards_leave,
            )
            if objects is not None:
                context.log.info("%s", objects)
            return written
    finally:
        progress.finish(name)


@dg.op(pool=CORPUS_POOL, tags=TARGET.tags, out=dg.Out(dg.Nothing))
def seal(
    context: dg.OpExecutionContext,
    installation: dg.ResourceParam[Installation],
    staging: str,
    written: Sequence[int],
) -> dg.Output[None]:
    """Makes the staged shards the target's corpus in one step.

    A run that was killed or cancelled leaves shards that no step stands for: a re-execution from failure knows only
    the mapped steps that had begun (seen in 1.13). Those are written here.
    """
    from vlm_assets.corpus.build import corpus_lock
    from vlm_assets.corpus.build import write_shards as write
    from vlm_assets.corpus.outcome import target_outcome
    from vlm_assets.corpus.seal import seal as seal_corpus
    from vlm_assets.operate.first_ledger import caption_facts_of

    corpus, target = installation.catalog.corpus, context.partition_key
    remote = line_remote(installation)
    here = remote.before_seal(target, Path(staging))
    lock, purpose = (
        corpus_lock(installation.root, corpus.name, target),
        f"sealing corpus {corpus.name}/{target}",
    )
    with (
        logging_where(context.run.run_id, f"{corpus.name}/{target}"),
        hold_lock(lock, purpose, wait_s=lock_wait_s(context.run)),
    ):
        late = write(
            here,
            workers=installation.settings.worker_count,
            on_shard=lambda one: remote.after_shard(here, one) if remote.shards_leave else None,
            objects=remote.row_objects(),
            shards_leave=remote.shards_leave,
        )
        manifest = seal_corpus(here, keep_versions=corpus.keep_versions)
    remote.after_seal(target)
    path = installation.root.corpus(corpus.name, target)
    return dg.Output(
        None,
        metadata=corpus_metadata(
            manifest,
            target_outcome(installation, target),
            path,
            shards_written=sum(written) + late,
            captions=caption_facts_of(installation, manifest.sources),
            pictures=corpus_thumbnails(path.resolve(), sorted(map(str, path.resolve().glob("data-*.arrow")))),
        ),
        data_version=dg.DataVersion(manifest.root_hash),
    )


def corpus_asset(installed: Installation) -> dg.AssetsDefinition:
    """The graph-backed corpus asset."""
    catalog = installed.catalog

    @dg.graph_asset(
        key=CORPUS_KEY,
        ins={"allocation": dg.AssetIn(ALLOCATION_KEY, dagster_type=dg.Nothing)},
        partitions_def=target_partitions(catalog),
        backfill_policy=dg.BackfillPolicy.multi_run(1),
        group_name=LINE_GROUP,
        kinds={"arrow", "huggingface"},
        owners=owners_of(installed.settings),
        metadata={
            **catalog_references(installed.catalog_dir),
            "dagster/uri": str(installed.root.path / "corpora"),
        },
        description=_TOLD,
    )
    def corpus(allocation: Any) -> Any:
        staging, shards = plan_shards(allocation)
        return seal(staging, shards.map(write_shards).collect())

    return corpus
