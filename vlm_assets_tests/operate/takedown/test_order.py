import pytest

from vlm_assets.operate.takedown.order import TakedownOrder, tombstone_of
from vlm_assets.words.layout import sample_id
from vlm_assets_tests.builders import commit_slice, sample
from vlm_assets_tests.workplace import STREET, fill, install, picture

ISSUE = "https://a.org/1930.pdf"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    base = tmp_path_factory.mktemp("papers")
    root = install(base, {**STREET, "path": fill(base / "in", 1)}).root
    origins = [
        f"{ISSUE}#page=1",
        f"{ISSUE}#page=2",
        f"{ISSUE}#page=12",
        "https://a.org/1931.pdf#page=1",
        ISSUE,
    ]
    rows = [
        sample("street", "s", f"k{n}", image=picture(n), origin=origin) for n, origin in enumerate(origins)
    ]
    commit_slice(root, "street", "s", rows)
    return root


@pytest.mark.parametrize(
    ("url", "taken"),
    [
        pytest.param(ISSUE, "0124", id="an-issue-and-all-its-pages"),
        pytest.param(f"{ISSUE}#page=1", "0", id="one-page"),
        pytest.param("https://a.org/1931.pdf", "3", id="another-issue"),
        pytest.param("https://a.org/19", "", id="a-shorter-name"),
    ],
)
def test_an_address_means_what_came_from_it(root, url, taken):
    found = tombstone_of(root, TakedownOrder(url=url))
    assert found.ids == tuple(sample_id("street", "s", f"k{n}#0") for n in taken)
