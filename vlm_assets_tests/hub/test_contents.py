"""Files whose names say nothing, by their first bytes: on the Hub and on disk."""

import io
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import feather

from vlm_assets.demo.services.huggingface import HubService
from vlm_assets.demo.services.pictures import picture, tar_of, zip_of
from vlm_assets.hub import layouts, remote_contents
from vlm_assets.hub.contents import format_of_head, is_unnamed, local_formats
from vlm_assets.sources.hf_dataset import SOURCE, HfDatasetSpec
from vlm_assets.sources.hf_disk import SOURCE as DISK
from vlm_assets.sources.hf_disk import HfDiskSpec
from vlm_assets_tests.sources.kit import COMMON, fetch_slice, list_context

TABLE = pa.table({"image": [picture("a").data], "text": ["bir"]})


def parquet() -> bytes:
    pq.write_table(TABLE, sink := io.BytesIO())
    return sink.getvalue()


def arrow(*, form: str) -> bytes:
    sink = pa.BufferOutputStream()
    new = pa.ipc.new_stream if form == "stream" else pa.ipc.new_file
    with new(sink, TABLE.schema) as writer:
        writer.write_table(TABLE)
    return bytes(sink.getvalue())


def feathered() -> bytes:
    feather.write_feather(TABLE, sink := io.BytesIO())
    return sink.getvalue()


HEADS = {
    "parquet": (parquet(), "parquet"), "stream": (arrow(form="stream"), "arrow"),
    "file": (arrow(form="file"), "arrow"), "feather": (feathered(), "arrow"),
    "image": (picture("a").data, "imagefolder"), "zip": (zip_of([("a.jpg", b"A")]), "archive"),
    "tar": (tar_of([("a.jpg", b"A")]), "webdataset"), "text": (b"file_name,text\n", None), "empty": (b"", None),
}  # fmt: skip


@pytest.mark.parametrize(("content", "form"), HEADS.values(), ids=HEADS)
def test_first_bytes_tell_the_format(tmp_path: Path, content: bytes, form: str | None) -> None:
    assert format_of_head(content[:4096]) == form
    (tmp_path / "x").write_bytes(content)
    assert local_formats(tmp_path, ["x", "gone"]) == ({"x": form} if form else {})


@pytest.mark.parametrize(
    ("path", "unnamed"),
    [("data/train-00000", True), ("a.dat", True), ("a.bin", True), ("a.jpg", False), ("README.md", False),
     ("b.py", False), (".cache/x", False), ("._a", False), ("a.rar", False), ("clip.mp4", False)],
)  # fmt: skip
def test_only_names_that_say_nothing_are_looked_into(path: str, unnamed: bool) -> None:  # noqa: FBT001
    assert is_unnamed(path) is unnamed


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubService]:
    with HubService() as service:
        monkeypatch.setenv("HF_ENDPOINT", service.url)
        monkeypatch.delenv("HF_TOKEN", raising=False)
        yield service


def test_a_repository_of_unnamed_files_is_looked_into_once(hub: HubService, tmp_path: Path) -> None:
    files = {
        "data/train-00000-of-00002": parquet(),
        "data/train-00001-of-00002": parquet(),
        "data/NOTES": b"x",
    }
    repo = hub.add("org/set", files)
    spec = HfDatasetSpec(
        **{**COMMON, "kind": "hf_dataset", "repo": "org/set", "revision": repo.commits[0].sha}
    )
    listed = SOURCE.list(spec, list_context(tmp_path))
    fetched = fetch_slice(SOURCE, spec, tmp_path, listed, "default--train")
    assert [(one.item, one.text) for one in fetched.records] == [(key, "bir") for key in sorted(files)[1:]]
    assert [one.key for one in listed.left_out] == ["data/NOTES"]
    hub.clear_log()
    hub.storage.clear_log()
    SOURCE.list(spec, list_context(tmp_path))
    assert (hub.log, hub.storage.log) == ([], [])


def test_no_more_than_the_first_files_are_looked_into(
    hub: HubService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (remote_contents, layouts):
        monkeypatch.setattr(module, "LOOKED_AT", 2)
    hub.add("org/set", {**{f"x{n}": picture("a").data for n in range(3)}, "y.jpg": picture("b").data})
    spec = HfDatasetSpec(**{**COMMON, "kind": "hf_dataset", "repo": "org/set"})
    for _ in range(2):
        listed = SOURCE.list(spec, list_context(tmp_path))
        assert [item.key for one in listed.slices for item in one.items] == ["x0", "x1", "y.jpg"]
        assert [one.key for one in listed.left_out] == ["x2"]
        assert any(hint.startswith("1 file without a known suffix not looked into") for hint in listed.hints)


def test_tables_on_disk_are_read_whatever_they_are_called(tmp_path: Path) -> None:
    root = tmp_path / "set"
    root.mkdir()
    for name, content in {
        "a.parquet": parquet(),
        "b": parquet(),
        "c.parq": parquet(),
        "d.feather": feathered(),
    }.items():
        (root / name).write_bytes(content)
    spec = HfDiskSpec(**{**COMMON, "kind": "hf_disk", "path": root})
    listed = DISK.list(spec, list_context(tmp_path))
    assert {one.name: [item.key for item in one.items] for one in listed.slices} == {
        "train": ["a.parquet", "b", "c.parq"], "rest--arrow": ["d.feather"],
    }  # fmt: skip
    assert [one.text for one in fetch_slice(DISK, spec, tmp_path, listed, "rest--arrow").records] == ["bir"]
