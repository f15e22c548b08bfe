"""Hosts, sides and bins as the papers count them, and hosts as the audit does."""

import numpy as np
import orjson
import pyarrow as pa
import pytest

from vlm_assets.audit.checks_papers import hosts_of
from vlm_assets.papers.bins import Histogram, image_histograms, row_histograms
from vlm_assets.papers.contents import _images, _measure
from vlm_assets.words.schema import FACTS_TYPE
from vlm_assets_tests.audit.breaking import TARGET, good_once

HOSTS = [
    ("https://images.example.org/a/b.jpg", "images.example.org"),
    ("HTTP://Example.ORG:8080/x?y=https://other.org/", "example.org"),
    ("https://user:pass@example.org/x@y", "example.org"),
    ("https://example.org", "example.org"),
    ("https://example.org.?q#f", "example.org"),
    ("https://çağrı.example/ş.jpg", "çağrı.example"),
    ("http://[2001:db8::1]:81/a.png", "[2001:db8::1]"),
    ("http://127.0.0.2/a.png#page=3", "127.0.0.2"),
    ("https:///nothing", ""),
    ("folder/https://example.org/a.jpg", ""),
    ("file.pdf#page=3", ""),
    ("", ""),
    (None, ""),
]


def fact(**keys: object):
    values = {"width_px": 64, "height_px": 48, "format": "JPEG", "size_bytes": 10, "orientation": None}
    names = [field.name for field in FACTS_TYPE.value_type]
    return dict.fromkeys(names) | values | keys


def table(*rows: tuple[str | None, list[dict[str, object]]]):
    """(origin, facts) each."""
    facts = [some for _, some in rows]
    return pa.table(
        {
            "origin": pa.array([origin for origin, _ in rows], pa.string()),
            "image_facts": pa.array(facts, FACTS_TYPE),
            "image_count": pa.array([len(some) for some in facts], pa.int32()),
        }
    )


@pytest.mark.parametrize(("address", "host"), HOSTS, ids=[str(one) for one, _ in HOSTS])
def test_hosts_of_addresses(address, host):
    assert _images(table((address, [fact()]))).column("host").to_pylist() == [host]
    assert hosts_of(pa.array([address], pa.string())).to_pylist() == [host]


def test_an_image_of_its_own_address_counts_there():
    rows = table(("https://a.org/1", [fact(), fact(origin="https://b.org/2")]), ("x", [fact()]))
    assert _images(rows).column("host").to_pylist() == ["a.org", "b.org", ""]


@pytest.mark.parametrize(
    ("orientation", "aspect"),
    [(None, "1:3-1:2"), (1, "1:3-1:2"), (4, "1:3-1:2"), (6, "2:1-3:1"), (8, "2:1-3:1")],
)
def test_sides_are_those_that_are_shown(orientation, aspect):
    rows = table(("x", [fact(width_px=100, height_px=250, orientation=orientation)]))
    found = {**image_histograms(), **row_histograms()}
    _measure(found, rows, _images(rows))

    def told(name):
        return [label for label, count in found[name].to_json()["bins"] if count]

    assert told("aspect") == [aspect]
    assert (told("shorter_side"), told("longer_side"), told("images")) == (["64-128"], ["128-256"], ["1"])


@pytest.mark.parametrize(
    "histogram", [*image_histograms().values(), *row_histograms().values()], ids=lambda h: h.title
)
def test_every_value_has_one_bin(histogram):
    assert len(histogram.labels) == len(histogram.edges) + 1
    assert list(histogram.edges) == sorted(set(histogram.edges))
    values = np.concatenate([[0.0], np.array(histogram.edges), np.array(histogram.edges) - 1e-9])
    histogram.add(values)
    ones = len(histogram.edges)
    assert histogram.counts.tolist() == [2, *[2] * (ones - 1), 1]


def test_an_edge_belongs_to_the_bin_above():
    found = Histogram("t", ("a", "b", "c"), (1, 2))
    found.add(np.array([0, 1, 1.5, 2, 9]))
    assert found.counts.tolist() == [1, 2, 2]


def test_the_summary_says_nothing_that_nobody_said(tmp_path_factory):
    good = good_once(tmp_path_factory)
    summary = orjson.loads((good.root.corpus("good", TARGET) / "summary.json").read_bytes())
    protection = summary["data_protection"]
    assert {name for name, value in protection.items() if value is None} == {
        "controller", "contact", "purpose", "legal_basis", "retention", "recipients"
    }  # fmt: skip
    assert summary["general"]["languages"] is None
    assert [one["source"] for one in summary["sources"]["private_datasets"]] == ["scans", "street", "wild"]
    assert (summary["sources"]["public_datasets"], summary["sources"]["crawled"]) == ([], [])
    assert summary["processing"]["opt_outs_honoured"] == {
        "robots": 0,
        "noai": 0,
        "tdm_reserved": 0,
        "forbidden": 0,
        "tombstoned": 0,
    }
    assert summary["crawler"]["name"] == "vlm-assets"
    assert summary["crawler"]["user_agent"].startswith("vlm-assets/")
