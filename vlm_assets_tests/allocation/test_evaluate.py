"""Expressions over columns: what they come to, and that allocator and audit, who share no code for it, agree."""

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlm_assets.allocation.evaluate import Evaluation
from vlm_assets.audit.expressions import Telling, names_of, tree_of
from vlm_assets.catalog.expressions import ColumnKind, Kind, check_kinds, names_in, parsed
from vlm_assets.words.errors import AllocationError

COUNTS = [1, 2, 3, 1]
COLUMNS: dict[str, pa.Array] = {
    "n": pa.array([1.0, None, 3.0, 0.0]),
    "whole": pa.array([1, 2, None, 2**40], pa.int64()),
    "f": pa.array([0.5, math.nan, math.inf, -1.0], pa.float32()),
    "t": pa.array(["a", None, "İ", "i̇"]),
    "b": pa.array([True, False, None, True]),
    "i.n": pa.array([[5], [1, 9], [None, 2, 7], None], pa.list_(pa.float64())),
    "i.b": pa.array([[True], [False, True], [False, None, False], None], pa.list_(pa.bool_())),
    "i.t": pa.array([["x"], ["x", "y"], ["y", None, "x"], None], pa.list_(pa.string())),
}
KINDS = {
    "n": ColumnKind(Kind.NUMBER), "whole": ColumnKind(Kind.NUMBER), "f": ColumnKind(Kind.NUMBER),
    "t": ColumnKind(Kind.TEXT), "b": ColumnKind(Kind.TRUTH), "i.n": ColumnKind(Kind.NUMBER, of_images=True),
    "i.b": ColumnKind(Kind.TRUTH, of_images=True), "i.t": ColumnKind(Kind.TEXT, of_images=True),
}  # fmt: skip


def by_allocator(text: str, columns: dict[str, pa.Array], counts: list[int]) -> list[bool | None]:
    evaluation = Evaluation(len(counts), columns.__getitem__, lambda: np.array(counts, np.int32))
    true, missing = evaluation.truth(parsed(text))
    assert not (true & missing).any()
    return [None if lacks else bool(holds) for holds, lacks in zip(true, missing, strict=True)]


def by_audit(text: str, columns: dict[str, pa.Array], counts: list[int]) -> list[bool | None]:
    true, false = Telling(np.array(counts, np.int32), columns.__getitem__).of_records(tree_of(text))
    assert not (true & false).any()
    return [bool(one) if one or other else None for one, other in zip(true, false, strict=True)]


T, F, N = True, False, None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("n >= 1", [T, N, T, F]),
        ("not n >= 1", [F, N, F, T]),
        ("0 < n <= 1", [T, N, F, F]),
        ("n / n == 1", [T, N, T, N]),
        ("1 / n > 0", [T, N, T, N]),
        ("-n + 2 * n - n == 0", [T, N, T, T]),
        ("f > 0", [T, N, T, F]),
        ("f - f == 0", [T, N, N, T]),
        ("whole in [1, 1099511627776]", [T, F, N, T]),
        ("whole not in [1]", [F, T, N, T]),
        ("whole == n", [T, N, N, F]),
        ("n > 2 or b", [T, N, T, T]),
        ("n > 2 and b", [F, F, N, F]),
        ("b", [T, F, N, T]),
        ("b == (n >= 1)", [T, N, N, F]),
        ("b != true", [F, T, N, F]),
        ("t == 'a'", [T, N, F, F]),
        ("t in ['İ', 'a']", [T, N, T, F]),
        ("true", [T, T, T, T]),
        ("1 > 2", [F, F, F, F]),
        ("min(i.n) >= 2", [T, F, N, N]),
        ("max(i.n) >= 2", [T, T, N, N]),
        ("any(i.n >= 2)", [T, T, T, N]),
        ("any(i.n >= 8)", [F, T, N, N]),
        ("all(i.n >= 2)", [T, F, N, N]),
        ("all(i.n >= 8)", [F, F, F, N]),
        ("any(i.b)", [T, T, N, N]),
        ("all(i.b)", [T, F, F, N]),
        ("any(i.t == 'y' and i.n < 3)", [F, F, N, N]),
        ("all(i.n > n)", [T, N, F, N]),
        ("any(i.n > min(i.n) + 1)", [F, T, N, N]),
        ("any(i.t in ['y'])", [F, T, T, N]),
        ("any(i['t'] == 'y') and max(i['n']) > 3", [F, T, N, N]),
        ("any(not b)", None),
    ],
)
def test_what_it_comes_to(text, expected):
    if expected is None:  # values of images are needed; `check` says so
        with pytest.raises(ValueError, match="one value of a record"):
            check_kinds(parsed(text), KINDS)
        return
    check_kinds(parsed(text), KINDS)
    assert by_allocator(text, COLUMNS, COUNTS) == expected
    assert by_audit(text, COLUMNS, COUNTS) == expected
    assert names_of(tree_of(text)) == names_in(parsed(text))


def test_values_of_another_number_of_images():
    with pytest.raises(AllocationError, match=r"i\.n: 2 values for a record of 1 image"):
        by_allocator("min(i.n) > 1", COLUMNS, [1, 1, 3, 1])


@st.composite
def batches(draw) -> tuple[dict[str, pa.Array], list[int]]:
    counts = draw(st.lists(st.integers(1, 3), min_size=1, max_size=5))
    numbers = st.none() | st.sampled_from([-1.0, 0.0, 0.5, 2.0, math.nan, math.inf])
    texts = st.none() | st.sampled_from(["", "a", "İ"])
    truths = st.none() | st.booleans()
    single = {"n": (numbers, pa.float64()), "t": (texts, pa.string()), "b": (truths, pa.bool_())}
    columns = {
        name: pa.array([draw(values) for _ in counts], kind) for name, (values, kind) in single.items()
    }
    for name, (values, kind) in single.items():
        lists = [None if draw(st.integers(0, 4)) == 0 else [draw(values) for _ in range(n)] for n in counts]
        columns[f"i.{name}"] = pa.array(lists, pa.list_(kind))
    return columns, counts


def _leaf(name, of_images) -> str:
    return f"i.{name}" if of_images else name


@st.composite
def truths(draw, depth: int = 3, *, of_images=False) -> str:
    choice = draw(st.integers(0, 6 if depth else 2))
    if choice == 0:
        return str(draw(st.sampled_from([_leaf("b", of_images), "true", "false"])))
    if choice == 1:
        sign = draw(st.sampled_from(["<", "<=", ">", ">=", "==", "!="]))
        one, other = (draw(figures(depth, of_images=of_images)) for _ in range(2))
        return f"({one} {sign} {other})"
    if choice == 2:
        word = draw(st.sampled_from(["== 'a'", "!= ''", "in ['a', 'İ']", "not in ['']"]))
        return f"({_leaf('t', of_images)} {word})"
    if choice == 3:
        return f"(not {draw(truths(depth - 1, of_images=of_images))})"
    if choice in (4, 5) or of_images:
        word = draw(st.sampled_from(["and", "or", "==", "!="]))
        one, other = (draw(truths(depth - 1, of_images=of_images)) for _ in range(2))
        return f"({one} {word} {other})"
    inner = draw(truths(depth - 1, of_images=True))
    return f"{draw(st.sampled_from(['any', 'all']))}({inner} or i.b)"


@st.composite
def figures(draw, depth: int, *, of_images=False) -> str:
    choice = draw(st.integers(0, 3 if depth else 1))
    if choice == 0:
        return str(draw(st.sampled_from([0, 1, 0.5, 2])))
    if choice == 1:
        return _leaf("n", of_images)
    if choice == 2:
        sign = draw(st.sampled_from("+-*/"))
        one, other = (draw(figures(depth - 1, of_images=of_images)) for _ in range(2))
        return f"({one} {sign} {other})"
    inner = draw(figures(depth - 1, of_images=True))
    return f"{draw(st.sampled_from(['min', 'max']))}(i.n - {inner})"


@given(batches(), truths())
@settings(max_examples=80, deadline=None)
def test_allocator_and_audit_agree(batch: Any, text: str):
    check_kinds(parsed(text), KINDS)
    columns, counts = batch
    assert by_allocator(text, columns, counts) == by_audit(text, columns, counts)
