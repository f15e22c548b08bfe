"""Rows by range are the rows of the file, in few requests, and never other bytes than were committed."""

import random
import re
from collections.abc import Callable
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pytest

from vlm_assets.corpus import batch_heads
from vlm_assets.corpus.images import ImageReader
from vlm_assets.corpus.row_places import RowPlaces
from vlm_assets.corpus.slice_rows import RowColumns, SliceRows
from vlm_assets.store import slices
from vlm_assets.store.layout import layout_on_disk
from vlm_assets.words.errors import CorpusError
from vlm_assets.words.layout import DataRoot
from vlm_assets.words.schema import SAMPLE_SCHEMA, Row
from vlm_assets_tests.builders import commit_slice, sample
from vlm_assets_tests.corpus.ranged import FolderOfObjects, on_disk, taken_away

ROWS = 120
IMAGE_BYTES = 6_000


def turn(role: str, *texts: str | None) -> Row:
    return {"role": role, "content": [{"type": "image" if t is None else "text", "text": t} for t in texts]}


def make_rows(name: str) -> list[Row]:
    """Rows with one to three images, and every form of words: none, empty, long, conversations."""
    draw = random.Random(name)
    rows = []
    for n in range(ROWS):
        words: Row = {}
        if n % 3:
            words["text"] = "" if n % 7 == 0 else f"satır {n} " + "ğ" * draw.randrange(80)
        if n % 4 == 1:
            words["messages"] = [turn("user", None, "Nerede?"), turn("assistant", "Ş" * draw.randrange(60))]
        if n % 5 == 2:
            words["extra"] = f'{{"n":{n}}}'
        images = [draw.randbytes(draw.randrange(1, IMAGE_BYTES)) for _ in range(1 + (n % 10 == 0) * 2)]
        rows.append(sample("a", name, f"i{n}", images=images, label=f"{n % 2}" if n % 6 else None, **words))
    return rows


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> DataRoot:
    """Two slices, one of them of several files."""
    root = DataRoot(tmp_path_factory.mktemp("slices"))
    root.marker.touch()
    commit_slice(root, "a", "s", make_rows("s"), batch_rows=37)
    with patch.object(slices, "FILE_BYTES", 200_000):
        commit_slice(root, "a", "t", make_rows("t"), batch_rows=20)
    return root


@pytest.fixture(autouse=True, params=[0, 16_384], ids=["words by row", "words by batch"])
def few_bytes(request, monkeypatch) -> None:
    monkeypatch.setattr(batch_heads, "_FEW_BYTES", request.param)


@pytest.fixture
def store() -> FolderOfObjects:
    return FolderOfObjects()


@pytest.fixture
def away(root, store, tmp_path) -> RowPlaces:
    """Both slices, with nothing but their indexes here."""
    return RowPlaces(
        {n: taken_away(root, "a", name, tmp_path / name, store) for n, name in ((0, "s"), (3, "t"))}, store
    )


def chosen(share: float, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    draw = random.Random(seed)
    rows = [(number, row) for number in (0, 3) for row in range(ROWS) if draw.random() < share]
    draw.shuffle(rows)
    slice_numbers, numbers = zip(*rows, strict=True)
    return np.array(slice_numbers, np.uint32), np.array(numbers, np.uint32)


def told(opened: RowPlaces | SliceRows, found: RowColumns) -> dict[str, object]:
    """All values of the rows, images among them, and the bytes of their buffers."""
    for column in found.columns.values():
        column.validate(full=True)
    buffers = {name: [one and one.to_pybytes() for one in c.buffers()] for name, c in found.columns.items()}
    images = b"".join(map(bytes, ImageReader(opened.files).pieces(found.images)))
    return {"buffers": buffers, "sizes": found.sizes.to_pylist(), "images": images}


@pytest.mark.parametrize("share", [1.0, 0.5, 0.1, 0.02])
def test_rows_by_range_are_those_of_the_file(root, away, store, share):
    here = SliceRows({0: on_disk(root, "a", "s"), 3: on_disk(root, "a", "t")})
    for seed in (1, 2):
        assert told(away, away.read(*chosen(share, seed))) == told(here, here.read(*chosen(share, seed)))
    assert store.asked_bytes < sum(path.stat().st_size for path in store.files.values()) * 2.1


def test_slices_here_and_there_make_one_window(root, store, tmp_path):
    here = SliceRows({0: on_disk(root, "a", "s"), 3: on_disk(root, "a", "t")})
    mixed = RowPlaces(
        {0: on_disk(root, "a", "s"), 3: taken_away(root, "a", "t", tmp_path / "t", store)}, store
    )
    assert told(mixed, mixed.read(*chosen(0.3))) == told(here, here.read(*chosen(0.3)))


@pytest.fixture(scope="module")
def large_rows(tmp_path_factory) -> DataRoot:
    """A slice of rows of 20 to 40 KB, in batches of a hundred."""
    root, draw = DataRoot(tmp_path_factory.mktemp("large")), random.Random(1)
    root.marker.touch()
    rows = [
        sample(
            "a",
            "s",
            f"i{n}",
            image=draw.randbytes(draw.randrange(20_000, 40_000)),
            text="söz " * draw.randrange(50),
        )
        for n in range(300)
    ]
    commit_slice(root, "a", "s", rows, batch_rows=100)
    return root


@pytest.mark.parametrize(("share", "runs"), [(1.0, 16), (0.5, 90), (0.1, 40), (0.03, 20)])
def test_bytes_and_requests_stay_near_what_is_wanted(large_rows, store, tmp_path, share, runs):
    draw = random.Random(3)
    rows = np.array([row for row in range(300) if draw.random() < share], np.uint32)
    away = RowPlaces({0: taken_away(large_rows, "a", "s", tmp_path / "s", store)}, store)
    found = away.read(np.zeros(len(rows), np.uint32), rows)
    assert store.asked_bytes <= 1.3 * found.images.total
    assert len(store.asked) <= runs


def test_heads_are_kept_within_bounds(away, store, monkeypatch):
    away.read(*chosen(0.1))
    first = len(store.asked)
    away.read(*chosen(0.1))
    again = len(store.asked) - first
    assert again < first
    monkeypatch.setattr(batch_heads, "_KEPT_BYTES", 0)
    away.read(*chosen(0.1, seed=2))
    store.asked.clear()
    away.read(*chosen(0.1))
    assert len(store.asked) == first


def flipped(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


def harm_always(draw: random.Random) -> Callable[[int, bytes], bytes]:
    return lambda _, data: flipped(data, draw.randrange(len(data)))


def harm_once(draw: random.Random) -> Callable[[int, bytes], bytes]:
    left = [1]

    def harm(_: int, data: bytes) -> bytes:
        return flipped(data, draw.randrange(len(data))) if left and left.pop() else data

    return harm


@pytest.mark.parametrize("seed", range(10))
def test_changed_anywhere_it_is_never_taken(root, away, store, seed):
    """What changed beside the rows, in gaps and padding, does no harm."""
    here = SliceRows({0: on_disk(root, "a", "s"), 3: on_disk(root, "a", "t")})
    wanted = chosen(0.3)
    store.harm = harm_always(random.Random(seed))
    try:
        found: object = told(away, away.read(*wanted))
    except CorpusError as error:
        found = re.sub("objects/[0-9a-f]{64}: .*: the remote's copy is damaged.*", "named", str(error))
    assert found in ("named", told(here, here.read(*wanted)))


@pytest.mark.parametrize(
    ("column", "number", "told"),
    [
        ("images", 5, "image 0 does not have its sha256"),
        ("text", 2, "its words do not have its digest"),
        ("messages", 5, "its words do not have its digest"),
        ("extra", 2, "its words do not have its digest"),
    ],
)
def test_one_bit_of_content_is_enough(root, store, tmp_path, column, number, told):
    """`number`: of the column's buffers, one with content. Nothing of Arrow notices."""
    away = RowPlaces({0: taken_away(root, "a", "s", tmp_path / "s", store)}, store)
    [path] = store.files.values()
    before = SAMPLE_SCHEMA.names.index(column)
    batch = next(iter(pa.ipc.open_stream(path.read_bytes())))
    skipped = sum(len(one.buffers()) for one in batch.columns[:before])
    place = layout_on_disk([path]).column("buffers")[0][skipped + number]["offset"].as_py()
    store.harm = lambda begin, data: (
        flipped(data, place - begin) if begin <= place < begin + len(data) else data
    )
    with pytest.raises(CorpusError, match=rf"^objects/{store_name(store)}: a/s, row \d+: {told}"):
        away.read(np.zeros(ROWS, np.uint32), np.arange(ROWS, dtype=np.uint32))


def store_name(store: FolderOfObjects) -> str:
    [name] = store.files
    return name


@pytest.mark.parametrize("seed", range(3))
def test_what_the_wire_changed_is_read_again(root, away, store, seed):
    here = SliceRows({0: on_disk(root, "a", "s"), 3: on_disk(root, "a", "t")})
    store.harm = harm_once(random.Random(seed))
    assert told(away, away.read(*chosen(0.3))) == told(here, here.read(*chosen(0.3)))


def test_an_index_alone_needs_a_remote(root, store, tmp_path):
    with pytest.raises(CorpusError, match=r"a/s: its rows lie at the remote alone.*VLM_ROWS_FROM=remote"):
        RowPlaces({0: taken_away(root, "a", "s", tmp_path / "s", store)})


def test_no_rows_wanted_of_slices_away(away):
    found = away.read(np.array([0], np.uint32), np.array([ROWS - 1], np.uint32))
    assert len(found.sizes) == 1
