"""Jobs for a look from the UI: `dry_run` (the plan) and `test_mode` (capped slices in their own data root).

What comes of them stands in their own runs, as metadata of the step's output: no asset gets an event of something
that did not happen to it. What a plan is lies in `forecast`; test mode is the build command in a process of its own,
with its data root and instance (`trial`).
"""

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any, Final

import dagster as dg
import orjson

from vlm_assets.installation.opening import Installation
from vlm_assets.orchestration.assets.tables import table

if TYPE_CHECKING:
    from vlm_assets.operate.forecast import Forecast

DRY_RUN_JOB: Final = "dry_run"
TEST_MODE_JOB: Final = "test_mode"
_COMMAND: Final = ("-c", "from vlm_assets.cli import main; main()", "build", "--test-mode", "--json")
_END_S: Final = 30.0


class TrialConfig(dg.Config):
    """What to look at; nothing given: the largest target."""

    target: str = ""


@dg.op(out=dg.Out(dg.Nothing))
def show_plan(
    context: dg.OpExecutionContext, config: TrialConfig, installation: dg.ResourceParam[Installation]
) -> None:
    """Gives the plan of a target as metadata of this step."""
    from vlm_assets.operate.forecast import forecast

    plan = forecast(installation, _target(installation, config))
    for told in plan.problems:
        context.log.warning(told)
    context.add_output_metadata(plan_metadata(plan))


def plan_metadata(plan: "Forecast") -> dict[str, Any]:
    """What a build would fetch, source by source, need and grant."""
    figures = (
        "target_rows",
        "exact",
        "fetch_bytes",
        "corpus_bytes",
        "disk_needed_bytes",
        "disk_free_bytes",
        "hours",
    )
    return {
        "target": plan.target,
        **{name.replace("_", " "): getattr(plan, name) for name in figures},
        "sources": table(
            {name: value for name, value in one.model_dump().items() if isinstance(value, str | int | float)}
            for one in (*plan.sources, *plan.benchmarks)
        ),
        "quotas": table(
            {"node": n.path, "asked": n.asked, "supply": n.supply, "granted": n.granted, "why less": n.cause}
            for n in plan.nodes
        ),
        **({"problems": table({"problem": told} for told in plan.problems)} if plan.problems else {}),
    }


@dg.op(out=dg.Out(dg.Nothing))
def build_in_test_mode(
    context: dg.OpExecutionContext, config: TrialConfig, installation: dg.ResourceParam[Installation]
) -> None:
    """Runs `vlm-assets build --test-mode` and gives what came of it as metadata of this step.

    Raises:
        dg.Failure: it did not end well; what it printed is in the log, what came of it in the failure.
    """
    command = [sys.executable, *_COMMAND, "--target", _target(installation, config)]
    with _running(command) as child:
        lines = threading.Thread(target=_tell, args=(child.stderr, context), daemon=True)
        lines.start()
        printed = child.stdout.read() if child.stdout else ""
        code = child.wait()
        lines.join(_END_S)
    facts = trial_metadata(orjson.loads(printed)) if printed.strip() else {}
    if code:
        raise dg.Failure(
            f"the build in test mode ended with exit code {code}; see the log",
            metadata=facts,
            allow_retries=False,
        )
    context.add_output_metadata(facts)


def trial_metadata(summary: dict[str, Any]) -> dict[str, Any]:
    """What `build --json` said of sources and targets."""
    counts = ("name", "slices", "committed", "items", "rows", "data_bytes")
    return {
        "sources": table(
            {
                **{k: one[k] for k in counts},
                "rejects": ", ".join(f"{k} {n:,}" for k, n in one["rejects"].items()),
            }
            for one in summary["sources"]
        ),
        "targets": dg.MetadataValue.json(summary["targets"]),
    }


@contextmanager
def _running(command: list[str]) -> Iterator[subprocess.Popen[str]]:
    """The child process; it ends with the block, whatever ends the block."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        try:
            yield child
        finally:
            if child.poll() is None:
                child.terminate()
                try:
                    child.wait(_END_S)
                except subprocess.TimeoutExpired:
                    child.kill()


def _tell(stream: IO[str] | None, context: dg.OpExecutionContext) -> None:
    for line in stream or ():
        if line.strip():
            context.log.info(line.rstrip())


def _target(installation: Installation, config: TrialConfig) -> str:
    targets = installation.catalog.corpus.targets
    if config.target and config.target not in targets:
        raise dg.Failure(f"no target {config.target!r}; there are: {', '.join(targets)}", allow_retries=False)
    return config.target or max(targets, key=lambda name: targets[name])


@dg.job(
    name=DRY_RUN_JOB,
    description="The plan: what a build would fetch, need and grant. Fetches and writes nothing.",
)
def dry_run_job() -> None:
    """`vlm-assets plan` from the UI."""
    show_plan()


@dg.job(
    name=TEST_MODE_JOB,
    description="The whole line on few rows a slice, in `<data root>-test` with its own instance. No asset hears it.",
)
def test_mode_job() -> None:
    """`vlm-assets build --test-mode` from the UI."""
    build_in_test_mode()


TRIAL_JOBS: Final = (dry_run_job, test_mode_job)
