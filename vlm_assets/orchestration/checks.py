"""Checks on `corpus`: the audit's findings, one check a name; blocking where the severity is error.

What is checked lies in `audit`, which imports neither allocator nor writer. A finding that was not judged is no pass.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import dagster as dg

from vlm_assets.audit.findings import Severity, finding_names, severity_of
from vlm_assets.catalog.spec import Catalog
from vlm_assets.installation import Installation
from vlm_assets.orchestration.names import CORPUS_KEY
from vlm_assets.orchestration.targets import target_partitions

if TYPE_CHECKING:
    from vlm_assets.audit.findings import Finding

_SEVERITIES: Final = {
    Severity.ERROR: dg.AssetCheckSeverity.ERROR,
    Severity.WARNING: dg.AssetCheckSeverity.WARN,
}


def corpus_checks(catalog: Catalog) -> dg.AssetChecksDefinition:
    """All checks on the corpus, made by one audit."""
    partitions = target_partitions(catalog)

    @dg.multi_asset_check(
        name="audit",
        specs=[
            dg.AssetCheckSpec(
                str(name),
                asset=CORPUS_KEY,
                blocking=severity_of(name) is Severity.ERROR,
                partitions_def=partitions,
            )
            for name in finding_names()
        ],
        description="Counts the sealed corpus again from its files, slices, listings and the catalogue.",
    )
    def audit(
        context: dg.AssetCheckExecutionContext, installation: dg.ResourceParam[Installation]
    ) -> Iterator[dg.AssetCheckResult]:
        from vlm_assets.audit.run import audit_corpus

        for finding in audit_corpus(installation, context.partition_key):
            yield check_result(finding)

    return audit


def check_result(finding: "Finding") -> dg.AssetCheckResult:
    """A finding as Dagster shows it."""
    state = "" if finding.judged else "not judged: "
    examples = "\n".join(f"- {example}" for example in finding.examples) or "none"
    return dg.AssetCheckResult(
        asset_key=CORPUS_KEY,
        check_name=str(finding.name),
        passed=finding.passed,
        severity=_SEVERITIES[finding.severity],
        description=f"{state}{finding.observed}"
        + ("" if finding.passed else f"; expected {finding.expected}"),
        metadata={
            "expected": finding.expected,
            "observed": finding.observed,
            "examples": dg.MetadataValue.md(examples),
            "figures": dg.MetadataValue.json(dict(finding.figures)),
            "seconds": round(finding.seconds, 3),
        },
    )
