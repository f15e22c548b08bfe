"""Checks on `corpus`: the audit's findings, one check a name; blocking where the severity is error.

What is checked lies in `audit`, which imports neither allocator nor writer. A finding that was not judged is no pass.
A run of a target judges that target. A run of none, which is what *Execute all* starts, judges every target that is
sealed, each under its own name.
"""

import ast
import inspect
import itertools
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, cast

import dagster as dg
from dagster._core.definitions.asset_checks.asset_check_evaluation import (
    AssetCheckEvaluationTargetMaterializationData,
)
from dagster_shared.record import replace
from pydantic import Field

from vlm_assets.audit.findings import FindingName, Severity, finding_names, severity_of
from vlm_assets.catalog.spec import Catalog
from vlm_assets.installation.opening import Installation
from vlm_assets.orchestration.assets.due import corpus_due, sealed_targets, tell
from vlm_assets.orchestration.assets.metadata import shortened
from vlm_assets.orchestration.assets.tables import listed
from vlm_assets.orchestration.assets.targets import target_partitions
from vlm_assets.orchestration.names import CORPUS_KEY, DUE
from vlm_assets.orchestration.run.check_events import as_event
from vlm_assets.orchestration.run.ecs import TARGET
from vlm_assets.remote.line import line_remote
from vlm_assets.words.moving import moving

if TYPE_CHECKING:
    from vlm_assets.audit.findings import Finding

_TOLD: Final = 3
_TOLD_DUE: Final = "It has what its sources list: no slice is due, and it was built from what is committed."
_SEVERITIES: Final = {
    Severity.ERROR: dg.AssetCheckSeverity.ERROR,
    Severity.WARNING: dg.AssetCheckSeverity.WARN,
}


class AuditConfig(dg.Config):
    """What a run without a target judges; the launchpad of the job shows it."""

    target: str = Field(default="", description="One target; none named: every one that has a corpus.")
    checks: list[str] = Field(
        default_factory=list, description="Only these; none named: all that are selected."
    )


def corpus_checks(catalog: Catalog) -> dg.AssetChecksDefinition:
    """All checks on the corpus, made by one audit."""
    partitions = target_partitions(catalog)
    meanings = member_docs(FindingName)
    names = [*map(str, finding_names()), DUE]

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
        ]
        + [
            dg.AssetCheckSpec(DUE, asset=CORPUS_KEY, description=_TOLD_DUE, partitions_def=partitions),
        ],
        op_tags=TARGET.tags,
        can_subset=True,  # without it the UI offers no run of a check
        description="Counts the sealed corpus again from its files, slices, listings and the catalogue.",
    )
    def audit(
        context: dg.AssetCheckExecutionContext,
        config: AuditConfig,
        installation: dg.ResourceParam[Installation],
    ) -> Iterator[dg.AssetCheckResult]:
        wanted = {key.name for key in context.selected_asset_check_keys} & (set(config.checks) or set(names))
        if context.has_partition_key:
            yield from audited(installation, context.partition_key, wanted)
            return
        targets = _targets(installation, config.target)
        found = {target: audited(installation, target, wanted) for target in targets}
        for target, results in found.items():
            for one in results:
                tell(context.op_execution_context, _evaluation(context.instance, target, one))
        for name in (one for one in names if one in wanted):
            # Not yielded: for a result Dagster looks up the corpus's version, and fails over its partitions (1.13).
            tell(context.op_execution_context, as_event(_of_all(name, found)))

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


def audited(installation: Installation, target: str, wanted: set[str]) -> list[dg.AssetCheckResult]:
    """Results of the wanted checks on a target's sealed corpus."""
    from vlm_assets.audit.run import audit_corpus

    line_remote(installation).before_reading(target)
    results: list[dg.AssetCheckResult] = []
    if wanted - {DUE}:
        with moving(f"audit {target}", len(finding_names())) as advance:
            # The rows read meanwhile are told under the name of the check: 0 is a check that begins.
            found = audit_corpus(installation, target, progress=lambda _, rows: advance(not rows))
        results = [check_result(one) for one in found if str(one.name) in wanted]
    return [*results, corpus_due(installation, target)] if DUE in wanted else results


def check_result(finding: "Finding") -> dg.AssetCheckResult:
    """A finding as Dagster shows it: a sentence, and every number under its name, which the UI plots by run."""
    return dg.AssetCheckResult(
        asset_key=CORPUS_KEY,
        check_name=str(finding.name),
        passed=finding.passed,
        severity=_SEVERITIES[finding.severity],
        description=sentence(finding),
        metadata={
            "expected": finding.expected,
            "observed": finding.observed,
            **({"examples": listed("example", finding.examples)} if finding.examples else {}),
            **numbers(finding.figures),
            **_tables(finding.figures),
        },
    )


def sentence(finding: "Finding") -> str:
    """What was found, to be read by itself."""
    if not finding.judged:
        return f"Not judged: {finding.observed}. It would hold if: {finding.expected}."
    if finding.passed:
        return f"Holds: {finding.expected}. Found: {finding.observed}."
    examples = f" For example: {'; '.join(finding.examples[:_TOLD])}." if finding.examples else ""
    return f"Does not hold. Expected: {finding.expected}. Found: {finding.observed}.{examples}"


def numbers(figures: Mapping[str, Any]) -> dict[str, int | float]:
    """The figures that are numbers: those that the UI can plot."""
    return {
        name.replace("_", " "): value
        for name, value in figures.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


def _tables(figures: Mapping[str, Any]) -> dict[str, dg.MetadataValue[Any]]:
    """Figures by name (of a source, a node, a licence) as one JSON each; what is neither is text."""
    told: dict[str, dg.MetadataValue[Any]] = {}
    for name, value in figures.items():
        if isinstance(value, str):
            told[name.replace("_", " ")] = dg.MetadataValue.text(shortened(value))
        elif isinstance(value, Mapping | list | tuple) and value:
            told[name.replace("_", " ")] = dg.MetadataValue.json(value)
    return told


def _targets(installation: Installation, wanted: str) -> list[str]:
    """The sealed targets, or the one that is wanted.

    Raises:
        dg.Failure: there is none, or not this one.
    """
    sealed = sealed_targets(installation)
    if not sealed:
        told = "no target has a corpus yet, there is nothing to check: materialize one first"
        raise dg.Failure(told, allow_retries=False)
    if wanted and wanted not in sealed:
        told = f"{wanted!r} is no target with a corpus; there are: {', '.join(sealed)}"
        raise dg.Failure(told, allow_retries=False)
    return [wanted] if wanted else sealed


def _evaluation(
    instance: dg.DagsterInstance, target: str, result: dg.AssetCheckResult
) -> dg.AssetCheckEvaluation:
    """A result as an event of its target, for a run that has none."""
    wanted = dg.AssetRecordsFilter(asset_key=CORPUS_KEY, asset_partitions=[target])
    event = as_event(result, target)
    for one in instance.fetch_materializations(wanted, limit=1).records:
        judged = AssetCheckEvaluationTargetMaterializationData(
            storage_id=one.storage_id, run_id=one.run_id, timestamp=one.timestamp
        )
        return replace(event, target_materialization_data=judged)
    return event


def _of_all(name: str, found: Mapping[str, Sequence[dg.AssetCheckResult]]) -> dg.AssetCheckResult:
    """One check over all targets: as bad as its worst."""
    by_target = {
        target: one for target, results in found.items() for one in results if one.check_name == name
    }
    failed = [one for one in by_target.values() if not one.passed]
    blocking = any(one.severity is dg.AssetCheckSeverity.ERROR for one in failed or by_target.values())
    return dg.AssetCheckResult(
        asset_key=CORPUS_KEY,
        check_name=name,
        passed=not failed,
        severity=dg.AssetCheckSeverity.ERROR if blocking else dg.AssetCheckSeverity.WARN,
        description="\n".join(f"{target}: {one.description}" for target, one in by_target.items()),
        metadata={"targets": len(by_target), "targets failed": len(failed)},
    )
