"""`report`: the papers of a corpus, with their figures; a partition is a target. What they say lies in `papers`."""

import dagster as dg

from vlm_assets.installation.opening import Installation
from vlm_assets.operate.logs import logging_where
from vlm_assets.orchestration.assets.groups import LINE_GROUP, catalog_references, owners_of
from vlm_assets.orchestration.assets.metadata import version_of
from vlm_assets.orchestration.assets.metadata_line import card_tables, rights_table, terms_table
from vlm_assets.orchestration.assets.targets import target_partitions
from vlm_assets.orchestration.names import CORPUS_KEY, REPORT_KEY
from vlm_assets.orchestration.run.ecs import TARGET
from vlm_assets.remote.line import line_remote
from vlm_assets.words.moving import moving


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
        kinds={"markdown", "html"},
        owners=owners_of(installed.settings),
        metadata={
            **catalog_references(installed.catalog_dir),
            "dagster/uri": str(installed.root.path / "corpora"),
        },
        description=(
            "Writes the papers into the sealed corpus: the report (`report.html`, for people), the card "
            "(`README.md`), `croissant.json` and `summary.json`: composition, quotas asked and granted, rejects and "
            "exclusions by reason, licences, churn against the corpus before, hashes."
        ),
    )
    def report(
        context: dg.AssetExecutionContext, installation: dg.ResourceParam[Installation]
    ) -> dg.MaterializeResult[None]:
        from vlm_assets.papers.write import STEPS, write_papers

        remote = line_remote(installation)
        remote.before_reading(context.partition_key)
        target = context.partition_key
        step = moving(f"papers of {target}", STEPS)
        with logging_where(context.run.run_id, f"{catalog.corpus.name}/{target}"), step as advance:
            papers = write_papers(installation, target, lambda _: advance(1))
        remote.after_seal(context.partition_key)
        text = papers.card.read_text("utf-8").split("---", 2)[-1]  # without the header that the Hub reads
        return dg.MaterializeResult(
            metadata={
                **card_tables(papers.figures),
                "licences": rights_table(papers.figures),
                "terms": terms_table(papers.figures),
                "terms to accept": sum(one["state"] != "accepted" for one in papers.figures["terms"]),
                "takedowns": papers.figures["takedowns"]["in_plan"] + papers.figures["takedowns"]["since"],
                "card": dg.MetadataValue.md(text),
                "figures": papers.figures,
                "version": version_of(str(papers.card.parent)),
                "papers": f"{papers.card.name}, {papers.report.name} in its folder",
            }
        )

    return report
