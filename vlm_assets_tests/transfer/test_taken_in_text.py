"""A quick look says no only where the address is in no spelling in the text."""

import orjson
import pytest

from vlm_assets.transfer.taken_urls import TakenUrls

NAMED = TakenUrls(["http://bücher.example/a.jpg", "http://127.0.0.1/a.jpg", "https://shop.example/a b.jpg"])


@pytest.mark.parametrize(
    "url",
    [
        "http://bücher.example/a.jpg",
        "http://BÜCHER.example/a.jpg",
        "http://xn--bcher-kva.example/a.jpg",
        "http://XN--BCHER-KVA.example/a.jpg",
        "http://127.0.0.1/a.jpg",
        "http://127.1/a.jpg",
        "http://0x7f.1/a.jpg",
        "http://2130706433/a.jpg",
        "https://Shop.Example/a%20b.jpg",
        "https://shop.example/a b.jpg#page=2",
    ],
)
@pytest.mark.parametrize("written", [lambda one: orjson.dumps(one).decode(), repr, ascii])
def test_whatever_spelling_is_taken_may_stand_there(url, written):
    assert url in NAMED
    assert NAMED.may_stand_in(f'{{"url":{written(url)},"rows":[]}}')


@pytest.mark.parametrize(
    "url", ["http://other.example/a.jpg", "https://a.other.example:8080/b.jpg?x=ä", "a/b.jpg"]
)
def test_of_others_nothing_is_read(url):
    assert url not in NAMED
    assert not NAMED.may_stand_in(orjson.dumps({"url": url, "rows": [["ä", "", None, None]]}).decode())
