"""Captions in client folders with archives, Kaggle datasets and GitHub releases: inside archives, beside, above."""

import gzip
from collections.abc import Callable, Iterator, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest

from vlm_assets.demo.services.github import GitHubService
from vlm_assets.demo.services.kaggle import KaggleService
from vlm_assets.demo.services.pictures import zip_of
from vlm_assets.sources import client_folder, github_release, kaggle
from vlm_assets.words.caption_rows import settled
from vlm_assets.words.errors import SourceError
from vlm_assets.words.records import Listed
from vlm_assets_tests.sources.kit import (
    COMMON,
    Fetched,
    canonical,
    fetch_context,
    identities,
    list_context,
    slices_of,
)

JPEG = b"\xff\xd8\xff\xe0"
Files = Mapping[str, bytes]


def table(*rows: str, names: str = "file_name", sep: str = ",") -> bytes:
    return "\n".join([f"{names}{sep}text", *rows]).encode()


def pack(**files: bytes) -> bytes:
    """A zip; `__` in a name is a dot, `_in_` a slash."""
    return zip_of([(name.replace("_in_", "/").replace("__", "."), data) for name, data in files.items()])


class Upstream:
    """One of the three kinds with its upstream on this machine."""

    def __init__(self, kind: str, put: Callable[[Files], dict[str, Any]], folder: Path) -> None:
        self.kind = kind
        self._put = put
        self._folder = folder
        module = {"client_folder": client_folder, "kaggle": kaggle, "github_release": github_release}[kind]
        self.source: Any = module.SOURCE

    def listed(self, files: Files, **keys: Any) -> tuple[Any, Listed]:
        told = self._put(files)
        spec = self.source.spec_type.model_validate({**COMMON, "kind": self.kind, **told, **keys})
        return spec, self.source.list(spec, list_context(self._folder))

    def fetched(self, files: Files, **keys: Any) -> tuple[Listed, Fetched]:
        """All slices at once."""
        spec, listed = self.listed(files, **keys)
        events: list[Any] = []
        for name, one in slices_of(listed).items():
            context = fetch_context(self._folder, listed, name)
            events += self.source.fetch(spec, canonical(one), context)
        return listed, Fetched(events)

    def said(self, files: Files, **keys: Any) -> dict[str, str | None]:
        """Texts by name, archives' own names left away; checks the sums of the first ledger."""
        listed, fetched = self.fetched(files, **keys)
        items = [item for one in listed.slices for item in one.items]
        left_out = list(listed.left_out)
        assert listed.upstream == len(files) == len(items) + listed.companions + len(left_out)
        assert fetched.rejects == []
        members = sum(
            len(ZipFile(BytesIO(data)).namelist()) for name, data in files.items() if name.endswith(".zip")
        )
        records = {one.origin for one in fetched.records if "!" in one.origin}
        assert members == len(records) + len(fetched.companions) + len(fetched.left_out)
        return {
            one.origin.partition("!")[2] + one.key.rpartition("/")[2]: one.text for one in fetched.records
        }


@pytest.fixture(params=["client_folder", "kaggle", "github_release"])
def upstream(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Upstream]:
    kind: str = request.param
    if kind == "client_folder":
        yield Upstream(kind, lambda files: {"path": put(tmp_path / "in", files)}, tmp_path)
        return
    with KaggleService() if kind == "kaggle" else GitHubService() as service:
        for name, value in service.environment().items() if isinstance(service, KaggleService) else ():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(tmp_path / "none"))

        def add(files: Files) -> dict[str, Any]:
            if isinstance(service, KaggleService):
                service.add("org/set", zip_of(list(files.items())))
                return {"handle": "org/set"}
            monkeypatch.setenv("GITHUB_API_URL", service.api_url)
            service.release("org/set", f"v{len(service.releases.get('org/set', ())) + 1}", dict(files))
            return {"repo": "org/set"}

        yield Upstream(kind, add, tmp_path)


def put(folder: Path, files: Files) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


ROWS = table("a.jpg,bir")
CASES: dict[str, tuple[dict[str, bytes], dict[str, Any], dict[str, str | None]]] = {
    "table-inside": (
        {"x.zip": pack(a__jpg=JPEG, b__jpg=JPEG, metadata__csv=ROWS)}, {"text": "metadata"},
        {"a.jpga.jpg": "bir", "b.jpgb.jpg": None},
    ),
    "table-beside": (
        {"x.zip": pack(k_in_a__jpg=JPEG), "metadata.csv": table("k\\a.jpg;bir", sep=";")}, {"text": "metadata"},
        {"k/a.jpga.jpg": "bir"},
    ),
    "table-of-another-name": (
        {"x.zip": pack(a__jpg=JPEG), "labels.tsv": table("x/a.jpg\tbir", names="image", sep="\t")},
        {"text": "labels.tsv", "file_name_column": "image"}, {"a.jpga.jpg": "bir"},
    ),
    "table-of-loose-and-packed": (
        {"x.zip": pack(a__jpg=JPEG), "b.jpg": JPEG, "metadata.csv": table("a.jpg,bir", "./b.jpg,iki", "b.jpg,üç")},
        {"text": "metadata"}, {"a.jpga.jpg": "bir", "b.jpg#caption=1": "iki", "b.jpg#caption=2": "üç"},
    ),
    "several-archives": (
        {"x.zip": pack(a__jpg=JPEG), "y.zip": pack(a__jpg=JPEG + b"y", b__jpg=JPEG),
         "metadata.csv": table("y.zip/b.jpg,iki")},
        {"text": "metadata"}, {"a.jpga.jpg": None, "b.jpgb.jpg": "iki"},
    ),
    "all-rows-are-of-loose-images": (
        {"a.jpg": JPEG, "x.zip": pack(a__jpg=JPEG), "y.zip": pack(a__jpg=JPEG + b"y"), "metadata.csv": ROWS},
        {"text": "metadata"}, {"a.jpg": "bir", "a.jpga.jpg": None},
    ),
    "archives-with-folders-of-their-names": (
        {"x.zip": pack(x_in_a__jpg=JPEG), "y.zip": pack(y_in_a__jpg=JPEG + b"y"),
         "metadata.csv": table("x/a.jpg,bir", "y/a.jpg,iki")},
        {"text": "metadata"}, {"x/a.jpga.jpg": "bir", "y/a.jpga.jpg": "iki"},
    ),
    "sidecars-inside-and-loose": (
        {"x.zip": pack(a__jpg=JPEG, a__txt="şehir".encode("cp1254")), "b.jpg": JPEG, "b.jpg.caption": b"iki"},
        {"text": "sidecar", "encoding": "cp1254"}, {"a.jpga.jpg": "şehir", "b.jpg": "iki"},
    ),
    "sidecar-object": (
        {"b.jpg": JPEG, "b.json": b'\xef\xbb\xbf{"caption": "iki"}', "c.txt": b"of nothing"}, {"text": "sidecar"},
        {"b.jpg": "iki"},
    ),
    "none": ({"a.jpg": JPEG, "metadata.csv": ROWS}, {}, {"a.jpg": None}),
}  # fmt: skip


REMOTE = ("table-of-loose-and-packed", "several-archives", "sidecars-inside-and-loose")
"""Those that differ where files are not here."""


@pytest.mark.parametrize(
    ("upstream", "name"),
    [("client_folder", name) for name in CASES]
    + [(kind, name) for kind in ("kaggle", "github_release") for name in REMOTE],
    indirect=["upstream"],
)
def test_words_are_found(upstream: Upstream, name: str) -> None:
    files, keys, expected = CASES[name]
    assert upstream.said(files, **keys) == expected


def test_what_is_joined_is_no_longer_left_out(upstream: Upstream) -> None:
    files = {"x.zip": pack(a__jpg=JPEG, a__txt=b"bir", c__txt=b"?", d__md=b""), "b.jpg": JPEG, "b.txt": b"",
             "e.caption": b"", "f.md": b""}  # fmt: skip
    listed, fetched = upstream.fetched(files, text="sidecar")
    assert {one.key: str(one.reason) for one in listed.left_out} == {
        "e.caption": "unused_companion", "f.md": "unknown_type",
    }  # fmt: skip
    assert {one.key: str(one.reason) for one in fetched.left_out} == {
        "x.zip/c.txt": "unused_companion", "x.zip/d.md": "unknown_type",
    }  # fmt: skip
    assert listed.captions_unused == 1
    assert [one.key for one in fetched.companions] == ["x.zip/a.txt"]


def test_rows_of_several_images(upstream: Upstream) -> None:
    rows = b"image_file_name,mask_file_name,text\na.jpg,m.jpg,bir\n"
    files = {"a.jpg": JPEG, "m.jpg": JPEG + b"m", "metadata.csv": rows}
    listed, fetched = upstream.fetched(files, text="metadata")
    [record] = fetched.records
    assert [(one.name, (one.origin or "").rpartition("/")[2]) for one in record.images] == [
        ("image", ""), ("mask", "m.jpg"),
    ]  # fmt: skip
    assert fetched.content()[0][3] == [JPEG, JPEG + b"m"]
    assert listed.companions == 2


@pytest.mark.parametrize("upstream", ["client_folder", "github_release"], indirect=True)
def test_other_words_are_another_identity(upstream: Upstream) -> None:
    packed = {"x.zip": pack(a__jpg=JPEG), "b.jpg": JPEG}
    seen = [
        identities(upstream.listed({**packed, **more}, **keys)[1])
        for keys, more in (
            ({}, {"metadata.csv": ROWS}),
            ({"text": "metadata"}, {"metadata.csv": ROWS}),
            ({"text": "metadata"}, {"metadata.csv": table("a.jpg,iki")}),
            ({"text": "metadata", "text_column": "text"}, {"metadata.csv": ROWS}),
            ({"text": "sidecar"}, {"b.txt": b"bir"}),
            ({"text": "sidecar"}, {"b.txt": b"iki"}),
        )
    ]
    archives = [str(one["x.zip"]) for one in seen]
    assert len(set(archives[:5])) == 5
    assert archives[4] == archives[5]
    loose = [str({name: items for name, items in one.items() if name != "x.zip"}) for one in seen]
    assert loose[0] == loose[1] == loose[2] == loose[3]
    assert len(set(loose[3:])) == 3


def test_rows_in_and_beside_archives_are_joined_or_name_nothing(upstream: Upstream) -> None:
    inside = table("a.jpg,bir", "no.jpg,x", "no2.jpg,x")
    files = {
        "x.zip": pack(a__jpg=JPEG, b__jpg=JPEG + b"b", metadata__csv=inside), "y.zip": pack(a__jpg=JPEG + b"y"),
        "c.jpg": JPEG + b"c", "metadata.csv": table("c.jpg,bir", "y/a.jpg,iki", "no.jpg,x", "y/no.jpg,x"),
    }  # fmt: skip
    listed, fetched = upstream.fetched(files, text="metadata")
    at_listing = listed.attributes["captions"]
    waiting = settled(at_listing, ())
    found = settled(at_listing, fetched.caption_counts)
    assert waiting is not None
    assert found is not None
    assert (waiting.joined, waiting.name_nothing, waiting.waiting) == (1, 0, 3)
    assert (found.joined, found.name_nothing, found.waiting, found.images_without_rows) == (3, 4, 0, 1)


FAULTS: dict[str, tuple[dict[str, bytes], dict[str, Any], str]] = {
    "names-nothing": (
        {"b.jpg": JPEG, "metadata.csv": table("yok.jpg,x")}, {"text": "metadata"}, r"names 'yok\.jpg'"
    ),
    "no-table": ({"b.jpg": JPEG}, {"text": "metadata"}, r"there is no metadata\.csv or"),
    "table-encoding": (
        {"b.jpg": JPEG, "metadata.csv": b"file_name,text\nb.jpg,\xfe\n"}, {"text": "metadata"},
        r"metadata\.csv: line 2 is not UTF-8.*encoding",
    ),
    "sidecar-encoding": (
        {"b.jpg": JPEG, "b.txt": b"\xfe"}, {"text": "sidecar"}, r"b\.txt.* line 1 is not UTF-8.*encoding"
    ),
    "names-nothing-in-the-only-archive": (
        {"x.zip": pack(a__jpg=JPEG), "b.jpg": JPEG, "metadata.csv": table("yok.jpg,x")}, {"text": "metadata"},
        r"none of 1 caption rows names a file .*line 2 names 'yok\.jpg'",
    ),
    "quote-inside": (
        {"x.zip": pack(a__jpg=JPEG, metadata__csv=table('a.jpg,"bir')), "b.jpg": JPEG}, {"text": "metadata"},
        r"x\.zip!metadata\.csv: .*line 2",
    ),
    "which-archive": (
        {"x.zip": pack(a__jpg=JPEG), "y.zip": pack(b__jpg=JPEG), "metadata.csv": ROWS}, {"text": "metadata"},
        r"names 'a\.jpg', and there are other archives beside; name it x/a\.jpg",
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("upstream", "name"),
    [("client_folder", name) for name in FAULTS]
    + [
        (kind, name)
        for kind in ("kaggle", "github_release")
        for name in ("sidecar-encoding", "which-archive", "names-nothing-in-the-only-archive")
    ],
    indirect=["upstream"],
)
def test_faults_are_told(upstream: Upstream, name: str) -> None:
    files, keys, message = FAULTS[name]
    with pytest.raises(SourceError, match=message):
        upstream.fetched(files, **keys)


def test_a_table_in_a_folder_above_speaks_of_what_is_below(tmp_path: Path) -> None:
    upstream = Upstream("client_folder", lambda files: {"path": put(tmp_path / "in", files)}, tmp_path)
    files = {
        "p/x.zip": pack(a__jpg=JPEG), "p/q/b.jpg": JPEG, "q/y.zip": pack(a__jpg=JPEG + b"y"),
        "p/metadata.csv": table("a.jpg,bir", "q/b.jpg,iki"),
        "metadata.jsonl": b'{"file_name":"q/y/a.jpg","text":"uc"}',
    }  # fmt: skip
    _, fetched = upstream.fetched(files, text="metadata")
    assert {one.key: one.text for one in fetched.records} == {
        "p/x.zip/a.jpg": "bir", "p/q/b.jpg": "iki", "q/y.zip/a.jpg": "uc",
    }  # fmt: skip


def test_packed_images_are_named_as_what_they_hold(upstream: Upstream) -> None:
    files = {f"{name}.jpg.gz": gzip.compress(JPEG + name.encode()) for name in "ab"}
    told = table("a.jpg,bir", "b.jpg,iki")
    listed, fetched = upstream.fetched({**files, "metadata.csv": told}, text="metadata")
    records = zip(fetched.records, fetched.images, strict=True)
    assert {r.key.rpartition("/")[2]: (r.text, image) for r, image in records} == {
        "a.jpg": ("bir", JPEG + b"a"), "b.jpg": ("iki", JPEG + b"b"),
    }  # fmt: skip
    assert (fetched.rejects, listed.upstream, listed.companions) == ([], 3, 1)


@pytest.mark.parametrize(
    "files",
    [
        {"b.jpg.gz": gzip.compress(JPEG + b"b"), "metadata.csv": table("a.jpg,bir", "b.jpg,iki")},
        {"metadata.csv": ROWS},
    ],
    ids=["rows-of-both", "all-rows-are-of-loose-images"],
)
def test_a_name_means_the_loose_image_not_the_packed_one(upstream: Upstream, files: dict[str, bytes]) -> None:
    both = {"a.jpg": JPEG, "a.jpg.gz": gzip.compress(JPEG + b"a")}
    _, fetched = upstream.fetched({**both, **files}, text="metadata")
    said = {one.origin.rpartition("/")[2]: (one.text, dict(one.remarks)) for one in fetched.records}
    assert said.pop("b.jpg.gz!b.jpg", ("iki", {})) == ("iki", {})
    assert said == {"a.jpg": ("bir", {}), "a.jpg.gz!a.jpg": (None, {"words_withheld": 1})}


def test_a_name_means_the_loose_or_packed_image_not_a_member(upstream: Upstream) -> None:
    members = {f"{name}__jpg": JPEG + name.encode() for name in "abc"}
    files = {
        "p/a.jpg": JPEG, "p/c.jpg.gz": gzip.compress(JPEG), "p/x.zip": pack(**members),
        "p/metadata.csv": table("a.jpg,bir", "b.jpg,iki", "c.jpg,uc", "x/a.jpg,dort"),
    }  # fmt: skip
    if upstream.kind == "github_release":  # has no folders
        files = {name.removeprefix("p/"): data for name, data in files.items()}
    _, fetched = upstream.fetched(files, text="metadata")
    said = {one.origin.rpartition("/")[2]: (one.text, *one.remarks) for one in fetched.records}
    assert said == {
        "a.jpg": ("bir",), "x.zip!a.jpg": ("dort",), "x.zip!b.jpg": ("iki",), "x.zip!c.jpg": (None, "words_withheld"),
        "c.jpg.gz!c.jpg": ("uc",),
    }  # fmt: skip


def test_only_wanted_loose_images_take_words_from_members_and_change_their_archive(tmp_path: Path) -> None:
    upstream = Upstream("client_folder", lambda files: {"path": put(tmp_path / "in", files)}, tmp_path)
    packed = {"x.zip": pack(a__jpg=JPEG, b__jpg=JPEG), "metadata.csv": table("a.jpg,bir", "b.jpg,iki")}
    keys = {"text": "metadata", "exclude": ["no/*"]}
    before, _ = upstream.fetched(packed, **keys)
    after, fetched = upstream.fetched({**packed, "a.jpg": JPEG}, **keys)
    assert {one.key: one.text for one in fetched.records} == {
        "a.jpg": "bir", "x.zip/a.jpg": None, "x.zip/b.jpg": "iki",
    }  # fmt: skip
    assert identities(before)["x.zip"] != identities(after)["x.zip"]
    keys["exclude"] = ["a.jpg"]
    assert [one.text for one in upstream.fetched(packed, **keys)[1].records] == ["bir", "iki"]


def test_the_stem_of_two_archives_means_neither(upstream: Upstream) -> None:
    files = {
        "x.zip": pack(a__jpg=JPEG, b__jpg=JPEG + b"b"), "x.cbz": pack(a__jpg=JPEG + b"y"),
        "metadata.csv": table("x/a.jpg,bir", "x.zip/b.jpg,iki", "x.cbz/a.jpg,uc"),
    }  # fmt: skip
    _, fetched = upstream.fetched(files, text="metadata")
    said = {one.origin.rpartition("/")[2]: (one.text, *one.remarks) for one in fetched.records}
    assert said == {"x.zip!a.jpg": (None, "words_withheld"), "x.zip!b.jpg": ("iki",), "x.cbz!a.jpg": ("uc",)}
