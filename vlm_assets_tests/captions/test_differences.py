"""Caption files read by `datasets` and here: alike, or different as `DIFFERENCES.md` says, with the same files."""

import gc
import io
import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.resources import files as package_files
from pathlib import Path
from typing import Any

import pytest

from vlm_assets.captions.keys import CaptionKeys
from vlm_assets.captions.trees import Tree, tree_captions
from vlm_assets.words.errors import SourceError
from vlm_assets_tests.captions.kit import parquet

pytestmark = [  # `datasets` leaves tables open for the garbage collector
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

CSV, JSONL = "metadata.csv", "metadata.jsonl"
Files = Mapping[str, bytes | str]
Said = list[tuple[str | None, str | None, dict[str, Any]]]
"""Image, text, other columns."""
A: Files = {"a.jpg": b""}
AB: Files = {"a.jpg": b"", "b.jpg": b""}
XY: Files = {"x/a.jpg": b"", "y/b.jpg": b""}


@pytest.fixture(autouse=True)
def tables_left_open() -> Iterator[None]:
    """What `datasets` leaves open is closed before the next test, which minds."""
    yield
    gc.collect()


def content(value: bytes | str) -> bytes:
    return value if isinstance(value, bytes) else value.encode()


def ours(made: Files, tmp_path: Path, keys: Mapping[str, Any]) -> tuple[Said, Mapping[str, Any]]:
    images = {unicodedata.normalize("NFC", name): name for name in made if name.endswith((".jpg", ".webp"))}
    tree = Tree(images, [*made], lambda key: io.BytesIO(content(made[key])), lambda key: key)
    rule = CaptionKeys.model_validate({"text": "metadata", **keys}).caption_rule()
    with tree_captions(rule, tree, tmp_path / "spool") as found:
        said: Said = [
            (image, caption.words.text, dict(caption.words.extra))
            for image in sorted(images)
            for caption in found.of(image)
        ]
        return said, found.counts


def theirs(made: Files, tmp_path: Path) -> Said:
    """What `datasets` says, its images by their names and where they lead to nothing as such."""
    import datasets

    root = tmp_path / "in"
    for file_name, value in made.items():
        path = root / file_name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content(value))
    stream = datasets.load_dataset(
        "imagefolder", data_dir=str(root), split="train", streaming=True, cache_dir=str(tmp_path / "cache")
    )
    said: Said = []
    for row in stream.decode(enable=False):
        image = row.pop("image", None)
        name: str | None = None if image is None else str(Path(image["path"]).relative_to(root))
        text = row.pop("text", None)
        said.append((name, None if text is None else str(text), row))
    return said


ALIKE: dict[str, Files] = {
    "csv": {**AB, CSV: 'file_name,text,n\na.jpg,"çay, şeker",x\nb.jpg,"iki\nsatır",y\n'},
    "byte-order-mark": {**AB, CSV: "\ufefffile_name,text\na.jpg,bir\nb.jpg,iki\n"},
    "several-rows-an-image": {**AB, CSV: "file_name,text\na.jpg,bir\na.jpg,iki\nb.jpg,üç\n"},
    "folders": {**A, "t/b.jpg": b"", CSV: "file_name,text\na.jpg,bir\nt/b.jpg,iki\n"},
    "table-in-a-folder": {"t/a.jpg": b"", f"t/{CSV}": "file_name,text\na.jpg,bir\n"},
    "backslash": {"t/a.jpg": b"", CSV: "file_name,text\nt\\a.jpg,bir\n"},
    "dot-slash": {**AB, CSV: "file_name,text\n./a.jpg,bir\nb.jpg,iki\n"},
    "jsonl": {**AB, JSONL: '{"file_name":"a.jpg","text":"bir","n":1}\n{"file_name":"b.jpg","text":"iki","n":2}\n'},
    "jsonl-byte-order-mark": {**AB, JSONL: '\ufeff{"file_name":"a.jpg","text":"bir"}\n'},
    "jsonl-other-columns": {**AB, JSONL: '{"file_name":"a.jpg","text":"x","m":{"k":[1,2]}}\n'},
    "parquet": {**AB, "metadata.parquet": parquet({"file_name": ["a.jpg", "b.jpg"], "text": ["bir", None]})},
    "empty-caption": {**AB, CSV: "file_name,text\na.jpg,\nb.jpg,iki\n"},
    "long-caption": {**AB, CSV: f"file_name,text\na.jpg,{'kelime ' * 40_000}\nb.jpg,x\n"},
    "quote-in-a-bare-cell": {**AB, CSV: 'file_name,text\na.jpg,19" ekran\nb.jpg,x\n'},
    "double-suffix": {**A, "a.jpg.webp": b"", CSV: "file_name,text\na.jpg,bir\n"},
    "blank-lines": {**AB, CSV: "file_name,text\n\na.jpg,bir\n\nb.jpg,iki\n\n"},
}  # fmt: skip


@pytest.mark.parametrize("made", ALIKE.values(), ids=ALIKE)
def test_what_datasets_reads_rightly_is_read_alike(made, tmp_path):
    assert ours(made, tmp_path, {})[0] == sorted(theirs(made, tmp_path), key=lambda row: row[0] or "")


def test_columns_of_several_images_are_those_of_datasets(tmp_path):
    import datasets

    made = {
        **AB,
        JSONL: '{"left_file_name":"a.jpg","more_file_names":["b.jpg","a.jpg"],"pair":{"file_name":"b.jpg"}}\n',
    }
    for name, value in made.items():
        (tmp_path / name).write_bytes(content(value))
    (row,) = datasets.load_dataset(
        "imagefolder", data_dir=str(tmp_path), split="train", streaming=True, cache_dir=str(tmp_path / "c")
    ).decode(enable=False)
    told = {
        "left": [row["left"]], "more": row["more"], "pair.image": [row["pair"]["image"]],
    }  # fmt: skip
    tree = Tree(AB, [JSONL], lambda _: io.BytesIO(content(made[JSONL])), lambda key: key)
    with tree_captions(CaptionKeys(text="metadata").caption_rule(), tree, tmp_path / "spool") as found:
        (caption,) = found.of("a.jpg")
    assert [(one.column, one.name) for one in caption.images] == [
        (column, Path(image["path"]).name) for column, images in told.items() for image in images
    ]


@dataclass(frozen=True)
class Difference:
    files: Files
    theirs: Said | str
    """Or a part of its error."""
    ours: Said | str
    keys: Mapping[str, Any] = field(default_factory=dict)
    name_nothing: int = 0
    without: int = 0
    or_theirs: Said = field(default_factory=list)
    """It reads tables in the order of a Python set."""


def row(image: str | None, text: str | None, **extra: Any) -> tuple[str | None, str | None, dict[str, Any]]:
    return image, text, extra


NO_NAME = "must be present as dictionary key in metadata files"
NFD = unicodedata.normalize("NFD", "çiçek.jpg")
DIFFERENCES: dict[str, Difference] = {
    "semicolon": Difference(
        {**AB, CSV: "file_name;text\na.jpg;çay, su\nb.jpg;x\n"},
        NO_NAME,
        [row("a.jpg", "çay, su"), row("b.jpg", "x")],
    ),
    "sep-line": Difference(
        {**AB, CSV: "sep=;\nfile_name;text\na.jpg;bir\nb.jpg;x\n"},
        NO_NAME,
        [row("a.jpg", "bir"), row("b.jpg", "x")],
    ),
    "blanks-after-commas": Difference(
        {**A, CSV: "file_name, text\na.jpg, bir\n"},
        [row("a.jpg", None, **{" text": " bir"})],
        [row("a.jpg", "bir")],
    ),
    "stray-quote": Difference(
        {**AB, CSV: 'file_name,text\na.jpg,"yarım\nb.jpg,5"\n'},
        [row("a.jpg", "yarım\nb.jpg,5")],
        "metadata.csv: line 2: a quote is out of place",
    ),
    "short-row": Difference(
        {**AB, CSV: "file_name,text,n\na.jpg,ilk\nb.jpg,iki,x\n"},
        [row("a.jpg", "ilk", n=None), row("b.jpg", "iki", n="x")],
        "line 2 has 2 cells",
    ),
    "long-first-row": Difference(
        {**AB, CSV: "file_name,text\na.jpg,bir,iki\n"},
        [row("bir", "iki", __index_level_0__="a.jpg")],
        "line 2 has 3 cells",
    ),
    "cp1254": Difference(
        {**AB, CSV: "file_name,text\na.jpg,şık\n".encode("cp1254")},
        "can't decode byte 0xfe",
        "metadata.csv: line 2 is not UTF-8.*key encoding",
    ),
    "utf-16": Difference(
        {**A, CSV: "file_name,text\na.jpg,şık\n".encode("utf-16")},
        "can't decode byte 0xff",
        [row("a.jpg", "şık")],
    ),
    "words-for-nothing": Difference(
        {**AB, CSV: "file_name,text\na.jpg,null\nb.jpg,NA\n"},
        [row("a.jpg", None), row("b.jpg", None)],
        [row("a.jpg", "null"), row("b.jpg", "NA")],
    ),
    "numbers": Difference(
        {**AB, CSV: "file_name,text,code\na.jpg,1935,007\nb.jpg,2.50,08\n"},
        [row("a.jpg", "1935.0", code=7), row("b.jpg", "2.5", code=8)],
        [row("a.jpg", "1935", code="007"), row("b.jpg", "2.50", code="08")],
    ),
    "dates": Difference(
        {**A, JSONL: '{"file_name":"a.jpg","text":"2024-01-01"}\n'},
        [row("a.jpg", "2024-01-01 00:00:00")],
        [row("a.jpg", "2024-01-01")],
    ),
    "mixed-types": Difference(
        {**AB, JSONL: '{"file_name":"a.jpg","n":"x"}\n{"file_name":"b.jpg","n":5}\n'},
        "changed from string to number",
        [row("a.jpg", None, n="x"), row("b.jpg", None, n=5)],
    ),
    "doubled-column": Difference(
        {**A, CSV: "file_name,text,text\na.jpg,bir,iki\n"},
        [row("a.jpg", "bir", **{"text.1": "iki"})],
        "line 1: two columns are named text",
    ),
    "doubled-key": Difference(
        {**A, JSONL: '{"file_name":"a.jpg","text":"bir","text":"iki"}\n'},
        "twice",
        "line 1: 'text' stands twice",
    ),
    "rows-without-image": Difference(
        {**A, CSV: "file_name,text\na.jpg,bir\nyok.jpg,iki\nA.jpg,üç\n"},
        [row("a.jpg", "bir"), row("yok.jpg", "iki"), row("A.jpg", "üç")],
        [row("a.jpg", "bir")],
        name_nothing=2,
    ),
    "empty-name": Difference(
        {**A, CSV: "file_name,text\n,bir\na.jpg,iki\n"},
        [row(None, "bir"), row("a.jpg", "iki")],
        [row("a.jpg", "iki")],
        name_nothing=1,
    ),
    "images-without-row": Difference(
        {**AB, CSV: "file_name,text\na.jpg,bir\n"}, [row("a.jpg", "bir")], [row("a.jpg", "bir")], without=1
    ),
    "two-formats": Difference(
        {**XY, f"x/{CSV}": "file_name,text\na.jpg,bir\n", f"y/{JSONL}": '{"file_name":"b.jpg","text":"iki"}'},
        "metadata files with different extensions",
        [row("x/a.jpg", "bir"), row("y/b.jpg", "iki")],
    ),
    "two-sets-of-columns": Difference(
        {**XY, f"x/{CSV}": "file_name,text\na.jpg,bir\n", f"y/{CSV}": "file_name,caption\nb.jpg,iki\n"},
        [row("x/a.jpg", "bir"), row("y/b.jpg", None)],
        [row("x/a.jpg", "bir"), row("y/b.jpg", "iki")],
        or_theirs=[row("y/b.jpg", None, caption="iki"), row("x/a.jpg", None, caption=None)],
    ),
    "name-of-the-parent": Difference(
        {**A, f"y/{CSV}": "file_name,text\n../a.jpg,bir\n"},
        "Invalid metadata file_name",
        [row("a.jpg", "bir")],
    ),
    "absolute-name": Difference(
        {**A, CSV: "file_name,text\n/etc/hosts,bir\na.jpg,iki\n"},
        "Invalid metadata file_name",
        [row("a.jpg", "iki")],
        name_nothing=1,
    ),
    "decomposed-names": Difference(
        {NFD: b"", CSV: "file_name,text\nçiçek.jpg,bir\n"},
        [row("çiçek.jpg", "bir")],
        [row("çiçek.jpg", "bir")],
    ),
    "other-tables": Difference(
        {**A, "captions.json": '[{"file_name":"a.jpg","text":"bir"}]'},
        [row("a.jpg", None)],
        [row("a.jpg", "bir")],
        {"text": "captions.json"},
    ),
    "other-name-column": Difference(
        {**A, CSV: "image,text\na.jpg,bir\n"}, NO_NAME, [row("a.jpg", "bir")], {"file_name_column": "image"}
    ),
    "sidecars": Difference(
        {**A, "a.txt": "bir"}, [row("a.jpg", None)], [row("a.jpg", "bir")], {"text": "sidecar"}
    ),
}


def named_in_the_table() -> list[str]:
    table = (package_files("vlm_assets.captions") / "DIFFERENCES.md").read_text("utf-8")
    return re.findall(r"^\| `([a-z0-9-]+)` \|", table, re.MULTILINE)


def test_every_difference_stands_in_the_table():
    assert named_in_the_table() == list(DIFFERENCES)


@pytest.mark.parametrize("case", DIFFERENCES.values(), ids=DIFFERENCES)
def test_differences_are_as_the_table_says(case, tmp_path):
    if isinstance(case.theirs, str):
        with pytest.raises(Exception, match=re.escape(case.theirs)):  # of many types
            theirs(case.files, tmp_path)
    else:
        assert theirs(case.files, tmp_path) in (case.theirs, case.or_theirs)
    if isinstance(case.ours, str):
        with pytest.raises(SourceError, match=case.ours):
            ours(case.files, tmp_path, case.keys)
        return
    said, counts = ours(case.files, tmp_path, case.keys)
    assert said == case.ours
    assert counts.get("name_nothing", 0) == case.name_nothing
    assert counts["images_without_rows"] == case.without


def test_decomposed_names_are_found_in_either_form_here_only(tmp_path):
    made = DIFFERENCES["decomposed-names"].files
    (image, *_), *rest = theirs(made, tmp_path)
    assert not rest
    assert image is not None
    assert not (tmp_path / "in" / image).exists()


def test_other_name_columns_say_what_to_do(tmp_path):
    with pytest.raises(SourceError, match=r"there are: image, text.*file_name_column"):
        ours(DIFFERENCES["other-name-column"].files, tmp_path, {})
