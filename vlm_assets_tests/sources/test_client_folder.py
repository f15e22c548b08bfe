import io
import json
import os
import unicodedata
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vlm_assets.sources.client_folder import SOURCE, ClientFolderSpec
from vlm_assets.words.errors import RejectReason, SourceError
from vlm_assets.words.records import Listed
from vlm_assets_tests.captions.kit import parquet
from vlm_assets_tests.sources.kit import COMMON, fetch_slice, identities, list_context, slices_of

Files = dict[str, bytes | str]
JPEG = b"\xff\xd8\xff\xe0"


def put(folder: Path, files: Files) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def pictures(*names: str) -> Files:
    return {name: JPEG + name.encode() for name in names}


def spec_of(folder: Path, text: str, **keys: Any) -> ClientFolderSpec:
    return ClientFolderSpec.model_validate(
        {**COMMON, "kind": "client_folder", "path": folder, "text": text, **keys}
    )


def listed(spec: ClientFolderSpec, tmp_path: Path) -> Listed:
    return SOURCE.list(spec, list_context(tmp_path))


def said(spec: ClientFolderSpec, tmp_path: Path) -> dict[str, tuple[str | None, Any]]:
    """Text and other columns of every record, by its key."""
    made = listed(spec, tmp_path)
    return {
        record.key: (record.text, record.extra)
        for name in slices_of(made)
        for record in fetch_slice(SOURCE, spec, tmp_path, made, name).records
    }


AB: Files = pictures("a.jpg", "b.jpg")
LINES_WITH_BOM = (
    '\ufeff{"file_name": "a.jpg", "text": "çay, şeker"}\n\n{"file_name": "b.jpg", "caption": "ışık"}'
)
BOTH = {"a.jpg": ("çay, şeker", None), "b.jpg": ("ışık", None)}


@pytest.mark.parametrize(
    ("table", "content", "keys"),
    [
        ("metadata.csv", 'file_name,text\na.jpg,"çay, şeker"\nb.jpg,ışık\n', {}),
        ("metadata.csv", "\ufefffile_name;text\r\na.jpg;çay, şeker\r\nb.jpg;ışık\r\n", {}),
        ("metadata.csv", "sep=;\nfile_name;text\n./a.jpg;çay, şeker\n.\\b.jpg;ışık\n", {}),
        ("metadata.csv", "file_name;text\na.jpg;çay, şeker\nb.jpg;ışık\n".encode("cp1254"), {"encoding": "cp1254"}),
        ("metadata.csv", "file_name\ttext\na.jpg\tçay, şeker\nb.jpg\tışık\n".encode("utf-16"), {}),
        ("metadata.jsonl", LINES_WITH_BOM, {}),
        ("metadata.parquet", parquet({"file_name": ["a.jpg", "b.jpg"], "text": ["çay, şeker", "ışık"]}), {}),
        ("captions.txt", 'image,caption\na.jpg,"çay, şeker"\nb.jpg,ışık\n', {"file_name_column": "image"}),
        ("captions.json", '{"a.jpg": "çay, şeker", "b.jpg": "ışık"}', {}),
        ("metadata.csv", 'file_name,baslik\na.jpg,"çay, şeker"\nb.jpg,ışık\n', {"text_column": "baslik"}),
    ],
    ids=["comma", "semicolon-bom", "sep-dots-backslash", "cp1254", "utf16", "jsonl-bom", "parquet", "declared-name",
         "map", "declared-text"],
)  # fmt: skip
def test_tables_as_clients_write_them(tmp_path, table, content, keys):
    folder = put(tmp_path / "in", {**AB, table: content})
    assert said(spec_of(folder, table, **keys), tmp_path) == BOTH


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ('file_name,text\na.jpg,"yarım\nb.jpg,5"\n', r"metadata\.csv: line 2: a quote is out of place"),
        ("file_name,text\na.jpg,bir\nb.jpg,\xe7ay\n".encode("latin-1"), "line 3 is not UTF-8.*encoding"),
        ("file_name,text\na.jpg,bir, iki\n", "line 2 has 3 cells"),
        ("filename,text\na.jpg,bir\n", "no column names files.*there are: filename, text"),
        ("file_name,text\nA.JPG,bir\n", r"none of 1 caption rows.*'A\.JPG' \(there is a\.jpg\)"),
    ],
    ids=["stray-quote", "cp1254", "ragged", "filename", "case"],
)
def test_what_is_not_certain_stops_the_listing_and_says_why(tmp_path, content, told):
    folder = put(tmp_path / "in", {**AB, "metadata.csv": content})
    with pytest.raises(SourceError, match=f"source one: {folder}/metadata.csv: .*{told}|{told}"):
        listed(spec_of(folder, "metadata.csv"), tmp_path)


def test_rows_that_name_nothing_are_counted_and_stop_nothing(tmp_path):
    folder = put(tmp_path / "in", {**AB, "metadata.csv": "file_name,text\na.jpg,bir\nyok.jpg,iki\n"})
    spec = spec_of(folder, "metadata.csv")
    assert said(spec, tmp_path) == {"a.jpg": ("bir", None), "b.jpg": (None, None)}
    counts = listed(spec, tmp_path).attributes["captions"]
    assert (counts["rows"], counts["name_nothing"], counts["images_without_rows"]) == (2, 1, 1)
    assert counts["examples"] == [f"source one: {folder}/metadata.csv: line 3 names 'yok.jpg'"]


def test_several_captions_an_image_are_several_samples(tmp_path):
    folder = put(tmp_path / "in", {**AB, "metadata.csv": "file_name,text,n\na.jpg,bir,1\na.jpg,iki,2\n"})
    spec = spec_of(folder, "metadata.csv")
    assert said(spec, tmp_path) == {
        "a.jpg#caption=1": ("bir", {"n": "1"}), "a.jpg#caption=2": ("iki", {"n": "2"}), "b.jpg": (None, None),
    }  # fmt: skip
    made = listed(spec, tmp_path)
    records = fetch_slice(SOURCE, spec, tmp_path, made, "root").records
    assert sorted((r.item, r.record, r.origin) for r in records) == [
        ("a.jpg", 0, "a.jpg"), ("a.jpg", 1, "a.jpg"), ("b.jpg", 0, "b.jpg"),
    ]  # fmt: skip


def test_tables_stand_beside_and_in_folders_above(tmp_path):
    files = {
        **pictures("t/a.jpg", "t/u/b.jpg", "v/c.jpg"),
        "metadata.csv": "file_name,text\nt/u/b.jpg,üst\n",
        "t/metadata.csv": "file_name,text\na.jpg,yan\nu\\b.jpg,orta\n",
        "v/metadata.csv": "file_name,text\nc.jpg,son\n../t/a.jpg,öteki\n",
    }
    assert said(spec_of(put(tmp_path / "in", files), "metadata.csv"), tmp_path) == {
        "t/a.jpg#caption=1": ("yan", None), "t/a.jpg#caption=2": ("öteki", None),
        "t/u/b.jpg#caption=1": ("üst", None), "t/u/b.jpg#caption=2": ("orta", None), "v/c.jpg": ("son", None),
    }  # fmt: skip


def test_a_caption_belongs_to_the_whole_name(tmp_path):
    table = put(
        tmp_path / "t", {**pictures("a.jpg", "a.jpg.webp"), "metadata.csv": "file_name,text\na.jpg,bir\n"}
    )
    assert said(spec_of(table, "metadata.csv"), tmp_path) == {
        "a.jpg": ("bir", None),
        "a.jpg.webp": (None, None),
    }
    beside = put(tmp_path / "s", {**pictures("a.jpg", "a.jpg.webp"), "a.jpg.txt": "bir"})
    assert said(spec_of(beside, "sidecar"), tmp_path) == {"a.jpg": ("bir", None), "a.jpg.webp": (None, None)}


@pytest.mark.parametrize("on_disk", ["NFC", "NFD"])
@pytest.mark.parametrize("in_table", ["NFC", "NFD"])
def test_composed_and_decomposed_names_are_the_same(tmp_path, on_disk, in_table):
    name = unicodedata.normalize(on_disk, "çiçek.jpg")
    row = unicodedata.normalize(in_table, "çiçek.jpg")
    folder = put(tmp_path / "in", {name: JPEG, "metadata.csv": f"file_name,text\n{row},bir\n"})
    assert said(spec_of(folder, "metadata.csv"), tmp_path) == {"çiçek.jpg": ("bir", None)}


def test_a_caption_of_any_length_is_read(tmp_path):
    text = "kelime " * 40_000
    folder = put(tmp_path / "in", {**AB, "metadata.csv": f"file_name,text\na.jpg,{text}\nb.jpg,x\n"})
    assert said(spec_of(folder, "metadata.csv"), tmp_path)["a.jpg"] == (text, None)


SIDECARS: Files = {
    **pictures("a.jpg", "b.jpg", "c.jpg", "d.jpg", "d.png", "e.jpeg", "f.jpg"),
    "a.txt": b"\xe7ay", "b.jpg.txt": "bee", "c.TXT": "üç", "d.txt": "iki resim", "e.caption": "altyazı",
    "f.json": '{"text": "json", "n": 1}',
}  # fmt: skip


def test_sidecars_of_every_kind(tmp_path):
    folder = put(tmp_path / "in", SIDECARS)
    assert said(spec_of(folder, "sidecar", encoding=["utf-8", "cp1254"]), tmp_path) == {
        "a.jpg": ("çay", None), "b.jpg": ("bee", None), "c.jpg": ("üç", None), "d.jpg": ("iki resim", None),
        "d.png": ("iki resim", None), "e.jpeg": ("altyazı", None), "f.jpg": ("json", {"n": 1}),
    }  # fmt: skip
    with pytest.raises(SourceError, match=r"a\.txt: line 1 is not UTF-8.*key encoding"):
        listed(spec_of(folder, "sidecar"), tmp_path)
    with pytest.raises(SourceError, match=r"c\.TXT: is UTF-8, while .* says cp1254"):
        listed(spec_of(folder, "sidecar", encoding="cp1254"), tmp_path)


def test_texts_need_not_be_included_but_can_be_excluded(tmp_path):
    folder = put(tmp_path / "in", {**AB, "a.txt": "bir", "b.txt": "iki", "x.txt": "üç"})
    spec = spec_of(folder, "sidecar", include=["*.jpg"], exclude=["b.txt"])
    assert said(spec, tmp_path) == {"a.jpg": ("bir", None), "b.jpg": (None, None)}


def test_what_belongs_to_no_image_is_not_dropped(tmp_path):
    folder = put(tmp_path / "in", {**AB, "a.txt": "bir", "x.txt": "üç"})
    spec = spec_of(folder, "sidecar")
    assert set(said(spec, tmp_path)) == {"a.jpg", "b.jpg"}
    made = listed(spec, tmp_path)
    assert [(one.key, str(one.reason)) for one in made.left_out] == [("x.txt", "unused_companion")]
    assert (made.upstream, made.companions, made.captions_unused) == (4, 1, 1)
    counts = listed(spec, tmp_path).attributes["captions"]
    assert (counts["sidecars_unused"], counts["examples"], counts["images_without_rows"]) == (1, ["x.txt"], 1)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("file_name,text,n\na.jpg,bir,1\n", "file_name,text,n\na.jpg,bir,2\n"),
        ("file_name,text,n\na.jpg,bir,1\n", "file_name,text,n\na.jpg,bir,1\na.jpg,bir,1\n"),
        ("file_name,text,n\na.jpg,bir,1\na.jpg,iki,1\n", "file_name,text,n\na.jpg,iki,1\na.jpg,bir,1\n"),
        ("file_name,text,n\na.jpg,bir,1\n", "file_name,text,n\nb.jpg,bir,1\n"),
    ],
    ids=["column", "row", "order", "image"],
)
def test_an_identity_changes_with_what_is_said(tmp_path, before, after):
    folder = put(tmp_path / "in", {**AB, "metadata.csv": before})
    spec = spec_of(folder, "metadata.csv")
    first = identities(listed(spec, tmp_path))["root"]
    put(folder, {"metadata.csv": after})
    second = identities(listed(spec, tmp_path))["root"]
    assert first["a.jpg"] != second["a.jpg"]
    assert (first["b.jpg"] == second["b.jpg"]) == ("b.jpg" not in after)
    put(folder, {"metadata.csv": before.replace(",", ";")})
    assert identities(listed(spec, tmp_path))["root"] == first


PAIRS = "image_file_name,mask_file_name,text\na.jpg,m.png,bir\nb.jpg,m.png,iki\nb.jpg,yok.png,üç\n"


def test_a_row_of_several_images_is_one_sample(tmp_path):
    files = {**AB, **pictures("m.png", "c.jpg"), "metadata.csv": PAIRS}
    spec = spec_of(put(tmp_path / "in", files), "metadata.csv")
    made = listed(spec, tmp_path)
    assert {item.key for one in made.slices for item in one.items} == {"a.jpg", "b.jpg", "c.jpg"}
    fetched = fetch_slice(SOURCE, spec, tmp_path, made, "root")
    told = {
        r.key: [(one.name, one.origin, Path(str(one.data)).name) for one in r.images] for r in fetched.records
    }
    assert told == {
        "a.jpg": [("image", None, "a.jpg"), ("mask", "m.png", "m.png")],
        "b.jpg#caption=1": [("image", None, "b.jpg"), ("mask", "m.png", "m.png")],
        "c.jpg": [(None, None, "c.jpg")],
    }
    assert [(r.item, r.record, r.reason, r.detail) for r in fetched.rejects] == [
        ("b.jpg", 1, RejectReason.NOT_FOUND, "mask names 'yok.png', which is not there"),
    ]
    before = identities(made)["root"]
    put(tmp_path / "in", {"m.png": b"other"})
    after = identities(listed(spec, tmp_path))["root"]
    assert {key for key in before if before[key] != after[key]} == {"a.jpg", "b.jpg"}


def test_conversations_of_a_table_are_messages(tmp_path):
    llava = [
        {"id": 1, "image": "a.jpg", "conversations": [
            {"from": "human", "value": "<image>\nNe var?"}, {"from": "gpt", "value": "Bir kedi."}]},
        {"id": 2, "image": "b.jpg", "conversations": [{"from": "gpt", "value": "?"}]},
    ]  # fmt: skip
    files = {**{f"images/{name}": data for name, data in AB.items()}, "llava.json": json.dumps(llava)}
    spec = spec_of(
        put(tmp_path / "in", files), "llava.json", file_name_column="image", file_name_folder="images",
        messages_column="conversations",
    )  # fmt: skip
    fetched = fetch_slice(SOURCE, spec, tmp_path, listed(spec, tmp_path), "images")
    (record,) = fetched.records
    assert record.messages == [
        {"role": "user", "content": [{"type": "image", "text": None}, {"type": "text", "text": "Ne var?"}]},
        {"role": "assistant", "content": [{"type": "text", "text": "Bir kedi."}]},
    ]
    assert record.extra == {"id": 1}
    assert [(r.item, r.reason) for r in fetched.rejects] == [("images/b.jpg", RejectReason.BAD_CONVERSATION)]


def test_a_name_that_is_no_text_is_found_by_its_bytes(tmp_path):
    folder = put(tmp_path / "in", {**AB, "a.txt": "bir"})
    (folder / os.fsdecode(b"\xff.jpg")).write_bytes(JPEG)
    assert said(spec_of(folder, "sidecar"), tmp_path)["a.jpg"] == ("bir", None)


def test_links_are_followed_and_each_folder_is_walked_once(tmp_path: Path) -> None:
    folder, outside = tmp_path / "in", tmp_path / "outside"
    for name in ("in/real/a.jpg", "in/.hidden/h.jpg", "outside/x.jpg", "outside/deep/y.jpg", "more/z.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    links = {
        "to_outside": outside, "to_its_part": outside / "deep", "to_outside_too": outside, "again": folder / "real",
        "real/up": folder, "real/top": tmp_path, "real/x.jpg": outside / "x.jpg", "gone.jpg": tmp_path / "none",
        "circle": folder / "circle", ".secret": tmp_path / "more",
    }  # fmt: skip
    for name, target in links.items():
        (folder / name).symlink_to(target, target_is_directory=True)
    (outside / "deep/back").symlink_to(outside, target_is_directory=True)
    (outside / "more").symlink_to(tmp_path / "more", target_is_directory=True)
    made = listed(spec_of(folder, "none", follow_links=True), tmp_path)
    keys = {item.key for one in made.slices for item in one.items}
    assert keys == {
        "real/a.jpg", "real/x.jpg", "gone.jpg", "circle",
        "to_outside/x.jpg", "to_outside/deep/y.jpg", "to_outside/more/z.jpg",
    }  # fmt: skip
    assert {(one.key, str(one.reason)) for one in made.left_out} == {
        (".hidden/h.jpg", "hidden"), (".secret", "hidden"), ("real/top", "unknown_type"),
    }  # fmt: skip
    assert made.upstream == len(keys) + 3


@pytest.mark.parametrize("follow_links", [False, True])
def test_no_link_leads_out_of_the_folder_unless_it_may(tmp_path: Path, *, follow_links: bool) -> None:
    folder = put(tmp_path / "in", {**AB, "sub/c.jpg": "c", "captions.txt": "x"})
    outside = put(tmp_path / "outside", {"secret.txt": "root:x:0:0", "d.jpg": "d"})
    os.mkfifo(outside / "pipe")
    links = {
        "a.txt": outside / "secret.txt", "d.jpg": outside / "d.jpg", "more": outside, "e.jpg": Path("sub/c.jpg"),
        "zero.jpg": Path("/dev/zero"), "pipe.jpg": outside / "pipe",
    }  # fmt: skip
    for name, target in links.items():
        (folder / name).symlink_to(target)
    made = listed(spec_of(folder, "sidecar", follow_links=follow_links), tmp_path)
    keys = {item.key for one in made.slices for item in one.items}
    left = {one.key: str(one.reason) for one in made.left_out}
    assert {"a.jpg", "b.jpg", "e.jpg", "sub/c.jpg"} <= keys
    assert {"zero.jpg", "pipe.jpg"} <= left.keys()
    assert ({"d.jpg", "more/d.jpg"} <= keys) == follow_links
    assert (
        "root:x:0:0" in str(said(spec_of(folder, "sidecar", follow_links=follow_links), tmp_path))
    ) == follow_links
    if not follow_links:
        assert {left[name] for name in ("a.txt", "d.jpg", "more", "zero.jpg")} == {"link_outside"}


def test_only_images_are_counted_and_have_sidecars(tmp_path):
    files = {
        **AB,
        "a.txt": "bir",
        "notes.pdf": "%PDF-1.7\n",
        "notes.txt": "beside no image",
        "labels.xml": "<x/>",
    }
    made = listed(spec_of(put(tmp_path / "in", files), "sidecar"), tmp_path)
    counts = made.attributes["captions"]
    assert (counts["images"], counts["images_without_rows"], counts["sidecars_unused"]) == (2, 1, 1)
    assert {one.key: str(one.reason) for one in made.left_out} == {
        "notes.pdf": "unknown_type", "labels.xml": "unknown_type", "notes.txt": "unused_companion",
    }  # fmt: skip


@pytest.mark.parametrize("text", ["none", "words.csv"])
def test_a_table_that_may_hold_captions_is_an_unused_companion(tmp_path, text):
    files = {**AB, "t.csv": "photo,of\na.jpg,x\nb.jpg,y\n", "stats.csv": "x,y\n1,2\n", "x.xmp": "<x/>"}
    if text != "none":
        files[text] = "file_name,text\na.jpg,bir\n"
    made = listed(spec_of(put(tmp_path / "in", files), text), tmp_path)
    assert {one.key: str(one.reason) for one in made.left_out} == {
        "t.csv": "unused_companion", "stats.csv": "unused_companion", "x.xmp": "unknown_type",
    }  # fmt: skip
    told = "t.csv is not used, and its column 'photo' names 2 images: say text: t.csv and file_name_column: photo"
    assert made.hints[0] == told
    assert made.upstream == len(files)


def test_a_folder_of_something_else_says_who_reads_it(tmp_path):
    with pytest.raises(SourceError, match=r"no file in .* matches.*1 PDF.*pdf_folder reads"):
        listed(spec_of(put(tmp_path / "in", {"x.pdf": b"%PDF-1.7"}), "none"), tmp_path)


def rows_of(*names: str, **columns: Any) -> pa.Table:
    return pa.table({"image": [{"bytes": JPEG + name.encode(), "path": None} for name in names], **columns})


def in_parquet(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()


def in_arrow(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


BY_PATH = pa.table(
    {
        "image": pa.array(
            [{"bytes": None, "path": "a.jpg"}], pa.struct({"bytes": pa.binary(), "path": pa.string()})
        )
    }
)


def test_data_files_with_images_are_read_row_by_row(tmp_path):
    files = {
        **AB, "in/x.parquet": in_parquet(rows_of("x", "y", text=["bir", None], n=[1, 2])),
        "z.feather": in_arrow(rows_of("z", baslik=["iki"])),
        "metadata.csv": "file_name,baslik\na.jpg,üç\n",
    }  # fmt: skip
    spec = spec_of(put(tmp_path / "in", files), "metadata", text_column="baslik")
    made = listed(spec, tmp_path)
    assert (made.upstream, made.companions, made.left_out) == (5, 1, [])
    assert said(spec, tmp_path) == {
        "a.jpg": ("üç", None), "b.jpg": (None, None), "in/x.parquet/0": ("bir", {"n": 1}),
        "in/x.parquet/1": (None, {"n": 2}), "z.feather/0": ("iki", {}),
    }  # fmt: skip
    fetched = fetch_slice(SOURCE, spec, tmp_path, made, "in/x.parquet")
    assert fetched.images == [JPEG + b"x", JPEG + b"y"]
    put(tmp_path / "in", {"in/x.parquet": in_parquet(rows_of("x"))})
    fetched = fetch_slice(SOURCE, spec, tmp_path, made, "in/x.parquet")
    assert [(one.item, one.reason) for one in fetched.rejects] == [("in/x.parquet", RejectReason.CHANGED)]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (in_parquet(pa.table({"v": [0.5]})), "no image column found"),
        (in_parquet(pa.table({"image": [JPEG], "png": [JPEG]})), "several image columns: image, png"),
        (in_parquet(BY_PATH), "its rows hold no images"),
        (in_parquet(rows_of("a").slice(0, 0)), "it has no rows"),
        (in_parquet(rows_of("a"))[:-9], "x.parquet: cannot be read to its end"),
        (b"", "it has no bytes"),
    ],
    ids=["no-column", "two-columns", "by-path", "no-rows", "cut", "empty"],
)
def test_data_files_without_images_are_left_out(tmp_path, content, told):
    made = listed(spec_of(put(tmp_path / "in", {**AB, "x.parquet": content}), "none"), tmp_path)
    [left_out] = made.left_out
    assert (left_out.key, str(left_out.reason)) == ("x.parquet", "unknown_type")
    assert told in left_out.detail
    assert made.hints[0].startswith("1 data file not read by this kind, the first is x.parquet")


def test_a_data_file_that_is_damaged_further_on_fails_its_slice(tmp_path):
    buffer = io.BytesIO()
    with pq.ParquetWriter(buffer, rows_of("a").schema, compression="none") as writer:
        for number in range(20):
            writer.write_table(rows_of(f"{number}" * 500))
    content = buffer.getvalue()
    place = content.index(b"17" * 400)
    files = {**AB, "x.parquet": content[: place - 60] + b"\xff" * 60 + content[place:]}
    spec = spec_of(put(tmp_path / "in", files), "none")
    made = listed(spec, tmp_path)
    with pytest.raises(SourceError, match=r"x\.parquet: cannot be read to its end"):
        fetch_slice(SOURCE, spec, tmp_path, made, "x.parquet")
