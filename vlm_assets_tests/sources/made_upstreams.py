"""Upstreams made at random, and how an independent walk counts them: no code is shared with the product."""

import io
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vlm_assets.demo.services.pictures import picture, zip_of
from vlm_assets.words.records import Listed
from vlm_assets_tests.archives.made import PACKERS, cut, tar_bytes
from vlm_assets_tests.captions.kit import parquet
from vlm_assets_tests.sources.kit import Fetched

IMAGE = picture("a").data


def arrow(columns: Mapping[str, Any], *, stream: bool = False) -> bytes:
    """An Arrow file of these columns, or a stream."""
    table, out = pa.table(dict(columns)), io.BytesIO()
    with (pa.ipc.new_stream if stream else pa.ipc.new_file)(out, table.schema) as writer:
        writer.write_table(table)
    return out.getvalue()


_ROWS = {"image": [{"bytes": IMAGE, "path": None}] * 2}
OF_IMAGES = {
    ".parquet": parquet(_ROWS), ".pq": parquet(_ROWS), ".parq": parquet(_ROWS), ".arrow": arrow(_ROWS),
    ".feather": arrow(_ROWS, stream=True), ".ipc": arrow(_ROWS),
}  # fmt: skip
"""Data files of two images, by their suffixes."""
OF_NONE = (parquet({"x": [1]}), arrow({"x": [1]}), parquet({"image": []}), b"words", b"")
_FOLDERS = ("", "", "in/", "train/", "test/", "in/deep/", "ağaç/", ".git/", "__MACOSX/")
_STEMS = ("a", "b", "c.d", "ışık", "seg.x", ".hidden", "._a")
_SUFFIXES = (
    ".jpg", ".jpg", ".png", ".JPG", ".mpo", ".dib", ".heic", "", ".txt", ".json", ".pdf", ".rar", ".bin", ".svg",
    ".md", ".z01", ".zip.002", ".csv", ".jpg.gz",
)  # fmt: skip
_BYTES = st.sampled_from((IMAGE, IMAGE, b"", b"words", b"%PDF-1.7\n", b"\0\1\2"))
_WHOLE = ("Thumbs.db", ".DS_Store", "desktop.ini", "LICENSE", "README.txt", "dataset_info.json", "labels.csv")
_FORMS = ("zip", "tar", "tar.gz", "bare", "split")
_ODD = (
    "../a.jpg",
    "/b.jpg",
    "in\\c.jpg",
    "./d.jpg",
    "C:\\e.jpg",
    "s\u0327.jpg",
    "f\n.jpg",
    "broken.zip",
    "g.tar.gz",
    "h.7z",
)
_SUFFIX_OF = {"split": ".zip"}
Tree = dict[str, "bytes | tuple[str, Tree]"]
"""Bytes by path; of an archive its form and what is in it."""


NAMED = tuple(f"{folder}gone.jpg" for folder in _FOLDERS)
"""What tables may name without its being there."""


def _leaf(name: str, data: bytes) -> bytes:
    """Something that can be read where a name says that it holds words, or is packed."""
    if name.endswith(".json"):
        return b'{"text": "bir"}'
    if name.endswith(".csv"):
        return b"a,b\n1,2\n"
    if name.endswith((".txt", ".md")):
        return b"bir"
    return PACKERS["gz"](data) if name.endswith(".gz") else data


@st.composite
def trees(draw: st.DrawFn, *, depth: int = 1, most: int = 8, is_inside: bool = False) -> Tree:
    """Files in folders, archives among them, and a table that names some of the images, one or another twice.

    `is_inside`: in an archive, where any name can be, and other archives may be damaged.
    """
    made: Tree = {}
    for _ in range(draw(st.integers(0, most))):
        folder, kind = draw(st.sampled_from(_FOLDERS)), draw(st.integers(0, 9))
        stem = folder + draw(st.sampled_from(_STEMS))
        if kind == 0:
            name = folder + draw(st.sampled_from(_WHOLE))
            made[name] = _leaf(name, b"words")
        elif kind <= 2 and depth:
            form = draw(st.sampled_from(_FORMS))
            name = f"{folder}packed" if form == "bare" else stem + _SUFFIX_OF.get(form, f".{form}")
            made[name] = (form, draw(trees(depth=depth - 1, most=4, is_inside=True)))
        elif kind == 4 and is_inside:
            made[draw(st.sampled_from(_ODD))] = draw(_BYTES)
        elif kind == 5:
            suffix = draw(st.sampled_from(sorted(OF_IMAGES)))
            made[stem + suffix] = draw(st.sampled_from((OF_IMAGES[suffix], OF_IMAGES[suffix], *OF_NONE)))
        elif kind == 3:
            made[f"{stem}.jpg"] = IMAGE
            made[stem + draw(st.sampled_from((".txt", ".json")))] = b'{"text": "bir"}'
        else:
            name = stem + draw(st.sampled_from(_SUFFIXES))
            made[name] = _leaf(name, draw(_BYTES))
    tables: Tree = draw(_tables(made))
    return made | tables


@st.composite
def _tables(draw: st.DrawFn, made: Tree) -> Tree:
    """A table of captions beside images, which names some of them, and perhaps one that is not there."""
    images = sorted(name for name in made if name.endswith((".jpg", ".png")) and not _is_shut(name))
    if not images or draw(st.integers(0, 2)) == 0:
        return {}
    folder = draw(st.sampled_from(images)).rpartition("/")[0]
    prefix = f"{folder}/" if folder else ""
    below = [name.removeprefix(prefix) for name in images if name.startswith(prefix)]
    below += [
        f"{name.removeprefix(prefix).partition('.')[0]}/{one}"
        for name, what in made.items()
        if name.startswith(prefix) and not isinstance(what, bytes) and not _is_shut(name)
        for one in leaves(what[1])
        if one.endswith(".jpg")
    ]
    named = draw(st.lists(st.sampled_from(below), min_size=1, max_size=4))
    if draw(st.integers(0, 3)) == 0:
        named.append("gone.jpg")
    form = draw(st.sampled_from(("csv", "jsonl", "several")))
    if form == "csv":
        rows = "".join(f"{name},{number}. resim\n" for number, name in enumerate(named))
        return {f"{prefix}metadata.csv": f"file_name,text\n{rows}".encode()}
    rows_of: list[dict[str, Any]] = (
        [{"file_names": named}] if form == "several" else [{"file_name": name} for name in named]
    )
    lines = [json.dumps({**row, "text": f"{number}. resim"}) for number, row in enumerate(rows_of)]
    return {f"{prefix}metadata.jsonl": "\n".join(lines).encode()}


def _is_shut(name: str) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))


def packed(form: str, tree: Tree) -> bytes:
    files = list(files_of(tree).items())
    if form in ("tar", "tar.gz"):
        return tar_bytes(files, "w:gz" if form == "tar.gz" else "w")
    return zip_of(files)


def files_of(tree: Tree) -> dict[str, bytes]:
    """The files as upstream shows them."""
    files: dict[str, bytes] = {}
    for name, what in tree.items():
        if isinstance(what, bytes):
            files[name] = what
        elif what[0] == "split":
            first, second = cut(packed(*what), 15)
            files |= {f"{name}.001": first, f"{name}.002": second}
        else:
            files[name] = packed(*what)
    return files


def leaves(tree: Tree) -> list[str]:
    """What is in an archive, of archives inside what is in them; those that nobody looks into are files."""
    found: list[str] = []
    for name, what in tree.items():
        if isinstance(what, bytes) or _is_shut(name):
            found += files_of({name: what})
        else:
            found += [f"{name}/{one}" for one in leaves(what[1])]
    return found


def of_many(examples: int, check: Callable[..., None], **strategies: st.SearchStrategy[Any]) -> None:
    """Runs `check` on so many examples, the same every time."""
    how = settings(
        max_examples=examples, derandomize=True, database=None, deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )  # fmt: skip
    how(given(**strategies)(check))()


def check_listed(listed: Listed, files: Sequence[str], named: Sequence[str] = (), again: int = 0) -> int:
    """Every file is an item, a companion or left out, and no two of these; the number of items.

    `named`: what tables may name without its being there; `again`: how often files are items of a further split.
    """
    items = [item for one in listed.slices for item in one.items]
    left_out = [one.key for one in listed.left_out]
    absent = [item.key for item in items if item.payload.get("missing")]
    assert listed.upstream == len(files) + len(absent) + again, (listed.upstream, len(files))
    assert len(items) + listed.companions + len(left_out) == listed.upstream
    assert set(absent) <= set(named)
    assert not {item.key for item in items} & set(left_out)
    assert Counter(left_out) <= Counter(files), set(left_out) - set(files)
    return len(items)


def check_fetched(fetched: Fetched, inside: Mapping[str, Sequence[str]]) -> None:
    """What is in each item, by its key, is a record, a companion or left out: all of it, each once.

    Of a loose item that is the item itself: then its key stands for what is in it.
    """
    told = {item: Counter[str]() for item in inside}
    beside = dict.fromkeys(inside, 0)
    for record in fetched.records:
        told[record.item][f"record {record.key.partition('#caption=')[0]}"] = 1
    for reject in fetched.rejects:
        if reject.record is not None or inside[reject.item] == [reject.item]:
            told[reject.item][f"reject {reject.detail.partition(': ')[0]}"] += 1
    for companion in fetched.companions:
        beside[_item_of(companion.key, inside)] += companion.members
    for one in fetched.left_out:
        told[_item_of(one.key, inside)][f"left out {one.key}"] += 1
    for item, names in inside.items():
        assert told[item].total() + beside[item] == len(names), (item, names, told[item], beside[item])


def _item_of(key: str, items: Mapping[str, Any]) -> str:
    return max((one for one in items if key.startswith(f"{one}/") or key == one), key=len)


def inside_of(tree: Tree) -> dict[str, list[str]]:
    """What is in each archive of a tree, by the archive's name; a packed image is in one of its own.

    Of a data file the rows with images.
    """
    packed_images = {name: [name] for name in tree if name.endswith(".jpg.gz")}
    data = {name: ["row"] * 2 for name, what in tree.items() if what in OF_IMAGES.values()}
    return (
        packed_images
        | data
        | {name: leaves(what[1]) for name, what in tree.items() if not isinstance(what, bytes)}
    )
