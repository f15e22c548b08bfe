"""Runs every check and returns its finding; none keeps another from being made."""

import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import Final

from vlm_assets.audit import (
    checks_benchmarks,
    checks_files,
    checks_papers,
    checks_plan,
    checks_rows,
    checks_slices,
    checks_state,
    checks_upstream,
)
from vlm_assets.audit.evidence import Evidence, UnjudgedError
from vlm_assets.audit.findings import (
    MAX_EXAMPLES,
    Finding,
    FindingName,
    Severity,
    Verdict,
    exit_code,
    finding_names,
    severity_of,
)
from vlm_assets.audit.recount import Recount
from vlm_assets.installation.opening import Installation
from vlm_assets.words.errors import MachineError
from vlm_assets.workers.pool import WorkerPool
from vlm_assets.workers.program import CALLS, ONE_THREAD, Program

__all__ = ["Finding", "FindingName", "Severity", "audit_corpus", "exit_code", "finding_names"]

logger = logging.getLogger("vlm_assets.audit")

SAMPLE_ROWS: Final = 1_000
_IN_PROCESS_BYTES: Final = 256 * 2**20
"""Less data than this is read in the calling process: starting workers costs more."""
_CONTENT_MODULE: Final = "vlm_assets.audit.content"
_BESIDE: Final = (
    FindingName.SHARD_FILES,
    FindingName.SLICE_LEDGERS,
    FindingName.LOADABLE,
    FindingName.ROW_VALUES,
)
"""Judged beside the others, in this order: they read files that no other looks at."""
_LAST: Final = frozenset({*_BESIDE, FindingName.IMAGE_BYTES, FindingName.DECODES})
_BESIDE_THREADS: Final = 3
Progress = Callable[[str, int], None]
"""Told the name of the check under way, and rows read from data files so far."""


def audit_corpus(
    installation: Installation,
    target: str,
    *,
    full: bool = False,
    sample_rows: int = SAMPLE_ROWS,
    progress: Progress = lambda name, rows: None,  # noqa: ARG005 - does nothing
) -> list[Finding]:
    """One finding for every `FindingName`, in order, about the current corpus of a target.

    Counts come from index files, slices, listings and the catalogue; with `full` every byte of the corpus is read
    too (each image hashed, each row's values against its digest, each file against the manifest). What hangs on
    something broken is given as not judged, never as passed.

    Raises:
        StoreError: the target has no corpus; or a tombstone cannot be read.
    """
    # First of all: they import while this process reads what they are to do.
    pool = _started_workers(installation, target) if full else None
    with pool or nullcontext():
        findings = _judge_all(installation, target, pool, progress, full=full, sample_rows=sample_rows)
    failed = [str(f.name) for f in findings if f.failed]
    logger.info("%s: %d findings, failed: %s", target, len(findings), ", ".join(failed) or "none")
    return findings


def _started_workers(installation: Installation, target: str) -> "WorkerPool | None":
    """Worker processes, where there is much to read for more than one."""
    count = installation.settings.worker_count
    folder = installation.root.corpus(installation.catalog.corpus.name, target)
    if count == 1 or sum(path.stat().st_size for path in folder.glob("data-*.arrow")) < _IN_PROCESS_BYTES:
        return None
    environment = {**os.environ, **ONE_THREAD}
    return WorkerPool(
        Program("audit", CALLS, (_CONTENT_MODULE,), environment=environment), count, at_once=True
    )


def _judge_all(
    installation: Installation,
    target: str,
    pool: "WorkerPool | None",
    progress: Progress,
    *,
    full: bool,
    sample_rows: int,
) -> list[Finding]:
    evidence = Evidence(installation, target, full=full, sample_rows=sample_rows)
    threads = installation.settings.worker_count
    current = ""
    recount = Recount(evidence, threads=threads, pool=pool, tell_rows=lambda rows: progress(current, rows))
    checks = _checks()
    findings = []
    with ThreadPoolExecutor(_BESIDE_THREADS, thread_name_prefix="audit") as threads_beside:
        threads_beside.submit(recount.begin)
        begun = {name: threads_beside.submit(_judge, name, checks[name], recount) for name in _BESIDE}
        try:
            for name in sorted(checks, key=lambda name: name in _LAST):
                current = str(name)
                progress(current, 0)
                findings.append(
                    begun[name].result() if name in begun else _judge(name, checks[name], recount)
                )
        finally:
            threads_beside.shutdown(wait=False, cancel_futures=True)
            if pool is not None:
                pool.close()
    order = list(checks)
    return _own_up(sorted(findings, key=lambda one: order.index(one.name)))


def _checks() -> Mapping[FindingName, Callable[..., Verdict]]:
    modules = (
        checks_benchmarks, checks_files, checks_papers, checks_plan, checks_rows, checks_slices, checks_state,
        checks_upstream,
    )  # fmt: skip
    found = {name: function for module in modules for name, function in vars(module).items()}
    return {name: found[f"check_{name}"] for name in finding_names()}


def _judge(name: FindingName, check: Callable[..., Verdict], recount: object) -> Finding:
    clock = time.monotonic()
    try:
        verdict = check(recount)
    except Exception as error:
        if not isinstance(error, UnjudgedError | MachineError | MemoryError):
            logger.exception("the check %s failed itself", name)
            return Finding(
                name, passed=False, severity=severity_of(name), expected="to be judged",
                observed=f"the check itself failed: {type(error).__name__}: {error}",
                seconds=time.monotonic() - clock,
            )  # fmt: skip
        return Finding(
            name, passed=False, severity=severity_of(name), expected="to be judged",
            observed=str(error), judged=False, seconds=time.monotonic() - clock,
        )  # fmt: skip
    return Finding(
        name,
        passed=verdict.fault_count == 0,
        severity=Severity.WARNING if verdict.milder else severity_of(name),
        expected=verdict.expected,
        observed=verdict.observed,
        examples=tuple(verdict.faults[:MAX_EXAMPLES]),
        figures=verdict.figures,
        seconds=time.monotonic() - clock,
    )


def _own_up(findings: Sequence[Finding]) -> list[Finding]:
    """Where something was not judged and no finding says what is broken, that is a failure of its own."""
    if any(f.failed for f in findings):
        return list(findings)
    return [
        f
        if f.judged
        else Finding(
            f.name,
            passed=False,
            severity=f.severity,
            expected=f.expected,
            observed=f.observed,
            seconds=f.seconds,
        )
        for f in findings
    ]
