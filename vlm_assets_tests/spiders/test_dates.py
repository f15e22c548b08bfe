"""Printed dates in every spelling that the archive is known to use, and some that it may."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlm_assets.spiders.dates import fold, parse_date


@pytest.mark.parametrize(
    ("printed", "expected"),
    [
        ("10 mart  1935", "1935-03-10"),
        ("04 Ağustos 1940", "1940-08-04"),
        ("4 AĞUSTOS 1940", "1940-08-04"),
        ("4 agustos 1940", "1940-08-04"),
        ("  1\xa0Ocak 1930 ", "1930-01-01"),
        ("2 ŞUBAT 1931", "1931-02-02"),
        ("3 subat 1931", "1931-02-03"),
        ("5 nisan 1932", "1932-04-05"),
        ("6 MAYIS 1932", "1932-05-06"),
        ("6 Mayis 1932", "1932-05-06"),
        ("30 HAZİRAN 1932", "1932-06-30"),
        ("30 Hazıran 1932", "1932-06-30"),
        ("7 temmuz 1933", "1933-07-07"),
        ("8 Eylül 1934", "1934-09-08"),
        ("9 EYLUL 1934", "1934-09-09"),
        ("29 Ekim 1938", "1938-10-29"),
        ("12 KASIM 1938", "1938-11-12"),
        ("12 kasim 1938", "1938-11-12"),
        ("31 Aralık 1941", "1941-12-31"),
        ("31 ARALIK 1941", "1941-12-31"),
        ("3 ikinci kanun 1936", "1936-01-03"),
        ("3 İKİNCİ KÂNUN 1936", "1936-01-03"),
        ("3 ikincikânun 1936", "1936-01-03"),
        ("3 son kânun 1936", "1936-01-03"),
        ("3 2. Kânun 1936", "1936-01-03"),
        ("3 2 nci kanun 1936", "1936-01-03"),
        ("3 II. Kânun 1936", "1936-01-03"),
        ("5 Kanunu Sani 1929", "1929-01-05"),
        ("5 Kânunusani 1929", "1929-01-05"),
        ("5 Kânun-u Sani 1929", "1929-01-05"),
        ("7 birinci teşrin 1937", "1937-10-07"),
        ("7 ilk teşrin 1937", "1937-10-07"),
        ("7 teşrin-i evvel 1930", "1930-10-07"),
        ("7 Teşrinievvel 1930", "1930-10-07"),
        ("8 ikinci teşrin 1937", "1937-11-08"),
        ("8 İkinciteşrin 1937", "1937-11-08"),
        ("8 Teşrini Sani 1930", "1930-11-08"),
        ("9 birinci kanun 1938", "1938-12-09"),
        ("9 ilkkânun 1938", "1938-12-09"),
        ("9 Kanunuevvel 1930", "1930-12-09"),
        ("10 MART 1935 PAZAR", "1935-03-10"),
        ("Pazar 10 Mart 1935", "1935-03-10"),
        ("10.03.1935", "1935-03-10"),
        ("10/3/1935", "1935-03-10"),
        ("1935-03-10", "1935-03-10"),
        ("29 Şubat 1940", "1940-02-29"),
    ],
)
def test_a_printed_date_is_read(printed: str, expected: str) -> None:
    assert parse_date(printed) == expected


@pytest.mark.parametrize(
    "printed",
    [
        "", "Ağustos sayısı", "Mart 1935", "1935", "31 şubat 1930", "29 Şubat 1939", "0 mart 1935", "5 kanun 1937",
        "5 teşrin 1937", "10-11 mart 1935", "10 mart 1935 - 12 mart 1936", "10 mart", "mart 10 1935", "5 xyz 1930",
    ],
)  # fmt: skip
def test_what_is_no_single_day_is_none(printed: str) -> None:
    assert parse_date(printed) is None


def test_the_heading_stands_in_for_a_missing_year_alone() -> None:
    assert parse_date("10 mart", year=1935) == "1935-03-10"
    assert parse_date("10 mart 1936", year=1935) == "1936-03-10"


def test_folding_knows_turkish_letters() -> None:
    assert fold("IŞIK ışık İSTANBUL istanbul Kânun") == "isik isik istanbul istanbul kanun"


@given(st.text())
def test_any_text_is_survived(text: str) -> None:
    found = parse_date(text)
    assert found is None or len(found) == 10
