"""Captions of images in a Hub repository's archives: inside them, beside them, above them."""

import gzip
from pathlib import Path
from typing import Any

import pytest

from vlm_assets.demo.services.huggingface import HubService
from vlm_assets.demo.services.pictures import tar_of, zip_of
from vlm_assets.sources.hf_dataset import SOURCE, HfDatasetSpec
from vlm_assets.words.caption_rows import settled
from vlm_assets.words.errors import LeftOutReason, RejectReason, SourceError
from vlm_assets_tests.sources.kit import COMMON, Fetched, fetch_slice, identities, list_context

JPEG = b"\xff\xd8\xff\xe0"


def spec_of(**keys: Any) -> HfDatasetSpec:
    return HfDatasetSpec.model_validate({**COMMON, "kind": "hf_dataset", "repo": "org/set", **keys})


def fetched_of(folder: Path, name: str = "default--train", **keys: Any) -> Fetched:
    spec = spec_of(**keys)
    return fetch_slice(SOURCE, spec, folder, SOURCE.list(spec, list_context(folder)), name)


def said(fetched: Fetched) -> dict[str, str | None]:
    return {record.key: record.text for record in fetched.records}


def packed(*names: str, **files: bytes) -> bytes:
    """A zip of images and, below their names with `__` for a dot, other files."""
    others = [(name.replace("__", "."), data) for name, data in files.items()]
    return zip_of([*((name, JPEG + name.encode()) for name in names), *others])


def test_a_table_inside_is_joined_and_no_longer_left_out(hub, tmp_path):
    table = "file_name;text;n\na.jpg;çay, su;1\nk/b.jpg;iki;\n".encode("cp1254")
    hub.add(
        "org/set", {"train.zip": packed("a.jpg", "k/b.jpg", "c.jpg", metadata__csv=table, notes__md=b"x")}
    )
    fetched = fetched_of(tmp_path, encoding="cp1254")
    assert {r.key: (r.text, r.extra) for r in fetched.records} == {
        "train.zip/a.jpg": ("çay, su", {"n": "1"}), "train.zip/k/b.jpg": ("iki", {"label": "k", "n": None}),
        "train.zip/c.jpg": (None, None),
    }  # fmt: skip
    assert [(one.key, one.reason) for one in fetched.left_out] == [
        ("train.zip/notes.md", LeftOutReason.UNKNOWN_TYPE)
    ]
    with pytest.raises(SourceError, match=r"train\.zip!metadata\.csv: line 2 is not UTF-8.*key encoding"):
        fetched_of(tmp_path)


def test_several_captions_and_several_images_a_row(hub, tmp_path):
    table = b"image_file_name,mask_file_name,text\na.jpg,m.jpg,bir\nb.jpg,m.jpg,iki\nb.jpg,yok.jpg,son\n"
    hub.add("org/set", {"train.zip": packed("b.jpg", "m.jpg", "a.jpg", metadata__csv=table)})
    fetched = fetched_of(tmp_path)
    beside = ("mask", "hf://datasets/org/set/train.zip!m.jpg", JPEG + b"m.jpg")
    assert {r.key: [(i.name, i.origin, i.data) for i in r.images] for r in fetched.records} == {
        "train.zip/a.jpg": [("image", None, JPEG + b"a.jpg"), beside],
        "train.zip/b.jpg#caption=1": [("image", None, JPEG + b"b.jpg"), beside],
    }
    assert [(r.reason, r.record, r.detail) for r in fetched.rejects] == [
        (RejectReason.NOT_FOUND, 1, "mask names 'yok.jpg', which is not there")
    ]
    assert {event.record for event in fetched.events} == {0, 1, 2}


def test_sidecars_inside(hub, tmp_path):
    files = {"a.txt": b"bir", "b.jpg.json": b'{"caption": "iki"}', "x.txt": b"?"}
    data = zip_of([("a.jpg", JPEG), ("b.jpg", JPEG + b"b"), *files.items()])
    hub.add("org/set", {"train.zip": data})
    fetched = fetched_of(tmp_path, text="sidecar")
    assert said(fetched) == {"train.zip/a.jpg": "bir", "train.zip/b.jpg": "iki"}
    assert [(one.key, one.reason) for one in fetched.left_out] == [
        ("train.zip/x.txt", LeftOutReason.UNUSED_COMPANION)
    ]


@pytest.mark.parametrize("prefix", ["", "train/", "train.zip/", "./", "data\\"], ids=repr)
def test_a_table_beside_the_only_archive(hub, tmp_path, prefix):
    name = f"{prefix}a.jpg"
    member = "data/a.jpg" if "data" in prefix else "a.jpg"
    files = {"train.zip": packed(member, "b.jpg"), "metadata.csv": f"file_name,text\n{name},bir\n".encode()}
    repo = hub.add("org/set", files)
    assert said(fetched_of(tmp_path)) == {f"train.zip/{member}": "bir", "train.zip/b.jpg": None}
    before = identities(SOURCE.list(spec_of(), list_context(tmp_path)))
    repo.commit({**files, "metadata.csv": f"file_name,text\n{name},iki\n".encode()})
    assert identities(SOURCE.list(spec_of(), list_context(tmp_path))) != before
    assert said(fetched_of(tmp_path))[f"train.zip/{member}"] == "iki"


def test_a_table_beside_that_names_nothing_is_an_error(hub, tmp_path):
    hub.add("org/set", {"train.zip": packed("a.jpg"), "metadata.csv": b"file_name,text\nyok.jpg,bir\n"})
    with pytest.raises(SourceError, match=r"none of 1 caption rows.*metadata\.csv: line 2 names 'yok\.jpg'"):
        fetched_of(tmp_path)


SHARDS = {"data/train-0.zip": packed("0.jpg", "1.jpg"), "data/train-1.zip": packed("2.jpg")}


def test_a_table_beside_several_archives_of_a_split(hub, tmp_path):
    rows = b"file_name,text\n0.jpg,sifir\ntrain-1/2.jpg,iki\nyok.jpg,x\n"
    hub.add("org/set", {**SHARDS, "data/metadata.csv": rows})
    assert said(fetched_of(tmp_path)) == {
        "data/train-0.zip/0.jpg": "sifir", "data/train-0.zip/1.jpg": None, "data/train-1.zip/2.jpg": "iki",
    }  # fmt: skip


CARD = b"""---
configs:
- config_name: default
  data_files: [{split: train, path: train.zip}, {split: test, path: test/*.jpg}]
---
"""
LIKE = b"file_name,text\n0.jpg,sifir\n1.jpg,bir\ntrain-1/0.jpg,iki\n"


@pytest.mark.parametrize(
    ("files", "texts", "withheld"),
    [
        (
            {"train-0.zip": packed("0.jpg", "1.jpg"), "train-1.zip": packed("0.jpg"), "metadata.csv": LIKE},
            {"train-0.zip/0.jpg": None, "train-0.zip/1.jpg": "bir", "train-1.zip/0.jpg": "iki"},
            ["train-0.zip/0.jpg"],
        ),
        (
            {"train-0.tar": tar_of([("0.jpg", JPEG), ("1.jpg", JPEG)]), "train-1.tar": tar_of([("0.jpg", JPEG)]),
             "metadata.csv": LIKE},
            {"train-0.tar/0.jpg": None, "train-0.tar/1.jpg": "bir", "train-1.tar/0.jpg": "iki"},
            ["train-0.tar/0.jpg"],
        ),
        (
            {"README.md": CARD, "test/0.jpg": JPEG, "train.zip": packed("test/0.jpg", "1.jpg"),
             "metadata.csv": b"file_name,text\ntest/0.jpg,sifir\n1.jpg,bir\n"},
            {"train.zip/test/0.jpg": None, "train.zip/1.jpg": "bir"},
            ["train.zip/test/0.jpg"],
        ),
        (
            {"train.zip": packed("0.jpg"), "train.cbz": packed("0.jpg"),
             "metadata.csv": b"file_name,text\ntrain/0.jpg,sifir\ntrain.cbz/0.jpg,bir\n"},
            {"train.zip/0.jpg": None, "train.cbz/0.jpg": "bir"},
            ["train.zip/0.jpg"],
        ),
    ],
    ids=["zips", "tars", "loose", "stems"],
)  # fmt: skip
def test_a_name_that_two_files_have_gives_neither_its_text(
    hub: HubService,
    tmp_path: Path,
    files: dict[str, bytes],
    texts: dict[str, str | None],
    withheld: list[str],
) -> None:
    hub.add("org/set", files)
    one = fetched_of(tmp_path)
    assert said(one) == texts
    assert [record.key for record in one.records if record.remarks == {"words_withheld": 1}] == withheld


def test_packed_images_are_read_as_folders_read_them(hub: HubService, tmp_path: Path) -> None:
    packed_images = {f"kedi/{name}.jpg.gz": gzip.compress(JPEG + name.encode()) for name in "ab"}
    hub.add("org/set", {**packed_images, "kedi/metadata.csv": b"file_name,text\na.jpg,bir\n"})
    fetched = fetched_of(tmp_path)
    assert {record.key: (record.text, record.extra) for record in fetched.records} == {
        "kedi/a.jpg.gz/a.jpg": ("bir", {"label": "kedi"}),
        "kedi/b.jpg.gz/b.jpg": (None, {"label": "kedi"}),
    }
    assert fetched.images == [JPEG + b"a", JPEG + b"b"]
    hub.add("org/set", {**packed_images, **{f"kedi/{name}.jpg": JPEG for name in "abc"}})
    listed = SOURCE.list(spec_of(), list_context(tmp_path))
    assert [(one.key, one.detail) for one in listed.left_out] == [
        (name, "archive, which no split takes") for name in packed_images
    ]


SPLITS = {"train.zip": packed("0.jpg"), "test.zip": packed("0.jpg")}


def test_beside_archives_of_several_splits_a_name_says_which(hub, tmp_path):
    repo = hub.add(
        "org/set", {**SPLITS, "metadata.csv": b"file_name,text\ntrain/0.jpg,bir\ntest/0.jpg,iki\n"}
    )
    assert said(fetched_of(tmp_path)) == {"train.zip/0.jpg": "bir"}
    assert said(fetched_of(tmp_path, "default--test")) == {"test.zip/0.jpg": "iki"}
    repo.commit({**SPLITS, "metadata.csv": b"file_name,text\n0.jpg,bir\n"})
    with pytest.raises(
        SourceError, match=r"names '0\.jpg', and there are other archives.*name it train/0\.jpg"
    ):
        fetched_of(tmp_path)


def test_a_table_above_and_one_of_another_name(hub, tmp_path):
    above = b'{"file_name":"data/train/a.jpg","text":"bir"}'
    files = {"data/train.zip": packed("a.jpg", "b.jpg"), "metadata.jsonl": above}
    hub.add("org/set", files)
    assert said(fetched_of(tmp_path)) == {"data/train.zip/a.jpg": "bir", "data/train.zip/b.jpg": None}
    hub.add("org/set", {**files, "labels.csv": b"image,caption\nb.jpg,iki\n"})
    keys = {"text": "labels.csv", "file_name_column": "image", "file_name_folder": "data/train"}
    assert said(fetched_of(tmp_path, **keys)) == {"data/train.zip/a.jpg": None, "data/train.zip/b.jpg": "iki"}
    assert set(said(fetched_of(tmp_path, text="none")).values()) == {None}


def test_archives_inside_archives_have_tables_too(hub, tmp_path):
    inner = packed("a.jpg", metadata__csv=b"file_name,text\na.jpg,bir\n")
    table = b"file_name,text\nin.zip/a.jpg,iki\nb.jpg,uc\n"
    hub.add("org/set", {"train.zip": zip_of([("in.zip", inner), ("b.jpg", JPEG), ("metadata.csv", table)])})
    assert said(fetched_of(tmp_path)) == {
        "train.zip/in.zip/a.jpg#caption=1": "bir", "train.zip/in.zip/a.jpg#caption=2": "iki",
        "train.zip/b.jpg": "uc",
    }  # fmt: skip


TABLE = b"file_name,text\na.jpg,bir\nk/b.jpg,iki\n"
TWO = [("a.jpg", JPEG + b"a"), ("k/b.jpg", JPEG + b"b")]


@pytest.mark.parametrize(
    ("members", "table", "texts", "rows"),
    [
        (TWO, TABLE, {"0.tar/a.jpg": "bir", "0.tar/k/b.jpg": "iki"}, (2, 0)),
        ([*TWO, ("a.txt", b"kendi")], TABLE, {"0.tar/a": "kendi", "0.tar/k/b": None}, (0, 2)),
        ([*TWO, ("a.seg.png", JPEG)], TABLE, {"0.tar/a": None, "0.tar/k/b": None}, (0, 2)),
        (TWO, b"file_name,text\nzz.jpg,bir\n", {"0.tar/a": None, "0.tar/k/b": None}, (0, 1)),
        (TWO, b"id,count\n1,2\n", {"0.tar/a": None, "0.tar/k/b": None}, (0, 1)),
    ],
    ids=["named", "words_of_their_own", "several_images", "names_nothing", "of_something_else"],
)
def test_a_table_beside_a_tar_is_joined_where_it_names_samples_without_words(
    hub: HubService,
    tmp_path: Path,
    members: list[tuple[str, bytes]],
    table: bytes,
    texts: dict[str, str | None],
    rows: tuple[int, int],
) -> None:
    """A file of the repository is told by the listing; of the tar its rows are, be they joined or not."""
    hub.add("org/set", {"train/0.tar": tar_of(members), "train/metadata.csv": table})
    listed = SOURCE.list(spec_of(), list_context(tmp_path))
    fetched = fetch_slice(SOURCE, spec_of(), tmp_path, listed, "default--train")
    assert {key.removeprefix("train/"): text for key, text in said(fetched).items()} == texts
    assert not fetched.left_out
    counts = settled(listed.attributes["captions"], fetched.caption_counts)
    assert counts is not None
    assert (counts.joined, counts.name_nothing) == rows


def test_a_table_above_several_tars_speaks_of_each(hub: HubService, tmp_path: Path) -> None:
    table = b"file_name,text\ntrain/a.jpg,bir\ntrain/1/b.jpg,iki\n"
    tars = {f"train/{n}.tar": tar_of([(f"{name}.jpg", JPEG)]) for n, name in enumerate("ab")}
    hub.add("org/set", {**tars, "metadata.csv": table})
    assert said(fetched_of(tmp_path)) == {"train/0.tar/a.jpg": "bir", "train/1.tar/b.jpg": "iki"}
