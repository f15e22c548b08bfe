"""members = records + left out, over archives made at random, counted by a walk that shares no code with the room."""

import io
import tarfile
import zipfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vlm_assets.words.errors import LeftOut
from vlm_assets_tests.archives.made import PACKERS, PNG, cut, found_in

_PARTS = st.sampled_from(["a", "İz", "b.c", "__MACOSX", ".hidden", "x y", "köpek"])
_SUFFIXES = st.sampled_from(
    [".jpg", ".JPG", "", ".txt", ".png", ".pdf", ".csv", ".jpg.gz", ".z01", ".zip.001", ".rar"]
)
_DATA = st.one_of(st.binary(max_size=40), st.just(PNG), st.just(PACKERS["gz"](PNG)))
Tree = list[tuple[str, "bytes | tuple[str, Tree]"]]
_FORMS = st.sampled_from(["zip", "deflate", "tar", "tar.gz", "tar.xz", "tar+tar"])


@st.composite
def trees(draw: st.DrawFn, depth: int = 2) -> Tree:
    """Names with bytes, or with an archive."""
    found: Tree = []
    for number in range(draw(st.integers(0, 4))):
        folders = draw(st.lists(_PARTS, max_size=2))
        name = "/".join([*folders, f"{number}{draw(_PARTS)}"])
        if depth and draw(st.integers(0, 3)) == 0:
            form = draw(_FORMS)
            suffix = {"deflate": "zip", "tar+tar": "tar"}.get(form, form)
            found.append((f"{name}.{suffix}", (form, draw(trees(depth - 1)))))
        else:
            found.append((name + draw(_SUFFIXES), draw(_DATA)))
    return found


def packed(form: str, tree: Tree) -> bytes:
    files = [(name, what if isinstance(what, bytes) else packed(*what)) for name, what in tree]
    buffer = io.BytesIO()
    if form in ("zip", "deflate"):
        method = zipfile.ZIP_DEFLATED if form == "deflate" else zipfile.ZIP_STORED
        with zipfile.ZipFile(buffer, "w", method) as archive:
            for name, data in files:
                archive.writestr(name, data)
        return buffer.getvalue()
    half = len(files) // 2 if form == "tar+tar" else len(files)
    for piece in (files[:half], files[half:]):
        part = io.BytesIO()
        with tarfile.open(fileobj=part, mode="w") as tar:
            for name, data in piece:
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        buffer.write(part.getvalue())
    packer = PACKERS.get(form.rpartition(".")[2])
    return packer(buffer.getvalue()) if packer else buffer.getvalue()


def names(tree: Tree, prefix: str = "") -> list[str]:
    """The members by name; of archives that are not looked into, their own name."""
    found = []
    for name, what in tree:
        parts = name.split("/")
        shut = any(part.startswith(".") or part == "__MACOSX" for part in parts)
        if isinstance(what, bytes) or shut:
            found.append(prefix + name)
        else:
            found += names(what[1], f"{prefix}{name}/")
    return found


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tree=trees(), form=_FORMS, pieces=st.integers(1, 3))
def test_every_member_is_a_record_or_left_out(tmp_path: Path, tree: Tree, form: str, pieces: int) -> None:
    content = packed(form, tree)
    size = len(content) // pieces
    parts = cut(content, *range(size, size * pieces, size)) if size else [content]
    found = found_in(tmp_path, parts)
    members = [one.key if isinstance(one, LeftOut) else one.name for one in found]
    wanted = sorted(names(tree))
    given_names = sorted(f"{name}.001" if f"{name}.001" in wanted else name for name in members)
    assert given_names == wanted
