import pytest

from vlm_assets.words.cron import cron_fault, zone_fault


@pytest.mark.parametrize(
    "text",
    ["30 2 * * *", "*/5 0-6 1,15 jan-mar MON-fri", "0 0 * * 7", "@daily", " 0  3 * * * ", "0 */2 * * sun"],
)
def test_a_schedule_is_taken(text):
    assert cron_fault(text) == ""


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("at noon", "expected five fields"),
        ("", "expected five fields"),
        ("60 2 * * *", "the minute is '60'"),
        ("0 24 * * *", "the hour is '24'"),
        ("0 2 0 * *", "the day of the month is '0'"),
        ("0 2 * 13 *", "the month is '13'"),
        ("0 2 * * funday", "the day of the week is 'funday'"),
        ("0 5-2 * * *", "the hour is '5-2'"),
        ("*/0 2 * * *", "the minute is '*/0'"),
    ],
)
def test_a_schedule_that_is_none_names_its_field(text, told):
    assert cron_fault(text).startswith(told)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("Europe/Istanbul", ""),
        ("UTC", ""),
        ("Istanbul", "no time zone 'Istanbul'; did you mean Asia/Istanbul or Europe/Istanbul?"),
        ("Europe/Istambul", "no time zone 'Europe/Istambul'; did you mean Europe/Istanbul?"),
        ("../etc/passwd", "no time zone '../etc/passwd'; name one such as Europe/Istanbul or UTC"),
        ("Mars/Base", "no time zone 'Mars/Base'; name one such as Europe/Istanbul or UTC"),
    ],
)
def test_a_time_zone_is_one_or_the_nearest_is_named(name, told):
    assert zone_fault(name).startswith(told)
    assert bool(zone_fault(name)) == bool(told)
