"""Answers in JSON that have another shape than the service's documents say: an error that names it, no traceback."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from vlm_assets.demo.services.base import Reply, Request
from vlm_assets.demo.services.github import GitHubService
from vlm_assets.demo.services.huggingface import HubService
from vlm_assets.demo.services.kaggle import KaggleService
from vlm_assets.hub.repo_files import files_of
from vlm_assets.words.errors import SourceError
from vlm_assets_tests.sources import hub_sets, test_github_release, test_kaggle
from vlm_assets_tests.sources.kit import settings_of
from vlm_assets_tests.sources.test_github_release import TOKEN
from vlm_assets_tests.sources.test_kaggle import kaggle as kaggle  # noqa: PLC0414 - a fixture

Change = Callable[[Any], Any]


def twist(service: Any, part: str, change: Change, headers: dict[str, str] | None = None) -> None:
    """Changes the JSON of answers to requests whose address matches."""
    real = service.answer

    def answer(request: Request) -> Reply:
        reply: Reply = real(request)
        if not re.search(part, request.path.partition("?")[0]):
            return reply
        return Reply(
            200, orjson.dumps(change(orjson.loads(reply.body))), {**reply.headers, **(headers or {})}
        )

    service.answer = answer


@pytest.fixture
def github(monkeypatch: pytest.MonkeyPatch) -> Iterator[GitHubService]:
    with GitHubService() as service:
        monkeypatch.setenv("GITHUB_API_URL", service.api_url)
        monkeypatch.delenv("GITHUB_TOKEN", raising=False)
        service.release("org/pics", "v1", test_github_release.ASSETS)
        yield service


def first(**keys: Any) -> Change:
    return lambda assets: [{**assets[0], **keys}, *assets[1:]]


@pytest.mark.parametrize(
    ("part", "change", "told"),
    [
        ("latest$", lambda _: [], "the whole: "),
        ("latest$", lambda _: {"tag_name": "v1"}, "assets_url: Field required"),
        ("latest$", lambda one: {**one, "assets_url": 5}, "assets_url: "),
        ("latest$", lambda one: {**one, "tag_name": None}, "tag_name: "),
        ("assets$", lambda _: {}, "the whole: "),
        ("assets$", lambda _: [5], "0: "),
        ("assets$", lambda _: [{}], "0.id: Field required"),
        ("assets$", first(name=7), "0.name: "),
        ("assets$", first(name=""), "0.name: "),
        ("assets$", first(size="many"), "0.size: "),
        ("assets$", first(size=-1), "0.size: "),
        ("assets$", first(id=[1]), "0.id: "),
        ("assets$", first(digest=5), "0.digest: "),
        ("assets$", first(url=None), "0.url: "),
        ("assets$", first(state=0), "0.state: "),
    ],
)  # fmt: skip
def test_what_github_answers_has_a_shape(
    github: GitHubService, tmp_path: Path, part: str, change: Change, told: str
) -> None:
    twist(github, part, change)
    with pytest.raises(SourceError, match="the answer has another shape: ") as caught:
        test_github_release.listed_of(tmp_path)
    assert f"shape: {told}" in str(caught.value)


@pytest.mark.parametrize("address", ["http://127.0.0.1:9/x", "https://attacker.example/x", "http://[", "x"])
@pytest.mark.parametrize("key", ["assets_url", "url", "next"])
def test_the_token_goes_to_no_address_of_another_server(
    github: GitHubService, tmp_path: Path, key: str, address: str
) -> None:
    settings = settings_of(tmp_path, github_token=TOKEN)
    headers = {"Link": f'<{address}>; rel="next"'} if key == "next" else None
    change = {
        "assets_url": lambda one: {**one, key: address},
        "url": first(url=address),
        "next": lambda one: one,
    }
    twist(github, "latest$" if key == "assets_url" else "assets$", change[key], headers)
    with pytest.raises(SourceError, match=r"lead to .*, another server, which is not asked"):
        test_github_release.listed_of(tmp_path, settings=settings)


def test_pages_of_assets_in_a_circle_end(github: GitHubService, tmp_path: Path) -> None:
    base = f"{github.api_url}/repos/org/pics/releases/1/assets"
    twist(github, "assets$", lambda one: one, {"Link": f'<{base}?page=1>; rel="next"'})
    with pytest.raises(SourceError, match="over 100 pages of assets"):
        test_github_release.listed_of(tmp_path)


@pytest.mark.parametrize(
    "answer", [[], 5, {}, {"currentVersionNumber": "x"}, {"currentVersionNumber": [1]}, {"currentVersionNumber": {}}],
    ids=str,
)  # fmt: skip
def test_what_kaggle_answers_has_a_shape(kaggle: KaggleService, tmp_path: Path, answer: Any) -> None:
    twist(kaggle, "GetDataset", lambda _: answer)
    with pytest.raises(
        SourceError, match=r"org/pets.*: the answer has another shape|org/pets.* does not exist"
    ):
        test_kaggle.listed_of(tmp_path)


@pytest.mark.parametrize(
    ("part", "change", "told"),
    [
        ("/org/set$", lambda one: {**one, "sha": "../../../tmp/x"}, "is no commit"),
        ("/org/set$", lambda one: {**one, "sha": None}, "is no commit"),
        ("/org/set$", lambda _: [], "another shape"),
        ("/org/set$", lambda _: 5, "another shape"),
        ("/tree/", lambda _: {"a": 5}, "another shape"),
        ("/tree/", lambda _: [5], "another shape"),
        ("/tree/", lambda _: [{"type": "file"}], "another shape"),
        ("/tree/", first(path=7), "another shape"),
        ("/tree/", first(size="x"), "another shape"),
        ("/tree/", first(size=-5), "another shape"),
        ("/tree/", first(path="../../x.parquet"), "another shape"),
        ("/tree/", first(path="/etc/passwd"), "another shape"),
        ("/tree/", first(lfs=5), "another shape"),
        ("/tree/", lambda one: [*one, one[0]], "twice"),
    ],
)  # fmt: skip
def test_what_the_hub_answers_has_a_shape(
    hub: HubService, tmp_path: Path, part: str, change: Change, told: str
) -> None:
    hub.add("org/set", {"train.parquet": hub_sets.parquet(["a"])})
    twist(hub, part, change)
    with pytest.raises(SourceError, match=told):
        hub_sets.listed_of(tmp_path)


@pytest.mark.parametrize("digest", ["x", "A" * 64, 5, b"x"], ids=str)
def test_a_digest_of_another_form_is_refused(digest: Any) -> None:
    entry = SimpleNamespace(path="a", size=1, blob_id="b", lfs=SimpleNamespace(sha256=digest))
    with pytest.raises(SourceError, match="the list of files has one of another shape"):
        files_of([entry], "repo")
