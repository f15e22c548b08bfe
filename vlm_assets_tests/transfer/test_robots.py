import pytest

from vlm_assets.transfer.robots import RulesCache, forbids_ai, parse_rules, rules_for_status


@pytest.mark.parametrize(
    ("tags", "forbidden"),
    [
        ([], False),
        (["noindex, nofollow"], False),
        (["noai"], True),
        (["noindex, NoImageAI"], True),
        (["noindex", "noai"], True),
        (["otherbot: noai"], False),
        (["vlm-assets: noai"], True),
        (["*: noai"], True),
        (["otherbot: noindex, noai"], False),
        (["unavailable_after: 25 Jun 2030 15:00:00 PST, noai"], True),
        (["noaix"], False),
    ],
)
def test_x_robots_tag(tags, forbidden):
    assert forbids_ai(tags) is forbidden


@pytest.mark.parametrize(
    ("status", "allowed"), [(200, False), (404, True), (403, True), (429, False), (500, False), (503, False)]
)
def test_status_of_robots_txt(status, allowed):
    rules = rules_for_status(status, b"User-agent: vlm-assets\nDisallow: /")
    assert (rules.unavailable is None and rules.allows("http://a.org/x")) is allowed


def test_groups_and_crawl_delay():
    rules = parse_rules(
        b"User-agent: *\nDisallow: /\n\nUser-agent: vlm-assets\nCrawl-delay: 99\nDisallow: /no\n"
    )
    assert rules.allows("http://a.org/x")
    assert not rules.allows("http://a.org/no/x")
    assert rules.crawl_delay_s == 30


@pytest.mark.parametrize("body", [b"", b"\xff\xfe\x00junk", b"<html>not found</html>", b"Disallow: /"])
def test_nonsense_allows_everything(body):
    assert parse_rules(body).allows("http://a.org/x")


def test_the_cache_keeps_a_day_and_no_outage(tmp_path, monkeypatch):
    cache = RulesCache(tmp_path / "h", "http://a.org:80")
    assert cache.load() is None
    cache.save(503, b"")
    assert cache.load() is None
    cache.save(200, b"User-agent: *\nDisallow: /no")
    loaded = cache.load()
    assert loaded is not None
    assert not loaded.allows("http://a.org/no")
    monkeypatch.setattr("vlm_assets.transfer.kept_answers._DAY_S", -1)
    assert cache.load() is None
