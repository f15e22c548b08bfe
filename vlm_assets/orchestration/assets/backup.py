"""`backup`: what the remote lacks is pushed. How, and in which order, lies in `store.remote`."""

from collections.abc import Iterator
from typing import Final

import dagster as dg

from vlm_assets.catalog.spec import Catalog
from vlm_assets.installation.opening import Installation
from vlm_assets.orchestration.assets.groups import LINE_GROUP
from vlm_assets.orchestration.assets.takedowns import finish_before
from vlm_assets.orchestration.names import BACKUP_KEY, CORPUS_KEY
from vlm_assets.orchestration.run.ecs import BACKUP
from vlm_assets.remote.line import line_remote

STATE: Final = "state of the data root"
"""Metadata: the hash of what was on disk when the backup began; the sensor compares it."""


def backup_asset(catalog: Catalog) -> dg.AssetsDefinition:
    """The backup asset of a catalogue, after all targets."""

    @dg.asset(
        key=BACKUP_KEY,
        deps=[dg.AssetDep(CORPUS_KEY, partition_mapping=dg.AllPartitionMapping())],
        group_name=LINE_GROUP,
        op_tags=BACKUP.tags,
        kinds={"s3"},
        output_required=False,  # without a remote nothing was pushed, and no event says so
        description=(
            f"Pushes everything of {catalog.corpus.name} that the remote (VLM_REMOTE) lacks: each file once, "
            "manifests after their files, pointers last. Deletes nothing. Without a remote: does nothing."
        ),
    )
    def backup(
        context: dg.AssetExecutionContext, installation: dg.ResourceParam[Installation]
    ) -> Iterator[dg.MaterializeResult[None]]:
        from vlm_assets.remote.backup import backup as push
        from vlm_assets.remote.state import backup_state

        if not installation.settings.remote:
            context.log.info("Skipped: no remote is set (VLM_REMOTE). Nothing was pushed.")
            return
        line_remote(installation).before_slices()
        finish_before(installation, context.log.warning, attempted=True)
        state = backup_state(installation.root)
        done = push(installation)
        if done.failed:
            raise dg.Failure(
                "\n".join(f"{name}: {told}" for name, told in done.failed.items()), allow_retries=True
            )
        facts = done.model_dump(mode="json", exclude={"done", "failed"})
        yield dg.MaterializeResult(metadata={**facts, STATE: state})

    return backup
