import errno
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import pytest

from vlm_assets.store.arrow_files import replace_file, write_bytes
from vlm_assets.store.versions import (
    commit_version,
    current_version,
    current_versions,
    read_manifest,
    swap_link,
)
from vlm_assets.words.errors import StoreError
from vlm_assets.words.manifest import Manifest

if TYPE_CHECKING:
    from _typeshed import TraceFunction


class _Note(Manifest):
    text: str


def stage(base: Path, content: bytes) -> Path:
    staging = base / ".staging"
    staging.mkdir()
    write_bytes(staging / "a.bin", content)
    return staging


def test_a_commit_shows_a_complete_read_only_version_and_swaps_in_one_step(tmp_path):
    link = tmp_path / "thing"
    first = commit_version(stage(tmp_path, b"1"), link, _Note(text="one"))
    second = commit_version(stage(tmp_path, b"2"), link, _Note(text="two"))
    assert current_version(link) == second != first
    assert (first / "a.bin").read_bytes() == b"1"
    assert (link / "a.bin").read_bytes() == b"2"
    assert not (link / "a.bin").stat().st_mode & 0o222
    assert read_manifest(second, _Note).text == "two"
    assert not (tmp_path / ".staging").exists()


def at_every_line(action: Callable[[], object], check: Callable[[], None]) -> int:
    """Runs an action and a check before each line of Python it executes; the number of checks."""
    checks = 0

    def trace(_frame: FrameType, event: str, _argument: object) -> "TraceFunction":
        nonlocal checks
        if event == "line":
            check()  # Python follows no line of what a trace function calls
            checks += 1
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        action()
    finally:
        sys.settrace(before)
    return checks


@pytest.mark.parametrize("change", ["commit", "swap"])
def test_whoever_looks_at_any_time_sees_the_old_version_or_the_new_one_whole(tmp_path, change):
    link = tmp_path / "thing"
    first = commit_version(stage(tmp_path, b"1"), link, _Note(text="1"))
    second = commit_version(stage(tmp_path, b"2"), link, _Note(text="2"))
    seen: list[bytes] = []

    def look() -> None:
        version = current_version(link)
        assert version is not None, "the name shows nothing"
        content = (version / "a.bin").read_bytes()
        assert read_manifest(version, _Note).text.encode() == content
        if seen[-1:] != [content]:
            seen.append(content)

    action: Callable[[], object]
    if change == "swap":
        action = partial(swap_link, link, first.relative_to(tmp_path))
    else:
        action = partial(commit_version, stage(tmp_path, b"3"), link, _Note(text="3"))
    assert at_every_line(action, look) > 3
    look()
    assert seen == [b"2", b"1" if change == "swap" else b"3"]
    assert second.is_dir()


def test_the_same_manifest_again_keeps_the_version(tmp_path):
    link = tmp_path / "thing"
    first = commit_version(stage(tmp_path, b"1"), link, _Note(text="one"))
    inode = (first / "a.bin").stat().st_ino
    assert commit_version(stage(tmp_path, b"1"), link, _Note(text="one")) == first
    assert (first / "a.bin").stat().st_ino == inode


def test_a_folder_without_manifest_was_never_committed(tmp_path):
    (tmp_path / "thing").mkdir()
    assert current_version(tmp_path / "thing") is None
    with pytest.raises(StoreError, match="never committed"):
        read_manifest(tmp_path / "thing", _Note)


def test_replace_file_leaves_nothing_beside_it(tmp_path):
    replace_file(tmp_path / "a", b"1")
    replace_file(tmp_path / "a", b"2")
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("a", b"2")]


def _failing(code: int) -> Callable[..., Path]:
    def fail(*_: object) -> Path:
        raise OSError(code, "said so")

    return fail


@pytest.mark.parametrize("code", [errno.EIO, errno.EACCES, errno.ESTALE])
def test_a_link_that_cannot_be_read_is_not_taken_for_none(tmp_path, monkeypatch, code):
    link = tmp_path / "thing"
    commit_version(stage(tmp_path, b"1"), link, _Note(text="one"))
    monkeypatch.setattr(os, "readlink", _failing(code))
    with pytest.raises(StoreError, match="thing: cannot be read"):
        current_version(link)
    with pytest.raises(StoreError, match="thing: cannot be read"):
        current_versions(tmp_path)


@pytest.mark.parametrize("code", [errno.ENOENT, errno.ENOTDIR, errno.EINVAL])
def test_where_there_is_no_link_nothing_was_committed(tmp_path, monkeypatch, code):
    monkeypatch.setattr(os, "readlink", _failing(code))
    assert current_version(tmp_path / "thing") is None


def test_all_that_a_folder_shows_is_as_each_link_says(tmp_path):
    for name in ("b", "a", ".half.link", "lost"):
        commit_version(stage(tmp_path, name.encode()), tmp_path / name, _Note(text=name))
    version = current_version(tmp_path / "lost")
    assert version is not None
    (version / "metadata.json").chmod(0o644)
    (version / "metadata.json").unlink()
    (tmp_path / "folder").mkdir()
    (tmp_path / "dangling").symlink_to(".versions/none")
    shown = {name: current_version(tmp_path / name) for name in ("a", "b")}
    assert list(current_versions(tmp_path).items()) == [
        (name, one.name) for name, one in shown.items() if one
    ]
    assert current_versions(tmp_path / "nowhere") == {}
