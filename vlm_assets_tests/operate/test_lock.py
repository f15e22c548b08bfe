"""A lock makes the same corpus again in an empty data root, or says what is otherwise; row for row."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest

from vlm_assets.allocation.step import adopt_takedowns, allocate, tombstones_in_force
from vlm_assets.corpus.build import build_corpus
from vlm_assets.corpus.manifest import CorpusManifest
from vlm_assets.ingest.due import Due
from vlm_assets.ingest.listing import refresh_listing
from vlm_assets.ingest.slice import SliceOptions, build_slice
from vlm_assets.ingest.summary import summarise_source
from vlm_assets.installation.opening import Installation
from vlm_assets.operate.lock import check_lock, program_differences, unlocked_slices, write_lock
from vlm_assets.operate.lock_diff import diff_lock
from vlm_assets.operate.prune import prune_data_root
from vlm_assets.sources.registry import source_of
from vlm_assets.store.corpus_lock import Locked, items_path, keep_lock, kept_lock, lock_path, read_lock
from vlm_assets.store.tombstones import Tombstone, write_tombstone
from vlm_assets.words.errors import LockedError, StoreError
from vlm_assets_tests.workplace import STREET, expect_error, fill, ingest, install, picture, relist

SOURCE = {**STREET, "text": "sidecar", "reject_tolerance": 0.6}
CORPUS: dict[str, Any] = {"targets": {"10": 10, "1k": 1000}, "seed": 7}


def upstream(folder: Path) -> Path:
    """Two folders, of which one has a file that is no image; an archive with a member that is damaged."""
    fill(folder / "a", 8)
    fill(folder / "b", 8, start=100)
    (folder / "a" / "0003.txt").write_text("three", "utf-8")
    (folder / "b" / "bad.jpg").write_bytes(b"rubbish")
    with ZipFile(folder / "c.zip", "w") as archive:
        for number in range(4):
            data = picture(200 + number)
            archive.writestr(f"{number}.jpg", data[:300] if number == 1 else data)
    return folder


def corpus_of(installation: Installation, locked: Locked | None = None) -> CorpusManifest:
    """Lists, fetches, plans and builds `10`; what is not as locked raises."""
    spec = installation.catalog.source("street")
    listing = refresh_listing(installation, spec, locked=locked).listing
    for key in listing.slices:
        build_slice(installation, spec, listing, key, SliceOptions(locked=locked))
    return target_of(installation, locked)


def target_of(installation: Installation, locked: Locked | None = None) -> CorpusManifest:
    root = installation.root
    plan = allocate(installation, "10", locked=locked)
    return build_corpus(plan.path, root, tombstones=tombstones_in_force(root))


@dataclass(frozen=True)
class Made:
    """A corpus that was built and locked; nobody changes it."""

    base: Path
    installation: Installation
    manifest: CorpusManifest


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    base = tmp_path_factory.mktemp("made")
    installation = install(base, {**SOURCE, "path": upstream(base / "in")}, corpus=CORPUS)
    manifest = corpus_of(installation)
    steps: list[tuple[str, int, int]] = []
    report = write_lock(installation, ["10"], lambda *step: steps.append(step))
    assert [(number, of) for _, number, of in steps] == [(n, report.slices) for n in range(report.slices)]
    return Made(base, installation, manifest)


@dataclass
class Again:
    """An empty data root with catalogue, lock and a copy of upstream."""

    installation: Installation
    folder: Path

    @property
    def locked(self) -> Locked:
        root, lock_file = self.installation.root, self.installation.catalog_dir / "corpus.lock"
        return kept_lock(root, keep_lock(root, lock_file))


@pytest.fixture
def again(made: Made, tmp_path: Path) -> Again:
    shutil.copytree(made.base / "in", tmp_path / "in")
    shutil.copytree(made.base / "catalog", tmp_path / "catalog")
    installation = install(tmp_path, {**SOURCE, "path": tmp_path / "in"}, corpus=CORPUS)
    return Again(installation, tmp_path / "in")


def test_an_empty_data_root_gives_the_root_hash_of_the_lock(made: Made, again: Again):
    manifest = corpus_of(again.installation, again.locked)
    assert manifest.root_hash == made.manifest.root_hash
    assert unlocked_slices(again.installation, again.locked.lock, ["street"]) == []
    assert check_lock(again.installation).differences == []
    spec, listing = again.installation.catalog.source("street"), relist(again.installation)
    due = build_slice(again.installation, spec, listing, "a", SliceOptions(locked=again.locked)).due
    assert due is Due.COMMITTED


def later(folder: Path) -> None:
    fill(folder / "a", 1, start=50)
    fill(folder / "new", 3, start=300)


def mended(folder: Path) -> None:
    (folder / "b" / "bad.jpg").write_bytes(picture(400))


def mended_member(folder: Path) -> None:
    with ZipFile(folder / "c.zip", "w") as archive:
        for number in range(4):
            archive.writestr(f"{number}.jpg", picture(200 + number))


def reject_gone(folder: Path) -> None:
    (folder / "b" / "bad.jpg").unlink()


@pytest.mark.parametrize(
    "changes", [(later, mended), (mended_member, reject_gone)], ids=["a, b", "archive, b"]
)
def test_what_came_since_stays_out(made: Made, again: Again, changes: tuple[Callable[[Path], None], ...]):
    for change in changes:
        change(again.folder)
    assert corpus_of(again.installation, again.locked).root_hash == made.manifest.root_hash


def test_what_came_since_is_left_out_on_record(again: Again):
    later(again.folder)
    spec = again.installation.catalog.source("street")
    listing = refresh_listing(again.installation, spec, locked=again.locked).listing
    assert listing.left_out == {"not_locked": 4}
    assert listing.upstream == listing.items + (listing.companions or 0) + 4


def test_buckets_are_the_locked_ones_though_upstream_has_grown(tmp_path: Path):
    """An empty data root would count them anew, and with that every slice would be another."""
    source = {**STREET, "path": fill(tmp_path / "in", 8), "files_per_slice": 5}
    owner = install(tmp_path / "one", source, corpus=CORPUS)
    manifest = corpus_of(owner)
    write_lock(owner, ["10"])
    fill(tmp_path / "in", 20, start=50)
    assert len(relist(install(tmp_path / "two", source, corpus=CORPUS), "street").slices) > 2
    shutil.copytree(tmp_path / "one" / "catalog", tmp_path / "three" / "catalog")
    reader = install(tmp_path / "three", source, corpus=CORPUS)
    locked = kept_lock(reader.root, keep_lock(reader.root, reader.catalog_dir / "corpus.lock"))
    assert corpus_of(reader, locked).root_hash == manifest.root_hash


REVISIONS = [
    ({"kind": "hf_dataset", "repo": "a/b"}, "abc", {"revision": "abc"}),
    ({"kind": "hf_image_urls", "repo": "a/b", "revision": "main"}, "abc", {"revision": "abc"}),
    ({"kind": "kaggle", "handle": "a/b"}, "versions/3", {"handle": "a/b/versions/3"}),
    ({"kind": "kaggle", "handle": "a/b/versions/2"}, "versions/3", {"handle": "a/b/versions/3"}),
    ({"kind": "github_release", "repo": "a/b"}, "v1", {"tag": "v1"}),
    ({"kind": "client_folder", "path": "in"}, "folder", {}),
]


@pytest.mark.parametrize(("keys", "revision", "changed"), REVISIONS, ids=str)
def test_upstream_is_asked_for_the_locked_revision(
    keys: dict[str, Any], revision: str, changed: dict[str, Any]
):
    spec = source_of(keys["kind"]).spec_type.model_validate({**STREET, **keys})
    assert spec.at_revision(revision) == spec.model_copy(update=changed)
    assert spec.at_revision(revision).byte_config() == spec.byte_config()


def text_changed(folder: Path) -> None:
    (folder / "a" / "0003.txt").write_text("drei", "utf-8")


def image_changed(folder: Path) -> None:
    (folder / "a" / "0003.jpeg").write_bytes(picture(401))


def image_broken(folder: Path) -> None:
    (folder / "a" / "0003.jpeg").write_bytes(b"rubbish")


def image_gone(folder: Path) -> None:
    (folder / "a" / "0003.jpeg").unlink()
    (folder / "a" / "0003.txt").unlink()


def member_gone(folder: Path) -> None:
    with ZipFile(folder / "c.zip", "w") as archive:
        for number in range(3):
            data = picture(200 + number)
            archive.writestr(f"{number}.jpg", data[:300] if number == 1 else data)


def archive_emptied(folder: Path) -> None:
    with ZipFile(folder / "c.zip", "w") as archive:
        archive.writestr(".hidden", b"")


def member_more(folder: Path) -> None:
    with ZipFile(folder / "c.zip", "a") as archive:
        archive.writestr("4.jpg", picture(204))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (text_changed, ["street/a: ", "a/0003.jpeg: another text"]),
        (image_changed, ["street/a: ", "a/0003.jpeg: another image"]),
        (image_broken, ["street/a: ", "a/0003.jpeg: not_an_image"]),
        (image_gone, ["street/a: ", "a/0003.jpeg: gone"]),
        (member_gone, ["street/c.zip: ", "c.zip, record 3: gone"]),
        (archive_emptied, ["street/c.zip: ", "c.zip: empty: an archive without images"]),
        (member_more, ["street/c.zip: ", "c.zip, record 4: was not there"]),
    ],
    ids=lambda one: one.__name__ if callable(one) else "",
)
def test_what_changed_is_named_and_nothing_of_its_slice_is_committed(
    again: Again, change: Callable[[Path], None], told: list[str]
):
    change(again.folder)
    error = expect_error(lambda: corpus_of(again.installation, again.locked), LockedError)
    assert [one for one in told if one not in error] == []
    assert error.count("\n") == 1
    slice_name = told[0].removesuffix(": ")
    assert f"{slice_name}: not committed as locked" in unlocked_slices(
        again.installation, again.locked.lock, ["street"]
    )


def test_other_keys_of_the_catalogue_are_told_as_a_cause(again: Again):
    image_changed(again.folder)
    one = again.installation.catalog.source("street").model_copy(update={"verify": "header"})
    catalog = again.installation.catalog.model_copy(update={"sources": (one,)})
    error = expect_error(
        lambda: corpus_of(replace(again.installation, catalog=catalog), again.locked), LockedError
    )
    assert "keys of the catalogue, limits on images or the kind's version are not those of the lock" in error


@pytest.mark.parametrize("package", ["pyarrow", "pillow", "pillow-heif", "pikepdf", "pypdfium2"])
def test_another_version_of_what_decides_bytes_is_named(again: Again, package: str):
    lock_file = again.installation.catalog_dir / "corpus.lock"
    lock = read_lock(lock_file)
    here = version(package)
    if package == "pyarrow":
        other = lock.model_copy(update={"pyarrow": "1.0"})
    else:
        other = lock.model_copy(update={"packages": {**lock.packages, package: "1.0"}})
    assert list(program_differences(lock)) == []
    assert list(program_differences(other)) == [f"{package}: locked with 1.0, here is {here}"]
    older = lock.model_copy(update={"packages": {}})  # which does not say
    assert list(program_differences(older)) == []


def test_a_slice_that_is_gone_as_a_whole_is_named(again: Again):
    shutil.rmtree(again.folder / "b")
    corpus_of(again.installation, again.locked)
    told = unlocked_slices(again.installation, again.locked.lock, ["street"])
    assert told == ["street/b: not listed any more, with its 9 items"]


def test_a_data_root_that_went_on_comes_back(made: Made, again: Again):
    """Items that are as locked are kept, others are fetched; what came right since is a reject again."""
    corpus_of(again.installation, again.locked)
    kept = (again.folder / "a" / "0003.jpeg").read_bytes()
    for change in (later, mended, text_changed, image_changed):
        change(again.folder)
    assert corpus_of(again.installation).root_hash != made.manifest.root_hash
    (again.folder / "a" / "0003.jpeg").write_bytes(kept)
    (again.folder / "a" / "0003.txt").write_text("three", "utf-8")
    spec = again.installation.catalog.source("street")
    listing = refresh_listing(again.installation, spec, locked=again.locked).listing
    runs = {
        key: build_slice(
            again.installation, spec, listing, key, SliceOptions(locked=again.locked)
        ).run.taken_over
        for key in listing.slices
    }
    assert runs == {"a": 7, "b": 8, "c.zip": 0}
    assert target_of(again.installation, again.locked).root_hash == made.manifest.root_hash


def first_row_of(installation: Installation, *, image: bool) -> Tombstone:
    """A takedown of a row in the corpus of the lock, by its image or by its id alone."""
    from vlm_assets.store.sound_files import IndexFile

    (index,) = (installation.root.path / "corpora/small/10").resolve().glob("index-*")
    row = IndexFile(index).read_all().slice(0, 1).to_pylist()[0]
    digests = tuple(fact["sha256"] for fact in row["image_facts"]) if image else ()
    return Tombstone(asked=f"id:{row['id']}", ids=(row["id"],), image_sha256=digests)


@pytest.mark.parametrize("image", [True, False], ids=["by image", "by id"])
def test_a_takedown_since_is_a_hole(made: Made, again: Again, *, image: bool):
    write_tombstone(again.installation.root, first_row_of(made.installation, image=image))
    manifest = corpus_of(again.installation, again.locked)
    assert (manifest.rows, manifest.holes) == (9, 1)
    assert manifest.root_hash != made.manifest.root_hash
    same = set(manifest.shards) == set(made.manifest.shards)
    assert same
    # Without the lock the place is filled again.
    assert target_of(again.installation).holes == 0


def test_a_takedown_before_the_lock_holds_where_nobody_heard_of_it(made: Made, tmp_path: Path):
    """The rows are neither in the corpus nor asked for, though the reader has no tombstone."""
    shutil.copytree(made.base / "in", tmp_path / "one" / "in")
    owner = install(tmp_path / "one", {**SOURCE, "path": tmp_path / "one" / "in"}, corpus=CORPUS)
    corpus_of(owner)
    order = first_row_of(owner, image=True)
    write_tombstone(owner.root, order)
    name = order.ids[0].split("/", 2)[2]
    sealed = target_of(owner)
    write_lock(owner, ["10"])
    shutil.copytree(tmp_path / "one" / "in", tmp_path / "two" / "in")
    shutil.copytree(tmp_path / "one" / "catalog", tmp_path / "two" / "catalog")
    reader = install(tmp_path / "two", {**SOURCE, "path": tmp_path / "two" / "in"}, corpus=CORPUS)
    (tmp_path / "two" / "in" / name).write_bytes(b"not looked at")
    root = reader.root
    locked = kept_lock(root, keep_lock(root, reader.catalog_dir / "corpus.lock"))
    assert adopt_takedowns(root, locked)
    assert corpus_of(reader, locked).root_hash == sealed.root_hash
    assert not adopt_takedowns(owner.root, locked)


def stale_slice(installation: Installation, folder: Path) -> None:
    fill(folder / "a", 1, start=50)
    relist(installation)


def stale_corpus(installation: Installation, folder: Path) -> None:
    del folder
    write_tombstone(installation.root, Tombstone(asked="id:x", ids=("street/a/a/0001.jpeg",)))


def no_corpus(installation: Installation, folder: Path) -> None:
    del folder
    (installation.root.path / "corpora/small/10").unlink()


def test_prune_takes_locks_that_are_not_the_catalogues(again: Again):
    root, name = again.installation.root, again.locked.lock.version
    path = lock_path(root, "0123456789ab")
    for source, target in (
        (lock_path(root, name), path),
        (items_path(lock_path(root, name)), items_path(path)),
    ):
        shutil.copyfile(source, target)
    removed = prune_data_root(again.installation).removed
    assert removed == [f".catalogs/{path.name}", f".catalogs/{items_path(path).name}"]
    assert kept_lock(root, name).lock.version == name


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (stale_slice, "street/a: listed anew, not fetched since"),
        (stale_corpus, "target 10: built from other slices, takedowns or another catalogue"),
        (no_corpus, "target 10: not built"),
    ],
    ids=lambda one: one.__name__ if callable(one) else "",
)
def test_a_lock_is_refused_where_it_would_not_make_the_corpus(
    again: Again, change: Callable[[Installation, Path], None], told: str
):
    corpus_of(again.installation)
    before = (again.installation.catalog_dir / "corpus.lock").read_bytes()
    change(again.installation, again.folder)
    assert told in expect_error(lambda: write_lock(again.installation, ["10"]), StoreError)
    assert (again.installation.catalog_dir / "corpus.lock").read_bytes() == before


def test_a_slice_that_changes_while_it_is_locked_is_told(again: Again, monkeypatch: pytest.MonkeyPatch):
    corpus_of(again.installation)
    other = summarise_source(again.installation.root, "street")
    changed = other.slices["a"].model_copy(update={"content_hash": "other"})
    other = other.model_copy(update={"slices": {**other.slices, "a": changed}})
    monkeypatch.setattr("vlm_assets.operate.lock.summarise_source", lambda *_: other)
    assert "street/a: changed while it was locked" in expect_error(
        lambda: write_lock(again.installation, ["10"]), StoreError
    )


def test_a_lock_is_the_same_on_every_machine(made: Made, again: Again):
    corpus_of(again.installation)
    again.installation.catalog_dir.joinpath("corpus.lock").unlink()
    write_lock(again.installation, ["10"])
    for name in ("corpus.lock", "corpus.lock.items.parquet"):
        assert (again.installation.catalog_dir / name).read_bytes() == (
            made.base / "catalog" / name
        ).read_bytes()
    assert str(made.base) not in (made.base / "catalog" / "corpus.lock").read_text()


def test_diff_names_what_upstream_changed(again: Again):
    assert diff_lock(again.installation).slices == []
    for change in (later, mended, image_gone):
        change(again.folder)
    found = diff_lock(again.installation)
    assert [(one.slice, one.added, one.gone, one.changed) for one in found.slices] == [
        ("a", ["a/0050.jpeg"], ["a/0003.jpeg"], []),
        ("b", [], [], ["b/bad.jpg"]),
        ("new", ["new/0300.jpeg", "new/0301.jpeg", "new/0302.jpeg"], [], []),
    ]
    assert found.totals == {"added": 4, "gone": 1, "changed": 1}
    assert not again.installation.root.listings.exists()
    shutil.rmtree(again.folder)
    assert diff_lock(again.installation).unlisted.keys() == {"street"}


@pytest.mark.parametrize(
    ("keys", "corpus", "told"),
    [
        ({}, {}, []),
        ({"category": "photos", "weight": 2}, {}, ["target 10: rows, quotas, policies, lists or labels"]),
        ({}, {"seed": 8}, ["target 10: rows, quotas, policies, lists or labels"]),
        ({"verify": "header"}, {}, ["source street: its kind, or keys and limits that change bytes"]),
        ({}, {"targets": {"1k": 1000}}, ["target 10: locked, not in the catalogue"]),
        ({"enabled": False}, {}, ["source street: locked, not enabled"]),
    ],
    ids=["as it is", "weight", "seed", "verify", "targets", "sources"],
)  # fmt: skip
def test_check_needs_no_data_to_see_that_the_catalogue_is_another(
    made: Made, tmp_path: Path, keys: dict[str, Any], corpus: dict[str, Any], told: list[str]
):
    shutil.copytree(made.base / "catalog", tmp_path / "catalog")
    shutil.rmtree(tmp_path / "catalog" / "sources")
    other = install(tmp_path, {**SOURCE, "path": made.base / "in", **keys}, corpus={**CORPUS, **corpus})
    report = check_lock(other)
    assert [
        one for one, start in zip(report.differences, told, strict=True) if not one.startswith(start)
    ] == []
    assert report.exit_code == bool(told)


STRANGE = (
    "rows, quotas, policies, lists or labels are others than when it was locked, or the lock's slices are"
)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An installation with two sources and two targets, all built and locked; nobody changes it."""
    base = tmp_path_factory.mktemp("pair")
    installation = install(base, *two_sources(base), corpus=TWO_TARGETS)
    for name in ("roads", "street"):
        ingest(installation, name)
    for target in TWO_TARGETS["targets"]:
        build_corpus(allocate(installation, target).path, installation.root)
    write_lock(installation)
    return base


TWO_TARGETS: dict[str, Any] = {"targets": {"4": 4, "6": 6}}


def two_sources(base: Path) -> list[dict[str, Any]]:
    return [
        {**STREET, "name": name, "path": fill(base / name / "a", 4, start=start).parent}
        for name, start in (("street", 0), ("roads", 20))
    ]


Changed = tuple[list[dict[str, Any]], dict[str, Any]]


def reordered(sources: list[dict[str, Any]]) -> Changed:
    return sources[::-1], {"targets": {"6": 6, "4": 4}}


def renamed(sources: list[dict[str, Any]]) -> Changed:
    return [sources[0], {**sources[1], "name": "lanes"}], TWO_TARGETS


def removed(sources: list[dict[str, Any]]) -> Changed:
    return sources[:1], TWO_TARGETS


def disabled(sources: list[dict[str, Any]]) -> Changed:
    return [sources[0], {**sources[1], "enabled": False}], TWO_TARGETS


def held(sources: list[dict[str, Any]]) -> Changed:
    return [sources[0], {**sources[1], "hold": True}], TWO_TARGETS


def added(sources: list[dict[str, Any]]) -> Changed:
    return [*sources, {**sources[1], "name": "lanes"}], TWO_TARGETS


NEW, AWAY = "source lanes: in the catalogue, not locked", "source roads: locked, not in the catalogue"


@pytest.mark.parametrize(
    ("change", "checked", "diffed", "unlisted"),
    [
        (reordered, [], [], []),
        (renamed, [NEW, AWAY], ["lanes"], [AWAY]),
        (removed, [AWAY], [], [AWAY]),
        (disabled, ["source roads: locked, not enabled"], [], ["source roads: locked, not enabled"]),
        (held, [], [], ["source roads: locked, held by the catalogue"]),
        (added, [NEW], ["lanes"], []),
    ],
    ids=lambda one: one.__name__ if callable(one) else "",
)
def test_a_catalogue_that_changed_since_is_told_in_a_sentence_a_source(
    pair: Path,
    tmp_path: Path,
    change: Callable[[list[dict[str, Any]]], Changed],
    checked: list[str],
    diffed: list[str],
    unlisted: list[str],
):
    sources, corpus = change(two_sources(pair))
    shutil.copytree(pair / "data", tmp_path / "data", symlinks=True)
    installation = install(tmp_path, *sources, corpus=corpus)
    for name in ("corpus.lock", "corpus.lock.items.parquet"):
        shutil.copyfile(pair / "catalog" / name, tmp_path / "catalog" / name)
    report, difference = check_lock(installation), diff_lock(installation)
    assert (report.differences, report.exit_code) == (checked, int(bool(checked)))
    assert (difference.slices, difference.not_locked) == ([], diffed)
    assert [*difference.unlisted.values()] == unlisted
    assert difference.exit_code == bool(unlisted)


def other_order(lock: dict[str, Any]) -> None:
    for part in (lock, lock["sources"], lock["targets"]):
        for name in [*part]:
            part[name] = part.pop(name) if name == min(part) else part[name]


def other_root_hash(lock: dict[str, Any]) -> None:
    lock["targets"]["4"]["root_hash"] = "0" * 64


def other_slice_hash(lock: dict[str, Any]) -> None:
    lock["sources"]["street"]["slices"]["a"]["content_hash"] = "0" * 64


def other_items_hash(lock: dict[str, Any]) -> None:
    lock["items_file"]["blake3"] = "0" * 64


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        (other_order, []),
        (other_root_hash, ["target 4: root hash {root} here, locked is " + "0" * 64]),
        (
            other_slice_hash,
            [f"target 4: {STRANGE}", f"target 6: {STRANGE}", "street/a: the slice here has other rows"],
        ),
        (other_items_hash, ["corpus.lock.items.parquet: not the items file of this lock"]),
    ],
    ids=lambda one: one.__name__ if callable(one) else "",
)
def test_an_edited_lock_is_told(
    pair: Path, tmp_path: Path, edit: Callable[[dict[str, Any]], None], told: list[str]
):
    shutil.copytree(pair, tmp_path / "pair", symlinks=True)
    installation = install(tmp_path / "pair", *two_sources(pair), corpus=TWO_TARGETS)
    path = installation.catalog_dir / "corpus.lock"
    lock = json.loads(path.read_bytes())
    root = lock["targets"]["4"]["root_hash"]
    edit(lock)
    path.write_text(json.dumps(lock), "utf-8")
    report = check_lock(installation)
    assert report.differences == [one.format(root=root) for one in told]
    assert report.exit_code == bool(told)


def test_check_compares_what_is_here(again: Again):
    image_changed(again.folder)
    corpus_of(again.installation)
    told = check_lock(again.installation).differences
    assert told[0] == "street/a: the slice here has other rows"
    assert told[1].startswith("target 10: root hash ")
    items_path(again.installation.catalog_dir / "corpus.lock").write_bytes(b"")
    assert "not the items file of this lock" in check_lock(again.installation).differences[-1]


def test_items_of_another_lock_are_refused(again: Again):
    items_path(again.installation.catalog_dir / "corpus.lock").write_bytes(b"")
    assert "not the items file of corpus.lock" in expect_error(lambda: again.locked, StoreError)
    items_path(again.installation.catalog_dir / "corpus.lock").unlink()
    assert "no such file; it is published with the lock" in expect_error(lambda: again.locked, StoreError)
