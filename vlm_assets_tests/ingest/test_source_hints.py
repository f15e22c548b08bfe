"""Names in archives whose encoding nobody declares: told by each kind, right once `encoding` is given."""

import io
import tarfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from vlm_assets.demo.services.github import GitHubService
from vlm_assets.demo.services.huggingface import HubService
from vlm_assets.demo.services.kaggle import KaggleService
from vlm_assets.installation.opening import Installation
from vlm_assets.operate.forecast import forecast
from vlm_assets.operate.status import read_status
from vlm_assets.store.slices import read_rows
from vlm_assets_tests.archives.made import raw_zip, zip_bytes
from vlm_assets_tests.pdf.builders import scan
from vlm_assets_tests.workplace import STREET, ingest, install, picture

IMAGE = [("şehir/ığdır.jpg", picture(1))]
SETTINGS: dict[str, Any] = {"allow_private_hosts": "127.0.0.1", "contact": "tests@localhost", "workers": 1}
Files = list[tuple[str, bytes]]


def old_zip(files: Files) -> bytes:
    return raw_zip([(name.encode("cp857"), data) for name, data in files])


def old_tar(files: Files) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT, encoding="cp857") as archive:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def nested_zip(files: Files) -> bytes:
    return zip_bytes([("i.zip", old_zip(files))])


class Upstream:
    """Puts one archive where a kind finds it; gives the keys of the source."""

    def __init__(self, folder: Path, setenv: Callable[[str, str], None], stack: ExitStack) -> None:
        self._folder, self._setenv, self._stack = folder, setenv, stack

    def client_folder(self, name: str, content: bytes) -> dict[str, Any]:
        return {"path": self._put(name, content), "subcategory_from": {"folder": 2}}

    pdf_folder = client_folder

    def hf_dataset(self, name: str, content: bytes) -> dict[str, Any]:
        hub = self._stack.enter_context(HubService())
        self._setenv("HF_ENDPOINT", hub.url)
        hub.add("org/set", {name: content})
        return {"repo": "org/set", "subcategory_from": {"column": "label"}}

    def hf_captions(self, name: str, content: bytes) -> dict[str, Any]:
        """Two archives beside a table: which members it may mean is asked when it is listed."""
        hub = self._stack.enter_context(HubService())
        self._setenv("HF_ENDPOINT", hub.url)
        table = "file_name,text\nb/şehir/ığdır.jpg,bir\nc/d.jpg,iki\n".encode()
        hub.add(
            "org/set", {name: content, "c.zip": zip_bytes([("d.jpg", picture(2))]), "metadata.csv": table}
        )
        return {"kind": "hf_dataset", "repo": "org/set", "subcategory_from": {"folder": 2}}

    def github_release(self, name: str, content: bytes) -> dict[str, Any]:
        github = self._stack.enter_context(GitHubService())
        self._setenv("GITHUB_API_URL", github.api_url)
        github.release("org/pics", "v1", {name: content})
        return {"repo": "org/pics", "subcategory_from": {"folder": 1}}

    def kaggle(self, name: str, content: bytes) -> dict[str, Any]:
        """Below an archive, whose directory alone is read when it is listed."""
        service = self._stack.enter_context(KaggleService())
        for variable, value in service.environment().items():
            self._setenv(variable, value)
        service.add("org/pets", zip_bytes([(name, content)]))
        return {"handle": "org/pets", "subcategory_from": {"folder": 2}}

    def _put(self, name: str, content: bytes) -> Path:
        folder = self._folder / "in"
        folder.mkdir()
        (folder / name).write_bytes(content)
        return folder


@pytest.fixture
def upstream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Upstream]:
    for name in ("HF_TOKEN", "GITHUB_TOKEN", "KAGGLE_USERNAME", "KAGGLE_KEY", "KAGGLE_API_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    with ExitStack() as stack:
        yield Upstream(tmp_path, monkeypatch.setenv, stack)


def hints_of(installation: Installation) -> tuple[list[str], list[str]]:
    """What `plan` and `status` tell."""
    [planned], [shown] = forecast(installation, "10").sources, read_status(installation).sources
    return planned.hints, shown.hints


def rows_of(installation: Installation) -> list[tuple[str, str | None]]:
    return [
        (row["id"].partition("#")[0].rpartition("/")[2], row["label"])
        for one in ingest(installation).values()
        for row in read_rows(one.path, [name for name in one.manifest.files if name.startswith("data-")])
        if row["label"]
    ]


@pytest.mark.parametrize(
    ("kind", "name", "pack", "at_listing"),
    [
        pytest.param("client_folder", "b.zip", old_zip, 1, id="folder-zip"),
        pytest.param("client_folder", "b.tar", old_tar, 0, id="folder-tar"),
        pytest.param("client_folder", "b.zip", nested_zip, 0, id="inside"),
        pytest.param("pdf_folder", "b.zip", old_zip, 1, id="pdf-zip"),
        pytest.param("pdf_folder", "b.tar", old_tar, 0, id="pdf-tar"),
        pytest.param("hf_dataset", "b.zip", old_zip, 0, id="hub-zip"),
        pytest.param("hf_captions", "b.zip", old_zip, 1, id="hub-captions"),
        pytest.param("github_release", "b.tar", old_tar, 0, id="github-tar"),
        pytest.param("kaggle", "b.zip", old_zip, 0, id="kaggle-inside"),
    ],
)  # fmt: skip
def test_names_that_nobody_declares_are_told_by_every_kind(
    upstream: Upstream, tmp_path: Path, kind: str, name: str, pack: Callable[[Files], bytes], at_listing: int
) -> None:
    files = IMAGE
    if kind == "pdf_folder":
        scan(tmp_path / "a.pdf", pages=1)
        files = [("şehir/ığdır.pdf", (tmp_path / "a.pdf").read_bytes())]
    keys = {**STREET, "kind": kind, **getattr(upstream, kind)(name, pack(files))}
    if pack is nested_zip:
        keys["subcategory_from"] = {"folder": 3}
    del keys["subcategory"]
    installation = install(tmp_path, keys, **SETTINGS)
    assert ["set `encoding` (cp857?)" in hint for hint in hints_of(installation)[0]] == [True] * at_listing
    assert [label for _, label in rows_of(installation)] == ["şehir".encode("cp857").decode("cp437")]
    for hints in hints_of(installation):
        assert len(hints) == 1
        assert "set `encoding` (cp857?)" in hints[0]
        assert "şehir/ığdır." in hints[0]
    told = install(tmp_path, {**keys, "encoding": ["utf-8", "cp857"]}, **SETTINGS)
    assert rows_of(told) == [(files[0][0].rpartition("/")[2], "şehir")]
    assert hints_of(told) == ([], [])
