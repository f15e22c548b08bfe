"""Properties of the grants over random trees of up to three levels above the sources."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlm_assets.allocation.tree import (
    CellSupply,
    asked_of,
    bounds_of,
    build_tree,
    clipped,
    grants_of,
)
from vlm_assets.catalog.spec import CorpusSpec, QuotaNode
from vlm_assets.words.errors import AllocationError
from vlm_assets_tests.allocation.builders import quota
from vlm_assets_tests.allocation.reference import tree_of


def corpus(quotas):
    return CorpusSpec(name="c", seed=1, targets={"t": 1}, quotas=quotas)


@st.composite
def quota_nodes(draw, depth):
    """A dict of sibling nodes whose shares sum to 1 (if any has a share)."""
    names = draw(st.lists(st.sampled_from("abcde"), min_size=1, max_size=4, unique=True))
    weights = [draw(st.integers(0, 9)) for _ in names]
    counted = [draw(st.integers(0, 6)) == 0 for _ in names]
    total = sum(w for w, c in zip(weights, counted, strict=True) if not c)
    nodes = {}
    for name, weight, is_count in zip(names, weights, counted, strict=True):
        below = draw(quota_nodes(depth - 1)) if depth > 1 and draw(st.booleans()) else {}
        if is_count or not total:
            nodes[name] = QuotaNode(count=draw(st.integers(0, 15)), subcategories=below)
            continue
        low = draw(st.sampled_from([0, 0, 0, 1, 5, 20]))
        high = draw(st.sampled_from([None, None, low, low + 3, low + 30]))
        nodes[name] = QuotaNode(share=Fraction(weight, total), min=low, max=high, subcategories=below)
    return nodes


@st.composite
def supplied_trees(draw):
    quotas = draw(quota_nodes(3))
    cells = []
    for category, node in quotas.items():
        for leaf in node.leaves() if node.subcategories else []:
            count = draw(st.integers(0, 3))
            weighted = draw(st.booleans())
            for number in range(count):
                supply = draw(st.sampled_from([0, 1, 3, 10, 60]))
                weight = draw(st.fractions(0, 5, max_denominator=7)) if weighted else None
                cells.append(CellSupply(category, leaf, f"s{number}", supply, weight))
    return {name: node for name, node in quotas.items() if node.subcategories}, cells


def reference(quotas, cells):
    by_leaf: dict = {}
    for cell in cells:
        by_leaf.setdefault(cell.path[:-1], {})[cell.source] = (cell.supply, cell.weight)
    return tree_of(quotas, by_leaf)


@given(supplied_trees(), st.integers(0, 120))
@settings(max_examples=150, deadline=None)
def test_grants_are_those_of_the_reference(tree, seats):
    quotas, cells = tree
    root = build_tree(corpus(quotas), cells)
    expected = reference(quotas, cells)
    assert grants_of(root, seats, bounds_of(root)) == expected.grants(min(seats, expected.cap()))


@given(supplied_trees(), st.integers(0, 120))
@settings(max_examples=100, deadline=None)
def test_sums_and_bounds(tree, seats):
    quotas, cells = tree
    root = build_tree(corpus(quotas), cells)
    bounds = bounds_of(root)
    grants = grants_of(root, seats, bounds)
    assert grants[()] == min(seats, bounds[()].cap)
    for node in root.walk():
        given_seats = grants[node.path]
        assert type(given_seats) is int
        assert node.share is None or type(node.share) is Fraction
        assert 0 <= given_seats <= node.supply
        assert node.high is None or given_seats <= node.high
        if node.level != "source":
            assert given_seats == sum(grants[child.path] for child in node.children)
        # A min yields to its ancestors' maxes, and to a target below the sum of the mins; else it is met.
        if given_seats >= sum(bounds[child.path].low for child in node.children):
            assert all(grants[child.path] >= bounds[child.path].low for child in node.children)


@given(supplied_trees(), st.integers(0, 120), st.integers(0, 60))
@settings(max_examples=100, deadline=None)
@pytest.mark.parametrize("mode", ["redistribute", "report"])
def test_a_larger_target_takes_no_seat_away(mode, tree, seats, more):
    quotas, cells = tree
    root = build_tree(corpus(quotas), cells)

    def grants(target):
        if mode == "report":
            return clipped(root, asked_of(root, target))
        return grants_of(root, target, bounds_of(root))

    small, large = grants(seats), grants(seats + more)
    assert all(large[path] >= given_seats for path, given_seats in small.items())


@given(supplied_trees(), st.integers(0, 120), st.randoms(use_true_random=False))
@settings(max_examples=50, deadline=None)
def test_order_of_declaration_does_not_matter(tree, seats, random):
    quotas, cells = tree

    def shuffled(nodes):
        items = list(nodes.items())
        random.shuffle(items)
        return {
            name: node.model_copy(update={"subcategories": shuffled(node.subcategories)})
            for name, node in items
        }

    root = build_tree(corpus(quotas), cells)
    other = build_tree(corpus(shuffled(quotas)), random.sample(cells, len(cells)))
    assert other == root
    assert grants_of(other, seats, bounds_of(other)) == grants_of(root, seats, bounds_of(root))


@given(supplied_trees(), st.integers(0, 120))
@settings(max_examples=100, deadline=None)
def test_report_never_gives_more_than_asked_or_supplied(tree, seats):
    quotas, cells = tree
    root = build_tree(corpus(quotas), cells)
    asked = asked_of(root, seats)
    grants = clipped(root, asked)
    for node in root.walk():
        assert grants[node.path] <= min(asked[node.path], node.supply)
        if node.level == "source":
            assert grants[node.path] == min(asked[node.path], node.supply)


def two(supply_a, supply_b, high=None):
    quotas = {"p": quota(1, subcategories={"a": quota("0.7"), "b": quota("0.3", max=high)})}
    return build_tree(
        corpus(quotas), [CellSupply("p", "a", "s", supply_a), CellSupply("p", "b", "t", supply_b)]
    )


def test_asked_is_what_unlimited_supply_would_give():
    root = two(2, 0)
    assert asked_of(root, 10)[("p", "a")] == 7
    assert asked_of(root, 10)[("p", "b")] == 3
    assert grants_of(root, 10, bounds_of(root))[()] == 2


def test_counts_ask_for_the_same_whatever_the_target():
    """A count above the target weighs in full, else target 1 would give its seat to another."""
    quotas = {"p": quota(1, subcategories={"b": quota(0, min=1), "c": quota(count=2), "d": quota(1)})}
    root = build_tree(corpus(quotas), [])
    assert [asked_of(root, seats)["p", "b"] for seats in (1, 2, 3)] == [0, 1, 1]


def test_report_leaves_seats_that_meet_a_supply():
    root = two(2, 100)
    assert clipped(root, asked_of(root, 10))[()] == 2 + 3
    assert grants_of(root, 10, bounds_of(root))[()] == 10


def test_report_hands_on_seats_that_meet_a_max():
    root = two(100, 100, high=1)
    assert clipped(root, asked_of(root, 10))[("p", "a")] == 9


@pytest.mark.parametrize(
    "cells",
    [
        [CellSupply("p", "nowhere", "s", 3)],
        [CellSupply("p", "a", "s", 3, Fraction(1)), CellSupply("p", "a", "t", 3)],
        [CellSupply("p", "a", "s", 3), CellSupply("p", "a", "s", 3)],
    ],
    ids=["no such leaf", "mixed weights", "twice"],
)
def test_cells_that_do_not_fit_are_refused(cells):
    with pytest.raises(AllocationError):
        build_tree(corpus({"p": quota(1, subcategories={"a": quota(1)})}), cells)
