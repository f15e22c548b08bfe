import io
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vlm_assets.demo.services.base import Fault
from vlm_assets.demo.services.huggingface import HubService
from vlm_assets.demo.services.pictures import picture, tar_of, zip_of
from vlm_assets.sources.hf_dataset import SOURCE, HfDatasetSpec
from vlm_assets.words.errors import RejectReason, SourceError
from vlm_assets.words.records import Listed
from vlm_assets_tests.sources.kit import (
    COMMON,
    Fetched,
    fetch_slice,
    identities,
    list_context,
    settings_of,
    silence_timeout_s,
    slices_of,
)
from vlm_assets_tests.transfer.gate_log import GateLog, shortest_gap_s

TOKEN = "hf_" + "s3cr3t" * 6
FEATURES = {"image": {"_type": "Image"}, "text": {"dtype": "string", "_type": "Value"},
            "label": {"names": ["kedi", "köpek"], "_type": "ClassLabel"}}  # fmt: skip


def image_struct(*names: str) -> list[dict[str, Any] | None]:
    return [{"bytes": picture(name).data, "path": f"{name}.jpg"} if name else None for name in names]


def table_of(names: list[str], features: dict[str, Any] | None = FEATURES, **columns: Any) -> pa.Table:
    data = {"image": image_struct(*names), "text": [f"resim {n}" for n in names],
            "label": [i % 2 for i in range(len(names))], **columns}  # fmt: skip
    table = pa.table(data)
    meta = {"huggingface": json.dumps({"info": {"features": features}})} if features else None
    return table.replace_schema_metadata(meta)


def parquet(names: list[str], **options: Any) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table_of(names, **options), buffer, row_group_size=4)
    return buffer.getvalue()


def arrow(names: list[str]) -> bytes:
    table, sink = table_of(names), pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def names_of(prefix: str, count: int) -> list[str]:
    return [f"{prefix}{i}" for i in range(count)]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubService]:
    with HubService() as service:
        monkeypatch.setenv("HF_ENDPOINT", service.url)
        monkeypatch.delenv("HF_TOKEN", raising=False)
        yield service


def spec_of(**keys: Any) -> HfDatasetSpec:
    return HfDatasetSpec(**{**COMMON, "kind": "hf_dataset", "repo": "org/set", **keys})


def listed_of(folder: Path, spec: HfDatasetSpec | None = None, **options: Any) -> Listed:
    return SOURCE.list(spec or spec_of(), list_context(folder, **options))


def fetched_of(folder: Path, name: str, spec: HfDatasetSpec | None = None, **options: Any) -> Fetched:
    settings = options.get("settings")
    return fetch_slice(
        SOURCE, spec or spec_of(), folder, listed_of(folder, spec, settings=settings), name, **options
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


Script = Callable[[HubService], list[Fault]]
FAULTS: dict[str, tuple[str, Fault]] = {
    "info-429": ("hub", Fault("/api/datasets/org/set", "429", 2, retry_after_s=1)),
    "info-503": ("hub", Fault("/api/datasets/org/set", "503", 1)),
    "info-cut": ("hub", Fault("/api/datasets/org/set", "cut", 1)),
    "tree-429": ("hub", Fault("*/tree/*", "429", 1, retry_after_s=1)),
    "tree-stall": ("hub", Fault("*/tree/*", "stall", 1)),
    "head-429": ("hub", Fault("*/resolve/*/train.parquet", "429", 1, retry_after_s=1)),
    "head-503": ("hub", Fault("*/resolve/*/train.parquet", "503", 2)),
    "body-429": ("storage", Fault("*", "429", 1, retry_after_s=1)),
    "body-cut": ("storage", Fault("*", "cut", 1)),
    "body-stall": ("storage", Fault("*", "stall", 1)),
    "body-corrupt": ("storage", Fault("*", "corrupt", 1)),
}


@pytest.mark.parametrize("name", FAULTS)
def test_faults_are_recovered(hub: HubService, tmp_path: Path, name: str) -> None:
    hub.add("org/set", {"train.parquet": parquet(names_of("a", 9))})
    where, fault = FAULTS[name]
    service = hub if where == "hub" else hub.storage
    service.faults.append(Fault(fault.path, fault.kind, fault.times, fault.retry_after_s))
    settings = settings_of(tmp_path, http_timeout_s=silence_timeout_s(fault.kind))
    fetched = fetched_of(tmp_path, "default--train", settings=settings)
    assert fetched.images == [picture(n).data for n in names_of("a", 9)]
    assert all(left.times == 0 for left in service.faults)
    if fault.retry_after_s:
        asked = service.requests(fault.path)
        refused = [i for i, entry in enumerate(asked) if entry.status == 429]
        assert len(refused) == fault.times
        for i in refused:
            assert asked[i + 1].at - asked[i].at >= fault.retry_after_s


def test_the_hubs_own_rate_limit_headers_are_obeyed(hub: HubService, tmp_path: Path) -> None:
    hub.add("org/set", {"train.parquet": parquet(["a"])})
    headers = {"RateLimit": '"api";r=0;t=1', "RateLimit-Policy": '"fixed window";"api";q=500;w=300'}
    hub.faults.append(Fault("/api/datasets/org/set", "429", 1, headers=headers))
    listed_of(tmp_path)
    first, second = hub.requests("/api/datasets/org/set")
    assert second.at - first.at >= 1


def test_a_rate_holds_over_all_requests(hub: HubService, tmp_path: Path, gate_log: GateLog) -> None:
    hub.add("org/set", {f"a/{n}.jpg": picture(f"{n}").data for n in range(4)})
    fetched_of(tmp_path, "default--train", spec_of(requests_per_second=20))
    assert len(hub.log) >= 6
    assert len(gate_log.let_go()) == len(hub.log) + len(hub.storage.log)
    for service in (hub, hub.storage):
        assert shortest_gap_s(gate_log.let_go(f"127.0.0.1:{service.port}")) > 0.0499


def test_forced_files_are_asked_for_again(hub: HubService, tmp_path: Path) -> None:
    hub.add("org/set", {"train.parquet": parquet(["a"])})
    for _ in range(2):
        fetched_of(tmp_path, "default--train", force=True)
    assert len(hub.storage.log) == 2


def test_a_wrong_checksum_never_gets_in(hub: HubService, tmp_path: Path) -> None:
    hub.add("org/set", {"train.parquet": parquet(names_of("a", 9))})
    hub.storage.faults.append(Fault("*", "corrupt", 100))
    with pytest.raises(SourceError, match="does not hash to"):
        fetched_of(tmp_path, "default--train")
    assert len(hub.storage.log) == 2
    hub.storage.faults.clear()
    assert len(fetched_of(tmp_path, "default--train").images) == 9


def test_a_file_damaged_in_the_cache_is_forced_once(hub: HubService, tmp_path: Path) -> None:
    hub.add("org/set", {"train.parquet": parquet(names_of("a", 9)), "test.parquet": parquet(["t"])})
    first = fetched_of(tmp_path, "default--train").content()
    (blob,) = [p for p in (tmp_path / "cache/spool/default--train").rglob("blobs/*") if p.is_file()]
    blob.chmod(0o644)
    blob.write_bytes(blob.read_bytes()[:-1] + b"\x00")
    os.utime(blob, (time.time() - 5, time.time() - 5))
    hub.storage.clear_log()
    assert fetched_of(tmp_path, "default--train").content() == first
    assert len(hub.storage.log) == 1


def test_a_loose_image_with_a_wrong_checksum_is_a_reject(hub: HubService, tmp_path: Path) -> None:
    hub.add("org/set", {"a/1.jpg": picture("1").data, "a/2.jpg": picture("2").data})
    hub.storage.faults.append(Fault("*", "corrupt", 2))
    fetched = fetched_of(tmp_path, "default--train", spec_of(max_concurrency=1))
    assert [(r.reason, r.transient) for r in fetched.rejects] == [(RejectReason.CHECKSUM, True)]
    assert len(fetched.images) == 1


@pytest.mark.parametrize(
    ("access", "token", "advice"),
    [
        ("gated", "", "is gated and no token is set: accept its terms at .*/datasets/org/set"),
        ("gated", "wrong", "is gated with the given token"),
        ("private", "", "does not exist or is private and no token is set"),
        ("missing", TOKEN, "does not exist or is private with the given token"),
    ],
)
def test_refusals_say_what_to_do(
    hub: HubService, tmp_path: Path, access: str, token: str, advice: str, caplog: pytest.LogCaptureFixture
) -> None:
    if access != "missing":
        hub.add("org/set", {"train.parquet": parquet(["a"])}, access=access, token=TOKEN)
    caplog.set_level("DEBUG")
    with pytest.raises(SourceError, match=advice) as caught:
        fetched_of(tmp_path, "default--train", settings=settings_of(tmp_path, hf_token=token or None))
    chain = [caught.value, caught.value.__cause__, caught.value.__context__]
    secret = token or "(none)"
    assert not any(secret in str(error) for error in chain)
    assert secret not in caplog.text


def test_the_token_opens_and_leaves_no_trace(
    hub: HubService, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    hub.add("org/set", {"train.parquet": parquet(["a"])}, access="gated", token=TOKEN)
    caplog.set_level("DEBUG")
    settings = settings_of(tmp_path, hf_token=TOKEN, http_timeout_s=silence_timeout_s("stall"))
    hub.storage.faults += [Fault("*", "cut", 1), Fault("*", "stall", 1), Fault("*", "503", 1)]
    listed = listed_of(tmp_path, settings=settings)
    fetched = fetched_of(tmp_path, "default--train", settings=settings)
    assert len(fetched.images) == 1
    assert any(entry.headers.get("authorization") for entry in hub.log)
    assert not any(entry.headers.get("authorization") for entry in hub.storage.log)
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    for secret in (TOKEN, "signed-and-secret"):
        assert secret not in caplog.text + repr(listed) + repr(fetched.events)
        assert secret.encode() not in kept


@pytest.mark.parametrize("cut", [100, 2000])
def test_a_truncated_data_file_fails_the_slice(hub: HubService, tmp_path: Path, cut: int) -> None:
    hub.add("org/set", {"train.parquet": parquet(names_of("a", 9))[:-cut]})
    with pytest.raises(SourceError, match="cannot be read to its end"):
        fetched_of(tmp_path, "default--train")


def test_a_row_larger_than_a_batch(hub: HubService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vlm_assets.hub.readers.BATCH_BYTES", 1000)
    hub.add("org/set", {"train.parquet": parquet(names_of("a", 9)), "test.arrow": arrow(["z"])})
    assert fetched_of(tmp_path, "default--train").images == [picture(n).data for n in names_of("a", 9)]
