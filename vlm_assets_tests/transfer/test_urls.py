import pytest
from yarl import URL

from vlm_assets.transfer.redirects import headers_for_hop
from vlm_assets.transfer.urls import UrlError, host_key, shown_url, wire_url


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        ("http://a.org", "http://a.org/"),
        ("HTTP://A.org/X", "http://a.org/X"),
        (" http://a.org/x y.jpg ", "http://a.org/x%20y.jpg"),
        ("http://a.org/ağaç/ı.jpg?q=İ&r=a b", "http://a.org/a%C4%9Fa%C3%A7/%C4%B1.jpg?q=%C4%B0&r=a%20b"),
        ("http://örnek.com/x", "http://xn--rnek-4qa.com/x"),
        ("http://a.org/x#top", "http://a.org/x"),
        ("http://a.org?x=1", "http://a.org/?x=1"),
        ("http://a.org:8080/x", "http://a.org:8080/x"),
        ("http://a.org/100%/x%2Fy%zz", "http://a.org/100%25/x%2Fy%25zz"),
        ("https://a.org/s?X-Sig=a%2Fb%3D&e=1+2", "https://a.org/s?X-Sig=a%2Fb%3D&e=1+2"),
        ('http://a.org/a|b<c>"d"', "http://a.org/a%7Cb%3Cc%3E%22d%22"),
        ("http://[::1]:8080/x", "http://[::1]:8080/x"),
        ("http://127.1/x", "http://127.0.0.1/x"),
        ("http://a_b.org/x", "http://a_b.org/x"),
    ],
)  # fmt: skip
def test_what_is_sent(text, sent):
    url = wire_url(text)
    assert str(url) == sent
    assert wire_url(str(url)) == url


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "http"), ("ftp://a.org/x", "http"), ("data:image/png;base64,AA", "http"), ("/x", "http"),
        ("http://", "host"), ("http:///x", "host"), ("http://a b.org/x", "host"), ("http://a.org:99999/", "[Pp]ort"),
        ("http://user:pw@a.org/", "credentials"), ("http://a.org/\x00", "control"), ("http://a.org/a\nb", "control"),
        ("http://a.org/" + "x" * 9000, "longer"), ("http://[::1/x", "."), ("http://a\\@b.org/", "."),
    ],
)  # fmt: skip
def test_what_is_no_url(text, why):
    with pytest.raises(UrlError, match=why):
        wire_url(text)


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("/y", "http://a.org/y"),
        ("y z?b", "http://a.org/d/y%20z?b"),
        ("../y", "http://a.org/y"),
        ("../../../y", "http://a.org/y"),
        ("./", "http://a.org/d/"),
        ("?q=2", "http://a.org/d/x?q=2"),
        ("//b.org/y", "http://b.org/y"),
        ("https://b.org/y", "https://b.org/y"),
    ],
)
def test_where_a_redirect_leads(location, target):
    assert str(wire_url(location, base=URL("http://a.org/d/x?q=1"))) == target


@pytest.mark.parametrize("location", ["file:///etc/passwd", "gopher://x/", "javascript:alert(1)"])
def test_redirects_to_other_schemes(location):
    with pytest.raises(UrlError):
        wire_url(location, base=URL("http://a.org/d/x"))


@pytest.mark.parametrize(
    ("url", "key"),
    [
        ("http://A.org/x", "a.org"), ("https://a.org/x", "a.org"), ("http://a.org:8080/", "a.org:8080"),
        ("http://a.org./", "a.org"), ("http://[::1]:81/", "::1:81"),
    ],
)  # fmt: skip
def test_host_key(url, key):
    assert host_key(wire_url(url)) == key


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://u:pw@a.org/x?token=t#f", "http://a.org/x?…"),
        ("https://a.org:1/x", "https://a.org:1/x"),
        ("data:image/png;base64," + "A" * 500, "data:image/png;base64,AAAAAAAAAAAAAAAAAA"),
    ],
)
def test_shown_urls_hold_no_secret(url, shown):
    assert shown_url(url) == shown


def test_headers_that_may_cross_origins():
    given = {"Authorization": "t", "Cookie": "c", "Range": "bytes=1-", "X-Token": "k"}
    first = URL("https://a.org/x")
    assert headers_for_hop(given, first, URL("https://a.org/y")) == given
    for other in ("http://a.org/y", "https://a.org:444/y", "https://b.a.org/y"):
        assert headers_for_hop(given, first, URL(other)) == {"Range": "bytes=1-"}
