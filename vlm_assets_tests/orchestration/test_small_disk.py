"""The whole line on a machine whose disk holds a tenth of its slices: the same corpus, and who looks at it later."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vlm_assets.allocation.step import allocate, tombstones_in_force
from vlm_assets.audit.findings import Finding
from vlm_assets.audit.run import audit_corpus
from vlm_assets.corpus.build import build_corpus, write_shards
from vlm_assets.corpus.manifest import CorpusManifest
from vlm_assets.corpus.seal import seal
from vlm_assets.corpus.shards import plan_shards
from vlm_assets.images.png import encode_image
from vlm_assets.ingest.due import Due
from vlm_assets.ingest.slice import build_slice
from vlm_assets.installation.opening import Installation
from vlm_assets.operate.forecast import forecast
from vlm_assets.operate.prune import prune_data_root
from vlm_assets.operate.status import read_status
from vlm_assets.operate.takedown import TakedownOrder, take_down
from vlm_assets.operate.verify import verify
from vlm_assets.orchestration.names import ALLOCATION_KEY, CORPUS_KEY, REPORT_KEY
from vlm_assets.papers.write import write_papers
from vlm_assets.remote.backup import backup
from vlm_assets.remote.bucket import open_remote
from vlm_assets.remote.names import object_key
from vlm_assets.remote.prune import PruneOrder, prune_remote
from vlm_assets.remote.restore import RestoreOptions, restore
from vlm_assets.remote.shared import SharedRemote
from vlm_assets.remote.verify import verify_remote
from vlm_assets.settings import Settings
from vlm_assets.store import away as lending
from vlm_assets.store.away import away_in
from vlm_assets.store.layout import layout_on_disk
from vlm_assets.store.listings import read_listing
from vlm_assets.store.slices import images_of_row, read_rows
from vlm_assets.store.taken_down import taken_down_in
from vlm_assets.store.tombstones import StoredTombstones
from vlm_assets.store.versions import current_version, read_manifest
from vlm_assets.words.errors import DataAwayError
from vlm_assets.words.layout import DataRoot
from vlm_assets.words.manifest import SliceManifest
from vlm_assets_tests.orchestration.kit import Line, instance_in
from vlm_assets_tests.remote.s3 import REMOTE, S3Server
from vlm_assets_tests.workplace import STREET, ingest, install, relist

SLICES, ROWS, SIDE_PX = 12, 4, 140
TARGET = "40"
CORPUS: dict[str, Any] = {
    "targets": {TARGET: int(TARGET)},
    "shard": {"max_bytes": 390_000, "window_bytes": 130_000, "block_rows": 2},
}


def noise(folder: Path) -> None:
    """Slices of pictures that no format makes smaller."""
    draw = np.random.default_rng(5)
    for number in range(SLICES):
        place = folder / f"s{number:02d}"
        place.mkdir(parents=True)
        for row in range(ROWS):
            pixels = draw.integers(0, 255, (SIDE_PX, SIDE_PX, 3), np.uint8)
            (place / f"{row}.png").write_bytes(encode_image(Image.fromarray(pixels)))


class Watch:
    """The most bytes of data files that lay under a folder at once, seen by looking again and again."""

    def __init__(self, folder: Path) -> None:
        self._folder, self.most, self._over = folder, 0, threading.Event()

    def look(self) -> int:
        """Bytes now; what disappears meanwhile counts nothing."""
        seen: dict[int, int] = {}
        for folder, _, names in os.walk(self._folder):
            for name in names:
                if "data-" in name or "/.remote/" in folder:
                    with suppress(FileNotFoundError):
                        stat = os.lstat(f"{folder}/{name}")
                        seen[stat.st_ino] = stat.st_size
        self.most = max(self.most, sum(seen.values()))
        return self.most

    @contextmanager
    def running(self) -> Iterator[None]:
        """Looks for as long as the block runs."""

        def turn() -> None:
            while not self._over.wait(0.01):
                self.look()

        thread = threading.Thread(target=turn)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()


@dataclass
class Built:
    """What a machine with all on its disk made, and one with little disk."""

    whole: CorpusManifest
    slice_bytes: int
    alone: Installation
    machine: Installation
    most_bytes: int

    @property
    def version(self) -> Path:
        found = current_version(self.machine.root.corpus("small", TARGET))
        assert found is not None
        return found


def by_steps(bare: Installation, home: Path) -> None:
    """What the line's steps do, without Dagster around them."""
    del home
    remote, root = SharedRemote(bare), bare.root
    listing, spec = relist(bare), bare.catalog.source("street")
    remote.after_listing("street")
    for key in listing.slices:
        remote.before_slice(listing, key)
        build_slice(bare, spec, listing, key)
        remote.after_slice("street", key)
        remote.slice_told("street", key)
    remote.before_allocation()
    plan = allocate(bare, TARGET).path
    remote.before_shards(TARGET)
    staging, _ = plan_shards(plan, root, tombstones_in_force(root))

    def leave(bits: str) -> None:
        remote.after_shard(staging, bits)

    write_shards(staging, on_shard=leave, objects=remote.row_objects(), shards_leave=remote.shards_leave)
    seal(remote.before_seal(TARGET, staging))
    write_papers(bare, TARGET)
    remote.after_seal(TARGET)


def by_line(bare: Installation, home: Path) -> None:
    """The line with its checks and its report."""
    with instance_in(home) as instance:
        line = Line(bare, instance)
        assert line.list_sources("street").success
        assert line.fetch("street").success
        assert line.run(ALLOCATION_KEY, CORPUS_KEY, REPORT_KEY, partition_key=TARGET).success


def build(base: Path, server: S3Server, way: Callable[[Installation, Path], None]) -> Built:
    """Builds on a machine with all on its disk, and that way on one that may have little there."""
    noise(base / "pictures")
    alone = install(base, {**STREET, "path": base / "pictures"}, corpus=CORPUS)
    outcomes = ingest(alone)
    whole = build_corpus(allocate(alone, TARGET).path, alone.root, tombstones_in_force(alone.root))
    root = base / "bare"
    root.mkdir()
    (root / ".vlm_root").touch()
    server.new_bucket()
    changed = alone.settings.model_dump() | {
        "data_root": root, "remote": REMOTE, "remote_endpoint": server.endpoint, "rows_from": "remote",
        "workers": 1,
    }  # fmt: skip
    bare = replace(alone, settings=Settings(_env_file=None, **changed), root=DataRoot(root))
    watch = Watch(root)
    with watch.running():
        way(bare, base / "home")
    size = sum(one.manifest.data_bytes for one in outcomes.values())
    return Built(whole, size, alone, bare, watch.most)


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with S3Server() as running:
        yield running


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, server: S3Server) -> Built:
    return build(tmp_path_factory.mktemp("small"), server, by_steps)


def check_built(built: Built) -> None:
    """The same corpus, of many shards, and never more than a tenth of the slices here."""
    assert built.most_bytes <= 0.1 * built.slice_bytes
    made = read_manifest(built.version, CorpusManifest)
    assert len(made.shards) > 8
    assert (made.root_hash, made.rows_hash) == (built.whole.root_hash, built.whole.rows_hash)


def test_a_tenth_of_the_slices_is_as_much_as_lies_here(built: Built):
    check_built(built)


def failed(findings: list[Finding]) -> list[str]:
    return [f"{one.name}: {one.observed} {one.examples}" for one in findings if not one.passed]


def test_the_audit_counts_again_what_lies_elsewhere(built: Built):
    watch = Watch(built.machine.root.path)
    with watch.running():
        found = audit_corpus(built.machine, TARGET, full=True)
    assert failed(found) == []
    assert watch.most <= 0.1 * built.slice_bytes


def test_nothing_takes_what_is_away_for_missing(built: Built):
    machine = built.machine
    seen, status = verify(machine), read_status(machine)
    assert (seen.problems, seen.exit_code) == ([], 0)
    assert seen.away_bytes == status.away_bytes == built.slice_bytes + built.whole.data_bytes
    assert [one.due for one in status.sources] == [0]
    plan = forecast(machine, TARGET)
    assert (plan.exact, [one.due for one in plan.sources]) == (True, [0])
    assert plan.disk_needed_bytes <= CORPUS["shard"]["max_bytes"]
    for order in (PruneOrder(grace_s=0.0, dry_run=True), PruneOrder(grace_s=0.0)):
        assert prune_remote(machine.settings, order).versions == []
    assert [one for one in prune_data_root(machine).removed if not one.startswith("cache/")] == []
    assert restore(machine.settings, options=RestoreOptions(storage=False)).done == []
    again = backup(machine, storage=False)
    assert (again.failed, again.objects) == ({}, 0)
    assert verify_remote(machine.settings, deep=True).problems == []
    listing, spec = read_listing(machine.root, "street"), machine.catalog.source("street")
    assert listing is not None
    assert build_slice(machine, spec, listing, "s00").due is Due.COMMITTED
    assert data_files(machine) == []


def data_files(machine: Installation) -> list[Path]:
    return sorted(machine.root.path.glob("*/*/.versions/*/data-*"))


def slice_of(machine: Installation, key: str = "s03") -> Path:
    found = current_version(machine.root.slice("street", key))
    assert found is not None
    return found


def rows(folder: Path) -> list[Any]:
    return list(read_rows(folder, DATA))


DATA = ["data-00000.arrow"]
READERS: dict[str, Callable[[Path], Any]] = {
    "rows": rows,
    "images": lambda folder: images_of_row(folder, DATA, 3),
    "layout": lambda folder: layout_on_disk([folder / one for one in DATA]).to_pylist(),
    "taken down": lambda folder: taken_down_in(folder, covering(folder)),
}


def covering(folder: Path) -> StoredTombstones:
    ids = frozenset([rows(folder)[2]["id"]])
    return StoredTombstones(("x",), frozenset(), frozenset(), ids)


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
def test_readers_are_lent_what_is_away(
    built: Built, read: Callable[[Path], Any], monkeypatch: pytest.MonkeyPatch
):
    assert read(slice_of(built.machine)) == read(slice_of(built.alone))
    assert list((built.machine.root.path / ".remote" / "lent").iterdir()) == []
    monkeypatch.setattr(lending, "_LENDERS", {})
    with pytest.raises(DataAwayError, match="set VLM_REMOTE"):
        read(slice_of(built.machine))


def test_unchanged_items_are_kept_though_their_bytes_are_away(built: Built):
    listing, spec = read_listing(built.machine.root, "street"), built.machine.catalog.source("street")
    assert listing is not None
    changed = listing.slices["s05"].model_copy(update={"fingerprint": "0" * 64})
    moved = listing.model_copy(update={"slices": {**listing.slices, "s05": changed}})
    outcome = build_slice(built.machine, spec, moved, "s05")
    assert (outcome.due, outcome.run.taken_over, outcome.manifest.rows) == (Due.CHANGED, ROWS, ROWS)
    assert outcome.manifest.content_hash == content_hash(built.alone, "s05")


def content_hash(machine: Installation, key: str) -> str:
    return read_manifest(slice_of(machine, key), SliceManifest).content_hash


def test_a_takedown_reaches_slices_and_shards_that_are_away(built: Built):
    """After the others: it changes the corpus."""
    gone = rows(slice_of(built.machine))[2]["id"]
    before = {one.entry.blake3 for one in away_in(slice_of(built.machine)).values()}
    receipt = take_down(built.machine, TakedownOrder(id=gone))
    assert receipt.exit_code == 0, receipt.outstanding
    row = rows(slice_of(built.machine))[2]
    assert (row["id"], row["images"]) == (gone, None)
    bucket = open_remote(built.machine.settings)
    assert [one for one in before if bucket.size_of(object_key(one)) is not None] == []
    made = read_manifest(built.version, CorpusManifest)
    assert (made.rows, made.holes) == (built.whole.rows - 1, 1)
    assert verify(built.machine).problems == []
    settings = built.machine.settings.model_copy(update={"rows_from": "disk"})
    assert restore(settings, options=RestoreOptions(storage=False)).failed == {}
    assert verify(built.machine).problems == []
    assert not away_in(slice_of(built.machine))
    assert not away_in(built.version)
    [stale] = failed(audit_corpus(built.machine, TARGET, full=True))
    assert stale.startswith("staleness: 1 change since")


@pytest.mark.slow
def test_the_line_does_so_with_its_checks_and_report(tmp_path: Path, server: S3Server):
    """After the others: it empties the bucket."""
    check_built(build(tmp_path, server, by_line))
