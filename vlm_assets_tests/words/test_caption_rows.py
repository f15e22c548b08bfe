"""Counts of caption rows that add up over archives and slices: a row that several joined is one."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlm_assets.words.caption_rows import (
    BESIDE,
    CaptionRows,
    TableRows,
    beside_archives,
    settled,
    sum_counts,
)


def looked(joined: Sequence[bool], *, table: str = "m.csv", archives: int = 1) -> dict[str, Any]:
    """What an archive tells of a table beside it; what a listing does with `archives=0`."""
    rows = TableRows()
    for one in joined:
        rows.add(joined=one)
    return sum_counts([{BESIDE: {table: rows.as_json()}}, beside_archives([table] * archives)])


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 40).flatmap(lambda rows: st.lists(st.lists(st.booleans(), min_size=rows, max_size=rows)))
)
def test_a_row_is_lost_where_no_archive_joined_it(archives: list[list[bool]]) -> None:
    rows = len(archives[0]) if archives else 0
    expected = sum(map(any, zip(*archives, strict=True)))
    for told in (archives, archives[::-1]):
        listed = beside_archives(["m.csv"] * len(archives))
        found = settled(listed, map(looked, told)) or CaptionRows()
        assert (found.joined, found.name_nothing, found.waiting) == (expected, rows - expected, 0)
        halves = [sum_counts(map(looked, told[:2])), sum_counts(map(looked, told[2:]))]
        assert (settled(listed, halves) or CaptionRows()) == found


LISTED = {"joined": 2, "name_nothing": 1, "elsewhere": 2, "images_without_rows": 4, "examples": ["m: line 9"]}


@pytest.mark.parametrize(
    ("listed", "fetched", "expected"),
    [
        pytest.param({}, [], None, id="nothing-counted"),
        pytest.param(
            {"sidecars": 2, "sidecars_unused": 1, "images_without_rows": 1},
            [{"sidecars": 1, "sidecars_unused": 2}, {"images": 3, "images_without_rows": 2}],
            CaptionRows(joined=3, name_nothing=3, images_without_rows=3), id="sidecars",
        ),
        pytest.param(
            {}, [{"rows": 3, "joined": 1, "name_nothing": 2, "examples": ["x!m: line 2"]}],
            CaptionRows(joined=1, name_nothing=2, examples=["x!m: line 2"]), id="inside",
        ),
        pytest.param(
            sum_counts([LISTED, looked([True, False, False], archives=2)]), [looked([False, True, False])],
            CaptionRows(joined=3, name_nothing=1, waiting=1, images_without_rows=4, examples=["m: line 9"]),
            id="one-archive-is-not-fetched",
        ),
        pytest.param(
            sum_counts([LISTED, looked([True, False, False], archives=2)]),
            [looked([False, True, False]), looked([True, False, False])],
            CaptionRows(
                joined=3, name_nothing=2, images_without_rows=4,
                examples=["m: line 9", "m.csv: row 3 names nothing that is there"],
            ), id="both-are",
        ),
        pytest.param(
            beside_archives(["m.csv", "n.csv"]), [looked([True]), beside_archives(["n.csv"])],
            CaptionRows(joined=1), id="a-table-that-an-archive-leaves-alone",
        ),
    ],
)  # fmt: skip
def test_what_is_settled(listed: Any, fetched: Any, expected: CaptionRows | None) -> None:
    assert settled(listed, fetched) == expected


@pytest.mark.parametrize(
    ("joined", "longest"),
    [
        pytest.param([True] * 20_000, 20, id="all"),
        pytest.param([number % 200 == 7 for number in range(20_000)], 700, id="some"),
        pytest.param([number % 3 == 1 for number in range(20_000)], 3_400, id="every-third"),
        pytest.param([False] * 20_000, 0, id="none"),
    ],
)
def test_marks_of_many_rows_are_short_and_come_back(joined: list[bool], longest: int) -> None:
    told = looked(joined)
    assert len(told[BESIDE]["m.csv"]["joined"]) <= longest
    expected = sum(joined)
    first = [f"m.csv: row {row + 1} names nothing that is there" for row, one in enumerate(joined) if not one]
    assert settled({}, [told, told]) == CaptionRows(
        joined=expected, name_nothing=20_000 - expected, examples=first[:5]
    )
