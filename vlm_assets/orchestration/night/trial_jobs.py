"""Jobs for a look from the UI: `dry_run` (the plan) and `test_mode` (capped slices in their own data root).

They log observations, never materializations: nothing here makes an asset seem fresher than it is. What a plan is
lies in `forecast`; test mode is the build command in a process of its own, with its data root and instance (`trial`).
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
from vlm_assets.orchestration.names import CORPUS_KEY, dataset_key

if TYPE_CHECKING:
    from vlm_assets.operate.forecast import Forecast

DRY_RUN_JOB: Final = "dry_run"
TEST_MODE_JOB: Final = "test_mode"
_COMMAND: Final = ("-c", "from vlm_assets.cli import main; main()", "build", "--test-mode", "--json")
_END_S: Final = 30.0


class TrialConfig(dg.Config):
    """What to look at; nothing given: the largest target."""

    target: str = ""


@dg.op
def show_plan(
    context: dg.OpExecutionContext, config: TrialConfig, installation: dg.ResourceParam[Installation]
) -> None:
    """Logs the plan of a target as observations of its corpus and of every source."""
    from vlm_assets.operate.forecast import forecast

    target = _target(installation, config)
    plan = forecast(installation, target)
    for told in plan.problems:
        context.log.warning(told)
    for observation in plan_observations(plan):
        context.log_event(observation)


def plan_observations(plan: "Forecast") -> Iterator[dg.AssetObservation]:
    """What a build would fetch, source by source, and grant."""
    for one in plan.sources:
        facts = {name: value for name, value in one.model_dump().items() if name not in ("name", "kind")}
        yield dg.AssetObservation(dataset_key(one.name), metadata={"dry run": True, **facts})
    nodes = ["| node | asked | supply | granted | shortfall | why |", "|---|---:|---:|---:|---:|---|"]
    nodes += [
        f"| {n.path} | {n.asked:,} | {n.supply:,} | {n.granted:,} | {n.shortfall:,} | {n.cause} |"
        for n in plan.nodes
    ]
    facts = plan.model_dump(
        include={
            "target_rows",
            "exact",
            "fetch_bytes",
            "corpus_bytes",
            "disk_needed_bytes",
            "disk_free_bytes",
            "hours",
        }
    )
    yield dg.AssetObservation(
        CORPUS_KEY,
        partition=plan.target,
        metadata={
            "dry run": True,
            **facts,
            "quotas": dg.MetadataValue.md("\n".join(nodes)),
            "problems": dg.MetadataValue.json(plan.problems),
        },
    )


@dg.op
def build_in_test_mode(
    context: dg.OpExecutionContext, config: TrialConfig, installation: dg.ResourceParam[Installation]
) -> None:
    """Runs `vlm-assets build --test-mode` and logs what came of it as observations.

    Raises:
        dg.Failure: it did not end well; what it printed is in the log.
    """
    command = [sys.executable, *_COMMAND, "--target", _target(installation, config)]
    with _running(command) as child:
        lines = threading.Thread(target=_tell, args=(child.stderr, context), daemon=True)
        lines.start()
        printed = child.stdout.read() if child.stdout else ""
        code = child.wait()
        lines.join(_END_S)
    if printed.strip():
        for observation in trial_observations(orjson.loads(printed)):
            context.log_event(observation)
    if code:
        raise dg.Failure(
            f"the build in test mode ended with exit code {code}; see the log", allow_retries=False
        )


def trial_observations(summary: dict[str, Any]) -> Iterator[dg.AssetObservation]:
    """What `build --json` said, as observations of sources and corpora."""
    for one in summary["sources"]:
        shown = {k: one[k] for k in ("slices", "committed", "items", "rows", "rejects", "data_bytes")}
        shown["rejects"] = dg.MetadataValue.json(one["rejects"])
        yield dg.AssetObservation(dataset_key(one["name"]), metadata={"test mode": True, **shown})
    for one in summary["targets"]:
        shown = {key: value for key, value in one.items() if key != "name" and value is not None}
        yield dg.AssetObservation(CORPUS_KEY, partition=one["name"], metadata={"test mode": True, **shown})


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
    description="The whole line on few rows a slice, in `<data root>-test` with its own instance. Only observations.",
)
def test_mode_job() -> None:
    """`vlm-assets build --test-mode` from the UI."""
    build_in_test_mode()


TRIAL_JOBS: Final = (dry_run_job, test_mode_job)
