from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlm_assets.allocation.apportion import Child, apportion
from vlm_assets_tests.allocation.reference import seat_by_seat


def child(name, share, low=0, cap=10**9):
    return Child(name, Fraction(share), low, cap)


@pytest.mark.parametrize(
    ("seats", "children", "expected"),
    [
        (10, [child("a", "0.7"), child("b", "0.3")], [7, 3]),
        (7, [child("a", "1/2"), child("b", "1/2")], [4, 3]),
        (7, [child("b", "1/2"), child("a", "1/2")], [3, 4]),
        (10, [child("a", "0.7", cap=2), child("b", "0.3")], [2, 8]),
        (10, [child("a", "0.99"), child("b", "0.01", low=3)], [7, 3]),
        (4, [child("a", "0.99", low=6), child("b", "0.01", low=3)], [3, 1]),
        (10, [child("a", "1"), child("b", "0", low=3)], [7, 3]),
        (10, [child("a", "1", cap=4), child("b", "0", low=3)], [4, 3]),
        (5, [], []),
        (0, [child("a", "1", low=2)], [0]),
        (10**15, [child("a", "1/3", cap=10**15), child("b", "2/3", cap=10**15)], [10**15 // 3, 2 * 10**15 // 3 + 1]),
    ],
    ids=[
        "shares", "tie by name", "tie whatever the order", "cap meets the sibling", "min", "below the mins",
        "share 0 takes its min", "share 0 takes no more though others are full", "nobody", "no seats", "huge",
    ],
)  # fmt: skip
def test_cases(seats, children, expected):
    assert apportion(seats, children) == expected


shares = st.fractions(min_value=0, max_value=1, max_denominator=50)


@st.composite
def siblings(draw):
    count = draw(st.integers(1, 6))
    children = []
    for number in range(count):
        cap = draw(st.integers(0, 40))
        children.append(Child(f"n{number}", draw(shares), draw(st.integers(0, cap)), cap))
    return draw(st.permutations(children))


@given(siblings(), st.integers(0, 150))
@settings(max_examples=200, deadline=None)
def test_bulk_gives_what_one_seat_at_a_time_gives(children, seats):
    given_seats = apportion(seats, children)
    expected = seat_by_seat(seats, [(c.name, c.share, c.low, c.cap) for c in children])
    assert dict(zip((c.name for c in children), given_seats, strict=True)) == expected
    assert sum(given_seats) == min(seats, sum(c.room for c in children))
    assert all(type(seat) is int for seat in given_seats)


@given(siblings(), st.integers(0, 150))
@settings(max_examples=100, deadline=None)
def test_one_seat_more_takes_none_away(children, seats):
    fewer, more = apportion(seats, children), apportion(seats + 1, children)
    assert all(one <= other for one, other in zip(fewer, more, strict=True))


def test_thousands_of_cells_take_milliseconds():
    import time

    children = [
        Child(f"{n:05d}", Fraction(n * 7919 % 10007 + 1, 10007), n % 13, 5000 + n * 31 % 9000)
        for n in range(2000)
    ]
    began = time.process_time()
    granted = apportion(10_000_000, children)
    assert sum(granted) == 10_000_000
    assert time.process_time() - began < 2
