"""`vlm-assets build`: the whole line through the Dagster instance, doing what is due and nothing else.

Queued when a daemon works on this DAGSTER_HOME and serves the same, in this process otherwise. What is due is decided
by evidence on disk (`pending`); what the steps do lies in the assets.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import dagster as dg
from dagster._core.errors import DagsterExecutionInterruptedError
from rich.console import Console

from vlm_assets.audit.findings import FindingName
from vlm_assets.catalog.spec import SourceSpec
from vlm_assets.installation.opening import Installation
from vlm_assets.locks import hold_lock
from vlm_assets.operate.logs import configure_logging, show_waits
from vlm_assets.orchestration.assets.annotation import annotations_of
from vlm_assets.orchestration.assets.targets import refreshed_targets
from vlm_assets.orchestration.checks.audited import LastAudit, last_audit
from vlm_assets.orchestration.command.build_report import INTERRUPTED, build_summary, show_build
from vlm_assets.orchestration.command.console import progress_on
from vlm_assets.orchestration.command.daemon import daemon_serves, is_local
from vlm_assets.orchestration.command.locked import open_lock, slices_as_locked, targets_as_locked, targets_of
from vlm_assets.orchestration.command.lost_runs import fail_lost_runs
from vlm_assets.orchestration.command.reconcile import history_lost, reconcile
from vlm_assets.orchestration.command.run_here import RunHere
from vlm_assets.orchestration.command.run_queued import RunQueued
from vlm_assets.orchestration.define import build_definitions
from vlm_assets.orchestration.names import (
    ACCEPT_DRIFT_TAG,
    ACCEPT_RENDERER_TAG,
    ACCEPT_SHRINK_TAG,
    CATALOG_TAG,
    FORCE_TAG,
    LOCKED_TAG,
    RANGE_END_TAG,
    RANGE_START_TAG,
    REPORT_KEY,
    SOURCE_TAG,
    annotation_key,
    dataset_key,
    listing_key,
    slices_partitions,
)
from vlm_assets.orchestration.night.jobs import AUDIT_JOB, CORPUS_JOB, SLICES_JOB, slices_config
from vlm_assets.orchestration.night.ranges import slice_runs
from vlm_assets.orchestration.run.half_made import complete_event_log
from vlm_assets.orchestration.run.home import dagster_home
from vlm_assets.orchestration.run.locks import WAIT_S
from vlm_assets.orchestration.run.pending import (
    annotation_ranges,
    annotations_lacking,
    due_slices,
    target_states,
)
from vlm_assets.orchestration.run.runs import Runner, RunOutcome, RunWish
from vlm_assets.store.papers import any_papers, papers_complete
from vlm_assets.words.clock import days_since
from vlm_assets.words.counts import so_many
from vlm_assets.words.errors import AllocationError

if TYPE_CHECKING:
    from vlm_assets.corpus.states import TargetState
    from vlm_assets.store.corpus_lock import CorpusLock, Locked


_OPENING_S = 120.0
_OLD_DAYS = 2


@dataclass(slots=True)
class _Build:
    """One build under way."""

    installation: Installation
    instance: dg.DagsterInstance
    runner: Runner
    console: Console
    sources: tuple[SourceSpec, ...]
    force: bool = False
    slices: frozenset[str] = frozenset()
    """Only these, if any."""
    accept_drift: bool = False
    accept_renderer: bool = False
    locked: "Locked | None" = None
    failures: list[RunOutcome] = field(default_factory=list)
    causes: list[str] = field(default_factory=list)
    """Why there is not what was asked for, in words, for the end of the report."""

    def say(self, text: str) -> None:
        """One line, as it is."""
        self.console.print(text, markup=False, soft_wrap=True)

    def run(self, wishes: Sequence[RunWish]) -> list[RunOutcome]:
        """Runs, notes what failed, and tells how long it took."""
        began = time.monotonic()
        outcomes = self.runner.run(wishes)
        for one in outcomes:
            if not one.success:
                self.say(f"{one.wish.label}: failed (run {one.run_id[:8]}); why is told at the end")
                self.causes.append(f"{one.wish.label}: failed (run {one.run_id[:8]}):\n{one.told}")
        self.failures += [one for one in outcomes if not one.success]
        self.say(f"  {time.monotonic() - began:.1f} s")
        return outcomes

    def list_sources(self, *, accept_shrink: bool) -> None:
        """Lists the sources; a failed one keeps its old listing."""
        active = [spec for spec in self.sources if spec.active]
        if not active:
            return
        self.say(f"Listing {', '.join(spec.name for spec in active)}")
        tags = {ACCEPT_SHRINK_TAG: "true"} if accept_shrink else {}
        keys = tuple(listing_key(spec.name) for spec in active)
        if not all(one.success for one in self.run([RunWish("listing", assets=keys, tags=self.tags(tags))])):
            self.say("What could not be listed keeps the listing it had; the next build lists it again")

    def keep_listings(self) -> None:
        """Says that nothing is listed, how old the listings are that are gone by, and how to list anew."""
        ages = {
            spec.name: days_since(self.installation.root.listing(spec.name))
            for spec in self.sources
            if spec.active
        }
        listed = sorted((-days, name) for name, days in ages.items() if days is not None)
        old = f" (the oldest: {listed[0][1]}, {_ago(-listed[0][0])})" if listed else ""
        self.say(
            f"--failed goes by the listings there are{old}: what upstream got since is not seen; build without "
            "--failed lists anew"
        )

    def fetch(self) -> None:
        """Fetches what is due, source by source."""
        wishes: list[RunWish] = []
        for spec in self.sources:
            every = due_slices(
                self.installation, spec, now=time.time(), force=self.force, accept_drift=self.accept_drift,
                accept_renderer=self.accept_renderer, locked=self.locked,
            )  # fmt: skip
            due = {key: why for key, why in every.items() if not self.slices or key in self.slices}
            if due:
                reasons = sorted(set(due.values()))
                told = ", ".join(f"{list(due.values()).count(reason)} {reason}" for reason in reasons)
                self.say(f"Fetching {spec.name}: {told}")
                wishes += self.slice_wishes(spec, set(due))
        if wishes:
            self.run(wishes)
        elif unlisted := [one.name for one in self.sources if one.active and not self.is_listed(one)]:
            self.say(f"Nothing to fetch is known of what was never listed: {', '.join(unlisted)}")
        else:
            self.say("Every slice is up to date")

    def is_listed(self, spec: SourceSpec) -> bool:
        """Whether a listing of a source is in force."""
        return self.installation.root.listing(spec.name).is_file()

    def annotate(self) -> None:
        """Annotates what is not fresh of these sources; says nothing where the catalogue names no annotations."""
        wanted = self.installation.catalog.corpus.annotations
        lacking = annotations_lacking(self.installation) if wanted else {}
        for told in lacking.values():
            self.say(f"Not made here: {told}")
        wishes: list[RunWish] = []
        for spec in self.sources:
            names = [one.name for one in annotations_of(spec, wanted) if one.name not in lacking]
            if not names:
                continue
            order = self.instance.get_dynamic_partitions(slices_partitions(spec.name))
            ranges, due = annotation_ranges(self.installation, spec, order)
            if ranges:
                self.say(f"Annotating {spec.name}: {so_many(due, 'slice')}")
            for first, last in ranges:
                tags = self.tags({SOURCE_TAG: spec.name, RANGE_START_TAG: first, RANGE_END_TAG: last})
                keys = tuple(annotation_key(name, spec.name) for name in names)
                wishes.append(RunWish(f"annotations of {spec.name} from {first}", assets=keys, tags=tags))
        if wishes:
            self.run(wishes)

    def slice_wishes(self, spec: SourceSpec, due: set[str]) -> list[RunWish]:
        """Runs over the due slices of a source."""
        asked = {
            FORCE_TAG: self.force, ACCEPT_DRIFT_TAG: self.accept_drift, ACCEPT_RENDERER_TAG: self.accept_renderer
        }  # fmt: skip
        tags = self.tags({SOURCE_TAG: spec.name, **{tag: "true" for tag, given in asked.items() if given}})
        order = self.instance.get_dynamic_partitions(slices_partitions(spec.name))
        wishes = []
        for run in slice_runs(order, due, self.installation.settings.slices_per_run):
            ends_told = run.keys[0] if len(run.keys) == 1 else f"{run.keys[0]} to {run.keys[-1]}"
            label = f"{spec.name}, {'slice' if len(run.keys) == 1 else 'slices'} {ends_told}"
            if run.contiguous:
                ends = {RANGE_START_TAG: run.keys[0], RANGE_END_TAG: run.keys[-1]}
                wishes.append(RunWish(label, assets=(dataset_key(spec.name),), tags={**tags, **ends}))
            else:
                wishes.append(
                    RunWish(label, job=SLICES_JOB, tags=tags, config=slices_config(spec.name, run.keys))
                )
        return wishes

    def tags(self, more: dict[str, str]) -> dict[str, str]:
        """Tags of every run of this build."""
        by_lock = {} if self.locked is None else {LOCKED_TAG: self.locked.lock.version}
        return {CATALOG_TAG: self.installation.catalog.hash[:12], **by_lock, **more}

    def build_targets(self, targets: tuple[str, ...]) -> bool:
        """Allocation, corpus and checks of the targets whose inputs have changed; whether all are sound."""
        try:
            for state in target_states(self.installation, targets, self.locked):
                if self.is_done(state):
                    stale = "has all that is committed; what failed is not in it"
                    self.say(f"{state.target} {stale if self.failures else 'is up to date'}")
                else:
                    self.build_target(state.target)
        except AllocationError as error:
            self.causes.insert(0, f"No corpus: {error}")
            return False
        sound = [self.sound(target) for target in targets]  # all of them tell what they found
        return all(sound)

    def is_done(self, state: "TargetState") -> bool:
        """Whether a target was built from the present inputs, audited since, and has its papers if it is sound."""
        if not state.up_to_date:
            return False
        audit = last_audit(self.instance, state.target)
        return audit.complete and not self.lacks_papers(state, audit)

    def build_target(self, target: str) -> None:
        """Allocation, corpus, checks and papers of a target, or what it lacks; nothing where another build did it.

        From plan to checks no other build is at the target: the steps alone would let one seal, and remove, the
        shards that the other is about to write.

        Raises:
            AllocationError: see `target_states`.
        """
        lock = self.installation.root.locks / f"build.{self.installation.catalog.corpus.name}.{target}"
        with hold_lock(lock, f"building {target}", wait_s=WAIT_S):
            [state] = target_states(self.installation, (target,), self.locked)
            if self.is_done(state):
                self.say(f"{target} is up to date: another build made it")
            elif state.up_to_date:
                self.complete_target(state)
            else:
                self.say(f"Building {target}: allocation, corpus, checks")
                self.run([RunWish(target, job=CORPUS_JOB, partition=target, tags=self.tags({}))])

    def complete_target(self, state: "TargetState") -> None:
        """Checks and papers of a sealed corpus, as far as they are missing: a disk was full, or a process killed."""
        target, tags = state.target, self.tags({})
        audit, version = last_audit(self.instance, target), state.path.resolve()
        report = RunWish(f"papers of {target}", assets=(REPORT_KEY,), partition=target, tags=tags)
        if not papers_complete(version) and any_papers(version):  # the checks would find the others missing
            self.say(f"{target} is up to date, but lacks papers: report")
            self.run([report])
        if not audit.complete or FindingName.PAPERS in (*audit.failed, *audit.warnings):
            self.say(f"{target} is up to date, but was not audited since: checks")
            self.run([RunWish(f"audit of {target}", job=AUDIT_JOB, partition=target, tags=tags)])
            audit = last_audit(self.instance, target)
        if audit.complete and self.lacks_papers(state, audit):
            self.say(f"{target} is up to date, but has no papers: report")
            self.run([report])

    def lacks_papers(self, state: "TargetState", audit: LastAudit) -> bool:
        """Whether papers are to be written: a corpus with findings gets none, but for one about the papers."""
        unsound = set(audit.failed) - {str(FindingName.PAPERS)}
        return not unsound and not papers_complete(state.path.resolve())

    def build_locked(self, lock: "CorpusLock", targets: tuple[str, ...]) -> bool:
        """The corpora of the lock from its slices; none where these are not all there. Whether all are the same."""
        if not slices_as_locked(self.installation, lock, [spec.name for spec in self.sources], self.say):
            return False
        sound = self.build_targets(targets) if targets else True
        return targets_as_locked(self.installation, lock, targets, self.say) and sound

    def sound(self, target: str) -> bool:
        """Whether the last audit of a target found nothing of severity error; tells what it found."""
        audit = last_audit(self.instance, target)
        if audit.warnings:
            self.say(
                f"{target}: for a person to look at: {', '.join(audit.warnings)}; see: vlm-assets audit "
                f"--target {target}"
            )
        if audit.failed:
            self.say(
                f"{target}: findings: {', '.join(audit.failed)}; see: vlm-assets audit --target {target}"
            )
        return audit.complete and not audit.failed


def _ago(days: float) -> str:
    return f"{days:.0f} days ago" if days >= _OLD_DAYS else "less than two days ago"


def run_build(
    installation: Installation,
    *,
    targets: Sequence[str],
    sources: Sequence[str],
    slices: Sequence[str] = (),
    failed_only: bool = False,
    force_redownload: bool = False,
    accept_shrink: bool = False,
    accept_drift: bool = False,
    accept_renderer: bool = False,
    by_lock: bool = False,
    console: Console,
    tell: Callable[[dict[str, Any]], None] = lambda summary: None,  # noqa: ARG005 - does nothing
) -> int:
    """Brings sources and targets up to date and prints what went in and out; returns the exit code.

    `tell` is given the same as data at the end: exit_code, interrupted, failures, sources, targets.

    No `targets` are those of the nightly refresh. With `sources`, only these are listed and fetched, and no corpus is
    built unless targets are named too. `slices`: only these partition keys of them. `failed_only` lists nothing: only
    what is still due from the last listing. `by_lock`: exactly what the catalogue's `corpus.lock` says, all its
    targets if none is named; exit 1 where something is not so.

    Raises:
        ConfigError: a daemon works on this DAGSTER_HOME, but serves something else. Or the catalogue is not that of
            the lock.
        StoreError: there is no lock, or its items are missing.
    """
    home = dagster_home(installation, console)
    locked = open_lock(installation, lambda text: console.print(text, markup=False)) if by_lock else None
    chosen = tuple(targets) or (() if sources else refreshed_targets(installation.catalog))
    if locked is not None:
        chosen = targets_of(locked.lock, targets) if targets or not sources else ()
    wanted = tuple(spec for spec in installation.catalog.fetched if not sources or spec.name in sources)
    with ExitStack() as stack:
        with hold_lock(home / ".opening.lock", f"opening {home}", wait_s=_OPENING_S):
            # Two processes that make the tables of a new home would trip over each other.
            instance = stack.enter_context(dg.DagsterInstance.from_config(str(home)))
            complete_event_log(instance)
        queued = daemon_serves(instance, home, installation)
        configure_logging(installation.settings, installation.root.logs)
        show_waits(console)
        if known := history_lost(installation, instance):
            done = reconcile(installation, instance)
            console.print(
                f"{home} knew {known} of what lies on disk: {so_many(done.partitions, 'partition key')} and "
                f"{so_many(done.materializations, 'materialization')} are given back to it",
                markup=False, soft_wrap=True,
            )  # fmt: skip
        if is_local(instance) and (lost := fail_lost_runs(instance)):
            console.print(
                f"{so_many(len(lost), 'run')} had no process any more: marked as failed", markup=False
            )
        runner: Runner
        if queued:
            console.print("A daemon is at work: the runs are queued. Ctrl-C leaves them to it.")
            runner = RunQueued(
                instance, build_definitions(installation), lambda text: console.print(f"  {text}")
            )
        else:
            progress = stack.enter_context(progress_on(console))
            runner = RunHere(instance, build_definitions(installation, progress))
        build = _Build(
            installation, instance, runner, console, wanted,
            force=force_redownload, slices=frozenset(slices), accept_drift=accept_drift,
            accept_renderer=accept_renderer, locked=locked,
        )  # fmt: skip
        try:
            if failed_only:
                build.keep_listings()
            else:
                build.list_sources(accept_shrink=accept_shrink)
            build.fetch()
            build.annotate()
            if locked is not None:
                sound = build.build_locked(locked.lock, chosen)
            else:
                sound = build.build_targets(chosen) if chosen else True
        except (KeyboardInterrupt, DagsterExecutionInterruptedError):
            if queued:
                console.print("The queued runs go on")
            for cause in build.causes:
                build.say(cause)
            tell(build_summary(installation, chosen, build.failures, sound=False, interrupted=True))
            return INTERRUPTED
    only = set(sources) if sources and not chosen else None
    show_build(console, installation, chosen, only, build.causes)
    summary = build_summary(installation, chosen, build.failures, sound=sound)
    tell(summary)
    return int(summary["exit_code"])
