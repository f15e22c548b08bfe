"""Runs of the build command: what is asked for, and how it went. How a run is launched is not decided here."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import dagster as dg

from vlm_assets.orchestration.names import PARTITION_TAG, REPOSITORY_LABEL, REPOSITORY_TAG
from vlm_assets.orchestration.run.storage_faults import without_statement
from vlm_assets.words.errors import of_the_disk, write_error

_INTERRUPTS = frozenset({"DagsterExecutionInterruptedError", "KeyboardInterrupt"})
_WRAPPERS = ("Dagster", "RetryRequested")
_MODULE: Final = re.compile(r"\A(?:\w+\.)+(?=[A-Z]\w*: )")
_OS_ERROR: Final = re.compile(
    r"\w*Error: \[Errno (?P<errno>\d+)\] (?P<words>[^:]*)(?:: '(?P<path>[^']*)'(?: -> '[^']*')?)?"
)
_FAILURES = {dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.RUN_FAILURE}


@dataclass(frozen=True, slots=True)
class RunWish:
    """One run: a job, or assets of the implicit asset job where `job` is None."""

    label: str
    job: str | None = None
    assets: tuple[dg.AssetKey, ...] = ()
    partition: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """How a run ended. `told`: the messages of its failures."""

    wish: RunWish
    run_id: str
    success: bool
    told: str = ""


class Runner(Protocol):
    """Launches runs and waits for them."""

    def run(self, wishes: Sequence[RunWish]) -> list[RunOutcome]:
        """Outcomes in the order of the wishes; a failed run stops none of the others."""
        ...


def tags_of(wish: RunWish) -> dict[str, str]:
    """The run's tags; the partition is one, as Dagster has it (jobs of checks alone accept it no other way).

    The repository's label is what the UI's timeline looks for: without it runs of a command stand under *Runs* alone.
    """
    return {
        REPOSITORY_TAG: REPOSITORY_LABEL,
        **wish.tags,
        **({PARTITION_TAG: wish.partition} if wish.partition else {}),
    }


def job_of(defs: dg.Definitions, wish: RunWish) -> dg.JobDefinition:
    """The job of a wish, whole."""
    return (
        defs.resolve_implicit_global_asset_job_def() if wish.job is None else defs.resolve_job_def(wish.job)
    )


def outcome_of(instance: dg.DagsterInstance, wish: RunWish, run_id: str) -> RunOutcome:
    """The outcome of a finished run, from its event log."""
    run = instance.get_run_by_id(run_id)
    if run is not None and run.status is dg.DagsterRunStatus.SUCCESS:
        return RunOutcome(wish, run_id, success=True)
    return RunOutcome(wish, run_id, success=False, told=failures_told(instance, run_id) or "cancelled")


def was_interrupted(instance: dg.DagsterInstance, run_id: str) -> bool:
    """Whether a step ended by Ctrl-C: Dagster notes that as one failure among others."""
    errors = (
        getattr(entry.dagster_event.event_specific_data, "error", None)
        for entry in instance.all_logs(run_id, of_type=_FAILURES)
        if entry.dagster_event is not None
    )
    return any(one.cls_name in _INTERRUPTS for error in errors for one in _causes(error))


def failures_told(instance: dg.DagsterInstance, run_id: str) -> str:
    """Messages of failed steps with their causes; of the run where no step failed."""
    told: list[str] = []
    for entry in instance.all_logs(run_id, of_type=_FAILURES):
        event = entry.dagster_event
        if event is None or (event.event_type is dg.DagsterEventType.RUN_FAILURE and told):
            continue
        error = getattr(event.event_specific_data, "error", None)
        told.append(cause_told(error) if error else (event.message or ""))
    return "\n".join(told)


def _causes(error: Any) -> Iterator[Any]:
    """An error and what it came from, the outermost first."""
    while error is not None:
        yield error
        error = error.cause


def cause_told(error: Any) -> str:
    """The outermost cause that is not Dagster's: these say only that a step failed, and what lies below no place.

    Without modules before a class, statements of SQL, and `Failure`; what the disk says is a sentence.
    """
    causes = list(_causes(error))
    own = (one for one in causes if not str(one.cls_name).startswith(_WRAPPERS))
    message = str(next(own, causes[-1]).message).strip()
    told = _MODULE.sub("", without_statement(message)).removeprefix("Failure: ")
    return _of_the_disk(told)


def _of_the_disk(told: str) -> str:
    """What an `OSError` of the disk says, in `write_error`'s words: the core names its own, Dagster does not."""
    found = _OS_ERROR.fullmatch(told)
    if found is None:
        return told
    error = OSError(int(found["errno"]), found["words"])
    if not of_the_disk(error):
        return told
    home = os.environ.get("DAGSTER_HOME", "DAGSTER_HOME")
    named = write_error(found["path"] or f"A file below {home} or the data root", error)
    return f"{type(named).__name__}: {named}"
