"""`backup`: what the remote lacks is pushed. How, and in which order, lies in `store.remote`."""

import dagster as dg

from vlm_assets.catalog.spec import Catalog
from vlm_assets.installation import Installation
from vlm_assets.orchestration.groups import LINE_GROUP
from vlm_assets.orchestration.names import BACKUP_KEY, CORPUS_KEY


def backup_asset(catalog: Catalog) -> dg.AssetsDefinition:
    """The backup asset of a catalogue, after all targets."""

    @dg.asset(
        key=BACKUP_KEY,
        deps=[dg.AssetDep(CORPUS_KEY, partition_mapping=dg.AllPartitionMapping())],
        group_name=LINE_GROUP,
        kinds={"s3"},
        description=(
            f"Pushes everything of {catalog.corpus.name} that the remote (VLM_REMOTE) lacks: each file once, "
            "manifests after their files, pointers last. Deletes nothing."
        ),
    )
    def backup(installation: dg.ResourceParam[Installation]) -> dg.MaterializeResult[None]:
        from vlm_assets.store.remote.backup import backup as push

        done = push(installation)
        if done.failed:
            raise dg.Failure(
                "\n".join(f"{name}: {told}" for name, told in done.failed.items()), allow_retries=True
            )
        return dg.MaterializeResult(metadata=done.model_dump(mode="json", exclude={"done", "failed"}))

    return backup
