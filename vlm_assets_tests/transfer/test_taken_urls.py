import pytest

from vlm_assets.transfer.taken_urls import TakenUrls

PDF = "https://a.org/news/1930.pdf"


@pytest.mark.parametrize(
    ("named", "url", "taken"),
    [
        pytest.param([], PDF, False, id="nothing-is-taken"),
        pytest.param([PDF], PDF, True, id="as-it-is-written"),
        pytest.param([PDF], "HTTPS://A.ORG:443/news/1930.pdf", True, id="in-another-spelling"),
        pytest.param(["https://a.org/ü x"], "https://a.org/%C3%BC%20x", True, id="coded-or-not"),
        pytest.param(["https://a.org/u\u0308"], "https://a.org/ü", True, id="composed-or-not"),
        pytest.param([PDF], f"{PDF}#page=3", True, id="a-page-of-it"),
        pytest.param([PDF], f"{PDF}#page=3#image=1", True, id="an-image-of-a-page-of-it"),
        pytest.param([f"{PDF}#page=3"], f"{PDF}#page=3", True, id="the-page-itself"),
        pytest.param([f"{PDF}#page=3"], f"{PDF}#page=3#image=1", True, id="an-image-of-the-page"),
        pytest.param([f"{PDF}#page=3"], f"{PDF}#page=33", False, id="another-page"),
        pytest.param([f"{PDF}#page=3"], PDF, False, id="the-whole-of-a-page"),
        pytest.param([PDF], f"{PDF}.bak", False, id="a-longer-name"),
        pytest.param(["hf://datasets/a/b/x.png"], "hf://datasets/a/b/x.png", True, id="no-web-address"),
    ],
)
def test_an_address_is_taken_however_it_is_written(named, url, taken):
    assert (url in TakenUrls(named)) is taken
