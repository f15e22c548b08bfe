"""How the audit reads: worker processes, pages of single rows, parts of shards, and shortcuts that must not lie."""

import errno
from hashlib import sha256
from pathlib import Path
from random import Random

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from vlm_assets.audit import content, once_read, pages
from vlm_assets.audit.content import ContentTask, shards_to_cut
from vlm_assets.audit.decoding import decode_fault
from vlm_assets.audit.duplicates import exact_duplicates
from vlm_assets.audit.once_read import BLOCK_BYTES, read_hash
from vlm_assets.audit.run import audit_corpus
from vlm_assets.audit.words import Codes, sure_distinct
from vlm_assets.images.facts import ImageFacts
from vlm_assets.store.slices import file_hash
from vlm_assets.words.errors import MachineError
from vlm_assets_tests.audit.breaking import TARGET, good_once
from vlm_assets_tests.images.pictures import encoded, picture, prober


@pytest.mark.parametrize(
    ("sizes", "workers", "cut"),
    [([5, 5], 2, 0), ([5, 5, 5], 2, 1), ([9], 2, 1), ([5, 4, 1], 2, 0), ([7, 5, 1, 1], 2, 0),
     ([1] * 16, 4, 0), ([], 2, 0)],
    ids=["even", "odd", "one", "sums", "small-ones-fill", "many", "none"],
)  # fmt: skip
def test_shards_are_cut_where_that_ends_sooner(sizes, workers, cut):
    assert shards_to_cut(sizes, workers) == cut


@pytest.mark.parametrize("form", ["MPO", "DIB", "HEIF", "JXL", "TGA", "PSD", "ICO"])
def test_every_format_decodes_to_what_the_probe_says(form, monkeypatch):
    encoded_image = encoded(picture(), form)
    monkeypatch.setattr(
        Image, "ID", [one for one in Image.ID if one != "HEIF"]
    )  # as where no plug-in is loaded
    with prober() as one:
        facts = one.probe(encoded_image)
    assert isinstance(facts, ImageFacts)
    said = {"format": facts.format, "width_px": facts.width_px, "height_px": facts.height_px}
    assert decode_fault(encoded_image, said) == ""
    assert "on record" in decode_fault(encoded_image, {**said, "width_px": 1})


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError("out of memory when reading image file"),
        OSError(errno.EMFILE, "Too many open files"),
        ImportError("Too many open files"),
    ],
    ids=["memory", "codec", "files", "library"],
)
def test_an_audit_without_means_says_nothing_of_the_corpus(tmp_path_factory, monkeypatch, error):
    def load(*_: object) -> None:
        raise error

    good = good_once(tmp_path_factory)
    monkeypatch.setattr(Image, "open", load)
    [decodes] = [f for f in audit_corpus(good, TARGET) if f.name == "decodes"]
    assert not decodes.passed
    assert "not read to their end" in decodes.observed
    assert "see to its memory, open files" in decodes.observed


@pytest.mark.parametrize(
    "error", [OSError(errno.ENFILE, "x"), OSError(errno.ENOMEM, "x")], ids=["files", "memory"]
)
def test_a_shard_that_cannot_be_opened_for_want_of_files_is_not_damaged(tmp_path, monkeypatch, error):
    def read(_path: object) -> None:
        raise error

    monkeypatch.setattr(content, "read_hash", read)
    with pytest.raises(MachineError, match=r"data-r0\.arrow cannot be read now"):
        content.check_content(_hash_task(tmp_path))


def test_a_shard_on_a_bad_sector_is_damaged(tmp_path, monkeypatch):
    def read(_path: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(content, "read_hash", read)
    [told] = content.check_content(_hash_task(tmp_path)).unreadable
    assert "Input/output error" in told


def _hash_task(folder: Path) -> ContentTask:
    data = folder / "data-r0.arrow"
    return ContentTask(data=data, index=data, rows=1, wanted=None, decode=(), hash_only=True)


@pytest.mark.parametrize("block", [1_000, 100_000])
def test_images_larger_than_a_block_and_several_in_one(tmp_path_factory, monkeypatch, block):
    good = good_once(tmp_path_factory)
    monkeypatch.setattr(content, "BLOCK_BYTES", block)
    monkeypatch.setattr(once_read, "BLOCK_BYTES", block)
    findings = audit_corpus(good, TARGET, full=True)
    assert [(f.name, f.observed) for f in findings if not (f.passed and f.judged)] == []


@pytest.mark.parametrize("size", [0, 1, BLOCK_BYTES, 3 * BLOCK_BYTES + 7])
def test_the_hash_of_a_file_is_its_hash(tmp_path, size):
    path = tmp_path / "file"
    path.write_bytes(Random(1).randbytes(size))
    task = ContentTask(path, path, 0, hash_only=True)
    assert read_hash(path) == file_hash(path) == content.check_content(task).file_hashes["file"]


@pytest.fixture
def texts(tmp_path):
    """An IPC file and a stream with three batches, nulls, a struct and numbers; and what is in them."""
    rows = [None if n % 7 == 3 else f"größe {n}" * (n % 3) for n in range(100)]
    schema = pa.schema([("n", pa.int64()), ("id", pa.string()), ("s", pa.struct([("b", pa.binary())]))])
    batches = [
        pa.record_batch(
            [
                pa.array(range(a, b), pa.int64()),
                pa.array(rows[a:b]),
                pa.array([{"b": bytes([n])} for n in range(a, b)], schema.field("s").type),
            ],
            schema=schema,
        )
        for a, b in ((0, 40), (40, 41), (41, 100))
    ]
    for name, new in (("file", pa.ipc.new_file), ("stream", pa.ipc.new_stream)):
        with new(str(tmp_path / name), schema) as writer:
            for batch in batches:
                writer.write_batch(batch)
    return tmp_path, [(one or "").encode() for one in rows]


def test_texts_of_single_rows(texts):
    folder, rows = texts
    wanted = [99, 0, 40, 39, 41, 41, 5]
    assert pages.texts_of_rows(folder / "file", "id", wanted) == [rows[n] for n in wanted]
    for row, column in ((100, "id"), (0, "nowhere")):
        with pytest.raises(ValueError, match=r"there|not in list"):
            pages.texts_of_rows(folder / "file", column, [row])


def test_damaged_offsets_are_told(texts):
    folder, _ = texts
    damaged = bytearray((folder / "file").read_bytes())
    place = damaged.index(np.array([0, 0, 9, 27], np.int32).tobytes())  # of texts 0 to 2
    damaged[place + 4 : place + 8] = np.int32(2**30).tobytes()
    (folder / "file").write_bytes(damaged)
    with pytest.raises(ValueError, match="damaged"):
        pages.texts_of_rows(folder / "file", "id", [0])


def test_asked_for_are_the_places_of_a_row(texts):
    folder, rows = texts
    with (folder / "stream").open("rb") as file:
        whole = file.read()
        found = list(pages._extents(file.fileno(), [42]))
    texts_there = [
        whole[data + begin : data + end]
        for (place, size), data in found
        if data is not None
        for begin, end in [np.frombuffer(whole[place : place + size], np.int32)]
    ]
    values = [whole[place : place + size] for (place, size), data in found if data is None]
    assert texts_there == [rows[42], bytes([42])]
    assert np.int64(42).tobytes() in values
    pages.ask_for_rows(folder / "stream", [0, 42, 99])
    (folder / "stream").write_bytes(whole[: len(whole) // 2])
    pages.ask_for_rows(folder / "stream", [99])  # nothing to tell: who reads the row will


@given(st.lists(st.text("ab/é", max_size=60), max_size=30))
@settings(max_examples=60, deadline=None)
def test_sure_distinct_is_never_wrong(keys):
    column = pa.array(["x", *keys], pa.string()).slice(1)
    if sure_distinct(column):
        assert len(set(keys)) == len(keys)
    ends = [f"{n:024d}" for n in range(len(keys))]
    assert sure_distinct(pa.array([a + b for a, b in zip(keys, ends, strict=True)], pa.string()))


def test_codes_are_the_same_over_batches():
    codes = Codes()
    first = codes.encode([pa.array(["a", None, "a"]), pa.array(["x", "x", "x"])])
    second = codes.encode([pa.array([None, "b"]), pa.array(["x", None])])
    assert [codes.values[n] for n in [*first, *second]] == [
        ("a", "x"), (None, "x"), ("a", "x"), (None, "x"), ("b", None)
    ]  # fmt: skip


class _Order:
    """Ten rows a slice, in any precedence; ids that fall."""

    def __init__(self, slices: int, random: Random) -> None:
        self.of = np.array(random.sample(range(slices), slices))

    def slice_order(self, places):
        return self.of[places // 10]

    def numbers(self, places, threads=1):
        del threads
        return (self.slice_order(places) << 40) - places


@pytest.mark.parametrize("seed", range(6))
def test_exact_duplicates_as_by_the_book(seed):
    random = Random(seed)
    words = [int.from_bytes(sha256(bytes([n])).digest()[:8], "little") for n in range(9)]
    key = np.array([(random.choice(words), random.randrange(1 + seed % 3)) for _ in range(200)], np.uint64)
    among = np.array([random.random() < 0.8 for _ in range(200)])
    order = _Order(20, random)
    best: dict[tuple[int, ...], int] = {}
    for row in sorted(np.flatnonzero(among).tolist(), key=lambda row: order.numbers(np.array([row]))[0]):
        best.setdefault(tuple(key[row]), row)
    expected = set(np.flatnonzero(among).tolist()) - set(best.values())
    found = exact_duplicates(key, among, order).tolist()  # type: ignore[arg-type]  # stands in for Precedence
    assert sorted(found) == sorted(expected)
