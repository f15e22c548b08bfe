"""What `grants.json` says of every node: its quota before rounding, and why it has less than it asked for."""

from collections.abc import Mapping, Sequence
from fractions import Fraction

import pytest

from vlm_assets.allocation.certificate import (
    Figures,
    NodeGrant,
    exact_quotas,
    node_grants,
    shortfall_table,
    source_totals,
)
from vlm_assets.allocation.reasons import ExclusionReason
from vlm_assets.allocation.tree import CellSupply, asked_of, bounds_of, build_tree, grants_of
from vlm_assets.catalog.spec import CorpusSpec, QuotaNode
from vlm_assets.words.errors import AllocationError
from vlm_assets_tests.allocation.builders import quota

LICENCE, TOMBSTONE = ExclusionReason.LICENCE, ExclusionReason.TOMBSTONE
Excluded = Mapping[tuple[str, ...], Mapping[ExclusionReason, int]]


def corpus(quotas: Mapping[str, QuotaNode]) -> CorpusSpec:
    return CorpusSpec(name="c", seed=1, targets={"t": 1}, quotas=dict(quotas))


def nodes_of(
    quotas: Mapping[str, QuotaNode], cells: Sequence[CellSupply], seats: int, excluded: Excluded
) -> dict[str, NodeGrant]:
    """The nodes of a tree with those supplies and, by cell, excluded rows; by path."""
    root = build_tree(corpus(quotas), cells)
    bounds = bounds_of(root)
    rows: dict[tuple[str, ...], int] = {}
    out: dict[tuple[str, ...], dict[str, int]] = {}
    for cell in cells:
        lost = excluded.get(cell.path, {})
        for depth in range(1, len(cell.path) + 1):
            path = cell.path[:depth]
            rows[path] = rows.get(path, 0) + cell.supply + sum(lost.values())
            for reason, count in lost.items():
                here = out.setdefault(path, {})
                here[reason] = here.get(reason, 0) + count
    figures = Figures(asked_of(root, seats), bounds, grants_of(root, seats, bounds), rows, out)
    return {"/".join(node.path): node for node in node_grants(root, figures)}


STREET_AND_SEA = {"photos": quota(1, subcategories={"street": quota("0.5"), "sea": quota("0.5")})}


def cell(subcategory: str, supply: int, source: str = "a") -> CellSupply:
    return CellSupply("photos", subcategory, source, supply)


@pytest.mark.parametrize(
    ("quotas", "cells", "seats", "excluded", "node", "cause"),
    [
        pytest.param(
            STREET_AND_SEA, [cell("street", 9), cell("sea", 9)], 10, {}, "photos/sea", "", id="all-it-asked"
        ),
        pytest.param(STREET_AND_SEA, [cell("street", 9)], 10, {}, "photos/sea", "no committed rows", id="no-rows"),
        pytest.param(
            STREET_AND_SEA, [cell("street", 9), cell("sea", 0)], 10,
            {("photos", "sea", "a"): {LICENCE: 3, TOMBSTONE: 0}}, "photos/sea",
            "all rows excluded (licence 3)", id="all-excluded",
        ),
        pytest.param(
            STREET_AND_SEA, [cell("street", 9), cell("sea", 2)], 10, {("photos", "sea", "a"): {LICENCE: 3}},
            "photos/sea", "supply", id="less-than-it-asked-there",
        ),
        pytest.param(
            {"photos": quota(1, subcategories={"street": quota(1), "sea": quota(0)})},
            [cell("street", 20), cell("sea", 9)], 10, {}, "photos/sea", "share 0", id="share-0",
        ),
        pytest.param(
            {"photos": quota(1, subcategories={"street": quota("0.5"), "sea": quota("0.5", max=0)})},
            [cell("street", 20), cell("sea", 9)], 10, {}, "photos/sea", "max", id="its-own-max",
        ),
        pytest.param(
            {"photos": quota("0.5", subcategories={"street": quota("0.5", max=1), "sea": quota("0.5", max=1)}),
             "pages": quota("0.5", subcategories={"news": quota(1)})},
            [cell("street", 20), cell("sea", 9), CellSupply("pages", "news", "b", 30)], 20, {}, "photos",
            "", id="maxes-below-are-in-what-it-asks",
        ),
        pytest.param(
            {"photos": quota("0.5", subcategories={"street": quota("0.5", max=3), "sea": quota("0.5")}),
             "pages": quota("0.5", subcategories={"news": quota(1)})},
            [cell("street", 20), cell("sea", 1), CellSupply("pages", "news", "b", 30)], 20, {}, "photos",
            "supply and max below", id="supply-and-max-below",
        ),
        pytest.param(
            {"photos": quota(1, subcategories={"street": quota(1)}),
             "pages": quota(0, subcategories={"news": quota(1)})},
            [cell("street", 20), CellSupply("pages", "news", "b", 30)], 10, {}, "pages/news",
            "nothing granted to pages", id="nothing-to-share",
        ),
        pytest.param(
            {"photos": quota(1, subcategories={"street": quota("0.9"), "sea": quota("0.1")})},
            [cell("street", 20), cell("sea", 9)], 1, {}, "photos/sea", "target too small for a seat", id="no-seat",
        ),
    ],
)  # fmt: skip
def test_a_node_says_why_it_has_less_than_it_asked_for_or_nothing(
    quotas, cells, seats, excluded, node, cause
):
    assert nodes_of(quotas, cells, seats, excluded)[node].cause == cause


def test_nothing_is_granted_where_the_corpus_has_no_seats():
    nodes = nodes_of(STREET_AND_SEA, [cell("street", 9), cell("sea", 9)], 0, {})
    assert nodes["photos"].cause == "nothing granted to the corpus"


def test_figures_of_a_node_are_those_of_the_tree_and_of_the_rows():
    quotas = {"photos": quota(1, subcategories={"street": quota("1/3", min=2, max=7), "sea": quota("2/3")})}
    cells = [cell("street", 5), cell("street", 4, "b"), cell("sea", 3)]
    nodes = nodes_of(quotas, cells, 12, {("photos", "street", "b"): {LICENCE: 6, TOMBSTONE: 0}})
    street = nodes["photos/street"]
    assert (street.share, street.quota, street.asked, street.min, street.max) == ("1/3", "4", 4, 2, 7)
    assert (street.effective_min, street.capacity) == (2, 7)
    assert (street.rows, street.excluded, street.supply) == (15, {LICENCE: 6}, 9)
    assert (street.granted, street.shortfall) == (7, 0)
    sea = nodes["photos/sea"]
    assert (sea.quota, sea.asked, sea.granted, sea.shortfall, sea.cause) == ("8", 8, 3, 5, "supply")
    assert shortfall_table(list(nodes.values())).splitlines() == [
        "  photos: asked 12, granted 10, short 2: supply and max below",
        "  photos/sea: asked 8, granted 3, short 5: supply",
        "  photos/sea/a: asked 8, granted 3, short 5: supply",
    ]
    assert [nodes[f"photos/street/{name}"].share for name in "ab"] == ["5/9", "4/9"]


def test_counts_come_off_before_shares_and_never_below_nothing():
    quotas = {
        "photos": quota("1/4", subcategories={"street": quota("1/3"), "sea": quota("2/3")}),
        "pages": quota("3/4", subcategories={"news": QuotaNode(count=4), "books": quota(1)}),
        "few": QuotaNode(count=10, subcategories={"one": quota(1)}),
    }
    root = build_tree(corpus(quotas), [])
    told = {"/".join(path): share for path, share in exact_quotas(root, 22).items()}
    assert told == {
        "": 22, "few": 10, "few/one": 10, "photos": 3, "photos/street": 1, "photos/sea": 2,
        "pages": 9, "pages/news": 4, "pages/books": 5,
    }  # fmt: skip
    scarce = {"/".join(path): share for path, share in exact_quotas(root, 8).items()}
    assert [scarce[name] for name in ("few", "photos", "pages/books")] == [10, 0, 0]
    assert all(isinstance(share, Fraction) for share in told.values())


def test_lines_of_sources_add_up_and_say_why_nothing_was_taken():
    nodes = nodes_of(STREET_AND_SEA, [cell("street", 4), cell("sea", 0, "b")], 10, {
        ("photos", "sea", "b"): {LICENCE: 3},
    })  # fmt: skip
    excluded: dict[str, dict[str, int]] = {"b": {LICENCE: 3, TOMBSTONE: 0}}
    lines = source_totals(["a", "b", "c"], {"a": 6, "b": 3, "c": 2}, excluded, {"a": 4}, list(nodes.values()))
    assert [one.model_dump(exclude={"labels"}) for one in lines] == [
        {"source": "a", "admitted": 6, "selected": 4, "excluded": {}, "not_selected": 2, "cause": ""},
        {"source": "b", "admitted": 3, "selected": 0, "excluded": {LICENCE: 3}, "not_selected": 0,
         "cause": "all rows excluded (licence 3)"},
        {"source": "c", "admitted": 2, "selected": 0, "excluded": {}, "not_selected": 2,
         "cause": "no row leads to a quota"},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("admitted", "selected", "excluded"),
    [
        pytest.param(3, 4, 0, id="more-selected-than-admitted"),
        pytest.param(5, 4, 2, id="more-out-than-in"),
        pytest.param(9, 3, 0, id="less-selected-than-granted"),
    ],
)
def test_lines_that_do_not_add_up_are_an_error(admitted, selected, excluded):
    nodes = nodes_of(STREET_AND_SEA, [cell("street", 4)], 10, {})
    with pytest.raises(
        AllocationError, match=rf"a: {admitted} rows? admitted, {selected} selected of 4 granted"
    ):
        source_totals(
            ["a"], {"a": admitted}, {"a": {LICENCE: excluded}}, {"a": selected}, list(nodes.values())
        )


def test_several_causes_of_one_source_are_told_once_each():
    nodes = nodes_of(
        {"photos": quota(1, subcategories={name: quota("1/3") for name in ("x", "y", "z")})},
        [cell("x", 0), cell("y", 0), cell("z", 0)], 9,
        {("photos", "x", "a"): {LICENCE: 1}, ("photos", "y", "a"): {LICENCE: 1}},
    )  # fmt: skip
    [line] = source_totals(["a"], {"a": 2}, {"a": {LICENCE: 2}}, {}, list(nodes.values()))
    assert line.cause == "all rows excluded (licence 1); no committed rows"
