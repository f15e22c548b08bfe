"""Checks on `corpus`: the audit's findings, one check a name; blocking where the severity is error.

What is checked lies in `audit`, which imports neither allocator nor writer. A finding that was not judged is no pass.
"""

import ast
import inspect
import itertools
from collections.abc import Iterator
from enum import Enum
from typing import TYPE_CHECKING, Final, cast

import dagster as dg

from vlm_assets.audit.findings import FindingName, Severity, finding_names, severity_of
from vlm_assets.catalog.spec import Catalog
from vlm_assets.installation.opening import Installation
from vlm_assets.orchestration.assets.targets import target_partitions
from vlm_assets.orchestration.names import CORPUS_KEY
from vlm_assets.orchestration.run.ecs import TARGET
from vlm_assets.remote.line import line_remote

if TYPE_CHECKING:
    from vlm_assets.audit.findings import Finding

_SEVERITIES: Final = {
    Severity.ERROR: dg.AssetCheckSeverity.ERROR,
    Severity.WARNING: dg.AssetCheckSeverity.WARN,
}


def corpus_checks(catalog: Catalog) -> dg.AssetChecksDefinition:
    """All checks on the corpus, made by one audit."""
    partitions = target_partitions(catalog)
    meanings = member_docs(FindingName)

    @dg.multi_asset_check(
        name="audit",
        specs=[
            dg.AssetCheckSpec(
                str(name),
                asset=CORPUS_KEY,
                description=meanings.get(name.name),
                blocking=severity_of(name) is Severity.ERROR,
                partitions_def=partitions,
            )
            for name in finding_names()
        ],
        op_tags=TARGET.tags,
        can_subset=True,  # without it the UI offers no run of a check
        description="Counts the sealed corpus again from its files, slices, listings and the catalogue.",
    )
    def audit(
        context: dg.AssetCheckExecutionContext, installation: dg.ResourceParam[Installation]
    ) -> Iterator[dg.AssetCheckResult]:
        from vlm_assets.audit.run import audit_corpus

        line_remote(installation).before_reading(context.partition_key)
        wanted = {key.name for key in context.selected_asset_check_keys}
        for finding in audit_corpus(installation, context.partition_key):
            if str(finding.name) in wanted:
                yield check_result(finding)

    return audit


def member_docs(kind: type[Enum]) -> dict[str, str]:
    """The docstring below each member of an enum, by the member's name; Python keeps them only in the source."""
    body = cast("ast.ClassDef", ast.parse(inspect.getsource(kind)).body[0]).body
    docs = {}
    for member, doc in itertools.pairwise(body):
        match member, doc:
            case ast.Assign(targets=[ast.Name(id=name)]), ast.Expr(value=ast.Constant(value=str(text))):
                docs[name] = text
    return docs


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
            # One number a check would be plotted, run by run; nobody asks for the curve of an audit's seconds.
            "figures": dg.MetadataValue.json({**finding.figures, "seconds": round(finding.seconds, 3)}),
        },
    )
