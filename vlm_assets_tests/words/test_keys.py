import numpy as np
import pytest

from vlm_assets.words.keys import (
    mix64,
    mix64_array,
    ranks_of,
    splitmix64,
    splitmix64_array,
)

# The first outputs of SplitMix64, as its published C code prints them: state 0, then state 1234567.
_GAMMA = 0x9E3779B97F4A7C15
_OUTPUTS = [
    (0, [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F, 0xF88BB8A8724C81EC]),
    (1234567, [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]),
]


@pytest.mark.parametrize(("seed", "outputs"), _OUTPUTS, ids=["seed 0", "seed 1234567"])
def test_outputs_are_those_of_the_published_generator(seed, outputs):
    states = [(seed + _GAMMA * step) % 2**64 for step in range(len(outputs))]
    assert [splitmix64(state) for state in states] == outputs
    assert splitmix64_array(np.array(states, dtype=np.uint64)).tolist() == outputs


@pytest.mark.parametrize(
    ("key", "seed", "rank"),
    [
        (bytes(32), 0, 0x48218226FF3CD4BF),
        (bytes(range(32)), 0, 0x7F1B3AE85F64895A),
        (bytes(range(32)), 20260115, 0xC93B49B060413F0D),
        (b"\xff" * 32, 2**63 - 1, 0x071F306D4C693C81),
    ],
    ids=["zeros", "counting", "other seed", "ones"],
)
def test_ranks_never_change(key, seed, rank):
    assert ranks_of(np.frombuffer(key[:8], "<u8"), seed).tolist() == [rank]


def test_numbers_and_arrays_agree():
    words = np.random.default_rng(0).integers(0, 2**64, 1000, dtype=np.uint64)
    assert mix64_array(words).tolist() == [mix64(word) for word in words.tolist()]


@pytest.mark.parametrize("rows", [0, 1, 32_767, 32_768, 32_769, 70_000])
def test_many_words_are_mixed_like_one(rows):
    words = np.random.default_rng(rows).integers(0, 2**63, (rows, 2), np.uint64)
    before = words.copy()
    column = mix64_array(words[:, 1])  # which does not lie together
    assert (words == before).all()
    assert (mix64_array(words)[:, 1] == column).all()
    places = [place for place in (0, 1, 32_766, 32_767, 32_768, rows - 1) if 0 <= place < rows]
    assert column[places].tolist() == [mix64(word) for word in words[places, 1].tolist()]
