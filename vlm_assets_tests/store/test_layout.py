"""The layout says where each buffer lies, and is the same wherever it is made."""

import pyarrow as pa
import pytest

from vlm_assets.store.layout import LAYOUT_FILE, layout_on_disk, layout_table, write_layout
from vlm_assets.store.slices import data_file_names
from vlm_assets.store.sound_files import IndexFile
from vlm_assets.store.versions import current_version, read_manifest
from vlm_assets.words.errors import StoreError
from vlm_assets.words.layout import DataRoot
from vlm_assets.words.manifest import SliceManifest
from vlm_assets_tests.builders import commit_slice, sample

ROWS = 25


@pytest.fixture(scope="module")
def version(tmp_path_factory):
    root = DataRoot(tmp_path_factory.mktemp("root"))
    root.marker.touch()
    commit_slice(
        root, "a", "s", [sample("a", "s", f"i{n}", text=f"söz {n}") for n in range(ROWS)], batch_rows=10
    )
    return current_version(root.slice("a", "s"))


def test_every_buffer_is_where_it_says(version):
    lines = layout_on_disk([version / "data-00000.arrow"]).to_pylist()
    data = (version / "data-00000.arrow").read_bytes()
    batches = list(pa.ipc.open_stream(data))
    assert [(one["first_row"], one["rows"]) for one in lines] == [(0, 10), (10, 10), (20, 5)]
    for line, batch in zip(lines, batches, strict=True):
        flat = [buffer for column in batch.columns for buffer in column.buffers()]
        assert len(flat) == len(line["buffers"])
        for found, buffer in zip(line["buffers"], flat, strict=True):
            place = slice(found["offset"], found["offset"] + found["size"])
            assert data[place] == (b"" if buffer is None else buffer.to_pybytes())
        end = line["offset"] + line["size_bytes"]
        assert line["offset"] + line["header_bytes"] <= line["buffers"][1]["offset"] < end <= len(data)


def test_headers_alone_are_read(version):
    path, asked = version / "data-00000.arrow", []
    data = path.read_bytes()

    def read(begin: int, end: int) -> bytes:
        asked.append(end - begin)
        return bytes(data[begin:end])

    table = layout_table([(path.name, path.stat().st_size, read)])
    assert table.equals(layout_on_disk([path]))
    assert len(asked) == 5
    assert max(asked) <= 4_096


def test_equal_layouts_are_equal_files(version, tmp_path):
    names = data_file_names(path.name for path in version.iterdir())
    table = layout_on_disk([version / name for name in names])
    assert write_layout(tmp_path / LAYOUT_FILE, table) == write_layout(tmp_path / "again", table)
    assert IndexFile(tmp_path / LAYOUT_FILE).read_all().equals(table)
    assert (version / LAYOUT_FILE).read_bytes() == (tmp_path / LAYOUT_FILE).read_bytes()
    assert LAYOUT_FILE in read_manifest(version, SliceManifest).files


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (lambda data: data[: len(data) // 2], "is damaged"),
        (lambda data: b"\0" * 64 + data[64:], "no message begins at byte 0"),
        (lambda data: data[:8] + b"\xff" * 200 + data[208:], "is damaged|another schema"),
        (lambda data: data[:4] + b"\xff\xff\xff\x7f" + data[8:], "no message begins at byte 0"),
    ],
    ids=["cut", "zeros", "header", "length"],
)
def test_what_is_no_data_file_is_named(version, harm, told):
    data = harm((version / "data-00000.arrow").read_bytes())
    with pytest.raises(StoreError, match=rf"data-7\.arrow.*({told})|({told})"):
        layout_table([("data-7.arrow", len(data), lambda begin, end: data[begin:end])])
