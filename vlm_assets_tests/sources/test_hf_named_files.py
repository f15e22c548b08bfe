"""Images that rows name by path, columns and labels of the catalogue: `hf_dataset` and `hf_disk`."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vlm_assets.demo.services.huggingface import HubService
from vlm_assets.demo.services.pictures import picture, tar_of, zip_of
from vlm_assets.hub import repo_tables, zip_members
from vlm_assets.sources.hf_dataset import SOURCE, HfDatasetSpec
from vlm_assets.sources.hf_disk import SOURCE as DISK
from vlm_assets.sources.hf_disk import HfDiskSpec
from vlm_assets.sources.hf_image_urls import SOURCE as URLS
from vlm_assets.sources.hf_image_urls import HfImageUrlsSpec
from vlm_assets.words.errors import LeftOutReason, SourceError
from vlm_assets.words.records import Listed
from vlm_assets_tests.archives.made import raw_zip
from vlm_assets_tests.sources.kit import COMMON, Fetched, fetch_slice, identities, list_context, settings_of

A, B, C = (picture(name).data for name in "abc")
IMAGES = {"images/a.jpg": A, "images/b.jpg": B, "images/c.jpg": C}
CARD = b"---\nconfigs:\n- config_name: default\n  data_files: data/*\n---\n"


def parquet(**columns: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink, row_group_size=2)
    return sink.getvalue()


def paths(*names: str | None) -> list[dict[str, Any]]:
    return [{"bytes": None, "path": name} for name in names]


@pytest.fixture(scope="module")
def hub() -> Iterator[HubService]:
    with HubService() as service, pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_ENDPOINT", service.url)
        patch.delenv("HF_TOKEN", raising=False)
        yield service


def listed_of(
    hub: HubService, folder: Path, files: dict[str, bytes], **keys: Any
) -> tuple[HfDatasetSpec, Listed]:
    hub.add("org/set", files)
    spec = HfDatasetSpec(**{**COMMON, "kind": "hf_dataset", "repo": "org/set", **keys})
    listed = SOURCE.list(spec, list_context(folder))
    assert listed.upstream == sum(len(one.items) for one in listed.slices) + listed.companions + len(
        list(listed.left_out)
    )
    return spec, listed


def fetched_of(hub: HubService, folder: Path, files: dict[str, bytes], **keys: Any) -> tuple[Listed, Fetched]:
    spec, listed = listed_of(hub, folder, files, **keys)
    return listed, fetch_slice(SOURCE, spec, folder, listed, "default--train")


NAMED = ("images/a.jpg", "hf://datasets/org/set@main/images/b.jpg")
ROWS = [{"image": NAMED[0], "text": "a"}, {"image": NAMED[1], "text": "b"}]
TABLES: dict[str, tuple[str, bytes, dict[str, Any]]] = {
    "struct": ("data/t.parquet", parquet(image=paths(*NAMED), text=["a", "b"]), {}),
    "path_alone": (
        "data/t.parquet",
        parquet(image=[{"path": name} for name in NAMED], text=["a", "b"]),
        {"image_column": "image"},
    ),
    "text": ("data/t.parquet", parquet(foto=NAMED, text=["a", "b"]), {"image_column": "foto"}),
    "found": ("data/t.parquet", parquet(image=NAMED, text=["a", "b"]), {}),
    "csv": ("data/t.csv", f"image;text\n{NAMED[0]};a\n{NAMED[1]};b\n".encode(), {}),
    "json": ("data/t.json", json.dumps(ROWS).encode(), {}),
}  # fmt: skip


@pytest.mark.parametrize(("name", "table", "keys"), TABLES.values(), ids=TABLES)
def test_named_files_are_images_of_their_rows(
    hub: HubService, tmp_path: Path, name: str, table: bytes, keys: dict[str, Any]
) -> None:
    listed, fetched = fetched_of(hub, tmp_path, {"README.md": CARD, name: table, **IMAGES}, **keys)
    assert [(record.text, image) for record, image in zip(fetched.records, fetched.images, strict=True)] == [
        ("a", A), ("b", B),
    ]  # fmt: skip
    assert fetched.records[0].images[0].origin == "hf://datasets/org/set/images/a.jpg"
    assert [one.key for one in listed.left_out] == ["images/c.jpg"]


def test_a_row_that_names_nothing_is_a_reject(hub: HubService, tmp_path: Path) -> None:
    image = [*paths("images/a.jpg", "images/z.jpg", "/etc/a.jpg", None), {"bytes": B, "path": "b.jpg"}]
    _, fetched = fetched_of(
        hub, tmp_path, {"README.md": CARD, "data/t.parquet": parquet(image=image), **IMAGES}
    )
    assert fetched.images == [A, B]
    assert [(one.record, str(one.reason)) for one in fetched.rejects] == [
        (1, "not_found"), (2, "not_found"), (3, "no_image"),
    ]  # fmt: skip
    assert "lies outside" in fetched.rejects[1].detail


def talk(name: str) -> dict[str, Any]:
    said = [{"from": "human", "value": "<image>\nne?"}, {"from": "gpt", "value": name}]
    return {"id": name, "image": name, "conversations": said}


ZIPS: dict[str, tuple[dict[str, bytes], tuple[str, str]]] = {
    "folder-inside": (
        {"images.zip": zip_of([("images/a.jpg", A), ("images/b.jpg", B)])}, ("images/a.jpg", "images/b.jpg")
    ),
    "folder-of-its-name": ({"images.zip": zip_of([("a.jpg", A), ("b.jpg", B)])}, ("images/a.jpg", "images/b.jpg")),
    "in-its-place": ({"images.zip": zip_of([("0/a.jpg", A), ("0/b.jpg", B)])}, ("0/a.jpg", "./0/b.jpg")),
    "several": (
        {"p/0.zip": zip_of([("a.jpg", A)]), "p/1.zip": zip_of([("b.jpg", B)]), "p/2.zip": zip_of([("c.jpg", C)])},
        ("p/a.jpg", "p/1/b.jpg"),
    ),
    "and-loose": ({"q/b.jpg": B, "q.zip": zip_of([("q/a.jpg", A), ("q/b.jpg", C)])}, ("q/a.jpg", "q/b.jpg")),
}  # fmt: skip


@pytest.mark.parametrize("is_large", [False, True], ids=["looked-at", "too-large-to-look-at"])
@pytest.mark.parametrize(("zips", "names"), ZIPS.values(), ids=ZIPS)
def test_named_images_in_zips_beside_are_images_of_their_rows(
    hub: HubService,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    zips: dict[str, bytes],
    names: tuple[str, str],
    is_large: bool,  # noqa: FBT001
) -> None:
    if is_large:
        monkeypatch.setattr(repo_tables, "LOOKED_AT_BYTES", 0)
    files = {"README.md": CARD, "data/talks.json": json.dumps([*map(talk, names)]).encode(), **zips}
    listed, fetched = fetched_of(hub, tmp_path, files)
    assert (fetched.images, fetched.rejects) == ([A, B], [])
    assert [one.messages[-1]["content"][0]["text"] for one in fetched.records if one.messages] == [*names]
    if not is_large:
        unused = [one.key for one in listed.left_out]
        assert unused == (["p/2.zip"] if "p/2.zip" in zips else [])


def test_a_name_in_two_zips_is_a_reject(hub: HubService, tmp_path: Path) -> None:
    zips = {"0.zip": zip_of([("a.jpg", A)]), "1.zip": zip_of([("a.jpg", B), ("b.jpg", B)])}
    zips["2.zip"] = raw_zip([(b"c.jpg", A), (b"c.jpg", C)])
    rows = json.dumps([*map(talk, ("b.jpg", "a.jpg", "0/a.jpg", "c.jpg"))]).encode()
    _, fetched = fetched_of(hub, tmp_path, {"README.md": CARD, "data/talks.json": rows, **zips})
    assert fetched.images == [B, A]
    assert [(one.record, str(one.reason)) for one in fetched.rejects] == [
        (1, "not_found"), (3, "not_found"),
    ]  # fmt: skip


def test_what_to_do_about_other_archives_is_told(hub: HubService, tmp_path: Path) -> None:
    files = {"README.md": CARD, "data/t.csv": b"image,text\nx/a.jpg,bir\nimages/b.jpg,iki\n", **IMAGES}
    _, listed = listed_of(hub, tmp_path, {**files, "x.tar": tar_of([("a.jpg", A)])})
    assert [one for one in listed.hints if one.startswith("if rows name what is in x.tar")]


def test_zips_that_are_not_looked_into_are_told(
    hub: HubService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zip_members, "LOOKED_INTO", 1)
    rows = json.dumps([talk("a.jpg"), talk("b.jpg")]).encode()
    zips = {"0.zip": zip_of([("a.jpg", A)]), "1.zip": zip_of([("b.jpg", B)])}
    listed, fetched = fetched_of(hub, tmp_path, {"README.md": CARD, "data/talks.json": rows, **zips})
    assert [one.rpartition(";")[0] for one in listed.hints if one.startswith("only")] == [
        "only the first 1 zips are looked into for what rows name; 1 are not, the first is 1.zip"
    ]
    assert fetched.images == [A]


@pytest.mark.parametrize("limit", [0, 2**30], ids=["too-large-to-look-at", "looked-at"])
def test_a_zip_that_changes_changes_the_table_that_names_its_members(
    hub: HubService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    monkeypatch.setattr(repo_tables, "LOOKED_AT_BYTES", limit)
    files = {"README.md": CARD, "data/talks.json": json.dumps([talk("a.jpg")]).encode()}
    first, again, other = (
        identities(listed_of(hub, tmp_path, {**files, "i.zip": zip_of([("a.jpg", image)])})[1])
        for image in (A, A, B)
    )
    assert first == again != other


def test_a_member_that_is_damaged_is_a_reject(
    hub: HubService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = bytearray(zip_of([("a.jpg", A), ("b.jpg", B)]))
    packed[60] ^= 1
    files = {"README.md": CARD, "data/talks.json": json.dumps([talk("a.jpg"), talk("b.jpg")]).encode()}
    monkeypatch.setattr(zip_members, "_IN_MEMORY_BYTES", 0)
    _, fetched = fetched_of(hub, tmp_path, {**files, "i.zip": bytes(packed)})
    assert fetched.images == [B]
    assert [(one.record, str(one.reason)) for one in fetched.rejects] == [(0, "checksum")]


def test_a_named_file_that_changes_changes_its_table(hub: HubService, tmp_path: Path) -> None:
    files = {"README.md": CARD, "data/t.parquet": parquet(image=paths("images/a.jpg"))}
    first, *others = (
        identities(listed_of(hub, tmp_path, {**files, "images/a.jpg": image, "images/b.jpg": other})[1])
        for image, other in ((A, B), (C, B), (A, C))
    )
    assert [one == first for one in others] == [False, True]


def test_files_on_disk_are_followed_inside_the_folder(tmp_path: Path) -> None:
    root = tmp_path / "set"
    (root / "images").mkdir(parents=True)
    (root / "images/a.jpg").write_bytes(A)
    (tmp_path / "out.jpg").write_bytes(B)
    (root / "link.jpg").symlink_to(tmp_path / "out.jpg")
    image = paths(f"{root}/images/a.jpg", "images/a.jpg", str(tmp_path / "out.jpg"), "link.jpg")
    (root / "t.parquet").write_bytes(parquet(image=image))
    spec = HfDiskSpec(**{**COMMON, "kind": "hf_disk", "path": root})
    listed = DISK.list(spec, list_context(tmp_path))
    fetched = fetch_slice(DISK, spec, tmp_path, listed, "train")
    assert fetched.images == [A, A]
    assert [one.record for one in fetched.rejects] == [2, 3]
    assert (listed.upstream, listed.companions) == (3, 1)
    assert [(one.key, one.reason) for one in listed.left_out] == [("link.jpg", LeftOutReason.LINK_OUTSIDE)]
    spec = spec.model_copy(update={"follow_links": True})
    fetched = fetch_slice(DISK, spec, tmp_path, DISK.list(spec, list_context(tmp_path)), "train")
    assert fetched.images == [A, A, B]


CLASSES = b"""---
dataset_info:
  features:
  - name: image
    dtype: image
  - name: label
    dtype:
      class_label:
        names:
          '0': kedi
          '1': kus
---
"""
PLAIN = {"data/t.parquet": parquet(image=[{"bytes": A, "path": None}] * 2, label=[0, 1], tur=["kedi", "kus"])}


def labels(column: str, *known: Any) -> dict[str, Any]:
    rule = {"column": column, **({"map": dict.fromkeys(known, "all")} if known else {})}
    return {"subcategory": None, "subcategory_from": rule}


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "image": ({"image_column": "foto"}, r"no column 'foto' \(image_column\); columns: image"),
    "text": ({"text_column": "baslik"}, r"no column 'baslik' \(text_column\); columns: image"),
    "messages": ({"messages_column": "talk"}, r"no column 'talk' \(messages_column\); columns: image"),
    "label": (
        labels("sinif"),
        r"no column 'sinif' \(subcategory_from.column\); there are: image, label, tur",
    ),
    "map": (
        labels("tur", "at"),
        "knows none of the labels in column 'tur'; there are: kedi, kus; the map has: at",
    ),
    "classes": (labels("label", "at"), "there are: 0, 1, kedi, kus; the map has: at"),
    "numbers": (labels("label", 7), "there are: 0, 1, kedi, kus; the map has: 7"),
}


@pytest.mark.parametrize(("keys", "message"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_is_told_at_listing(
    hub: HubService, tmp_path: Path, keys: dict[str, Any], message: str
) -> None:
    with pytest.raises(SourceError, match=message):
        listed_of(hub, tmp_path, {"README.md": CLASSES, **PLAIN}, **keys)
    hub.storage.clear_log()


@pytest.mark.parametrize(
    ("known", "expected"), [((0, 1), ["0", "1"]), (("kedi",), [None, None])], ids=["numbers", "names"]
)
def test_a_map_is_written_by_numbers_or_names(
    hub: HubService, tmp_path: Path, known: tuple[Any, ...], expected: list[str | None]
) -> None:
    _, fetched = fetched_of(hub, tmp_path, {"README.md": CLASSES, **PLAIN}, **labels("label", *known))
    assert [one.label for one in fetched.records] == expected
    assert [(one.extra or {})["label"] for one in fetched.records] == ["kedi", "kus"]


def test_a_map_of_folders_that_are_not_there_is_told_at_listing(hub: HubService, tmp_path: Path) -> None:
    rule = {"folder": 1, "map": {"kediler": "all"}}
    files = {"kedi/a.jpg": A, "kus/b.jpg": B}
    with pytest.raises(
        SourceError, match=r"labels in folder 1 of the name; there are: kedi, kus; the map has: k"
    ):
        listed_of(hub, tmp_path, files, subcategory=None, subcategory_from=rule)


def test_labels_of_lists_on_the_hub_by_number(hub: HubService, tmp_path: Path) -> None:
    urls = parquet(
        url=["https://a.example/1.jpg", "https://a.example/2.jpg"], label=[0, 1], caption=["bir", "iki"]
    )
    more = parquet(url=["https://a.example/3.jpg"], label=[1], TEXT=[b"\xc3\xbc\xc3\xa7"])
    hub.add("org/urls", {"README.md": CLASSES, "data/a.parquet": urls, "data/b.parquet": more})
    keys = {**COMMON, "kind": "hf_image_urls", "repo": "org/urls"}
    context = list_context(tmp_path, settings_of(tmp_path, contact="a@example.org"))
    listed = URLS.list(HfImageUrlsSpec(**{**keys, **labels("label", 0, 1)}), context)
    rows = sorted(item.payload["rows"][0][:3] for one in listed.slices for item in one.items)
    assert rows == [["bir", "", "0"], ["iki", "", "1"], ["üç", "", "1"]]
    with pytest.raises(SourceError, match="there are: kedi, kus; the map has: at"):
        URLS.list(HfImageUrlsSpec(**{**keys, **labels("label", "at")}), context)


def test_the_text_of_a_row_of_a_list_is_the_first_usual_column_that_has_one(
    hub: HubService, tmp_path: Path
) -> None:
    urls = [f"https://a.example/{n}.jpg" for n in range(2)]
    hub.add("org/texts", {"a.parquet": parquet(url=urls, text=pa.array([None, "t"]), caption=["c", "d"])})
    context = list_context(tmp_path, settings_of(tmp_path, contact="a@example.org"))
    spec = HfImageUrlsSpec(**{**COMMON, "kind": "hf_image_urls", "repo": "org/texts"})
    rows = {
        item.key: item.payload["rows"][0] for one in URLS.list(spec, context).slices for item in one.items
    }
    assert [rows[url][0] for url in urls] == ["c", "t"]


LOOSE = {"train/a.jpg": A, "train/metadata.csv": b"file_name,text,tur\na.jpg,bir,kedi\n"}
WRONG_OF_LOOSE: dict[str, tuple[dict[str, bytes], dict[str, Any], str]] = {
    "label": (
        LOOSE,
        labels("sinif"),
        r"no column 'sinif' \(subcategory_from.column\); there are: label, tur",
    ),
    "map": (LOOSE, labels("tur", "at"), "there are: kedi; the map has: at"),
    "folder-map": ({"kedi/a.jpg": A}, labels("label", "at"), "there are: kedi; the map has: at"),
    "text": ({"kedi/a.jpg": A}, {"text_column": "baslik"}, r"no column 'baslik' \(text_column\): no table"),
}


@pytest.mark.parametrize(("files", "keys", "message"), WRONG_OF_LOOSE.values(), ids=WRONG_OF_LOOSE)
def test_what_cannot_be_of_loose_images_is_told_at_listing(
    hub: HubService, tmp_path: Path, files: dict[str, bytes], keys: dict[str, Any], message: str
) -> None:
    with pytest.raises(SourceError, match=message):
        listed_of(hub, tmp_path, files, **keys)


def test_the_text_may_be_the_label_too(hub: HubService, tmp_path: Path) -> None:
    table = parquet(image=[{"bytes": A, "path": None}], caption=["kedi"])
    _, fetched = fetched_of(hub, tmp_path, {"t.parquet": table}, **labels("caption", "kedi"))
    assert [(one.text, one.label) for one in fetched.records] == [("kedi", "kedi")]


def test_names_of_columns_are_compared_in_nfc(hub: HubService, tmp_path: Path) -> None:
    """macOS writes `ç` as two characters."""
    names = {"resım": paths("images/a.jpg"), "ac\u0327ıklama": ["bir"], "tu\u0308r": ["kedi"]}
    keys = {"image_column": "resım", "text_column": "açıklama", **labels("tür", "kedi")}
    _, fetched = fetched_of(
        hub, tmp_path, {"README.md": CARD, "data/t.parquet": parquet(**names), **IMAGES}, **keys
    )
    [record] = fetched.records
    assert (fetched.images, record.text, record.extra) == (
        [A],
        "bir",
        {"tür": "kedi", "resım.path": "images/a.jpg"},
    )
