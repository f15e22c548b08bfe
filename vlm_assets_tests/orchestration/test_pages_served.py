"""The pages of the UI as a real webserver gives them: what stands there, failed slices as a badge, no long word."""

import json
import re
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import uvicorn
from dagster._core.remote_origin import InProcessCodeLocationOrigin
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import InProcessWorkspaceLoadTarget
from dagster_webserver.app import create_app_from_workspace_process_context

from vlm_assets.orchestration.night.jobs import CORPUS_JOB
from vlm_assets_tests.orchestration.kit import Line, instance_in
from vlm_assets_tests.orchestration.pages import EXAM, LONGEST_WORD, PAGES, TARGET, asked, street, texts_of
from vlm_assets_tests.orchestration.services import free_port
from vlm_assets_tests.waiting import HANG_S, until

pytestmark = pytest.mark.filterwarnings(
    "ignore::dagster.BetaWarning",
    "ignore::dagster.PreviewWarning",
    "ignore::DeprecationWarning",  # of Dagster's own
)
Ask = Callable[..., Any]
_SERVED = "vlm_assets_served"
_OPEN = 1500
"""Characters; longer texts, as the card, stand in a dialog of their own."""
_PICTURE = re.compile(r"\(data:image/[^)]*\)")


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory, made_home: Path) -> Iterator[Line]:
    base = tmp_path_factory.mktemp("pages")
    with instance_in(base / "home", made_home) as instance:
        line = Line(street(base), instance)
        assert line.list_sources("street", EXAM).success
        assert line.fetch(EXAM).success
        assert not line.fetch("street").success
        job = line.defs.resolve_job_def(CORPUS_JOB)
        assert job.execute_in_process(instance=instance, partition_key=TARGET).success
        yield line


@pytest.fixture(scope="module")
def ask(line: Line) -> Iterator[Ask]:
    """GraphQL of a webserver whose code location is in this process."""
    sys.modules[_SERVED] = ModuleType(_SERVED)
    vars(sys.modules[_SERVED])["defs"] = line.defs
    origin = InProcessCodeLocationOrigin(
        LoadableTargetOrigin(executable_path=sys.executable, module_name=_SERVED, attribute="defs"),
        location_name="vlm_assets",
    )
    port = free_port()
    with WorkspaceProcessContext(line.instance, InProcessWorkspaceLoadTarget(origin)) as context:
        app = create_app_from_workspace_process_context(context)
        server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="warning", ws="none"))
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        until(lambda: server.started, "the webserver")

        def ask(query: str, **variables: Any) -> Any:
            body = json.dumps({"query": query, "variables": variables}).encode()
            address = f"http://127.0.0.1:{port}/graphql"
            request = urllib.request.Request(address, body, {"content-type": "application/json"})
            with urllib.request.urlopen(request, timeout=HANG_S) as answer:
                told = json.load(answer)
            assert "errors" not in told, told["errors"]
            return told["data"]

        yield ask
        server.should_exit = True
        thread.join(HANG_S)
    del sys.modules[_SERVED]


@pytest.mark.parametrize("name", PAGES)
def test_a_page_says_what_is_so_and_fits(ask: Ask, name: str):
    query, variables = asked(PAGES[name])
    shown = [_PICTURE.sub("", text) for text in texts_of(ask(query, **variables))]
    said = "\n".join(shown).replace("**", "")
    assert [text for text in PAGES[name].texts if text not in said] == [], said
    open_texts = [text for text in shown if len(text) < _OPEN and not text.startswith(("{", "/"))]
    words = {word for text in open_texts for word in re.split(r"[\s/,()`]+", text)}
    assert [word for word in words if len(word) > LONGEST_WORD] == []


def test_a_failed_slice_is_a_badge_on_its_asset(ask: Ask):
    query, variables = asked(PAGES["slice"])
    stats = ask(query, **variables)["assetNodeOrError"]["partitionStats"]
    assert stats == {"numMaterialized": 2, "numPartitions": 3, "numFailed": 1}


def test_runs_are_in_the_timeline(ask: Ask):
    query = "{ runsOrError { ... on Runs { results { jobName status } } } }"
    names = {one["jobName"] for one in ask(query)["runsOrError"]["results"]}
    assert {CORPUS_JOB} <= names
