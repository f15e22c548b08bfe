import json
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vlm_assets.demo.services.pictures import picture
from vlm_assets.sources.hf_disk import SOURCE, HfDiskSpec
from vlm_assets.words.errors import RejectReason, SourceError
from vlm_assets.words.records import Listed
from vlm_assets_tests.sources.kit import COMMON, Fetched, fetch_slice, identities, list_context, slices_of


def spec_of(path: Path, **keys: Any) -> HfDiskSpec:
    return HfDiskSpec(**{**COMMON, "kind": "hf_disk", "path": path, **keys})


def dataset(names: str) -> datasets.Dataset:
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "label": datasets.ClassLabel(names=["kedi", "kuş"]),
            "text": datasets.Value("string"),
        }
    )
    rows = {"image": [{"bytes": picture(n).data, "path": None} for n in names], "label": [0, 1] * (len(names) // 2),
            "text": list(names)}  # fmt: skip
    return datasets.Dataset.from_dict(rows, features=features)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    folder = tmp_path / "saved"
    datasets.DatasetDict({"train": dataset("abcdef"), "test": dataset("xy")}).save_to_disk(
        str(folder), num_shards={"train": 3, "test": 1}
    )
    return folder


def listed_of(tmp_path: Path, spec: HfDiskSpec, **options: Any) -> Listed:
    return SOURCE.list(spec, list_context(tmp_path, **options))


def fetched_of(tmp_path: Path, spec: HfDiskSpec, name: str) -> Fetched:
    return fetch_slice(SOURCE, spec, tmp_path, listed_of(tmp_path, spec), name)


def test_a_saved_dataset_dict_is_read_in_place(tmp_path: Path, saved: Path) -> None:
    spec = spec_of(saved)
    listed = listed_of(tmp_path, spec)
    assert {name: len(one.items) for name, one in slices_of(listed).items()} == {"test": 1, "train": 3}
    fetched = fetched_of(tmp_path, spec, "train")
    assert fetched.images == [picture(n).data for n in "abcdef"]
    assert [r.text for r in fetched.records] == list("abcdef")
    assert [r.extra for r in fetched.records][:2] == [{"label": "kedi"}, {"label": "kuş"}]
    assert fetched.records[2].key == "train/data-00001-of-00003.arrow/0"
    assert not (tmp_path / "cache/spool").exists()


def test_caches_that_datasets_leaves_are_not_data(tmp_path: Path, saved: Path) -> None:
    before = identities(listed_of(tmp_path, spec_of(saved)))
    (saved / "train" / "cache-0123.arrow").write_bytes(b"x")
    assert identities(listed_of(tmp_path, spec_of(saved))) == before


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda folder: (folder / "train/data-00001-of-00003.arrow").unlink(),
            "1 of 3 data files are missing",
        ),
        (
            lambda folder: (folder / "test/state.json").unlink(),
            "no state.json though dataset_dict.json names it",
        ),
    ],
    ids=["data-file", "split"],
)
def test_a_partial_folder_is_noticed(tmp_path: Path, saved: Path, damage: Any, message: str) -> None:
    damage(saved)
    with pytest.raises(SourceError, match=message):
        listed_of(tmp_path, spec_of(saved))


def test_a_file_that_changed_since_the_listing_is_not_read(tmp_path: Path, saved: Path) -> None:
    listed = listed_of(tmp_path, spec_of(saved))
    path = saved / "test/data-00000-of-00001.arrow"
    path.chmod(0o644)
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(SourceError, match="not the file that was listed"):
        fetch_slice(SOURCE, spec_of(saved), tmp_path, listed, "test")


@pytest.mark.parametrize("cut", [8, 200, 3000])
def test_a_truncated_arrow_file_fails_the_slice(tmp_path: Path, saved: Path, cut: int) -> None:
    path = saved / "test/data-00000-of-00001.arrow"
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(SourceError, match="cannot be read to its end"):
        fetched_of(tmp_path, spec_of(saved), "test")


def test_plain_files_and_large_splits_in_buckets(tmp_path: Path) -> None:
    folder = tmp_path / "plain"
    folder.mkdir()
    for index in range(6):
        rows = [{"bytes": picture(f"{index}").data, "path": None}]
        pq.write_table(pa.table({"image": rows}), folder / f"train-{index}.parquet")
    spec = spec_of(folder, slice_bytes=4000)
    listed = listed_of(tmp_path, spec)
    names = list(slices_of(listed))
    assert len(names) > 1
    assert names[0].startswith("train--0000-of-")
    images = [image for name in names for image in fetched_of(tmp_path, spec, name).images]
    assert sorted(images) == sorted(picture(f"{i}").data for i in range(6))
    pq.write_table(pa.table({"image": rows}), folder / "train-9.parquet")
    again = listed_of(tmp_path, spec, previous_buckets=listed.buckets)
    changed = [n for n, items in identities(again).items() if identities(listed).get(n) != items]
    assert len(changed) == 1


def test_a_clone_without_its_large_files_says_so(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "train.parquet").write_bytes(
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"
    )
    with pytest.raises(SourceError, match=r"train\.parquet: .*it is a Git LFS pointer.*git lfs pull"):
        fetched_of(tmp_path, spec_of(tmp_path / "in"), "train")


NAMES_ONE = pa.table({"image": [{"bytes": None, "path": "images/x.jpg"}], "yazi": ["kedi"]})


def as_parquet(table: pa.Table, path: Path) -> None:
    pq.write_table(table, path)


def as_arrow(table: pa.Table, path: Path) -> None:
    with pa.ipc.new_stream(str(path), table.schema) as writer:
        writer.write_table(table)


def as_json(table: pa.Table, path: Path) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in table.to_pylist()))


@pytest.mark.parametrize(
    ("suffix", "write"),
    [("parquet", as_parquet), ("arrow", as_arrow), ("jsonl", as_json)],
    ids=["parquet", "arrow", "json"],
)
def test_a_data_file_without_rows_says_nothing_about_the_others(
    tmp_path: Path, suffix: str, write: Any
) -> None:
    """The first file of a split tells what its columns are, and whether rows name files: not where it has none."""
    (tmp_path / "in" / "images").mkdir(parents=True)
    (tmp_path / "in" / "images" / "x.jpg").write_bytes(picture("x").data)
    table = NAMES_ONE.set_column(0, "image", pa.array(["images/x.jpg"])) if suffix == "jsonl" else NAMES_ONE
    for number, rows in enumerate((table.slice(0, 0), table)):
        write(rows, tmp_path / "in" / f"train-{number}.{suffix}")
    spec = spec_of(tmp_path / "in", text_column="yazi")
    listed = listed_of(tmp_path, spec)
    assert (listed.upstream, listed.companions) == (3, 1)
    fetched = fetched_of(tmp_path, spec, "train")
    assert [(r.item, r.text) for r in fetched.records] == [(f"train-1.{suffix}", "kedi")]
    assert fetched.images == [picture("x").data]
    assert [(r.item, r.reason) for r in fetched.rejects] == [(f"train-0.{suffix}", RejectReason.EMPTY)]


def test_folders_of_something_else_say_so(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.jpg").write_bytes(b"x")
    with pytest.raises(SourceError, match="use kind client_folder"):
        listed_of(tmp_path, spec_of(tmp_path / "images"))
    with pytest.raises(SourceError, match="is the volume mounted"):
        listed_of(tmp_path, spec_of(tmp_path / "absent"))
