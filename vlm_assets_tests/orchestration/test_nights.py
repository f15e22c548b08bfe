"""Nights as the platform lives them: a full build, a quiet night, one revision moved, one source down."""

import json
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from vlm_assets.demo.services.base import Fault
from vlm_assets.demo.services.github import GitHubService
from vlm_assets.demo.services.pictures import zip_of
from vlm_assets.installation.opening import Installation
from vlm_assets.orchestration.names import dataset_key, listing_key
from vlm_assets_tests.orchestration.kit import Line, Ticks
from vlm_assets_tests.orchestration.services import Services, wait_for
from vlm_assets_tests.waiting import LONG_HANG_S
from vlm_assets_tests.workplace import install, picture

SOURCES, ARCHIVES = ("boats", "cars", "trains"), 4
TARGET = "20"
QUIET = {dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED}
SENSORS = ("changed_slices", "stale_corpus")


def archive(source: str, number: int, version: int = 1) -> bytes:
    """Three pictures; another version has another third one."""
    first = 1000 * SOURCES.index(source) + 10 * number
    numbers = (first, first + 1, first + 2 if version == 1 else first + 500 + version)
    return zip_of([(f"{one:05d}.jpg", picture(one)) for one in numbers])


def publish(github: GitHubService, source: str, tag: str, changed: dict[int, int] | None = None) -> None:
    """A release of a source; `changed`: version of the archives that are not the first."""
    versions = {number: (changed or {}).get(number, 1) for number in range(ARCHIVES)}
    assets = {f"a{number}.zip": archive(source, number, version) for number, version in versions.items()}
    github.release(f"org/{source}", tag, assets)


@pytest.fixture
def github(monkeypatch: pytest.MonkeyPatch) -> Iterator[GitHubService]:
    with GitHubService() as service:
        monkeypatch.setenv("GITHUB_API_URL", service.api_url)
        monkeypatch.delenv("GITHUB_TOKEN", raising=False)
        for source in SOURCES:
            publish(service, source, "v1")
        yield service


def city(base: Path) -> Installation:
    sources = [
        {"name": name, "kind": "github_release", "repo": f"org/{name}", "category": "photos",
         "subcategory": name, "licence": "CC0-1.0"}
        for name in SOURCES
    ]  # fmt: skip
    shares = {name: {"share": "1/3"} for name in SOURCES}
    corpus = {"targets": {TARGET: int(TARGET)}, "quotas": {"photos": {"share": 1, "subcategories": shares}}}
    settings: dict[str, Any] = {"allow_private_hosts": ("127.0.0.1",), "http_attempts": 2, "nightly": True}
    return install(base, *sources, corpus=corpus, **settings)


def root_hash(installation: Installation) -> str | None:
    path = installation.root.corpus("small", TARGET) / "metadata.json"
    return str(json.loads(path.read_bytes())["root_hash"]) if path.exists() else None


@dataclass
class Night:
    """What one night did."""

    jobs: dict[str, int]
    """Runs by job."""
    failed: list[str]
    asked: dict[str, int]
    """Requests: `api` and `storage`."""
    fetched: list[str]
    """Slices that got a materialization."""
    listed: list[str]
    events: int
    words: dict[str, list[str]]
    """What the sensors said, each once."""
    seconds: float
    corpus: str | None

    def told(self, name: str) -> str:
        """A paragraph for a report."""
        words = "\n".join(f"    {sensor}: {word}" for sensor, said in self.words.items() for word in said)
        return (
            f"{name}: {self.seconds:.0f} s; runs {self.jobs}, failed {self.failed or 'none'}; requests {self.asked}; "
            f"{self.events} events; listed {len(self.listed)}, fetched {self.fetched or 'nothing'}; "
            f"corpus {(self.corpus or 'none')[:12]}\n{words}"
        )


class Watch:
    """Sees what has come since it was made or last asked."""

    def __init__(self, services: Services, instance: dg.DagsterInstance, github: GitHubService) -> None:
        self._services = services
        self._instance = instance
        self._github = github
        self._known: set[str] = set()
        self._made: Counter[tuple[str, str]] = Counter()
        self._began = time.time()

    def _materialized(self) -> Counter[tuple[str, str]]:
        found: Counter[tuple[str, str]] = Counter()
        for key in [make(source) for source in SOURCES for make in (listing_key, dataset_key)]:
            for record in self._instance.fetch_materializations(key, limit=1000).records:
                found[key.to_user_string(), record.partition_key or ""] += 1
        return found

    def _quiet(self) -> bool:
        """Every run has ended, and after the last one both sensors have looked and launched nothing."""
        records = self._instance.get_run_records()
        new = [record for record in records if record.dagster_run.run_id not in self._known]
        if not new or any(record.dagster_run.status not in QUIET for record in new):
            return False
        ended = max(record.end_time or 0 for record in new)
        for sensor in SENSORS:
            ticks = [tick for tick in self._services.ticks(sensor) if tick["timestamp"] > ended + 0.5]
            if not any(tick["status"] == "SKIPPED" for tick in ticks):
                return False
        return True

    def _words(self) -> dict[str, list[str]]:
        words: dict[str, list[str]] = {}
        for sensor in SENSORS:
            said = [
                event["message"]
                for tick in reversed(self._services.ticks(sensor))
                if tick["timestamp"] >= self._began
                for event in (tick["logEvents"] or {"events": []})["events"]
            ]
            words[sensor] = list(dict.fromkeys(said))
        return words

    def night(self) -> Night:
        """Waits until all is quiet and says what happened."""
        wait_for(self._quiet, "a quiet platform", every_s=1)
        runs = [run for run in self._instance.get_runs() if run.run_id not in self._known]
        made = self._materialized()
        new = sorted((made - self._made).elements())
        night = Night(
            jobs=dict(Counter(run.job_name for run in runs)),
            failed=sorted(run.job_name for run in runs if run.status is not dg.DagsterRunStatus.SUCCESS),
            asked={
                "api": len(self._github.requests("/api/*")),
                "storage": len(self._github.storage.requests()),
            },
            fetched=[f"{key.split('/')[1]}/{slice_}" for key, slice_ in new if key.startswith("dataset/")],
            listed=[key.split("/")[1] for key, _ in new if key.startswith("listing/")],
            events=sum(len(self._instance.all_logs(run.run_id)) for run in runs),
            words=self._words(),
            seconds=time.time() - self._began,
            corpus=root_hash(self._services.installation),
        )
        self._known |= {run.run_id for run in runs}
        self._made = made
        self._github.clear_log()
        self._github.storage.clear_log()
        self._began = time.time()
        return night


class Short:
    """The same in this process: schedule and sensors are evaluated as the daemon does, their runs run here."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._sensors = {name: Ticks(line, name) for name in SENSORS}

    def _run(self, request: dg.RunRequest) -> bool:
        job = self._line.defs.resolve_job_def(request.job_name or "listings")
        done = job.execute_in_process(
            instance=self._line.instance, tags=dict(request.tags), run_config=request.run_config,
            partition_key=request.partition_key, raise_on_error=False,
        )  # fmt: skip
        return done.success

    def night(self, at: datetime) -> tuple[list[tuple[str, bool]], dict[str, str]]:
        """Jobs that ran, each with whether it went well, and what the sensors said at last."""
        repository = self._line.defs.get_repository_def()
        context = dg.build_schedule_context(self._line.instance, at, repository_def=repository)
        requests = list(repository.get_schedule_def("nightly").evaluate_tick(context).run_requests or ())
        ran = [("listings", self._run(request)) for request in requests]
        words = {}
        for name, ticks in self._sensors.items():
            requests, words[name] = ticks.tick()
            ran += [(str(request.job_name), self._run(request)) for request in requests]
        return ran, words


@pytest.mark.slow
def test_a_quiet_night_lists_only_and_a_source_that_is_down_stops_no_other(
    tmp_path: Path, github: GitHubService, instance: dg.DagsterInstance
):
    installation = city(tmp_path)
    nights = Short(Line(installation, instance))
    at = datetime(2026, 1, 15, 2, 30, tzinfo=UTC)
    ran, _ = nights.night(at)
    fetching = [(f"slices_of__{source}", True) for source in SOURCES]
    assert ran == [("listings", True), *fetching, ("corpus_line", True)]
    built = root_hash(installation)

    github.clear_log()
    github.storage.clear_log()
    ran, words = nights.night(at + timedelta(days=1))
    assert ran == [("listings", True)]
    assert words["changed_slices"] == "; ".join(f"{s}: listed, every slice is committed" for s in SOURCES)
    assert words["stale_corpus"] == f"{TARGET}: inputs unchanged since it was sealed"
    assert (len(github.requests()), len(github.storage.requests())) == (2 * len(SOURCES), 0)
    assert root_hash(installation) == built

    publish(github, "cars", "v2", {2: 2})
    github.faults.append(Fault("/api/v3/repos/org/trains/*", "503", 10_000))
    ran, words = nights.night(at + timedelta(days=2))
    assert ran == [("listings", False), ("slices_of__cars", True), ("corpus_line", True)]
    assert len(github.storage.requests()) == 1
    assert root_hash(installation) != built


def soon() -> tuple[str, datetime]:
    """A cron line for the next full minute but one, and that minute."""
    at = datetime.now(UTC).replace(second=0, microsecond=0) + timedelta(minutes=2)
    return f"{at.minute} {at.hour} * * *", at


@pytest.mark.slow
@pytest.mark.timeout(LONG_HANG_S)
def test_three_nights_after_a_first_build(tmp_path: Path, github: GitHubService):
    installation = city(tmp_path)
    cron, at = soon()
    settings: dict[str, Any] = {
        "VLM_NIGHTLY": "true", "VLM_NIGHTLY_CRON": cron, "VLM_NIGHTLY_TIMEZONE": "UTC", "VLM_SENSOR_INTERVAL_S": 5,
        "VLM_ALLOW_PRIVATE_HOSTS": "127.0.0.1", "VLM_HTTP_ATTEMPTS": 2,
    }  # fmt: skip
    with Services(installation, tmp_path, **settings) as services, services.instance() as instance:
        watch = Watch(services, instance, github)
        every = [f"{source}/a{number}.zip" for source in SOURCES for number in range(ARCHIVES)]

        first = watch.night()  # launched by the schedule itself
        print(first.told(f"first night ({at:%H:%M} by the schedule)"))
        assert first.jobs["listings"] == 1
        assert (first.failed, first.fetched, first.listed) == ([], every, list(SOURCES))
        assert first.asked["storage"] == len(every)
        assert first.corpus

        services.schedule_at("nightly", "listings", (at + timedelta(days=1)).timestamp())
        quiet = watch.night()
        print(quiet.told("second night: no change"))
        assert (quiet.jobs, quiet.failed) == ({"listings": 1}, [])
        assert (quiet.fetched, quiet.listed) == ([], list(SOURCES))
        assert quiet.asked == {"api": 2 * len(SOURCES), "storage": 0}
        assert quiet.corpus == first.corpus
        assert [f"{s}: listed, every slice is committed" in quiet.words["changed_slices"] for s in SOURCES]
        assert f"{TARGET}: inputs unchanged since it was sealed" in quiet.words["stale_corpus"]

        publish(github, "cars", "v2", {2: 2})
        services.schedule_at("nightly", "listings", (at + timedelta(days=2)).timestamp())
        moved = watch.night()
        print(moved.told("third night: a release of cars, one archive of four is new"))
        assert (moved.fetched, moved.listed, moved.failed) == (["cars/a2.zip"], list(SOURCES), [])
        assert moved.asked["storage"] == 1
        assert moved.jobs["slices_of__cars"] == 1
        assert moved.corpus != first.corpus

        github.faults.append(Fault("/api/v3/repos/org/trains/*", "503", 10_000))
        publish(github, "boats", "v2", {0: 2})
        services.schedule_at("nightly", "listings", (at + timedelta(days=3)).timestamp())
        down = watch.night()
        print(down.told("fourth night: trains is down, boats has moved"))
        assert (down.fetched, down.listed) == (["boats/a0.zip"], ["boats", "cars"])
        assert down.failed == ["listings"]
        assert down.corpus not in {first.corpus, moved.corpus}
