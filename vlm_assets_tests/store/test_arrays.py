"""The one form in which arrays are written, whatever they were made of."""

import random

import numpy as np
import pyarrow as pa
import pytest

from vlm_assets.store.arrays import canonical
from vlm_assets.words.schema import FACT_NAMES, FACTS_TYPE, MESSAGES_TYPE


def garbage_behind_nulls() -> list[pa.Array]:
    """Equal values; what lies behind the nulls, in the last bits and before the offset is not."""
    one = np.array([1, 77, 3], np.int32)
    two = np.array([9, 1, -5, 3, 8], np.int32)
    return [
        pa.Array.from_buffers(pa.int32(), 3, [pa.py_buffer(b"\xfd"), pa.py_buffer(one)], 1),
        pa.Array.from_buffers(pa.int32(), 5, [pa.py_buffer(b"\x0a"), pa.py_buffer(two)], 3).slice(1, 3),
        pa.array([1, None, 3], pa.int32()),
    ]


def test_canonical_arrays_have_one_form():
    forms = {
        tuple(bytes(b) for b in canonical(array).buffers() if b is not None)
        for array in garbage_behind_nulls()
    }
    assert forms == {(b"\x05", np.array([1, 0, 3], np.int32).tobytes())}
    whole = pa.array(["aa", "b", None, "ç"])
    assert [bytes(b) for b in canonical(whole.slice(1)).buffers() if b is not None] == [
        b"\x05", np.array([0, 1, 1, 3], np.int32).tobytes(), "bç".encode(),
    ]  # fmt: skip
    assert canonical(whole.slice(0, 2)).buffers()[0] is None


def conversations(draw: random.Random, rows: int) -> list[object]:
    """Random ones: null, empty, with nulls and Turkish in them."""

    def part() -> object:
        return {"type": draw.choice(["text", "image"]), "text": draw.choice([None, "", "şık", "x" * 30])}

    def turn() -> object:
        parts = [part() for _ in range(draw.randrange(4))]
        return {"role": draw.choice(["user", None]), "content": draw.choice([None, parts])}

    return [draw.choice([None, [turn() for _ in range(draw.randrange(4))]]) for _ in range(rows)]


def facts(draw: random.Random, rows: int) -> list[object]:
    def fact() -> object:
        told = dict.fromkeys(FACT_NAMES) | {
            "dhash": draw.choice([None, 7]),
            "format": draw.choice([None, "PNG"]),
        }
        return draw.choice([None, told])

    return [draw.choice([None, [fact() for _ in range(draw.randrange(4))]]) for _ in range(rows)]


@pytest.mark.parametrize(
    ("kind", "make"), [(MESSAGES_TYPE, conversations), (FACTS_TYPE, facts)], ids=["messages", "facts"]
)
@pytest.mark.parametrize("seed", range(6))
def test_nested_arrays_have_one_form_however_they_were_batched(kind, make, seed):
    draw = random.Random(seed)
    whole = make(draw, 60)
    order = draw.sample(range(60), 25)
    expected = canonical(pa.array([whole[n] for n in order], kind))
    assert expected.to_pylist() == [whole[n] for n in order]
    for size in (1, 7, 60):
        batches = [pa.array(whole[n : n + size], kind) for n in range(0, 60, size)]
        cut = [pa.concat_arrays([pa.array(whole[:3], kind), one]).slice(3) for one in batches]
        for arrays in (batches, cut):
            found = canonical(pa.concat_arrays(arrays).take(pa.array(order)))
            found.validate(full=True)
            assert [b and bytes(b) for b in found.buffers()] == [b and bytes(b) for b in expected.buffers()]
