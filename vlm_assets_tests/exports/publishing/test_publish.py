"""A corpus at a Hub on loopback: what is sent, what is shown, what a takedown leaves."""

import json
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import datasets
import pyarrow.parquet as pq
import pytest
import yaml
from typer.testing import CliRunner, Result

from vlm_assets.cli import app
from vlm_assets.demo.services.base import Fault
from vlm_assets.exports.publishing.report import decision_figures
from vlm_assets.exports.publishing.run import decide, publish_corpus
from vlm_assets.exports.publishing.takedowns import files_of_earlier_commits
from vlm_assets.exports.where import Where
from vlm_assets.operate.takedown import TakedownOrder, take_down
from vlm_assets.operate.takedown.run import finish_takedowns
from vlm_assets.words.errors import ConfigError, RemoteError, StoreError
from vlm_assets_tests.exports.corpora import COUNT, add_rows, corpus_rows, seal
from vlm_assets_tests.exports.publishing.conftest import SETTINGS
from vlm_assets_tests.exports.publishing.hub import WritableHub
from vlm_assets_tests.workplace import expect_error

REPO = "kitap/kucuk"
ALL = COUNT + 30


def shown(hub: WritableHub, folder: Path, repo: str = REPO) -> Path:
    """The newest commit as a folder, as anybody downloads it."""
    for path, content in hub.repos[repo].commits[-1].files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return folder


def loaded(folder: Path, config: str = "default") -> list[dict[str, Any]]:
    found = datasets.load_dataset(str(folder), config, split="train", cache_dir=str(folder / ".cache"))
    rows = found.with_format("arrow")[:].to_pylist()
    return sorted(rows, key=lambda row: row["id"])


def rows_of(installation: Any) -> list[dict[str, Any]]:
    return sorted(corpus_rows(installation), key=lambda row: row["id"])


def written(hub: WritableHub) -> list[str]:
    return [entry.path for entry in hub.log if entry.method in {"POST", "PUT"}]


def test_a_dry_run_tells_files_bytes_configs_and_sends_nothing(sealed, hub):
    told = decision_figures(decide(sealed, "t", REPO))
    assert written(hub) == []
    assert {one["config"]: one["rows"] for one in told["configs"]} == {
        "default": ALL,
        "art": 30,
        "photos": COUNT,
    }
    assert sum(one["rows"] for one in told["files"]) == told["rows"] == ALL
    assert told["visibility"] == "private, to be made"
    assert {one["state"] for one in told["files"]} == {"new"}
    done = publish_corpus(sealed, "t", REPO)
    assert [one["path"] for one in told["files"]] == sorted(done.manifest.files)
    assert told["bytes_to_send"] == pytest.approx(done.manifest.size_bytes, rel=0.25)
    again = decision_figures(decide(sealed, "t", REPO))
    assert (again["files_to_send"], again["bytes_to_send"], again["visibility"]) == (0, 0, "private")
    assert again["size_bytes"] == done.manifest.size_bytes


def test_what_is_published_is_the_corpus(sealed, hub, tmp_path):
    done = publish_corpus(sealed, "t", REPO)
    assert (hub.repos[REPO].access, done.sha) == ("private", hub.repos[REPO].commits[-1].sha)
    assert len(hub.repos[REPO].commits) == 2  # the one it was made with, and one for everything
    folder = shown(hub, tmp_path / "repo")
    assert loaded(folder) == rows_of(sealed)
    assert loaded(folder, "art") == [row for row in rows_of(sealed) if row["category"] == "art"]
    card = (folder / "README.md").read_text()
    configs = yaml.safe_load(card.split("---\n")[1])["configs"]
    assert [one["config_name"] for one in configs] == ["default", "art", "photos"]
    assert f'load_dataset("{REPO}", split="train")' in card
    assert not [*(sealed.root.path / "exports").glob(".*")]


def test_the_second_time_nothing_goes(sealed, hub):
    first = publish_corpus(sealed, "t", REPO)
    received, commits = hub.received.size_bytes, len(hub.repos[REPO].commits)
    again = publish_corpus(sealed, "t", REPO)
    assert (again.sent, again.kept, again.sha) == (0, len(first.manifest.files), first.sha)
    assert (hub.received.size_bytes, len(hub.repos[REPO].commits)) == (received, commits)


def ids_along(hub: WritableHub, category: str) -> list[str]:
    """Ids of all rows of a category, along its files."""
    files = hub.repos[REPO].commits[-1].files
    tables = [
        pq.read_table(BytesIO(files[path])) for path in sorted(files) if path.endswith(f"{category}.parquet")
    ]
    return [one for table in tables for one in table.column("id").to_pylist()]


def test_growth_sends_the_files_of_shards_that_changed_and_moves_no_row(fresh, hub, tmp_path):
    before = publish_corpus(fresh, "t", REPO)
    stood = ids_along(hub, "photos")
    add_rows(tmp_path, range(ALL, ALL + 6), "b")
    grown = seal(tmp_path, **SETTINGS)
    done = publish_corpus(grown, "t", REPO)
    assert 0 < done.sent < len(before.manifest.files) / 2
    assert done.before == before.sha
    assert [one for one in ids_along(hub, "photos") if one in set(stood)] == stood
    assert loaded(shown(hub, tmp_path / "repo")) == rows_of(grown)


def test_an_interrupted_one_goes_on_and_nothing_is_sent_twice(sealed, hub, tmp_path):
    hub.faults.append(Fault("*/commit/*", "503", times=9))
    told = expect_error(lambda: publish_corpus(sealed, "t", REPO), RemoteError)
    assert "503" in told
    hub.faults.clear()
    received = hub.received.size_bytes
    assert received
    assert len(hub.repos[REPO].commits) == 1
    publish_corpus(sealed, "t", REPO)
    assert hub.received.size_bytes == received
    assert loaded(shown(hub, tmp_path / "repo")) == rows_of(sealed)


@pytest.mark.parametrize("fault", ["429", "503"])
def test_an_upload_that_fails_once_is_sent_again(sealed, hub, tmp_path, fault):
    hub.storage.faults.append(Fault("/upload/*", fault, times=1, retry_after_s=0))
    publish_corpus(sealed, "t", REPO, where=Where.parse("category == 'art'"))
    rows = loaded(shown(hub, tmp_path / "repo"))
    assert rows == [row for row in rows_of(sealed) if row["category"] == "art"]


def test_a_takedown_reaches_the_repository_and_says_what_the_hub_keeps(fresh, hub, tmp_path):
    publish_corpus(fresh, "t", REPO)
    gone = rows_of(fresh)[0]
    hub.faults.append(Fault("/api/datasets/*", "503", times=100))
    unfinished = take_down(fresh, TakedownOrder(id=gone["id"]))
    assert [one for one in unfinished.outstanding if f"publish --repo {REPO}" in one]
    hub.faults.clear()
    (receipt,) = finish_takedowns(fresh)
    assert receipt.complete
    assert [one for one in receipt.versions_deleted if REPO in one]
    assert [one for one in receipt.remarks if "earlier commits" in one and "--forget-history" in one]
    assert loaded(shown(hub, tmp_path / "repo")) == rows_of(fresh)
    image = gone["images"][0]["bytes"]
    assert holding(hub, image)
    old = files_of_earlier_commits(fresh, REPO, forget=True)
    assert len(old.sha256) >= 1
    assert not holding(hub, image)
    assert files_of_earlier_commits(fresh, REPO).sha256 == ()


def holding(hub: WritableHub, image: bytes) -> list[str]:
    """Commits that show a file with these bytes."""
    commits = hub.repos[REPO].commits
    return [one.sha for one in commits if any(image in content for content in one.files.values())]


def test_a_repository_of_somebody_elses_is_left_alone(sealed, hub):
    hub.add("kitap/notlar", {"README.md": b"#", "notes.txt": b"mine"}, access="private", token="hf_written")
    told = expect_error(lambda: publish_corpus(sealed, "t", "kitap/notlar"), StoreError)
    assert "notes.txt" in told
    hub.add("kitap/acik", {"README.md": b"#"})
    told = expect_error(lambda: publish_corpus(sealed, "t", "kitap/acik"), StoreError)
    assert "--public" in told
    assert "/upload/" not in "".join(written(hub))
    publish_corpus(sealed, "t", "kitap/acik", public=True)


@pytest.mark.parametrize(
    "repo", ["kucuk", "a/b/c", "kitap/", "kitap/a b", "../x", "https://huggingface.co/a/b"]
)
def test_names_that_are_none(sealed, repo):
    assert repo in expect_error(lambda: decide(sealed, "t", repo), ConfigError)


@pytest.mark.usefixtures("hub")
def test_without_a_token_that_may_write_it_says_which_to_set(sealed):
    other = sealed.settings.model_copy(update={"hf_token": None})
    told = expect_error(lambda: publish_corpus(replace(sealed, settings=other), "t", REPO), RemoteError)
    assert "VLM_HF_TOKEN" in told
    assert REPO in told


@pytest.fixture
def called(sealed, monkeypatch) -> Callable[..., Result]:
    """The program, with the sealed corpus and the token."""
    monkeypatch.setenv("VLM_CATALOG", str(sealed.catalog_dir))
    monkeypatch.setenv("VLM_DATA_ROOT", str(sealed.root.path))
    monkeypatch.setenv("VLM_HF_TOKEN", SETTINGS["hf_token"])
    monkeypatch.setenv("VLM_ALLOW_PRIVATE_HOSTS", "127.0.0.1")
    return lambda *words: CliRunner().invoke(app, list(words))


def test_the_commands_say_what_they_would_do_and_did(hub, called, tmp_path):
    words = ("publish", "--repo", REPO, "--target", "t", "--where", "category == 'art'")
    told = json.loads(called(*words, "--dry-run", "--json").stdout)
    assert (told["rows"], told["configs"][1]) == (30, {"config": "art", "split": "train", "rows": 30})
    shown_to_people = called(*words, "--dry-run").stdout
    assert "config art, split train: 30 rows" in shown_to_people
    assert "Nothing was sent" in shown_to_people
    assert written(hub) == []
    done = json.loads(called(*words, "--json").stdout)
    assert (done["manifest"]["rows"], done["commit"]) == (30, hub.repos[REPO].commits[-1].sha)
    assert "Deleted of earlier commits: 0 files" in called(*words, "--forget-history").stdout
    misspelt = called("export", "--out", str(tmp_path / "out"), "--where", "categry == 'art'")
    assert "did you mean category?" in str(misspelt.exception)
    exported = called(
        "export", "--target", "t", "--out", str(tmp_path / "out"), "--where", "category == 'art'"
    )
    assert exported.stdout.startswith("30 rows in")
