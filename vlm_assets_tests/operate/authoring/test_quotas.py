"""Quotas that a source lacks: what is advised, pasted, gives a catalogue whose shares add up."""

from fractions import Fraction
from typing import Any

import pytest
import yaml

from vlm_assets.catalog.rules import check_rules
from vlm_assets.catalog.spec import CorpusSpec
from vlm_assets.operate.authoring.quotas import missing_quotas


def corpus_of(quotas: str) -> CorpusSpec:
    return CorpusSpec.model_validate(
        {"name": "c", "seed": 1, "targets": {"t": 1}, "quotas": yaml.safe_load(quotas)}
    )


TWO = "{p: {share: 3/5, subcategories: {a: {share: 1}}}, q: {share: 2/5, subcategories: {a: {share: 1}}}}"


@pytest.mark.parametrize(
    ("quotas", "category", "leaves"),
    [
        ("{p: {share: 1, subcategories: {a: {share: 1}}}}", "p", ["b"]),
        ("{p: {share: 1, subcategories: {a: {share: 7/10}, b: {share: 3/10}}}}", "p", ["c", "d"]),
        (
            TWO,
            "r",
            ["a"],
        ),
        ("{p: {share: 1, subcategories: {a: {count: 5}}}}", "p", ["b"]),
        ("{p: {share: 1, subcategories: {a: {share: 1}}}}", "r", ["x/y", "x/z", "w"]),
        (
            "{p: {share: 1, subcategories: {a: {share: 1, subcategories: {n: {share: 1}}}}}}",
            "p",
            ["a/d", "b"],
        ),
    ],
)
def test_what_is_advised_adds_up(quotas, category, leaves):
    tree = yaml.safe_load(quotas)
    where: dict[str, Any] = {}
    for line in missing_quotas(corpus_of(quotas), category, leaves):
        if line.startswith("under "):
            where = tree
            for name in line.removeprefix("under quotas").strip(".:").split("."):
                where = where[name] if name else where
        elif line.startswith("  and, "):
            for name, share in yaml.safe_load("{" + line.partition("there: ")[2] + "}").items():
                where[name]["share"] = share
        else:
            where |= yaml.safe_load("{" + line + "}")
    spec = CorpusSpec.model_validate({"name": "c", "seed": 1, "targets": {"t": 1}, "quotas": tree})
    assert {(category, leaf) for leaf in leaves} <= spec.leaves()
    told = check_rules(spec, (), {}, outlines=(), all_read=False, quotas_read=True)
    assert not [one for one in told if "sum" in one.message], told
    assert sum(node.share or Fraction(0) for node in spec.quotas.values()) == 1


def test_a_node_that_has_subcategories_asks_for_one_of_them():
    corpus = corpus_of("{p: {share: 1, subcategories: {a: {share: 1, subcategories: {n: {share: 1}}}}}}")
    assert missing_quotas(corpus, "p", ["a"]) == [
        "p/a has subcategories there: give one of them, such as a/n"
    ]
