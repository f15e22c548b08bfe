"""Shards out of slices that lie in the bucket alone: the same corpus, in parts that are asked for by range."""

import random
import shutil
from collections.abc import Callable, Collection
from pathlib import Path

import pytest

from vlm_assets.allocation.manifest import AllocatedShard
from vlm_assets.allocation.step import tombstones_in_force
from vlm_assets.corpus.build import build_corpus, write_shards
from vlm_assets.corpus.manifest import CorpusManifest
from vlm_assets.corpus.seal import seal
from vlm_assets.corpus.shards import plan_shards
from vlm_assets.installation.opening import Installation
from vlm_assets.remote.names import Name, object_key
from vlm_assets.remote.on_commit import push_names
from vlm_assets.remote.ranges import BucketRanges, forget_indexes
from vlm_assets.remote.shared import SharedRemote
from vlm_assets.store.layout import LAYOUT_FILE
from vlm_assets.store.slices import INDEX_FILE, data_file_names
from vlm_assets.store.sound_files import IndexFile
from vlm_assets.store.tombstones import Tombstone, write_tombstone
from vlm_assets.store.versions import commit_version, read_manifest
from vlm_assets.words.errors import CorpusError, RemoteError
from vlm_assets.words.layout import MANIFEST, STAGING
from vlm_assets.words.manifest import SliceManifest
from vlm_assets_tests.builders import commit_plan, commit_slice, sample
from vlm_assets_tests.remote.conftest import NewRoot
from vlm_assets_tests.remote.s3 import BUCKET, PREFIX, Asked, Fault, FaultProxy, S3Server, open_bucket

TARGET = "20"
SHARD = AllocatedShard(max_bytes=900_000, block_rows=4, window_bytes=400_000)
NAMES = [
    Name("datasets", "street", "a"),
    Name("datasets", "street", "b"),
    Name("allocations", "small", TARGET),
]


def pushed(base: Installation, *, layouts: bool = True) -> CorpusManifest:
    """Two slices and a plan of some of their rows, built here and pushed without the corpus."""
    draw = random.Random(7)
    for name in ("a", "b"):
        rows = [
            sample(
                "street",
                name,
                f"{name}{n}",
                image=draw.randbytes(draw.randrange(20_000, 40_000)),
                text=f"söz {n}",
            )
            for n in range(48)
        ]
        commit_slice(base.root, "street", name, rows, items_per_slice=64, batch_rows=24)
        if not layouts:
            without_layout(base.root.slice("street", name))
    chosen = {("street", name): dict.fromkeys(sorted(draw.sample(range(48), 30)), 0) for name in ("a", "b")}
    plan = commit_plan(base.root, chosen, shard=SHARD, corpus="small", target=TARGET)
    built = build_corpus(plan, base.root)
    push_names(base, NAMES)
    return built


def without_layout(link: Path) -> None:
    """The slice as it was committed before there were layouts."""
    manifest, staging = read_manifest(link, SliceManifest), link.parent / STAGING / "old"
    shutil.copytree(link.resolve(), staging)
    for name in (LAYOUT_FILE, MANIFEST):
        (staging / name).unlink()
    files = {name: entry for name, entry in manifest.files.items() if name != LAYOUT_FILE}
    commit_version(staging, link, manifest.model_copy(update={"files": files}))


def build_by_range(machine: Installation) -> tuple[CorpusManifest, BucketRanges]:
    """What the steps of the line do, on a machine that has nothing."""
    remote, root = SharedRemote(machine), machine.root
    remote.before_shards(TARGET)
    staging, _ = plan_shards(root.allocation("small", TARGET), root, tombstones_in_force(root))
    objects = remote.row_objects()
    assert objects is not None
    write_shards(staging, workers=2, objects=objects, on_shard=lambda bits: remote.after_shard(staging, bits))
    forget_indexes(root)
    assert (root.path / ".remote" / "rows").exists()  # what is planned may still be written
    sealed = seal(remote.before_seal(TARGET, staging))
    remote.after_seal(TARGET)
    return sealed, objects


def data_objects(machine: Installation) -> dict[str, int]:
    """Keys of the objects that are data files of slices, with their sizes."""
    found: dict[str, int] = {}
    for name in NAMES[:2]:
        files = read_manifest(name.link(machine.root), SliceManifest).files
        found |= {object_key(files[one].blake3): files[one].size_bytes for one in data_file_names(files)}
    return found


@pytest.fixture
def base(machine: NewRoot) -> Installation:
    return machine("base", empty=True)


def test_a_machine_without_slices_builds_the_same_corpus(base, machine: NewRoot, proxy: FaultProxy):
    built = pushed(base)
    assert len(built.shards) > 1
    proxy.log.clear()
    bare = machine("bare", empty=True, rows_from="remote")
    sealed, objects = build_by_range(bare)
    assert sealed.root_hash == built.root_hash
    assert not list(bare.root.path.glob("datasets/*/.versions/*/data-*"))
    assert not (bare.root.path / ".remote" / "rows").exists()
    assert objects.received_bytes <= 1.3 * built.data_bytes
    assert objects.requests <= built.rows
    assert str(objects).startswith(f"rows by range: {objects.requests} requests for ")
    parts = [one for one in proxy.log if one.method == "GET" and one.key in data_objects(base)]
    assert len(parts) >= objects.requests
    assert all(one.range is not None for one in parts)


def test_slices_from_before_layouts_are_read_too(base, machine: NewRoot, proxy: FaultProxy):
    built = pushed(base, layouts=False)
    proxy.log.clear()
    sealed, _ = build_by_range(machine("bare", empty=True, rows_from="remote"))
    assert sealed.root_hash == built.root_hash
    assert all(one.range for one in proxy.log if one.method == "GET" and one.key in data_objects(base))


@pytest.mark.parametrize(
    ("status", "tries"), [(403, 1), (503, 3), (404, 3)], ids=["refused", "overloaded", "gone for a moment"]
)
def test_where_signed_addresses_are_refused_the_client_asks(
    base, proxy: FaultProxy, s3: S3Server, caplog, status: int, tries: int
):
    del base
    s3.put("objects/x", bytes(range(200)))
    bucket, signed = open_bucket(proxy.endpoint), []

    def refuse(asked: Asked) -> Fault | None:
        if "X-Amz-Signature" in asked.query:
            signed.append(asked)
            return Fault(status=status)
        return None

    proxy.fault = refuse
    for begin in (0, 50, 100):
        assert bucket.get_part("objects/x", begin, begin + 7, 200) == bytes(range(begin, begin + 7))
    assert len(signed) == tries
    assert "X-Amz-Signature" not in caplog.text


def test_parts_come_by_addresses_signed_once(base, proxy: FaultProxy, s3: S3Server):
    del base
    s3.put("objects/x", bytes(range(200)))
    bucket = open_bucket(proxy.endpoint)
    for begin in (0, 50):
        assert bucket.get_part("objects/x", begin, begin + 7, 200) == bytes(range(begin, begin + 7))
    assert len({str(one.query) for one in proxy.log}) == 1
    assert [one.range for one in proxy.log] == ["bytes=0-6", "bytes=50-56"]
    assert "AWS4-HMAC-SHA256" in str(proxy.log[0].query)


def test_a_broken_connection_is_mended(base, machine: NewRoot, proxy: FaultProxy):
    built = pushed(base)
    proxy.fault = first_of_each_part(data_objects(base), Fault(cut_after=700))
    sealed, _ = build_by_range(machine("bare", empty=True, rows_from="remote"))
    assert sealed.root_hash == built.root_hash


def first_of_each_part(keys: Collection[str], fault: Fault) -> Callable[[Asked], Fault | None]:
    """Every part is cut once on each way."""
    seen: set[tuple[str, str | None, bool]] = set()

    def decide(asked: Asked) -> Fault | None:
        part = (asked.key, asked.range, "X-Amz-Signature" in asked.query)
        if asked.method != "GET" or asked.key not in keys or part in seen:
            return None
        seen.add(part)
        return fault

    return decide


def flipped(data: bytes) -> bytes:
    """A bit of every 10,000 bytes is another one."""
    changed = bytearray(data)
    changed[5_000::10_000] = bytes(byte ^ 1 for byte in changed[5_000::10_000])
    return bytes(changed)


@pytest.mark.parametrize(
    ("harm", "kind", "told"),
    [
        (flipped, CorpusError, "damaged"),
        (lambda data: data[:-500], RemoteError, "bytes, expected"),
        (lambda _: None, RemoteError, "no such object"),
    ],
    ids=["changed", "cut", "gone"],
)
def test_an_object_that_is_another_is_named(base, machine: NewRoot, s3: S3Server, harm, kind, told):
    pushed(base)
    for key in data_objects(base):
        if (data := harm(s3.get(key))) is None:
            s3.client().delete_object(Bucket=BUCKET, Key=f"{PREFIX}/{key}")
        else:
            s3.put(key, data)
    bare = machine("bare", empty=True, rows_from="remote")
    with pytest.raises(kind, match=told) as raised:
        build_by_range(bare)
    assert any(key in str(raised.value) for key in data_objects(base))


def test_what_was_taken_down_since_is_a_hole(base, machine: NewRoot):
    pushed(base)
    bare = machine("bare", empty=True, rows_from="remote")
    gone = IndexFile(NAMES[0].link(base.root) / INDEX_FILE).read_all().column("id").to_pylist()
    for root in (base.root, bare.root):
        write_tombstone(root, Tombstone(asked="id:many", ids=tuple(gone[:20])))
    expected = build_corpus(base.root.allocation("small", TARGET), base.root, tombstones_in_force(base.root))
    sealed, _ = build_by_range(bare)
    assert sealed.holes
    assert sealed.root_hash == expected.root_hash
