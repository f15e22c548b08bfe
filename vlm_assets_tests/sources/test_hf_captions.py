"""Captions of loose images in a Hub repository."""

import unicodedata
from pathlib import Path
from typing import Any

import pytest

from vlm_assets.sources.hf_dataset import SOURCE, HfDatasetSpec
from vlm_assets.words.errors import RejectReason, SourceError
from vlm_assets.words.records import Listed
from vlm_assets_tests.captions.kit import parquet
from vlm_assets_tests.sources.kit import COMMON, Fetched, fetch_slice, identities, list_context, slices_of

Files = dict[str, bytes]
Said = dict[str, tuple[str | None, Any]]


def spec_of(**keys: Any) -> HfDatasetSpec:
    return HfDatasetSpec.model_validate({**COMMON, "kind": "hf_dataset", "repo": "org/set", **keys})


def listed_of(folder: Path, **keys: Any) -> Listed:
    return SOURCE.list(spec_of(**keys), list_context(folder))


def fetched_of(folder: Path, name: str, **keys: Any) -> Fetched:
    return fetch_slice(SOURCE, spec_of(**keys), folder, listed_of(folder, **keys), name)


def said(fetched: Fetched) -> Said:
    return {record.key: (record.text, record.extra) for record in fetched.records}


def pictures(*names: str) -> Files:
    return {name: b"\xff\xd8\xff\xe0" + name.encode() for name in names}


def label(name: str, **extra: Any) -> dict[str, Any]:
    return {"label": name, **extra}


AB = pictures("train/a.jpg", "train/b.jpg")
TRAIN = {"train/a.jpg": ("çay, su", label("train")), "train/b.jpg": ("iki", label("train"))}
LINES = '{"file_name":"a.jpg","text":"çay, su"}\n{"file_name":"b.jpg","caption":"iki"}'
TABLES: dict[str, tuple[str, bytes, dict[str, Any]]] = {
    "plain": ("metadata.csv", 'file_name,text\na.jpg,"çay, su"\nb.jpg,iki\n'.encode(), {}),
    "semicolon": ("metadata.csv", "\ufefffile_name;text\r\na.jpg;çay, su\r\nb.jpg;iki\r\n".encode(), {}),
    "paths": ("metadata.csv", 'file_name,text\n./a.jpg,"çay, su"\n.\\b.jpg,iki\n'.encode(), {}),
    "cp1254": ("metadata.csv", "file_name;text\na.jpg;çay, su\nb.jpg;iki\n".encode("cp1254"), {"encoding": "cp1254"}),
    "jsonl-bom": ("metadata.jsonl", LINES.encode("utf-8-sig"), {}),
    "parquet": ("metadata.parquet", parquet({"file_name": ["a.jpg", "b.jpg"], "text": ["çay, su", "iki"]}), {}),
    "declared": ("labels.csv", 'image,yazi\na.jpg,"çay, su"\nb.jpg,iki\n'.encode(),
                 {"text": "labels.csv", "file_name_column": "image", "text_column": "yazi"}),
}  # fmt: skip


@pytest.mark.parametrize(("name", "content", "keys"), TABLES.values(), ids=TABLES)
def test_tables_as_people_upload_them(hub, tmp_path, name, content, keys):
    hub.add("org/set", {**AB, f"train/{name}": content})
    assert said(fetched_of(tmp_path, "default--train", **keys)) == TRAIN


def test_a_table_that_nobody_named_is_an_unused_companion(hub, tmp_path):
    hub.add("org/set", {**AB, "train/words.csv": b"file_name,text\na.jpg,x\n", "train/x.fli": b"?"})
    made = listed_of(tmp_path)
    assert {one.key: str(one.reason) for one in made.left_out} == {
        "train/words.csv": "unused_companion", "train/x.fli": "unknown_type",
    }  # fmt: skip
    assert any("say text: words.csv" in hint for hint in made.hints)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (
            b'file_name,text\na.jpg,"yar\nb.jpg,5"\n',
            r"org/set: train/metadata\.csv: line 2: a quote is out of place",
        ),
        (b"file_name,text\na.jpg,\xe7ay\n", r"train/metadata\.csv: line 2 is not UTF-8.*encoding"),
        (b"filename,text\na.jpg,x\n", "no column names files.*there are: filename, text"),
        (b"file_name,text\nA.jpg,x\n", r"none of 1 caption rows.*'A\.jpg' \(there is train/a\.jpg\)"),
    ],
    ids=["stray-quote", "cp1254", "filename", "case"],
)
def test_what_is_not_certain_stops_the_listing_and_says_why(hub, tmp_path, content, told):
    hub.add("org/set", {**AB, "train/metadata.csv": content})
    with pytest.raises(SourceError, match=told):
        listed_of(tmp_path)


def test_several_captions_an_image_are_several_samples(hub, tmp_path):
    hub.add("org/set", {**AB, "train/metadata.csv": b"file_name,text\na.jpg,bir\na.jpg,iki\n"})
    fetched = fetched_of(tmp_path, "default--train")
    assert said(fetched) == {
        "train/a.jpg#caption=1": ("bir", label("train")), "train/a.jpg#caption=2": ("iki", label("train")),
        "train/b.jpg": (None, label("train")),
    }  # fmt: skip
    assert listed_of(tmp_path).attributes["captions"]["images_without_rows"] == 1


def test_a_table_above_the_splits_speaks_of_all_of_them(hub, tmp_path):
    rows = b'{"file_name":"train/a.jpg","text":"bir"}\n{"file_name":"test/c.jpg","text":"iki"}\n{"file_name":"x"}'
    hub.add("org/set", {**AB, **pictures("test/c.jpg"), "metadata.jsonl": rows})
    assert said(fetched_of(tmp_path, "default--train")) == {
        "train/a.jpg": ("bir", label("train")), "train/b.jpg": (None, label("train")),
    }  # fmt: skip
    assert said(fetched_of(tmp_path, "default--test")) == {"test/c.jpg": ("iki", label("test"))}
    counts = listed_of(tmp_path).attributes["captions"]
    assert (counts["rows"], counts["name_nothing"], counts["images"], counts["images_without_rows"]) == (
        3,
        1,
        3,
        1,
    )
    assert said(fetched_of(tmp_path, "default--train", text="none"))["train/a.jpg"] == (None, label("train"))


@pytest.mark.parametrize(
    "content",
    [b"city,people\nIzmir,5\n", b"file_name,text\nyok.jpg,bir\n"],
    ids=["of-something-else", "of-nothing"],
)
def test_a_table_above_that_speaks_of_none_stops_nothing(hub, tmp_path, content):
    hub.add("org/set", {**AB, "metadata.csv": content})
    assert {text for text, _ in said(fetched_of(tmp_path, "default--train")).values()} == {None}


def test_files_with_the_names_of_images_are_hinted_at(hub, tmp_path):
    hub.add("org/set", {**AB, "train/a.txt": b"bir", "notes.txt": b"x"})
    [hint] = listed_of(tmp_path).hints
    assert hint.startswith("1 file with the names of images, the first is train/a.txt")
    assert not listed_of(tmp_path, text="sidecar").hints


CONFIGS = b"""---
configs:
- config_name: default
  metadata_filenames: [metadata.csv]
- config_name: other
  metadata_filenames: [metadata2.csv]
---
"""


def test_a_config_has_the_images_of_the_tables_that_the_readme_gives_it(hub, tmp_path):
    hub.add("org/set", {
        **pictures("1.jpg", "2.jpg", "3.jpg"), "README.md": CONFIGS,
        "metadata.csv": b"file_name,text\n1.jpg,bir\n2.jpg,iki\n",
        "metadata2.csv": b"file_name,text\n3.jpg,\xc3\xbc\xc3\xa7\n",
    })  # fmt: skip
    assert said(fetched_of(tmp_path, "default--train")) == {"1.jpg": ("bir", None), "2.jpg": ("iki", None)}
    assert said(fetched_of(tmp_path, "other--train")) == {"3.jpg": ("üç", None)}


def test_names_of_tables_that_are_none_are_an_error(hub, tmp_path):
    readme = CONFIGS.replace(b"[metadata2.csv]", b"{a: 1}")
    hub.add("org/set", {**pictures("1.jpg"), "README.md": readme, "metadata.csv": b"file_name\n1.jpg\n"})
    with pytest.raises(
        SourceError, match=r"`metadata_filenames` in the README is .*expected a list of names"
    ):
        listed_of(tmp_path)


PAIRS = b"""image_file_name,mask_file_name,text
a.jpg,m.jpg,bir
b.jpg,m.jpg,iki
b.jpg,yok.jpg,x
yok.jpg,yok2.jpg,y
"""


def test_a_row_of_several_images_is_one_sample(hub, tmp_path):
    repo = hub.add("org/set", {**AB, **pictures("train/m.jpg", "train/n.jpg"), "train/metadata.csv": PAIRS})
    fetched = fetched_of(tmp_path, "default--train")
    told = {
        record.key: [
            (one.name, one.origin, Path(str(one.data)).read_bytes()[4:].decode()) for one in record.images
        ]
        for record in fetched.records
    }
    beside = ("mask", "hf://datasets/org/set/train/m.jpg", "train/m.jpg")
    assert told == {
        "train/a.jpg": [("image", None, "train/a.jpg"), beside],
        "train/b.jpg#caption=1": [("image", None, "train/b.jpg"), beside],
        "train/n.jpg": [(None, None, "train/n.jpg")],
    }
    assert {(r.item, r.record, r.reason) for r in fetched.rejects} == {
        ("train/b.jpg", 1, RejectReason.NOT_FOUND), ("train/yok.jpg", None, RejectReason.NOT_FOUND),
    }  # fmt: skip
    before = identities(listed_of(tmp_path))["default--train"]
    repo.commit(
        {**AB, **pictures("train/n.jpg"), "train/m.jpg": b"\xff\xd8other", "train/metadata.csv": PAIRS}
    )
    after = identities(listed_of(tmp_path))["default--train"]
    assert {key for key in after if before[key] != after[key]} == {"train/a.jpg", "train/b.jpg"}


def test_composed_and_decomposed_names_are_the_same(hub, tmp_path):
    name = unicodedata.normalize("NFD", "çiçek.jpg")
    hub.add(
        "org/set",
        {f"train/{name}": b"\xff\xd8", "train/metadata.csv": "file_name,text\nçiçek.jpg,bir\n".encode()},
    )
    assert said(fetched_of(tmp_path, "default--train")) == {"train/çiçek.jpg": ("bir", label("train"))}


SIDECARS = {
    **AB,
    "train/a.txt": "çay".encode("cp1254"),
    "train/b.jpg.json": b'{"caption": "iki", "n": 1}',
    "train/x.txt": b"?",
}


def test_sidecars_are_read_with_their_image(hub, tmp_path):
    repo = hub.add("org/set", SIDECARS)
    keys = {"text": "sidecar", "encoding": "cp1254"}
    assert said(fetched_of(tmp_path, "default--train", **keys)) == {
        "train/a.jpg": ("çay", label("train")), "train/b.jpg": ("iki", label("train", n=1)),
    }  # fmt: skip
    before = identities(listed_of(tmp_path, **keys))["default--train"]
    repo.commit({**SIDECARS, "train/a.txt": b"su"})
    after = identities(listed_of(tmp_path, **keys))["default--train"]
    assert {key for key in after if before[key] != after[key]} == {"train/a.jpg"}
    repo.commit(SIDECARS)
    with pytest.raises(SourceError, match=r"org/set/train/a\.txt: line 1 is not UTF-8.*key encoding"):
        fetched_of(tmp_path, "default--train", text="sidecar")


def test_a_conversation_in_a_table_is_messages(hub, tmp_path):
    row = b'{"file_name":"a.jpg","conversations":[{"from":"human","value":"<image>?"},{"from":"gpt","value":"!"}]}'
    hub.add("org/set", {**AB, "train/metadata.jsonl": row})
    talks = {record.key: record.messages for record in fetched_of(tmp_path, "default--train").records}
    assert talks["train/b.jpg"] is None
    assert [message["role"] for message in talks["train/a.jpg"] or ()] == ["user", "assistant"]


def test_two_splits_list_each_image_once(hub, tmp_path):
    hub.add("org/set", {**AB, **pictures("test/a.jpg"), "test/metadata.csv": b"file_name,text\na.jpg,x\n"})
    assert {name: [item.key for item in one.items] for name, one in slices_of(listed_of(tmp_path)).items()} == {
        "default--test": ["test/a.jpg"], "default--train": ["train/a.jpg", "train/b.jpg"],
    }  # fmt: skip
