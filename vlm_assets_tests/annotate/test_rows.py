"""What is looked at of a slice that changed, or whose annotating was cut: what is new, and nothing twice."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from vlm_assets.annotate import computing, said
from vlm_assets.annotate import slice as module
from vlm_assets.annotate.costs import annotation_forecasts
from vlm_assets.annotate.files import read_annotation, write_annotation
from vlm_assets.annotate.run import annotate
from vlm_assets.annotate.slice import annotation_lock
from vlm_assets.annotators.blur import Blur
from vlm_assets.annotators.length import Length
from vlm_assets.annotators.protocol import Reads
from vlm_assets.installation.opening import Installation
from vlm_assets.locks import hold_lock
from vlm_assets.operate.forecast import forecast
from vlm_assets.operate.prune import prune_data_root
from vlm_assets.operate.takedown import TakedownOrder, take_down
from vlm_assets.operate.takedown import annotations as emptying
from vlm_assets.words.errors import LockHeldError
from vlm_assets.words.layout import DataRoot
from vlm_assets_tests.annotate.in_process import annotate_in_process
from vlm_assets_tests.faults.test_faults import watched_or_skipped
from vlm_assets_tests.faults.watched import Fault, Mode
from vlm_assets_tests.workplace import STREET, fill, ingest, install, picture

NAMES = ("blur", "length")


@dataclass
class Place:
    """An installation of one slice, and what its annotators were shown: a line each, whichever process it was."""

    installation: Installation
    seen: Path

    @property
    def folder(self) -> Path:
        return self.installation.catalog_dir.parent / "in" / "a"

    def path(self, name: str) -> Path:
        return self.installation.root.annotation(name, "street", "a")

    def files(self) -> dict[str, bytes]:
        return {name: self.path(name).read_bytes() for name in NAMES}

    def shown(self) -> list[str]:
        """Since it was asked last, sorted."""
        lines = self.seen.read_text("utf-8").split() if self.seen.exists() else []
        self.seen.unlink(missing_ok=True)
        return sorted(lines)

    def anew(self) -> dict[str, bytes]:
        """The files as they are when everything is looked at."""
        annotate(self.installation, force=True)
        self.shown()
        return self.files()

    def say(self, number: int, words: str) -> None:
        (self.folder / f"{number:04d}.txt").write_text(words, "utf-8")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """Seven pictures in one slice; two of them have words."""
    base = tmp_path_factory.mktemp("rows")
    place = Place(_installed(base), base / "seen")
    fill(place.folder, 7)
    place.say(0, "iki kelime")
    place.say(2, "üç kelime var")
    ingest(place.installation)
    with pytest.MonkeyPatch.context() as patch:
        annotate_in_process(patch)
        annotate(place.installation)
    return place.installation


def _installed(base: Path) -> Installation:
    wanted = [{"name": name} for name in NAMES]
    source = {**STREET, "path": base / "in", "text": "sidecar", "shrink_tolerance": 1}
    return install(base, source, corpus={"annotations": wanted}, workers=1)


@pytest.fixture
def place(made: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A copy of it, to be changed; batches are of two, and every picture and text that is looked at is noted."""
    annotate_in_process(monkeypatch)
    base = made.catalog_dir.parent
    for name in ("in", "data", "catalog"):
        shutil.copytree(base / name, tmp_path / name, symlinks=True)
    monkeypatch.setattr(computing, "_AT_ONCE", {Reads.IMAGES: 2, Reads.TEXT: 2})
    monkeypatch.setattr(said, "_RECORDS_AT_ONCE", 3)
    here = Place(_installed(tmp_path), tmp_path / "seen")
    numbers = {picture(number): number for number in range(30)}
    note(monkeypatch, here.seen, Blur, lambda one: f"picture{numbers[one.data]}")
    note(monkeypatch, here.seen, Length, lambda one: one.replace(" ", "_"))
    return here


def note(patch: pytest.MonkeyPatch, seen: Path, kind: type[Any], named: Callable[[Any], str]) -> None:
    real = kind.annotate

    def annotate_noting(self: Any, batch: Any) -> Any:
        with seen.open("a", encoding="utf-8") as file:
            file.write("".join(f"{named(one)}\n" for one in batch))
        return real(self, batch)

    patch.setattr(kind, "annotate", annotate_noting)


def one_more(place: Place) -> None:
    fill(place.folder, 1, start=20)


def one_less(place: Place) -> None:
    (place.folder / "0003.jpeg").unlink()


def another(place: Place) -> None:
    (place.folder / "0003.jpeg").write_bytes(picture(21))


def other_words(place: Place) -> None:
    place.say(2, "başka")


def all_of_it(place: Place) -> None:
    for change in (one_more, one_less, other_words):
        change(place)


@pytest.mark.parametrize(
    ("change", "seen"),
    [
        (one_more, ["picture20"]),
        (one_less, []),
        (another, ["picture21"]),
        (other_words, ["başka"]),
        (all_of_it, ["başka", "picture20"]),
    ],
)
def test_what_is_new_alone_is_looked_at(place: Place, change: Callable[[Place], None], seen: list[str]):
    change(place)
    ingest(place.installation)
    wanted = {one.name: one.seen for one in annotation_forecasts(place.installation)}
    report = annotate(place.installation)
    assert place.shown() == seen
    assert report.files == {"blur": 1, "length": 1}
    assert report.seen == wanted["blur"] + wanted["length"] == len(seen)
    assert place.files() == place.anew()
    assert not list(place.installation.root.cache.rglob("*.spool"))


def later_version(patch: pytest.MonkeyPatch, place: Place) -> None:
    del place
    patch.setattr(Blur, "version", 2)


def other_columns(patch: pytest.MonkeyPatch, place: Place) -> None:
    del place
    patch.setattr(Blur, "columns", pa.schema([("laplacian", pa.float64())]))


def without_keys(patch: pytest.MonkeyPatch, place: Place) -> None:
    """As a file was before there were content keys."""
    del patch
    found = read_annotation(place.path("blur"))
    assert found is not None
    write_annotation(place.path("blur"), found.header.model_copy(update={"format": 1}), found.table)
    assert annotate(place.installation).files == {}, "it is as good as it was"


def damaged(patch: pytest.MonkeyPatch, place: Place) -> None:
    del patch
    place.path("blur").write_bytes(b"PAR1")


@pytest.mark.parametrize("change", [later_version, other_columns, without_keys, damaged])
def test_what_says_nothing_of_the_values_of_now_has_all_of_them_computed_anew(
    place: Place, monkeypatch: pytest.MonkeyPatch, change: Callable[..., None]
):
    change(monkeypatch, place)
    one_more(place)
    ingest(place.installation)
    annotate(place.installation)
    assert place.shown() == sorted(f"picture{number}" for number in (*range(7), 20))
    assert place.files() == place.anew()


def test_what_an_annotator_broke_on_is_tried_again(place: Place, monkeypatch: pytest.MonkeyPatch):
    real = Blur.annotate

    def breaking(self: Any, batch: Any) -> Any:
        if any(one.data == picture(4) for one in batch):
            real(self, batch)  # it is looked at
            raise ValueError("odd")
        return real(self, batch)

    monkeypatch.setattr(Blur, "annotate", breaking)
    anew = read_annotation(place.path("blur")) if place.anew() else None
    assert anew is not None
    assert anew.header.failed == {"error": 1}
    one_more(place)
    ingest(place.installation)
    annotate(place.installation)
    assert set(place.shown()) == {"picture4", "picture20"}
    assert place.files() == place.anew()
    (place.folder / "0004.jpeg").unlink()
    ingest(place.installation)
    annotate(place.installation)
    found = read_annotation(place.path("blur"))
    assert place.shown() == []
    assert found is not None
    assert found.header.failed == {}


def test_what_is_taken_down_is_not_taken_over(place: Place):
    found = read_annotation(place.path("blur"))
    assert found is not None
    gone = next(one for one in found.table.column("id").to_pylist() if "0002" in one)
    take_down(place.installation, TakedownOrder(id=gone))
    one_more(place)
    ingest(place.installation)
    annotate(place.installation)
    assert place.shown() == ["picture20"]
    after = read_annotation(place.path("blur"))
    assert after is not None
    values = dict(zip(after.table.column("id").to_pylist(), after.table.column("laplacian"), strict=True))
    assert [one for one, value in values.items() if not value.is_valid] == [gone]
    assert place.files() == place.anew()


@contextmanager
def cut(patch: pytest.MonkeyPatch, batches: int) -> Iterator[None]:
    """Annotating ends like by Ctrl-C behind so many batches of pictures."""
    left = [batches]
    real = Blur.annotate

    def ending(self: Any, batch: Any) -> Any:
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        return real(self, batch)

    with patch.context() as inner:
        inner.setattr(Blur, "annotate", ending)
        with pytest.raises(KeyboardInterrupt):
            yield


def begin(place: Place, patch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Two batches of pictures are done, and no file; returns what the files were."""
    wanted = place.files()
    shutil.rmtree(place.installation.root.annotations)
    with cut(patch, 2):
        annotate(place.installation)
    assert place.shown() == ["picture" + number for number in seen_first(wanted)]
    return wanted


def seen_first(wanted: dict[str, bytes]) -> list[str]:
    """Numbers of the first four pictures of the slice."""
    table = pa.parquet.read_table(pa.BufferReader(wanted["blur"]))
    return sorted(str(int(one.rpartition("/")[2][:4])) for one in table.column("id").to_pylist()[:4])


def test_what_is_done_of_a_slice_that_was_cut_is_kept(place: Place, monkeypatch: pytest.MonkeyPatch):
    wanted = begin(place, monkeypatch)
    told: list[tuple[str, int, int]] = []
    report = annotate(place.installation, progress=lambda *step: told.append(step))
    assert told == [("street/a", count, 9) for count in (0, 2, 3, 5)]
    pictures = [one for one in place.shown() if one.startswith("picture")]
    assert len(pictures) == 3
    assert report.seen == 3 + 2
    assert place.files() == wanted
    assert not list(place.installation.root.cache.rglob("*.spool"))


def content_changed(place: Place, patch: pytest.MonkeyPatch) -> None:
    del patch
    another(place)
    ingest(place.installation)


def of_another_slice(place: Place, patch: pytest.MonkeyPatch) -> None:
    """What was kept of `b`, under the name of `a`."""
    fill(place.folder.parent / "b", 7, start=10)
    ingest(place.installation)
    root = place.installation.root
    shutil.rmtree(root.annotating("street", "a"))
    with cut(patch, 4):
        annotate(place.installation)
    with cut(patch, 2):
        annotate(place.installation)
    root.annotating("street", "b").rename(root.annotating("street", "a"))
    shutil.rmtree(root.annotations)


def torn(place: Place, patch: pytest.MonkeyPatch) -> None:
    """Its end is not what was written."""
    del patch
    [path] = place.installation.root.annotating("street", "a").rglob("*.spool")
    data = bytearray(path.read_bytes())
    data[-20:] = bytes(20)
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("change", "again"),
    [
        (lambda place, patch: later_version(patch, place), 7),
        (content_changed, 7),
        (of_another_slice, 7),
        (torn, 5),
    ],
    ids=["version", "content", "slice", "torn"],
)
def test_what_is_kept_of_something_else_is_not_used(
    place: Place, monkeypatch: pytest.MonkeyPatch, change: Callable[..., None], again: int
):
    begin(place, monkeypatch)
    change(place, monkeypatch)
    place.shown()
    annotate(place.installation)
    numbers = [int(one.removeprefix("picture")) for one in place.shown() if one.startswith("picture")]
    assert len([one for one in numbers if one < 10 or one == 21]) == again
    assert place.files() == place.anew()


def test_force_goes_on_with_nothing_but_its_own(place: Place, monkeypatch: pytest.MonkeyPatch):
    wanted = begin(place, monkeypatch)
    with cut(monkeypatch, 3):
        annotate(place.installation, force=True)
    assert len(place.shown()) == 6
    annotate(place.installation, force=True)
    assert len([one for one in place.shown() if one.startswith("picture")]) == 1
    assert place.files() == wanted


def test_who_forgets_what_is_kept(place: Place, monkeypatch: pytest.MonkeyPatch):
    root, kept = place.installation.root, "cache/street/annotate/a"
    begin(place, monkeypatch)
    with hold_lock(annotation_lock(root, "street", "a"), "annotating"):
        assert kept not in prune_data_root(place.installation).removed
    assert kept in prune_data_root(place.installation).removed
    begin_again = Place(place.installation, place.seen)
    with cut(monkeypatch, 1):
        annotate(begin_again.installation)
    assert root.annotating("street", "a").is_dir()
    take_down(place.installation, TakedownOrder(id="street/a/a/0001.jpeg"))
    assert not root.annotating("street", "a").exists()


def test_a_takedown_waits_for_whoever_is_about_to_write_the_first_file(
    place: Place, monkeypatch: pytest.MonkeyPatch
):
    root = place.installation.root
    shutil.rmtree(root.annotations)
    monkeypatch.setattr(emptying, "_LOCK_WAIT_S", 0)
    with hold_lock(annotation_lock(root, "street", "a"), "annotating"), pytest.raises(LockHeldError):
        emptying.empty_annotations(root, frozenset(), frozenset({"street/a/a/0001.jpeg"}), {"street"})


def test_what_was_left_when_all_was_committed_goes(place: Place, monkeypatch: pytest.MonkeyPatch):
    wanted = place.files()
    shutil.rmtree(place.installation.root.annotations)
    with monkeypatch.context() as patch:
        patch.setattr(module, "drop", interrupted)
        with pytest.raises(KeyboardInterrupt):
            annotate(place.installation)
    assert place.files()["blur"] == wanted["blur"]
    annotate(place.installation)
    annotate(place.installation)
    assert place.files() == wanted
    assert not list(place.installation.root.cache.rglob("*.spool"))


def interrupted(folder: Path) -> None:
    raise KeyboardInterrupt(folder)


def test_a_kill_at_any_call_costs_the_batch_under_way(place: Place, tmp_path: Path):
    """Of one process: its calls that change the disk are counted, and it is killed before one of them."""
    root, wanted = place.installation.root, place.files()
    shutil.rmtree(root.annotations)
    before = tmp_path / "before"
    shutil.copytree(root.path, before, symlinks=True)
    points = watched_or_skipped(lambda: annotating(place), tmp_path).points
    pictures = sorted(f"picture{number}" for number in range(7))
    once = sorted([*pictures, "iki_kelime", "üç_kelime_var"])
    assert place.shown() == once
    assert place.files() == wanted
    spools = [at for at, one in enumerate(points, 1) if one.path.endswith(".spool")]
    renames = [at for at, one in enumerate(points, 1) if one.call.startswith("rename")]
    ends = [at for at, one in enumerate(points, 1) if one.call.startswith(("unlink", "rmdir"))]
    for at in (spools[0], spools[2], spools[3], spools[-1], *renames, ends[0], ends[-1]):
        _put_back(before, root)
        ended = watched_or_skipped(lambda: annotating(place), tmp_path, Fault(Mode.KILL, at))
        assert ended.code == -9, points[at - 1]
        annotate(place.installation)
        shown = place.shown()
        twice = [one for one in shown if shown.count(one) > 1]
        assert len(set(twice)) <= 2, points[at - 1]
        assert sorted(set(shown)) == once
        assert place.files() == wanted
        annotate(place.installation)
        assert place.shown() == []
        assert not list(root.cache.rglob("*.spool"))


def annotating(place: Place) -> int:
    return annotate(place.installation).exit_code


def _put_back(before: Path, root: DataRoot) -> None:
    shutil.rmtree(root.path)
    shutil.copytree(before, root.path, symlinks=True)


def test_of_a_source_that_was_never_listed_the_plan_counts_what_it_finds(tmp_path: Path):
    fill(tmp_path / "in" / "a", 3)
    fill(tmp_path / "in" / "b", 2, start=10)
    told = forecast(_installed(tmp_path), "10").annotations
    assert [(one.name, one.slices, one.seen) for one in told] == [
        ("blur", 2, 5), ("length", 2, 5), ("decoding", 2, 5)
    ]  # fmt: skip
