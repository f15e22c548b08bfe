"""Names of what is in a repository's archives, and which of them another file could be meant by."""

from collections.abc import Collection, Mapping, Sequence
from io import BytesIO
from pathlib import Path

import pytest

from vlm_assets.demo.services.pictures import tar_of, zip_of
from vlm_assets.hub import member_names
from vlm_assets.hub.member_names import MemberNames, unsure_names
from vlm_assets.hub.repo_files import RepoFile

Members = Mapping[str, Collection[str] | None]
CASES: dict[str, tuple[Members, Sequence[str], dict[str, Sequence[str] | bool]]] = {
    "other-names": ({"x.zip": ["a"], "y.zip": ["b"]}, (), {"x.zip": [], "y.zip": []}),
    "one-name": ({"x.zip": ["a", "b"], "y.zip": ["a"]}, (), {"x.zip": ["a"], "y.zip": ["a"]}),
    "other-folders": ({"p/x.zip": ["a"], "q/y.zip": ["a"]}, (), {"p/x.zip": [], "q/y.zip": []}),
    "one-path": ({"x.zip": ["p/a"], "p/y.zip": ["a"]}, (), {"x.zip": ["p/a"], "p/y.zip": ["a"]}),
    "folder-of-another": ({"x.zip": ["a"], "y.zip": ["x/a"]}, (), {"x.zip": [], "y.zip": ["x/a"]}),
    "folder-of-its-own": ({"x.zip": ["a", "x/b"], "y.zip": ["a2"]}, (), {"x.zip": [], "y.zip": []}),
    "not-known": ({"x.zip": ["a"], "y.tar": None}, (), {"x.zip": True, "y.tar": True}),
    "loose": ({"p/x.zip": ["a", "b"]}, ["p/a", "b"], {"p/x.zip": ["a"]}),
    "loose-beside-what-is-not-known": ({"p/x.tar": None}, ["p/a", "b"], {"p/x.tar": ["a"]}),
    "too-many": ({"x.zip": "abc", "y.zip": "abcd"}, (), {"x.zip": True, "y.zip": True}),
}


@pytest.mark.parametrize(("members", "loose", "expected"), CASES.values(), ids=CASES)
def test_names_that_may_mean_another_file(
    monkeypatch: pytest.MonkeyPatch,
    members: Members,
    loose: Sequence[str],
    expected: dict[str, Sequence[str] | bool],
) -> None:
    monkeypatch.setattr(member_names, "_MAX_UNSURE", 2)
    assert unsure_names(members, loose) == expected


INNER = [("a.jpg", b"x"), ("__MACOSX/._a.jpg", b"x"), ("d/b.jpg", b"x"), ("t.csv", b"x")]
ARCHIVES: dict[str, tuple[str, bytes, list[str] | None]] = {
    "zip": ("x.zip", zip_of(INNER), ["a.jpg", "d/b.jpg"]),
    "tar": ("x.tar", tar_of(INNER), ["a.jpg", "d/b.jpg"]),
    "packed": ("d/a.jpg.gz", b"", ["a.jpg"]),
    "damaged": ("x.zip", zip_of(INNER)[:-30], None),
    "archives-inside": ("x.zip", zip_of([("in.zip", zip_of(INNER))]), None),
    "large": ("x.tar", tar_of([("a.jpg", b"x" * 100_000)]), None),
}


@pytest.mark.parametrize(("name", "data", "expected"), ARCHIVES.values(), ids=ARCHIVES)
def test_names_without_fetching(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, data: bytes, expected: list[str] | None
) -> None:
    monkeypatch.setattr(member_names, "LOOKED_AT_BYTES", 50_000)
    path = tmp_path / "data"
    path.write_bytes(data)
    names = MemberNames(lambda file: BytesIO(data), lambda asked: path, 2**20)  # noqa: ARG005
    found = names.of(name, [RepoFile(name, len(data), "")])
    assert (None if found is None else [*found]) == expected
