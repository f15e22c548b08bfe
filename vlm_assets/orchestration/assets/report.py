"""`report`: the corpus's card with its figures; a partition is a target. What the card says lies in `corpus.card`."""

import dagster as dg

from vlm_assets.catalog.spec import Catalog
from vlm_assets.installation.opening import Installation
from vlm_assets.operate.logs import logging_where
from vlm_assets.orchestration.assets.groups import LINE_GROUP
from vlm_assets.orchestration.assets.metadata_line import rights_table
from vlm_assets.orchestration.assets.targets import target_partitions
from vlm_assets.orchestration.names import CORPUS_KEY, REPORT_KEY
from vlm_assets.orchestration.run.ecs import TARGET
from vlm_assets.remote.line import line_remote


def report_asset(catalog: Catalog) -> dg.AssetsDefinition:
    """The report asset, after the corpus and its blocking checks."""

    @dg.asset(
        key=REPORT_KEY,
        deps=[CORPUS_KEY],
        partitions_def=target_partitions(catalog),
        backfill_policy=dg.BackfillPolicy.multi_run(1),
        group_name=LINE_GROUP,
        op_tags=TARGET.tags,
        kinds={"markdown"},
        description=(
            "Writes the card (`README.md`) into the sealed corpus: composition, quotas asked and granted, rejects "
            "and exclusions by reason, licences, churn against the corpus before, hashes."
        ),
    )
    def report(
        context: dg.AssetExecutionContext, installation: dg.ResourceParam[Installation]
    ) -> dg.MaterializeResult[None]:
        from vlm_assets.corpus.card import write_card

        remote = line_remote(installation)
        remote.before_reading(context.partition_key)
        with logging_where(context.run.run_id, f"{catalog.corpus.name}/{context.partition_key}"):
            card = write_card(installation, context.partition_key)
        remote.after_seal(context.partition_key)
        text = card.path.read_text("utf-8").split("---", 2)[-1]  # without the header that the Hub reads
        return dg.MaterializeResult(
            metadata={
                "card": dg.MetadataValue.md(text),
                "figures": card.figures,
                "licences": dg.MetadataValue.md(rights_table(card.figures)),
                "terms to accept": sum(one["state"] != "accepted" for one in card.figures["terms"]),
                "takedowns": card.figures["takedowns"]["in_plan"] + card.figures["takedowns"]["since"],
                "dagster/uri": str(card.path),
            }
        )

    return report
