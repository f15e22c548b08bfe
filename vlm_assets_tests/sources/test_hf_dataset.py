import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vlm_assets.demo.services.huggingface import HubService
from vlm_assets.demo.services.pictures import picture, tar_of, zip_of
from vlm_assets.words.errors import RejectReason, SourceError
from vlm_assets_tests.sources.hub_sets import (
    arrow,
    fetched_of,
    image_struct,
    listed_of,
    names_of,
    parquet,
    spec_of,
)
from vlm_assets_tests.sources.kit import (
    identities,
    slices_of,
)

TWO_CONFIGS = """---
configs:
- config_name: tr
  data_files:
  - {split: train, path: tr/train-*.parquet}
  - {split: test, path: tr/test.parquet}
- config_name: en
  data_files: en/*.parquet
---
# A set
"""


def test_configs_and_splits_are_found(hub: HubService, tmp_path: Path) -> None:
    files = {f"tr/train-{i}.parquet": parquet(names_of(f"t{i}", 5)) for i in range(2)}
    hub.add("org/set", {"README.md": TWO_CONFIGS.encode(), "tr/test.parquet": parquet(["x"]),
                        "en/a.parquet": parquet(["y"]), **files})  # fmt: skip
    listed = listed_of(tmp_path)
    assert {n: len(s.items) for n, s in slices_of(listed).items()} == {
        "en--train": 1,
        "tr--test": 1,
        "tr--train": 2,
    }
    assert listed.revision == hub.repos["org/set"].commits[0].sha
    only = listed_of(tmp_path, spec_of(configs=["tr"], splits=["test"]))
    assert list(slices_of(only)) == ["tr--test"]
    with pytest.raises(SourceError, match="no config de; there are: en, tr"):
        listed_of(tmp_path, spec_of(configs=["de"]))


def test_parquet_rows_keep_text_labels_and_everything_else(hub: HubService, tmp_path: Path) -> None:
    extra = {"when": [None, 1.5, float("nan")], "raw": [b"\x00", None, b"x" * 70_000], "n": [2**40, -1, 0]}
    hub.add("org/set", {"data/train.parquet": parquet(["a", "", "c"], **extra)})
    fetched = fetched_of(tmp_path, "default--train")
    assert fetched.images == [picture("a").data, picture("c").data]
    assert [(r.reason, r.record) for r in fetched.rejects] == [(RejectReason.NO_IMAGE, 1)]
    first, last = fetched.records
    assert (first.key, first.text, first.record) == ("data/train.parquet/0", "resim a", 0)
    assert first.extra == {
        "label": "kedi",
        "when": None,
        "raw": {"base64": "AA=="},
        "n": 2**40,
        "image.path": "a.jpg",
    }
    assert last.extra is not None
    assert (last.extra["when"], last.extra["raw"]["size_bytes"]) == ("nan", 70_000)
    assert first.origin == "hf://datasets/org/set/data/train.parquet#row=0"


def vlm_parquet() -> bytes:
    table = pa.table({
        "images": [image_struct("a", "b"), [], image_struct("c")],
        "messages": [[{"role": "user", "content": "<image><image> ne var?"}]] * 3,
    })  # fmt: skip
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()


def test_a_row_of_several_images_is_one_sample_with_its_conversation(hub: HubService, tmp_path: Path) -> None:
    hub.add("org/set", {"train.parquet": vlm_parquet()})
    fetched = fetched_of(tmp_path, "default--train")
    assert [r.key for r in fetched.records] == ["train.parquet/0", "train.parquet/2"]
    assert [r.record for r in fetched.records] == [0, 2]
    assert [(r.record, r.reason) for r in fetched.rejects] == [(1, RejectReason.NO_IMAGE)]
    both, last = fetched.records
    assert [image.data for image in both.images] == [picture("a").data, picture("b").data]
    assert [image.name for image in both.images] == ["a.jpg", "b.jpg"]
    image, words = {"type": "image", "text": None}, {"type": "text", "text": "ne var?"}
    assert both.messages == [{"role": "user", "content": [image, image, words]}]
    assert last.messages == [{"role": "user", "content": [image, words]}]
    assert (both.remarks, last.remarks) == ({}, {"mismatched": 1, "marks_removed": 2})


def test_split_images_makes_a_sample_of_each(hub: HubService, tmp_path: Path) -> None:
    hub.add("org/set", {"train.parquet": vlm_parquet()})
    fetched = fetched_of(tmp_path, "default--train", spec_of(split_images=True))
    keys = ["train.parquet/0#image=1", "train.parquet/0#image=2", "train.parquet/2#image=1"]
    assert [r.key for r in fetched.records] == keys
    assert [r.record for r in fetched.records] == [0, 1, 3]
    assert [r.record for r in fetched.rejects] == [2]
    assert all(len(r.images) == 1 and r.messages is None for r in fetched.records)


def test_columns_named_together_make_up_a_sample(hub: HubService, tmp_path: Path) -> None:
    """A null column is no image of its row; a null in a list is one that is missing."""
    both = image_struct("a", "b", "c")
    second = [*image_struct("m"), None, *image_struct("n")]
    lists = [image_struct("x"), image_struct("y"), [None]]
    hub.add(
        "org/set",
        {"train.parquet": parquet(["a", "b", "c"], features=None, mask=second, more=lists, image=both)},
    )
    spec = spec_of(image_column=["image", "mask", "more"])
    fetched = fetched_of(tmp_path, "default--train", spec)
    assert [[image.data for image in r.images] for r in fetched.records] == [
        [picture(name).data for name in names] for names in ("amx", "by")
    ]
    [reject] = fetched.rejects
    assert reject.detail == "row 2: image 3 of 3 (more[0]): no image bytes"


def test_a_conversation_named_as_text_says_what_to_write(hub: HubService, tmp_path: Path) -> None:
    hub.add("org/set", {"train.parquet": vlm_parquet()})
    with pytest.raises(
        SourceError, match=r"'messages' \(text_column\) holds conversations; name it as messages_column"
    ):
        fetched_of(tmp_path, "default--train", spec_of(text_column="messages"))


def test_a_column_that_is_no_conversation_names_the_forms(hub: HubService, tmp_path: Path) -> None:
    hub.add("org/set", {"train.parquet": parquet(["a"])})
    with pytest.raises(SourceError, match=r"column 'label' \(messages_column\).*a conversation is a list of"):
        fetched_of(tmp_path, "default--train", spec_of(messages_column="label"))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"mask": image_struct("m", "n")}, "several image columns: image, mask; set image_column to one"),
        ({"image": ["x", "y"]}, r"no image column found.*columns: image \(string\), text"),
    ],
    ids=["several", "none"],
)
def test_an_unclear_image_column_is_an_error(
    hub: HubService, tmp_path: Path, columns: dict[str, Any], message: str
) -> None:
    hub.add("org/set", {"train.parquet": parquet(["a", "b"], features=None, **columns)})
    with pytest.raises(SourceError, match=message):
        fetched_of(tmp_path, "default--train")


def test_the_named_image_column_is_taken(hub: HubService, tmp_path: Path) -> None:
    hub.add("org/set", {"train.parquet": parquet(["a"], features=None, mask=image_struct("m"))})
    fetched = fetched_of(tmp_path, "default--train", spec_of(image_column="mask", text_column="text"))
    assert fetched.images == [picture("m").data]


def samples(names: list[str]) -> list[tuple[str, bytes]]:
    return [
        pair
        for name in names
        for pair in ((f"{name}.jpg", picture(name).data), (f"{name}.json", json.dumps({"caption": name}).encode()),
                     (f"{name}.cls", b"1"))
    ]  # fmt: skip


METADATA = b"file_name,text,label\na.jpg,bir kedi,cat\nb.jpg,bir kus,bird\ngone.jpg,yok,cat\n"
LAYOUTS: dict[str, tuple[dict[str, bytes], str, int]] = {
    "parquet": ({"train.parquet": parquet(["a", "b"])}, "default--train", 2),
    "arrow": ({"data-00000-of-00001.arrow": arrow(["a", "b"])}, "default--train", 2),
    "webdataset": ({"train-000.tar": tar_of(samples(["a", "b"]))}, "default--train", 2),
    "webdataset-gz": ({"train-000.tar.gz": tar_of(samples(["a", "b"]), "w:gz")}, "default--train", 2),
    "zip": ({"train.zip": zip_of([("cat/a.jpg", picture("a").data), ("dog/b.jpg", picture("b").data)])},
            "default--train", 2),
    "imagefolder": ({"train/a.jpg": picture("a").data, "train/b.jpg": picture("b").data,
                     "train/metadata.csv": METADATA}, "default--train", 2),
    "classes": ({f"{c}/{n}.jpg": picture(n).data for c, n in (("cat", "a"), ("dog", "b"))}, "default--train", 2),
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_its_images(hub: HubService, tmp_path: Path, layout: str) -> None:
    files, name, count = LAYOUTS[layout]
    hub.add("org/set", files)
    fetched = fetched_of(tmp_path, name)
    assert sorted(fetched.images) == sorted(picture(n).data for n in ("a", "b"))
    assert len({record.key for record in fetched.records}) == count


def test_json_with_base64_images(hub: HubService, tmp_path: Path) -> None:
    import base64

    rows = [
        {"image": base64.b64encode(picture(n).data).decode(), "caption": n, "turns": [{"q": "?"}]}
        for n in "ab"
    ]
    rows.append({"image": "images/c.jpg", "caption": "c", "turns": []})
    hub.add("org/set", {"train.jsonl": "\n".join(json.dumps(row) for row in rows).encode()})
    fetched = fetched_of(tmp_path, "default--train", spec_of(image_column="image"))
    assert fetched.images == [picture("a").data, picture("b").data]
    assert [record.text for record in fetched.records] == ["a", "b"]
    assert fetched.records[0].extra == {"turns": [{"q": "?"}]}
    assert "neither base64" in fetched.rejects[0].detail


def test_webdataset_text_and_fields(hub: HubService, tmp_path: Path) -> None:
    hub.add("org/set", {"train.tar": tar_of(samples(["a"]))})
    (record,) = fetched_of(tmp_path, "default--train").records
    assert (record.key, record.text) == ("train.tar/a", "a")
    assert record.extra == {"cls": "1", "json": {"caption": "a"}}


def test_imagefolder_metadata_decides_identity_by_row(hub: HubService, tmp_path: Path) -> None:
    files = dict(LAYOUTS["imagefolder"][0])
    repo = hub.add("org/set", files)
    before = identities(listed_of(tmp_path))["default--train"]
    fetched = fetched_of(tmp_path, "default--train")
    assert {r.key: r.text for r in fetched.records} == {"train/a.jpg": "bir kedi", "train/b.jpg": "bir kus"}
    assert [(r.item, r.reason) for r in fetched.rejects] == [("train/gone.jpg", RejectReason.NOT_FOUND)]
    repo.commit({**files, "train/metadata.csv": METADATA.replace(b"bir kedi", b"iki kedi")})
    after = identities(listed_of(tmp_path))["default--train"]
    assert [key for key in after if before[key] != after[key]] == ["train/a.jpg"]


def test_a_moved_revision_changes_only_the_files_that_changed(hub: HubService, tmp_path: Path) -> None:
    files = {f"train-{i}.parquet": parquet(names_of(f"s{i}", 3)) for i in range(4)}
    repo = hub.add("org/set", files)
    spec = spec_of(buckets=4)
    before = listed_of(tmp_path, spec)
    repo.commit({**files, "train-2.parquet": parquet(["new"])})
    after = listed_of(tmp_path, spec, previous_buckets=before.buckets)
    changed = [name for name, items in identities(after).items() if identities(before)[name] != items]
    assert len(changed) == 1
    assert before.revision != after.revision
    repo.commit({**files, "train-2.parquet": parquet(["new"]), "train-9.parquet": parquet(["more"])})
    more = identities(listed_of(tmp_path, spec, previous_buckets=before.buckets))
    assert sum(more.get(n) != items for n, items in identities(after).items()) <= 1
    assert all(items.items() <= more[n].items() for n, items in identities(after).items())


def test_nothing_is_asked_twice(hub: HubService, tmp_path: Path) -> None:
    repo = hub.add("org/set", {"README.md": b"# x", "train.parquet": parquet(names_of("a", 5))})
    spec = spec_of(revision=repo.commits[0].sha)
    first = fetched_of(tmp_path, "default--train", spec).content()
    assert sum(hub.storage.counts().values()) == 1
    hub.clear_log()
    hub.storage.clear_log()
    assert fetched_of(tmp_path, "default--train", spec).content() == first
    assert hub.log == []
    assert hub.storage.log == []
    listed_of(tmp_path)
    assert [entry.path for entry in hub.log] == ["/api/datasets/org/set"]


def test_a_row_larger_than_a_batch(hub: HubService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vlm_assets.hub.readers.BATCH_BYTES", 1000)
    hub.add("org/set", {"train.parquet": parquet(names_of("a", 9)), "test.arrow": arrow(["z"])})
    assert fetched_of(tmp_path, "default--train").images == [picture(n).data for n in names_of("a", 9)]
