"""`report`: the corpus's card with its figures; a partition is a target. What the card says lies in `corpus.card`."""

import dagster as dg

from vlm_assets.installation.opening import Installation
from vlm_assets.operate.logs import logging_where
from vlm_assets.orchestration.assets.groups import LINE_GROUP, catalog_references, owners_of
from vlm_assets.orchestration.assets.metadata import placed
from vlm_assets.orchestration.assets.metadata_line import card_tables, rights_table, terms_table
from vlm_assets.orchestration.assets.targets import target_partitions
from vlm_assets.orchestration.names import CORPUS_KEY, REPORT_KEY
from vlm_assets.orchestration.run.ecs import TARGET
from vlm_assets.remote.line import line_remote


def report_asset(installed: Installation) -> dg.AssetsDefinition:
    """The report asset, after the corpus and its blocking checks."""
    catalog = installed.catalog

    @dg.asset(
        key=REPORT_KEY,
        deps=[CORPUS_KEY],
        partitions_def=target_partitions(catalog),
        backfill_policy=dg.BackfillPolicy.multi_run(1),
        group_name=LINE_GROUP,
        op_tags=TARGET.tags,
        kinds={"markdown"},
        owners=owners_of(installed.settings),
        metadata={
            **catalog_references(installed.catalog_dir),
            "dagster/uri": str(installed.root.path / "corpora"),
        },
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
                **card_tables(card.figures),
                "licences": rights_table(card.figures),
                "terms": terms_table(card.figures),
                "terms to accept": sum(one["state"] != "accepted" for one in card.figures["terms"]),
                "takedowns": card.figures["takedowns"]["in_plan"] + card.figures["takedowns"]["since"],
                "card": dg.MetadataValue.md(text),
                "figures": card.figures,
                "path": placed(str(card.path)),
            }
        )

    return report
