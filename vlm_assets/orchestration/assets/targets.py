"""The targets as partitions, and what the assets over them share: their one pool. No asset lives here."""

import dagster as dg

from vlm_assets.catalog.spec import Catalog


def target_partitions(catalog: Catalog) -> dg.StaticPartitionsDefinition:
    """One partition a target, smallest first."""
    targets = catalog.corpus.targets
    return dg.StaticPartitionsDefinition(sorted(targets, key=lambda name: (targets[name], name)))


def refreshed_targets(catalog: Catalog) -> tuple[str, ...]:
    """Targets that the nightly rebuilds."""
    corpus = catalog.corpus
    return tuple(corpus.targets) if corpus.refresh_targets is None else corpus.refresh_targets
