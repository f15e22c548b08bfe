from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vlm_assets.allocation.inputs import inputs_hash
from vlm_assets.allocation.supply import SupplySlice
from vlm_assets.catalog.labels import SubcategoryFrom
from vlm_assets.catalog.spec import DedupSpec, LicencePolicy, ShardSpec
from vlm_assets.words.errors import AllocationError
from vlm_assets.words.tombstones import Tombstones
from vlm_assets_tests.allocation.builders import catalog, quota, source

QUOTAS = {"photos": quota(1, subcategories={"street": quota("0.5"), "nature": quota("0.5", min=1)})}
SUPPLY = [
    SupplySlice("a", name, f"v{name}", f"hash-{name}", 5, container=False, items_per_slice=5, path=Path(name))
    for name in ("s", "t")
]
RULE = SubcategoryFrom(column="l", map={"0": "street"})


def sources(**changes: Any):
    return [source("a", **changes), source("b", subcategory_from=RULE), source("off", enabled=False)]


def world(given_sources=None, quotas=None, **corpus: Any):
    corpus.setdefault("targets", {"t": 10, "u": 20})
    return catalog(sources() if given_sources is None else given_sources, quotas or QUOTAS, **corpus)


def hash_of(cat=None, target="t", supply=None, stones=None, base_dir=None):
    return inputs_hash(
        cat or world(),
        target,
        SUPPLY if supply is None else supply,
        stones or Tombstones(),
        base_dir=base_dir,
    )


BASE = hash_of()


@pytest.mark.parametrize(
    "changed",
    [
        {"cat": world(seed=8)},
        {"target": "u"},
        {"cat": world(quotas={"photos": quota(1, subcategories={"street": quota("0.4"), "nature": quota("0.6")})})},
        {"cat": world(shortfall="report")},
        {"cat": world(dedup=DedupSpec(exact="none"))},
        {"cat": world(dedup=DedupSpec(exact="image", near_bits=2))},
        {"cat": world(dedup=DedupSpec(precedence=("b",)))},
        {"cat": world(licences=LicencePolicy(deny=("unknown",)))},
        {"cat": world(min_side_px=1)},
        {"cat": world(decontaminate_bits=1)},
        {"cat": world(shard=ShardSpec(window_bytes=10**6))},
        {"cat": world(sources(licence="MIT"))},
        {"cat": world(sources(max_samples=5))},
        {"cat": world(sources(weight="1/2"))},
        {"cat": world(sources(subcategory="nature"))},
        {"cat": world([*sources(), source("c")])},
        {"cat": world([source("a"), source("b", subcategory_from=SubcategoryFrom(column="l", map={"1": "street"}))])},
        {"supply": SUPPLY[:1]},
        {"supply": [SUPPLY[0], replace(SUPPLY[1], content_hash="other")]},
        {"supply": [SUPPLY[0], replace(SUPPLY[1], items_per_slice=6)]},
        {"stones": Tombstones(hashes=("x",))},
    ],
    ids=[
        "seed", "target", "quotas", "shortfall", "exact", "near", "precedence", "licences", "side", "bits", "shard",
        "licence", "max_samples", "weight", "subcategory", "source", "map", "slice gone", "content", "layout", "P",
    ],
)  # fmt: skip
def test_what_decides_the_corpus_changes_the_hash(changed):
    assert hash_of(**changed) != BASE


@pytest.mark.parametrize(
    "changed",
    [
        {"cat": world(targets={"t": 10})},
        {"cat": world(targets={"t": 10, "x": 10}), "target": "x"},
        {"cat": world(sources(cooldown_s=9, reject_tolerance=0.5, max_concurrency=3, hold=True, verify="header"))},
        {"cat": world([*sources(), source("c", enabled=False)])},
        {"cat": world(formats=("PNG",), keep_versions=9, require_complete=False)},
        {"cat": world(quotas={"photos": quota(1, subcategories={
            "nature": quota("1/2", min=1), "street": quota("1/2")})})},
        {"cat": world(dedup=DedupSpec(near_bits={"photos": 0}))},
        {"cat": world(shard=ShardSpec(max_bytes="2GB"))},
        {"supply": SUPPLY[::-1]},
        {"supply": [replace(SUPPLY[0], version="other", path=Path("elsewhere")), SUPPLY[1]]},
    ],
    ids=["other targets", "a target's name", "manners", "a disabled source", "fetching", "writing of shares",
         "writing of bits", "writing of sizes", "order of supply", "version and place"],
)  # fmt: skip
def test_nothing_else_does(changed):
    assert hash_of(**changed) == BASE


def test_decontamination_lists_count_by_content(tmp_path):
    (tmp_path / "one").write_bytes(b"1")
    (tmp_path / "two").write_bytes(b"1")
    (tmp_path / "other").write_bytes(b"2")
    hashes = {
        name: hash_of(world(decontaminate=(Path(name),)), base_dir=tmp_path)
        for name in ("one", "two", "other")
    }
    assert hashes["one"] == hashes["two"] != hashes["other"]
    with pytest.raises(AllocationError, match="no such file"):
        hash_of(world(decontaminate=(Path("gone"),)), base_dir=tmp_path)
    with pytest.raises(AllocationError, match="relative to the catalogue"):
        hash_of(world(decontaminate=(Path("one"),)))


def test_the_hash_does_not_drift():
    """A change here rebuilds every corpus: raise ALGORITHM_VERSION and say so, or find out why it changed."""
    assert BASE == "19db19218b7126877376d3e423e365950fedc22f31875e5bf43ba622ba2e6fed"


def test_a_slice_twice_is_refused():
    with pytest.raises(AllocationError, match="twice"):
        hash_of(supply=[SUPPLY[0], SUPPLY[0]])
