import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlm_assets.allocation import near
from vlm_assets.allocation.near import Entries, near_hits


def brute_force(entries, distance):
    hits = np.zeros(len(entries.value), dtype=bool)
    for place in np.flatnonzero(entries.query):
        close = np.bitwise_count(entries.value[:place] ^ entries.value[place]) <= distance
        close &= entries.candidate[:place]
        hits[place] = close.any()
    return hits


def clustered(random, count, flips):
    """Hashes around a few centres, so that near pairs abound."""
    centres = random.integers(0, 2**64, max(1, count // 8), dtype=np.uint64)
    values = centres[random.integers(0, len(centres), count)]
    for _ in range(flips):
        bits = np.uint64(1) << random.integers(0, 64, count).astype(np.uint64)
        values = np.where(random.random(count) < 0.7, values ^ bits, values)
    return values


@given(
    st.integers(0, 2**32),
    st.integers(1, 400),
    st.integers(0, 9),
    st.integers(0, 6),
    st.sampled_from([None, 1, 2]),
)
@settings(max_examples=40, deadline=None)
def test_finds_what_all_pairs_find(seed, count, distance, flips, blocks):
    random = np.random.default_rng(seed)
    entries = Entries(
        value=clustered(random, count, flips),
        candidate=random.random(count) < 0.8,
        query=random.random(count) < 0.8,
    )
    with pytest.MonkeyPatch.context() as patch:
        if blocks is not None:  # tables, and tables within buckets, that so few hashes would not need
            distance = min(distance, 3)
            patch.setattr(near, "_LARGE_BUCKET", 3)
            patch.setattr(near, "_PEEK", 1)
            patch.setattr(near, "_DEPTH", 1)
            patch.setattr(near, "_cheapest", lambda *_: blocks)
        assert (near_hits(entries, distance) == brute_force(entries, distance)).all()


def test_every_pair_of_bits_apart_is_found():
    """All words at distance 2 from one word, through every table: no bit is lost by the cut."""
    centre = np.uint64(0x0123456789ABCDEF)
    others = [centre ^ np.uint64(1 << a | 1 << b) for a in range(64) for b in range(a)]
    values = np.array([centre, *others], dtype=np.uint64)
    hits = near_hits(Entries(values, np.arange(len(values)) == 0, np.ones(len(values), dtype=bool)), 2)
    assert hits[1:].all()
    assert not near_hits(
        Entries(values, np.arange(len(values)) == 0, np.ones(len(values), dtype=bool)), 1
    ).any()


def test_a_crowded_bucket_is_cut_again(monkeypatch):
    """Half of all hashes share 40 bits: cut by those alone, everything would be compared with everything."""
    random = np.random.default_rng(3)
    values = random.integers(0, 2**64, 60_000, dtype=np.uint64)
    values[::2] &= np.uint64(0xFFFFFF)
    monkeypatch.setattr(near, "_LARGE_BUCKET", 100)
    monkeypatch.setattr(near, "_PEEK", 2)
    monkeypatch.setattr(near, "_cheapest", lambda *_: 2)
    calls = []
    compare = near._compare

    def counted(state, ordered, starts, *, split):
        calls.append(len(ordered))
        return compare(state, ordered, starts, split=split)

    monkeypatch.setattr(near, "_compare", counted)
    everything = np.ones(len(values), dtype=bool)
    hits = near_hits(Entries(values, everything, everything.copy()), 3)
    probe = random.integers(0, len(values), 300)
    for place in probe:
        assert hits[place] == (np.bitwise_count(values[:place] ^ values[place]) <= 3).any()
    assert any(size < len(values) for size in calls)
