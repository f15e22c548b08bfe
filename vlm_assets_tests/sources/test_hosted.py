"""All hosted kinds through the pipeline, against the demo's services: what is asked, and what is committed."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from vlm_assets.demo.services.base import Fault
from vlm_assets.demo.services.content import hosted_sources, labelled_parquet, save_disk_dataset
from vlm_assets.demo.services.images import ImageSite
from vlm_assets.demo.services.running import RunningServices, start_services
from vlm_assets.ingest.due import Due
from vlm_assets.ingest.slice import SliceOutcome
from vlm_assets.installation.opening import Installation
from vlm_assets_tests.workplace import ingest, install

QUOTAS = {"hosted": {"share": 1, "subcategories": {
    name: {"share": 0.25} for name in ("scenes", "chat", "animals", "posters")}}}  # fmt: skip
SETTINGS: dict[str, Any] = {"allow_private_hosts": "127.0.0.1", "contact": "tests@localhost", "workers": 2}


class Hosted:
    """The services, the site that URLs lead to, and an installation over them."""

    def __init__(self, services: RunningServices, site: ImageSite, base: Path) -> None:
        self.services, self.site, self.base = services, site, base
        save_disk_dataset(base / "saved")

    def install(self, name: str = "a", **changes: dict[str, Any]) -> Installation:
        sources = [{**one, **changes.get(one["name"], {})} for one in hosted_sources(self.base / "saved")]
        return install(self.base / name, *sources, corpus={"quotas": QUOTAS}, **SETTINGS)

    def forget(self) -> None:
        self.services.clear_logs()
        self.site.clear_log()

    def asked(self) -> int:
        return sum(len(one.log) for one in (*self.services.origins().values(), self.site))


@pytest.fixture
def hosted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hosted]:
    with ImageSite() as site, start_services(site) as services:
        for name, value in services.environment().items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("HOME", str(tmp_path / "home"))
        yield Hosted(services, site, tmp_path)


def build_all(installation: Installation) -> dict[str, dict[str, SliceOutcome]]:
    return {spec.name: ingest(installation, spec.name) for spec in installation.catalog.sources}


def dues(built: dict[str, dict[str, SliceOutcome]]) -> dict[str, list[str]]:
    return {
        name: [key for key, one in slices.items() if one.due is not Due.COMMITTED]
        for name, slices in built.items()
    }


def hashes(built: dict[str, dict[str, SliceOutcome]]) -> dict[tuple[str, str], str]:
    return {
        (name, key): one.manifest.content_hash for name, found in built.items() for key, one in found.items()
    }


def test_every_kind_first_run_re_run_and_moved_revision(hosted: Hosted) -> None:
    first = build_all(hosted.install())
    rows = {name: sum(one.manifest.rows for one in slices.values()) for name, slices in first.items()}
    assert rows == {
        "animals": 45, "chat": 12, "disk": 32, "folder": 24, "links": 35, "posters": 40, "scenes": 90, "shards": 30,
    }  # fmt: skip
    hosted.forget()
    again = build_all(hosted.install())
    assert hashes(again) == hashes(first)
    assert not any(dues(again).values())
    bodies = [
        e for one in hosted.services.origins().values() for e in one.log if e.status != 304 and e.sent_bytes
    ]
    assert {entry.path.rsplit("/", 1)[0] for entry in bodies} == {
        "/api/datasets/demo", "/api/v1/datasets.DatasetApiService",
    }  # fmt: skip  # which commit, which version: nothing else
    assert hosted.site.log == []

    repo = hosted.services.hub.repos["demo/scenes"]
    repo.commit({**repo.commits[-1].files, "izmir/train.parquet": labelled_parquet("izm-new", 21)})
    hosted.forget()
    moved = build_all(hosted.install())
    assert {name: keys for name, keys in dues(moved).items() if keys} == {"scenes": ["izmir--train"]}
    assert [entry.status for entry in hosted.services.hub.storage.log] == [
        206,
        200,
    ]  # a look at it, then all of it


def test_a_changed_category_map_licence_or_weight_asks_for_nothing(hosted: Hosted) -> None:
    first = build_all(hosted.install())
    new_map = {"map": {"boat": "chat", "bridge": "scenes", "tower": "scenes"}, "column": "label"}
    changed = hosted.install(
        scenes={"subcategory_from": new_map, "max_samples": 7}, animals={"subcategory": "posters"},
        posters={"licence": "MIT", "reject_tolerance": 0.3},
    )  # fmt: skip
    hosted.forget()
    again = build_all(changed)
    assert hashes(again) == hashes(first)
    assert not any(dues(again).values())
    assert hosted.services.hub.storage.log == hosted.services.github.storage.log == []


@pytest.mark.slow
def test_two_builds_of_the_same_upstream_are_equal(hosted: Hosted) -> None:
    first = build_all(hosted.install("a"))
    for service in hosted.services.origins().values():
        service.faults.append(Fault("*", "503", 1))
    assert hashes(build_all(hosted.install("b"))) == hashes(first)


RUN = """
import sys
from pathlib import Path
from vlm_assets.installation.opening import open_installation
from vlm_assets.settings import load_settings
from vlm_assets_tests.workplace import ingest
base = Path(sys.argv[1])
settings = load_settings(None, catalog=base / "catalog", data_root=base / "data", workers=2,
                         allow_private_hosts="127.0.0.1", contact="tests@localhost")
ingest(open_installation(settings), sys.argv[2])
"""


KILLS = [
    pytest.param("scenes", (1,), id="scenes"),
    pytest.param("animals", (1,), id="animals"),
    *(
        pytest.param(source, (1, 2, 3, 5), id=f"{source}-often", marks=pytest.mark.slow)
        for source in ("scenes", "shards", "animals", "posters", "links")
    ),
]


@pytest.mark.parametrize(("source", "kills"), KILLS)
def test_killed_while_fetching_and_run_again(hosted: Hosted, source: str, kills: tuple[int, ...]) -> None:
    """Killed when so many bodies were asked for."""
    whole = {key: one.manifest.content_hash for key, one in ingest(hosted.install("whole"), source).items()}
    cut = hosted.install("cut")
    storage = (hosted.services.hub.storage, hosted.services.github.storage, hosted.services.kaggle.storage)
    bodies = (*storage, hosted.site)

    def asked() -> int:
        return sum(len(one.log) for one in bodies)

    for bodies_asked in kills:
        hosted.forget()
        child = subprocess.Popen([sys.executable, "-c", RUN, str(hosted.base / "cut"), source])
        while asked() < bodies_asked and child.poll() is None:
            time.sleep(0.005)
        child.kill()  # SIGKILL; nothing where it has ended meanwhile
        child.wait()
    after = ingest(cut, source)
    assert {key: one.manifest.content_hash for key, one in after.items()} == whole
