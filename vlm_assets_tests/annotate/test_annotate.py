"""Annotating committed slices: done once, done again when content or version change, never past a takedown."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vlm_assets.annotate import slice as module
from vlm_assets.annotate.files import AnnotationState, read_annotation, write_annotation
from vlm_assets.annotate.run import annotate
from vlm_assets.annotate.states import annotation_statuses
from vlm_assets.annotate.wanted import value_columns
from vlm_assets.annotators import blur
from vlm_assets.annotators.registry import annotator_of
from vlm_assets.installation.opening import Installation
from vlm_assets.operate.prune import prune_data_root
from vlm_assets.operate.takedown import TakedownOrder, take_down
from vlm_assets.operate.verify import verify
from vlm_assets.words.layout import DataRoot
from vlm_assets_tests.annotate.in_process import annotate_in_process
from vlm_assets_tests.workplace import STREET, fill, ingest, install

SCORES = [{"name": "nsfw", "path": "scores/*.parquet", "key": "image_sha256"}]
WANTED = [{"name": "blur"}, {"name": "length"}]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """Two slices: `a` of three pictures, two of them with words; `b` of two."""
    base = tmp_path_factory.mktemp("annotated")
    fill(base / "in" / "a", 3)
    fill(base / "in" / "b", 2, start=10)
    for number in ("0000", "0002"):
        (base / "in" / "a" / f"{number}.txt").write_text("iki kelime", "utf-8")
    installation = install(
        base, {**STREET, "path": base / "in", "text": "sidecar"}, corpus={"annotations": WANTED}, workers=1
    )
    ingest(installation)
    annotate(installation)
    return installation


@pytest.fixture
def annotated(made: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installation:
    """A copy of it, to be changed."""
    annotate_in_process(monkeypatch)
    root = tmp_path / "data"
    shutil.copytree(made.root.path, root, symlinks=True)
    return replace(made, root=DataRoot(root), settings=made.settings.model_copy(update={"data_root": root}))


def column(installation: Installation, name: str, key: str = "a") -> dict[str, list[Any]]:
    """Values by column, in the order of the slice."""
    found = read_annotation(installation.root.annotation(name, "street", key))
    assert found is not None
    return dict(found.table.to_pydict())


def with_annotations(installation: Installation, *annotations: dict[str, Any]) -> Installation:
    """The installation with another list of annotations in its catalogue."""
    base = installation.catalog_dir.parent
    again = install(
        base,
        {**STREET, "path": base / "in", "text": "sidecar"},
        corpus={"annotations": list(annotations)},
        workers=1,
    )
    return replace(again, root=installation.root)


def sha256s(installation: Installation, key: str = "a") -> dict[str, str]:
    """Of each picture by id."""
    with pa.memory_map(str(installation.root.slice("street", key) / "index.arrow")) as file:
        table = pa.ipc.open_file(file).read_all()
    return dict(
        zip(
            table["id"].to_pylist(),
            [one[0]["sha256"] for one in table["image_facts"].to_pylist()],
            strict=True,
        )
    )


def states(installation: Installation) -> dict[str, tuple[int, int, int, int]]:
    return {
        one.name: (one.fresh, one.stale, one.missing, one.damaged)
        for one in annotation_statuses(installation)
    }


def test_values_stand_by_id_those_of_images_as_lists(made: Installation):
    found = column(made, "blur")
    assert found["id"] == [f"street/a/a/{number:04d}.jpeg" for number in found_order(found)]
    assert [len(one) for one in found["laplacian"]] == [1, 1, 1]
    assert all(one[0] > 0 for one in found["laplacian"])
    words = column(made, "length")
    expected = {"0000": 2, "0001": None, "0002": 2}
    assert dict(zip(words["id"], words["words"], strict=True)) == {
        f"street/a/a/{name}.jpeg": count for name, count in expected.items()
    }


def found_order(found: dict[str, list[Any]]) -> list[int]:
    return [int(one.rpartition("/")[2].partition(".")[0]) for one in found["id"]]


def test_a_slice_without_rows_has_files_without_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """All that it had is rejected: annotated as any other, once."""
    annotate_in_process(monkeypatch)
    fill(tmp_path / "in" / "a", 1)
    fill(tmp_path / "in" / "b", 1).joinpath("0000.jpeg").write_bytes(b"no picture")
    street = {**STREET, "path": tmp_path / "in", "reject_tolerance": 1}
    installation = install(tmp_path, street, corpus={"annotations": WANTED}, workers=1)
    ingest(installation)
    assert annotate(installation).files == {"blur": 2, "length": 2}
    assert [len(column(installation, name, "b")["id"]) for name in ("blur", "length")] == [0, 0]
    assert annotate(installation).files == {}


def test_the_columns_that_filters_may_name(made: Installation):
    columns = value_columns(made.catalog)
    assert {name: (str(one.type), one.per_image) for name, one in columns.items()} == {
        "blur.laplacian": ("float", True),
        "length.characters": ("int32", False),
        "length.lines": ("int32", False),
        "length.words": ("int32", False),
    }


def test_what_is_fresh_is_not_done_again(annotated: Installation):
    paths = sorted(annotated.root.annotations.rglob("*.parquet"))
    before = [path.stat().st_ino for path in paths]
    report = annotate(annotated)
    assert (report.slices, report.files, report.exit_code) == (0, {}, 0)
    assert [path.stat().st_ino for path in paths] == before
    assert states(annotated) == {"blur": (2, 0, 0, 0), "length": (2, 0, 0, 0)}


@pytest.mark.parametrize(
    ("change", "files"),
    [
        (lambda root: root.annotation("blur", "street", "a").unlink(), {"blur": 1}),
        (lambda root: root.annotation("length", "street", "b").write_bytes(b"PAR1 torn"), {"length": 1}),
        (lambda root: shutil.rmtree(root.annotations), {"blur": 2, "length": 2}),
        (lambda root: tamper(root.annotation("blur", "street", "a")), {"blur": 1}),
    ],
    ids=["missing", "damaged", "all gone", "tampered"],
)
def test_what_is_not_fresh_is_done(
    annotated: Installation, change: Callable[[DataRoot], None], files: dict[str, int]
):
    wanted = [path.read_bytes() for path in sorted(annotated.root.annotations.rglob("*.parquet"))]
    change(annotated.root)
    assert annotate(annotated).files == files
    assert [path.read_bytes() for path in sorted(annotated.root.annotations.rglob("*.parquet"))] == wanted


def test_another_version_of_an_annotator_and_another_content(
    annotated: Installation, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(blur.Blur, "version", 2)
    assert states(annotated)["blur"] == (0, 2, 0, 0)
    assert annotate(annotated).files == {"blur": 2}
    fill(annotated.catalog_dir.parent / "in" / "b", 1, start=50)
    try:
        ingest(annotated)
    finally:
        (annotated.catalog_dir.parent / "in" / "b" / "0050.jpeg").unlink()
    assert states(annotated) == {"blur": (1, 1, 0, 0), "length": (1, 1, 0, 0)}
    assert annotate(annotated).files == {"blur": 1, "length": 1}
    assert len(column(annotated, "blur", "b")["id"]) == 3


def test_a_takedown_leaves_no_value(annotated: Installation):
    gone, other, _ = column(annotated, "length")["id"]
    before = column(annotated, "blur")
    receipt = take_down(annotated, TakedownOrder(id=gone))
    assert receipt.complete
    assert set(receipt.annotations_emptied) == {
        "annotations/blur/street/a.parquet",
        "annotations/length/street/a.parquet",
    }
    after = column(annotated, "blur")
    assert after["laplacian"] == [None, *before["laplacian"][1:]]
    assert column(annotated, "length")["words"][0] is None
    assert annotate(annotated).files == {}
    emptied = annotated.root.annotation("blur", "street", "a").read_bytes()
    assert annotate(annotated, force=True).files == {"blur": 2, "length": 2}
    assert annotated.root.annotation("blur", "street", "a").read_bytes() == emptied
    assert other in after["id"]


def tamper(path: Path) -> None:
    """Other values under the old header."""
    table = pq.read_table(path)
    changed = table.set_column(1, "laplacian", pa.array([[1.0]] * 3, pa.list_(pa.float32())))
    pq.write_table(changed.replace_schema_metadata(table.schema.metadata), path)


def test_verify_and_prune_know_them(annotated: Installation):
    path = annotated.root.annotation("blur", "street", "a")
    tamper(path)
    [problem] = verify(annotated).problems
    assert (problem.path, problem.what) == ("annotations/blur/street/a.parquet", "hash")
    annotated.root.slice("street", "b").unlink()
    told = prune_data_root(annotated, dry_run=True).removed
    assert prune_data_root(annotated).removed == told
    assert {one for one in told if one.startswith("annotations")} == {
        "annotations/blur/street/b.parquet", "annotations/length/street/b.parquet"
    }  # fmt: skip
    assert sorted(one.name for one in annotated.root.annotations.rglob("*.parquet")) == ["a.parquet"] * 2


def scores(installation: Installation, **columns: Any) -> None:
    folder = installation.catalog_dir / "scores"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    pq.write_table(pa.table(columns), folder / "one.parquet")


@pytest.mark.parametrize("key", ["image_sha256", "id"])
def test_imported_values_join_by_image_or_by_id(annotated: Installation, key: str):
    known = sha256s(annotated)
    keys = list(known.values() if key == "image_sha256" else known)
    scores(
        annotated, **{key: [*keys[:2], "ab" * 32], "p": [0.25, float("nan"), 1.0], "tag": ["x", None, "y"]}
    )
    imported = with_annotations(annotated, {"name": "nsfw", "path": "scores/*.parquet", "key": key})
    assert annotate(imported).files == {"nsfw": 2}
    found = column(imported, "nsfw")
    values = dict(zip(found["id"], zip(found["p"], found["tag"], strict=True), strict=True))
    first, second, third = known
    if key == "id":
        assert values == {first: (0.25, "x"), second: (None, None), third: (None, None)}
    else:
        assert values == {first: ([0.25], ["x"]), second: ([None], [None]), third: ([None], [None])}
    take_down(imported, TakedownOrder(id=first))
    assert (column(imported, "nsfw")["p"][0], annotate(imported, force=True).files) == (None, {"nsfw": 2})
    assert column(imported, "nsfw")["p"][0] is None


def test_new_scores_are_taken_over(annotated: Installation):
    [sha256, *_] = sha256s(annotated).values()
    imported = with_annotations(annotated, *SCORES)
    for value in (1, 2):
        scores(annotated, image_sha256=[sha256], p=[value])
        assert annotate(imported).files == {"nsfw": 2}
        assert column(imported, "nsfw")["p"][0] == [value]
        assert annotate(imported).files == {}


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({"image_sha256": ["xy"], "p": [1]}, "image_sha256 is 'xy', expected 64 hex digits"),
        ({"image_sha256": [None], "p": [1]}, "image_sha256 is None, expected 64 hex digits"),
        ({"sha256": ["ab" * 32], "p": [1]}, "has no column image_sha256; it has sha256, p"),
        ({"image_sha256": ["ab" * 32]}, "no column of .* beside image_sha256 holds numbers"),
        (
            {"image_sha256": ["ab" * 32] * 2, "p": [1, 2]},
            "rows 0 and 1 .* of the same image_sha256 and differ",
        ),
    ],
    ids=["no hash", "null", "no key", "no values", "contradiction"],
)
def test_imported_files_that_cannot_be_used(annotated: Installation, columns: dict[str, Any], told: str):
    scores(annotated, **columns)
    imported = with_annotations(annotated, *SCORES, {"name": "jpeg"})
    report = annotate(imported)
    assert re.search(told, "; ".join(report.failed.values()))
    assert (report.exit_code, report.files) == (1, {"jpeg": 2}), "what others give is taken"


def test_files_that_are_not_there(annotated: Installation):
    shutil.rmtree(annotated.catalog_dir / "scores", ignore_errors=True)
    imported = with_annotations(annotated, *SCORES)
    assert "no file matches" in annotation_statuses(imported)[0].problem
    [(name, told)] = annotate(imported).failed.items()
    assert name == "annotation nsfw"
    assert "no file matches" in told


def test_a_program_that_is_not_there(annotated: Installation, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", "/nowhere")
    report = annotate(with_annotations(annotated, {"name": "ocr"}, {"name": "jpeg"}))
    assert (report.files, report.exit_code) == ({"jpeg": 2}, 1)
    assert "tesseract is not installed" in report.failed["annotation ocr"]


def test_an_annotator_that_gives_what_it_does_not_declare(
    annotated: Installation, monkeypatch: pytest.MonkeyPatch
):
    schema = pa.schema([("laplacian", pa.int32())])
    monkeypatch.setattr(blur.Blur, "columns", schema)
    report = annotate(annotated, force=True)
    assert report.exit_code == 1
    assert set(report.failed) == {"street/a", "street/b"}
    assert "annotator blur: street/a/a/" in report.failed["street/a"]
    assert "expected int32" in report.failed["street/a"]


CUT = """
import os, signal, sys
from vlm_assets.annotate import slice as module
from vlm_assets.annotate.run import annotate
from vlm_assets.installation.opening import open_installation
real, left = module.write_annotation, int(sys.argv[1])
def write(path, *rest):
    global left
    if not left:
        (path.parent / f".{path.name}.0a1b.tmp").write_bytes(b"torn")
        os.kill(os.getpid(), signal.SIGKILL)
    left -= 1
    return real(path, *rest)
module.write_annotation = write
annotate(open_installation())
"""


def cut_in_process(annotated: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ends the second write of a file."""
    calls: list[Path] = []

    def write(path: Path, *rest: Any) -> Any:
        calls.append(path)
        if len(calls) == 2:
            (path.parent / f".{path.name}.0a1b.tmp").write_bytes(b"torn")
            raise KeyboardInterrupt
        return write_annotation(path, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(module, "write_annotation", write)
        with pytest.raises(KeyboardInterrupt):
            annotate(annotated)


def killed(annotated: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same by SIGKILL."""
    del monkeypatch
    environment = {
        **os.environ, "VLM_CATALOG": str(annotated.catalog_dir), "VLM_DATA_ROOT": str(annotated.root.path),
        "VLM_WORKERS": "1",
    }  # fmt: skip
    cut = subprocess.run([sys.executable, "-c", CUT, "1"], env=environment, check=False)
    assert cut.returncode == -signal.SIGKILL


@pytest.mark.parametrize("end", [cut_in_process, pytest.param(killed, marks=pytest.mark.slow)])
def test_an_end_loses_what_was_under_way_alone(
    annotated: Installation, monkeypatch: pytest.MonkeyPatch, end: Callable[..., None]
):
    annotated = with_annotations(annotated, *WANTED)
    wanted = {path: path.read_bytes() for path in sorted(annotated.root.annotations.rglob("*.parquet"))}
    for path in wanted:
        path.unlink()
    end(annotated, monkeypatch)
    done = {path: path.stat().st_ino for path in wanted if path.exists()}
    assert len(done) == 1
    assert annotate(annotated).slices == 2
    assert {path: path.read_bytes() for path in wanted} == wanted
    assert {path: path.stat().st_ino for path in done} == done
    [gone, *_] = column(annotated, "blur")["id"]
    take_down(annotated, TakedownOrder(id=gone))
    assert list(annotated.root.annotations.rglob("*.tmp")) == []


def test_states_are_words():
    assert [str(one) for one in AnnotationState] == ["fresh", "stale", "missing", "damaged"]
    assert annotator_of("blur").missing() == ""
