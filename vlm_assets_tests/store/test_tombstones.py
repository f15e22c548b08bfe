"""Takedowns as sets, and what a fetch met beside them."""

import pytest

from vlm_assets.store.tombstones import Tombstone, in_force

PLAIN = Tombstone(asked="sha256:a", image_sha256=("a",), urls=("http://a/1",))
ONE_ROW = Tombstone(
    asked="id:s/k/1", only_row=True, ids=("s/k/1",), urls=("http://a/2",), image_sha256=("b",)
)
MET = Tombstone(asked="met:s/k", only_row=True, met={"s/k/2": "one"})
MET_AGAIN = Tombstone(asked="met:s/k", only_row=True, met={"s/k/2": "two", "s/k/3": ""})


def test_what_was_met_covers_nothing_and_is_no_part_of_the_state():
    stored = in_force(
        {one.asked + str(number): one for number, one in enumerate((PLAIN, ONE_ROW, MET, MET_AGAIN))}
    )
    assert stored.names == ("sha256:a0", "id:s/k/11")
    assert (stored.ids, stored.image_sha256) == (frozenset({"s/k/1"}), frozenset({"a"}))
    assert (stored.urls, stored.whole_urls) == (
        frozenset({"http://a/1", "http://a/2"}),
        frozenset({"http://a/1"}),
    )
    assert stored.met == {"s/k/2": {"one", "two"}, "s/k/3": {""}}


@pytest.mark.parametrize("one", [PLAIN, ONE_ROW, MET])
def test_its_bytes_are_what_its_name_is_made_of(one: Tombstone):
    data = one.to_bytes()
    assert (b'"met"' in data) == bool(one.met)  # those of before have the names that they had
    assert Tombstone.from_bytes(data).name == one.name
