"""kill -9 of every process of the platform, at work on slices and on a corpus; what it then does by itself.

`python -m pytest -m slow -s` prints the matrix: what was killed, what happened, seconds until all was done.
"""

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Any

import dagster as dg
import psutil
import pytest
from rich.console import Console

from vlm_assets.corpus.staging import Staging
from vlm_assets.installation.opening import Installation
from vlm_assets.locks import hold_lock
from vlm_assets.orchestration.command.build import run_build
from vlm_assets.orchestration.names import SOURCE_TAG, dataset_key
from vlm_assets_tests.orchestration.services import SERVICES, Services, wait_for, worker_pid
from vlm_assets_tests.servers import FaultServer, Reply
from vlm_assets_tests.waiting import LONG_HANG_S
from vlm_assets_tests.workplace import install, picture

URLS, SLICES, TARGET, DELAY_S = 96, 12, "60", 1.0


@pytest.fixture(scope="module")
def origin() -> Iterator[FaultServer]:
    """A server that takes a second for each picture."""
    script = {f"/{number:03d}.jpg": Reply(body=picture(number), delay_s=DELAY_S) for number in range(URLS)}
    with FaultServer(script) as server:
        yield server


def city(base: Path, origin: FaultServer) -> Installation:
    """One source of slow slices, and a corpus of many small shards."""
    base.mkdir(exist_ok=True)
    urls = base / "urls.txt"
    urls.write_text("".join(origin.url(f"/{number:03d}.jpg\n") for number in range(URLS)))
    source = {"name": "web", "kind": "image_urls", "category": "photos", "subcategory": "web",
              "licence": "CC0-1.0", "urls": urls, "buckets": SLICES}  # fmt: skip
    quotas = {"photos": {"share": 1, "subcategories": {"web": {"share": 1}}}}
    shard = {"max_bytes": 88_000, "block_rows": 1}
    corpus = {"targets": {TARGET: int(TARGET)}, "quotas": quotas, "shard": shard}
    return install(base, source, corpus=corpus, allow_private_hosts=("127.0.0.1",), slices_per_run=16)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, origin: FaultServer) -> str:
    """Root hash of a corpus that was built in one go, in this process."""
    installation = city(tmp_path_factory.mktemp("undisturbed") / "one", origin)
    out = StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAGSTER_HOME", "")
        code = run_build(installation, targets=[], sources=[], console=Console(file=out, width=200))
    assert code == 0, out.getvalue()
    assert len(list(installation.root.corpus("small", TARGET).glob("data-*.arrow"))) > 8
    return root_hash(installation)


def root_hash(installation: Installation) -> str:
    manifest = installation.root.corpus("small", TARGET) / "metadata.json"
    return str(json.loads(manifest.read_bytes())["root_hash"]) if manifest.exists() else ""


@pytest.fixture
def services(tmp_path: Path, origin: FaultServer, undisturbed: str) -> Iterator[Services]:
    """The platform with its sensors on: after a listing everything follows by itself."""
    assert undisturbed
    settings: dict[str, Any] = {
        "VLM_NIGHTLY": "true", "VLM_NIGHTLY_CRON": "0 0 1 1 *", "VLM_SENSOR_INTERVAL_S": 5,
        "VLM_ALLOW_PRIVATE_HOSTS": "127.0.0.1", "VLM_SLICES_PER_RUN": 16,
    }  # fmt: skip
    origin.log.clear()
    with Services(city(tmp_path, origin), tmp_path, **settings) as running:
        yield running


@contextmanager
def at_slices(_: Services, instance: dg.DagsterInstance) -> Iterator[str]:
    """The run that has committed some slices and works on the next."""
    yield wait_for(lambda: fetching_run(instance), "a run at work on slices", every_s=0.2)


def fetching_run(instance: dg.DagsterInstance) -> str | None:
    made = instance.fetch_materializations(dataset_key("web"), limit=100).records
    running = [
        run
        for run in instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))
        if SOURCE_TAG in run.tags or dataset_key("web") in (run.asset_selection or ())
    ]
    return running[0].run_id if running and len(made) >= 3 else None


@contextmanager
def at_corpus(services: Services, instance: dg.DagsterInstance) -> Iterator[str]:
    """The run that has written all shards but one, which is kept from it until the block ends."""
    folder = services.installation.root.corpus("small", TARGET).parent
    [plan] = wait_for(lambda: list(folder.glob(".staging/*/plan.json")), "the plan", every_s=0.02)
    staging = Staging(plan.parent)
    shards = staging.read_plan().shards
    with hold_lock(staging.lock(shards[-1].bits), "keeping the corpus at work", wait_s=10):
        done = staging.done("").parent
        wait_for(lambda: len(list(done.iterdir())) == len(shards) - 1, "shards at work", every_s=0.2)
        [run] = instance.get_runs(
            dg.RunsFilter(job_name="corpus_line", statuses=[dg.DagsterRunStatus.STARTED])
        )
        yield run.run_id


PHASES = {"slices": at_slices, "corpus": at_corpus}
VICTIMS = {
    "worker": (),
    "code-server": ("code-server",),
    "daemon": ("daemon",),
    "everything": SERVICES,
}


def story(instance: dg.DagsterInstance, run_id: str, killed_at: float) -> str:
    """What became of a run and of those that were started in its place, with seconds since the kill."""
    [run] = instance.get_run_records(dg.RunsFilter(run_ids=[run_id]))
    told = [f"run {run.dagster_run.status.value} after {(run.end_time or 0) - killed_at:.0f} s"]
    for other in sorted(instance.get_run_records(), key=lambda record: record.create_timestamp):
        if other.dagster_run.root_run_id == run_id:
            began = (other.start_time or 0) - killed_at
            told.append(f"started again after {began:.0f} s: {other.dagster_run.status.value}")
    return ", ".join(told)


def orphans(services: Services) -> list[str]:
    """Processes of this platform that no service looks after."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("DAGSTER_HOME") == str(services.home) and process.ppid() == 1:
                found.append(" ".join(process.cmdline())[:120])
        except psutil.Error:
            continue
    return found


@pytest.mark.slow
@pytest.mark.timeout(LONG_HANG_S)
@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("victim", VICTIMS)
def test_what_is_killed_is_finished_by_itself(
    victim: str, phase: str, services: Services, origin: FaultServer, undisturbed: str
):
    with services.instance() as instance:
        services.launch("listings")
        with PHASES[phase](services, instance) as run_id:
            if victim == "worker":
                os.kill(worker_pid(instance, run_id), signal.SIGKILL)
            killed, killed_at = time.monotonic(), time.time()
            services.kill(*VICTIMS[victim])
        time.sleep(5 if VICTIMS[victim] else 0)  # RestartSec of the units
        services.start(*VICTIMS[victim])
        up = time.monotonic() - killed

        def done() -> bool:
            quiet = all(run.is_finished for run in instance.get_runs())
            return quiet and bool(root_hash(services.installation))

        wait_for(done, "the corpus")
        seconds = time.monotonic() - killed
        asked = origin.counts
        twice = sum(count - 1 for count in asked.values())
        print(
            f"\n{victim:12} during {phase:7} → {story(instance, run_id, killed_at)}; services up after {up:.0f} s, "
            f"all done after {seconds:.0f} s; {len(asked)} URLs, {twice} asked for again"
        )
        assert root_hash(services.installation) == undisturbed
        assert len(asked) == URLS
        assert twice <= (8 if phase == "slices" else 0)  # those in flight at the kill
        assert orphans(services) == []


@pytest.fixture
def by_hand(tmp_path: Path, origin: FaultServer, undisturbed: str) -> Iterator[Services]:
    """The platform with nothing scheduled, and the source listed."""
    assert undisturbed
    origin.log.clear()
    with Services(city(tmp_path, origin), tmp_path, VLM_ALLOW_PRIVATE_HOSTS="127.0.0.1") as running:
        running.ended(running.launch("listings"))
        yield running


def cancelled_after(services: Services, instance: dg.DagsterInstance, run_id: str) -> float:
    """Terminates a run as the UI does; seconds until its process was gone."""
    pid = worker_pid(instance, run_id)
    clock = time.monotonic()
    services.terminate(run_id)
    assert services.ended(run_id) == "CANCELED"
    wait_for(lambda: not psutil.pid_exists(pid), "the worker's end", every_s=0.2)
    return time.monotonic() - clock


def steps(instance: dg.DagsterInstance, run_id: str, kind: dg.DagsterEventType) -> set[str]:
    return {str(entry.step_key) for entry in instance.all_logs(run_id, of_type=kind)}


@pytest.mark.slow
@pytest.mark.timeout(LONG_HANG_S)
def test_what_is_cancelled_stops_in_seconds_and_goes_on_where_it_was(
    by_hand: Services, origin: FaultServer, undisturbed: str
):
    with by_hand.instance() as instance:
        keys = sorted(instance.get_dynamic_partitions("web__slices"))
        backfill = by_hand.backfill("web", keys)
        with at_slices(by_hand, instance) as fetching:
            seconds = cancelled_after(by_hand, instance, fetching)
        status = by_hand.backfilled(backfill)
        committed = len(instance.fetch_materializations(dataset_key("web"), limit=100).records)
        print(
            f"\nslices cancelled after {seconds:.1f} s with {committed} of {SLICES} committed; backfill {status}"
        )
        assert committed < SLICES
        assert verify_all(by_hand.installation) == []
        asked = sum(origin.counts.values())
        assert by_hand.ended(by_hand.again(fetching)) == "SUCCESS"
        twice = sum(count - 1 for count in origin.counts.values())
        print(
            f"re-executed: {sum(origin.counts.values()) - asked} more requests, {twice} URLs asked for again"
        )
        assert twice <= 8

        writing = by_hand.launch("corpus_line", tags={"dagster/partition": TARGET})
        with at_corpus(by_hand, instance) as at_work:
            assert at_work == writing
            seconds = cancelled_after(by_hand, instance, writing)
        written = steps(instance, writing, dg.DagsterEventType.STEP_SUCCESS)
        print(f"corpus cancelled after {seconds:.1f} s with {len(written)} steps done")
        assert root_hash(by_hand.installation) == ""
        wait_for(lambda: not orphans(by_hand), "the end of what the run had started")
        again = by_hand.again(writing)
        assert by_hand.ended(again) == "SUCCESS"
        assert not written & steps(instance, again, dg.DagsterEventType.STEP_START)
        assert root_hash(by_hand.installation) == undisturbed
        assert verify_all(by_hand.installation) == []


def verify_all(installation: Installation) -> list[str]:
    """Faults of everything that is committed."""
    from vlm_assets.operate.verify import verify

    return [str(fault) for fault in verify(installation).problems]
