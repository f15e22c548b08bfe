"""The same files behind each kind that finds images among other files."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Protocol

import pytest

from vlm_assets.catalog.spec import SourceSpec
from vlm_assets.demo.services.github import GitHubService
from vlm_assets.demo.services.huggingface import HubService
from vlm_assets.demo.services.kaggle import KaggleService
from vlm_assets.demo.services.pictures import zip_of
from vlm_assets.sources.registry import source_of
from vlm_assets.words.records import Listed
from vlm_assets_tests.sources.kit import COMMON, list_context

Files = dict[str, bytes]
SPECS: dict[str, dict[str, Any]] = {
    "client_folder": {},
    "hf_dataset": {"repo": "org/set"},
    "kaggle": {"handle": "org/set"},
    "github_release": {"repo": "org/set"},
}


class Serve(Protocol):
    """Puts files where a kind finds them."""

    def __call__(self, kind: str, files: Files, **keys: Any) -> SourceSpec:
        """The source that lists them."""


@contextmanager
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """Files behind a kind, and the source that lists them, as long as the context lasts."""
    home = tmp_path_factory.mktemp("home")
    with ExitStack() as stack:
        hub = stack.enter_context(HubService())
        kaggle = stack.enter_context(KaggleService())
        github = stack.enter_context(GitHubService())
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        places = {"HF_ENDPOINT": hub.url, "GITHUB_API_URL": github.api_url, **kaggle.environment()}
        for name, value in {**places, "KAGGLE_CONFIG_DIR": str(home), "HOME": str(home)}.items():
            patch.setenv(name, value)
        for name in ("HF_TOKEN", "GITHUB_TOKEN", "KAGGLE_USERNAME", "KAGGLE_KEY", "KAGGLE_API_TOKEN"):
            patch.delenv(name, raising=False)
        releases = iter(range(100))

        def serve(kind: str, files: Files, **keys: Any) -> SourceSpec:
            if kind == "hf_dataset":
                hub.add("org/set", files)
            elif kind == "kaggle":
                kaggle.add("org/set", zip_of(list(files.items())))
            elif kind == "github_release":
                github.release("org/set", f"v{next(releases)}", files)
            else:
                keys["path"] = tmp_path_factory.mktemp("in")
                for name, data in files.items():
                    (keys["path"] / name).write_bytes(data)
            model = source_of(kind).spec_type
            return model.model_validate({**COMMON, "kind": kind, **SPECS[kind], **keys})

        yield serve


def listed_of(spec: SourceSpec, folder: Path) -> Listed:
    return source_of(spec.kind).list(spec, list_context(folder))


def reasons(listed: Listed) -> dict[str, str]:
    return {one.key: str(one.reason) for one in listed.left_out}
