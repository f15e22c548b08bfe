"""Under every declared policy the recount agrees with a right allocator: no false alarm."""

from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlm_assets.allocation.apportion import Child, apportion
from vlm_assets.allocation.committed import gather_supply
from vlm_assets.allocation.inputs import inputs_hash
from vlm_assets.allocation.step import tombstones_in_force
from vlm_assets.audit.near import near_pairs
from vlm_assets.audit.quotas import Taker, split, unfair
from vlm_assets.audit.rules import SupplyEntry, declared_rules
from vlm_assets.audit.run import audit_corpus
from vlm_assets_tests.audit.breaking import CORPUS, TARGET, build, copy_of, good_once
from vlm_assets_tests.workplace import write_catalog


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    return good_once(tmp_path_factory)


POLICIES: dict[str, dict[str, Any]] = {
    "pairs": {"dedup": {"exact": "record"}},
    "no dedup": {"dedup": {"exact": "none"}},
    "near": {"dedup": {"exact": "image", "near_bits": 11, "precedence": ["wild"]}},
    "near by category": {"dedup": {"exact": "image", "near_bits": {"photos": 12, "pages": 9}}},
    "report": {"shortfall": "report", "targets": {TARGET: 60, "t12": 12}},
    "all there is": {"targets": {TARGET: 1000, "t12": 12}},
    "all": {"targets": {TARGET: "all", "t12": 12}, "shortfall": "report"},
    "one row": {"targets": {TARGET: 1, "t12": 12}},
    "allow": {"licences": {"allow": ["CC0-1.0"]}},
    "benchmark by likeness": {"decontaminate_bits": 16},
    "filters": {
        "filters": {
            "small": {"keep": "image_bytes < 925 or any(image_facts.format == 'PNG')"},
            "said": {"keep": "has_text", "only": {"source": ["street"]}},
        },
        "targets": {TARGET: 1000, "t12": 12},
    },
    "count": {
        "quotas": {
            "photos": {"share": 1, "subcategories": {"street": {"count": 4}, "nature": {"share": 1, "subcategories": {
                "day": {"share": "1/3", "max": 7}, "night": {"share": "2/3", "min": 5}}}}},
            "pages": {"count": 3, "subcategories": {"scans": {"share": 1}}},
        }
    },
}  # fmt: skip


@pytest.mark.parametrize("name", POLICIES)
def test_a_right_allocator_has_no_finding(good, tmp_path, name):
    broken = copy_of(good, tmp_path)
    import yaml

    named = yaml.safe_load((good.catalog_dir / "corpus.yaml").read_text("utf-8"))
    sources = yaml.safe_load((good.catalog_dir / "sources" / "all.yaml").read_text("utf-8"))["sources"]
    write_catalog(tmp_path / "catalog", *sources, corpus={**CORPUS, **named, **POLICIES[name]})
    installation = broken.installation
    build(installation)
    findings = audit_corpus(installation, TARGET, full=True)
    assert [(f.name, f.observed, f.examples) for f in findings if not (f.passed and f.judged)] == []
    figures = next(f.figures for f in findings if f.name == "allocation_sums")
    asked = next(f.expected for f in findings if f.name == "quotas")
    assert asked.startswith("all rows by ") == (name == "all")
    if name.startswith("near"):
        assert figures["excluded"]["duplicate"] > 3  # not only the copies
    if name == "benchmark by likeness":
        assert figures["excluded"]["decontaminate"] > 1
    supply = gather_supply(installation)
    entries = [
        SupplyEntry(s.source, s.slice, s.content_hash, s.container, s.items_per_slice) for s in supply.slices
    ]
    tombstones = tombstones_in_force(installation.root)
    rules = declared_rules(installation.catalog, TARGET, entries, tombstones.hashes, installation.catalog_dir)
    assert rules.hash == inputs_hash(
        installation.catalog, TARGET, supply.slices, tombstones, base_dir=installation.catalog_dir
    )


@st.composite
def siblings(draw):
    takers = []
    for number in range(draw(st.integers(1, 6))):
        cap = draw(st.integers(0, 30))
        low = draw(st.integers(0, cap)) if draw(st.booleans()) else 0
        share = draw(st.fractions(0, 3, max_denominator=20))
        takers.append(Taker(f"{'ab'[number % 2]}{number}", Fraction(share), low, cap))
    return draw(st.integers(0, 90)), takers


@given(siblings())
@settings(max_examples=150, deadline=None)
def test_the_inequality_holds_for_the_optimum_and_for_nothing_else(case):
    seats, takers = case
    grants = apportion(seats, [Child(t.name, t.share, t.low, t.cap) for t in takers])
    assert unfair(seats, takers, grants) == []
    assert split(seats, takers) == grants
    for one, other in product(range(len(takers)), repeat=2):
        if one != other and grants[one]:
            moved = [g - (n == one) + (n == other) for n, g in enumerate(grants)]
            assert unfair(seats, takers, moved)


@pytest.mark.parametrize("bits", [0, 1, 3, 6])
def test_near_pairs_by_bands_are_all_pairs(monkeypatch, bits):
    rng = np.random.default_rng(bits)
    base = rng.integers(0, 2**64, 300, dtype=np.uint64)
    flips = np.uint64(1) << rng.integers(0, 64, (4, 300), dtype=np.uint64)
    values = np.unique(np.concatenate([base, base ^ flips[0], base ^ flips[0] ^ flips[1] ^ flips[2]]))
    plain = set(zip(*(a.tolist() for a in near_pairs(values, values, bits)), strict=True))
    monkeypatch.setattr("vlm_assets.audit.near._DIRECT", 0)
    banded = list(zip(*(a.tolist() for a in near_pairs(values, values, bits)), strict=True))
    assert set(banded) == plain
    assert len(banded) == len(plain)
