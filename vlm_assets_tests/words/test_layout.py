import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlm_assets.words.layout import bucket_name, key_hash, nfc, sample_id, slice_key

VALID = re.compile(r"^[A-Za-z0-9_=-][A-Za-z0-9_.=-]{0,119}$")


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("train", "train"),
        ("0003-of-0012", "0003-of-0012"),
        ("config=tr.v2", "config=tr.v2"),
        ("Şehir gecesi", "Sehir_gecesi-9bd04602"),
        ("metadata.json", "metadata.json-b1c2d3e4"),
        ("a...b", "a_b-"),
        (".hidden", "hidden-"),
        ("fake-0123abcd", "fake-0123abcd-"),
        ("", "slice-e3b0c442"),
    ],
)
def test_slice_keys(name, key):
    if key.endswith("-") or name == "metadata.json":
        assert re.fullmatch(
            re.escape(key.removesuffix("-b1c2d3e4").rstrip("-")) + "-[0-9a-f]{8}", slice_key(name)
        )
    else:
        assert slice_key(name) == key


@given(st.text(max_size=200), st.text(max_size=200))
def test_slice_keys_are_valid_and_tell_names_apart(one, other):
    assert VALID.match(slice_key(one))
    assert "..." not in slice_key(one)
    assert (slice_key(one) == slice_key(other)) == (nfc(one) == nfc(other))


@given(st.text(), st.text())
def test_ids_tell_keys_apart(one, other):
    assert (sample_id("s", "x", one) == sample_id("s", "x", other)) == (nfc(one) == nfc(other))


def test_names_are_one_in_nfc_and_nfd():
    assert key_hash("ş") == key_hash("s\u0327")
    assert slice_key("ş") == slice_key("s\u0327")


def test_dotted_and_dotless_i_are_two_letters():
    assert len({slice_key(name) for name in ("ılık", "ilik", "İlik", "Ilık")}) == 4


def test_lone_surrogates_become_something_that_utf8_can_hold():
    assert nfc("a\ud800b").encode() == "a\ufffdb".encode()


def test_bucket_names_sort_as_they_count():
    names = [bucket_name(i, 12) for i in range(12)]
    assert names == sorted(names)
    assert names[0] == "0000-of-0012"
