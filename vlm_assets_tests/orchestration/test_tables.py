"""Tables of the UI's pages: none is wider than the place on an overview at 1280 pixels, and none loses a fact."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from vlm_assets.orchestration.assets.metadata_line import shortfalls
from vlm_assets.orchestration.assets.tables import (
    FACTS,
    ROOM_PX,
    SLICE_ROOM_PX,
    counted,
    least_width_px,
    listed,
    table,
    wrapping,
)
from vlm_assets_tests.orchestration.kit import rows_of
from vlm_assets_tests.orchestration.wide import CERTIFICATE, FIGURES, PATH, ROWS, SOURCE, TABLES


def columns_of(value: Any) -> dict[str, list[str]]:
    names = [one.name for one in value.schema.columns]
    return dict(zip(names, map(list, zip(*rows_of(value), strict=True)), strict=True))


@pytest.mark.parametrize("name", TABLES)
def test_a_table_of_long_names_and_ten_million_rows_fits_an_overview(name: str):
    columns = columns_of(TABLES[name])
    assert least_width_px(columns) <= ROOM_PX, columns


def test_names_of_files_wrap():
    name = "Cumhuriyet_Gazetesi_1930_01_15_sayfa_03_yuksek_cozunurluk.tiff"
    shown = columns_of(listed("left out", [f"tarama/1930/ocak/{name}: unknown_type", "a.txt: excluded"]))
    assert shown == {
        "left out": ["tarama/ 1930/ ocak/ Cumhuriyet_…nurluk.tiff: unknown_type", "a.txt: excluded"]
    }
    assert least_width_px(shown) <= SLICE_ROOM_PX
    assert not rows_of(listed("left out", []).value)


def test_a_slice_has_less_room():
    rejects = {"split_archive_incomplete": ROWS, "not_an_image": 1}
    assert list(columns_of(counted("reason", rejects))) == ["reason", FACTS]
    columns = columns_of(counted("reason", rejects, room_px=SLICE_ROOM_PX))
    assert list(columns) == ["reason"]
    assert least_width_px(columns) <= SLICE_ROOM_PX


def whole(value: Any) -> str:
    """All that a table says, names as they are."""
    text = " ".join(cell for row in rows_of(value) for cell in row).replace("/ ", "/")
    told = value.schema.columns[0].description or ""
    for one in told.removeprefix("Shortened here: ").split("; ") if told else ():
        short, _, name = one.partition(" is ")
        text = text.replace(short, name)
    return text


@pytest.mark.parametrize(
    ("name", "facts"),
    [
        ("grants", [PATH[0], "/".join(PATH), "10,000,000", "120,000,000", "123456/1234567", "supply and max below"]),
        ("totals", [SOURCE, "30,000,000", "duplicate_other_words 10,000,000",
                    "filter:sharp_enough_to_be_read 123,456"]),
        ("allocation's contamination", [CERTIFICATE.contamination[0].examples[0], "yuksek_ogretim_sinavi_2019"]),
        ("rows by subcategory", ["/".join(PATH), "100.0 %"]),
        ("card's composition", ["documents/newspapers", "present", "10,000,000"]),
        ("card's sources", ["100,000,000,000,000", "123,456"]),
        ("licences", ["LicenseRef-scancode-proprietary-license-of-the-publisher"]),
        ("terms", [FIGURES["terms"][0]["url"], "Ayşe, 2026-01-15, in the account of the library"]),
    ],
)  # fmt: skip
def test_what_a_narrow_table_tells_is_all_there_is(name: str, facts: list[str]):
    shown = whole(TABLES[name])
    assert [fact for fact in facts if fact not in shown] == [], shown


@pytest.mark.parametrize(
    ("rows", "shown"),
    [
        pytest.param([{"a": 1, "b": "x"}], {"a": ["1"], "b": ["x"]}, id="all fit"),
        pytest.param([{"a": 1, "b": "", "c": 2}, {"a": 3, "b": "", "c": 4}], {"a": ["1", "3"], "c": ["2", "4"]},
                     id="an empty column"),
        pytest.param(
            [{"source": "s" * 20, "selected": 10**9, "of": "some", "why": ""},
             {"source": "t", "selected": 0, "of": "", "why": "w"}],
            {"source": ["s" * 20, "t"], FACTS: ["selected 1,000,000,000; of: some", "selected 0; why: w"]},
            id="the last are told"),
        pytest.param([{"source": "s" * 24, "excluded": "duplicate_other_words 1"}],
                     {"source": ["s" * 24 + " – excluded: duplicate_other_words 1"]}, id="one column"),
        pytest.param([{"done": True, "share": 0.25}], {"done": ["True"], "share": ["0.25"]}, id="no whole numbers"),
    ],
)  # fmt: skip
def test_columns_that_do_not_fit_are_told_in_words(
    rows: Sequence[Mapping[str, Any]], shown: Mapping[str, Sequence[str]]
):
    assert columns_of(table(rows)) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("photos/street/street", "photos/street/street"),
        ("documents/newspapers/cumhuriyet", "documents/ newspapers/ cumhuriyet"),
        ("asked 5 of photos/street", "asked 5 of photos/street"),
        ("0123456789" * 4, "01234567890…90123456789"),
        ("https://example.org/a/long/way/to/LICENSE", "https://exa…/to/LICENSE"),
        ("", ""),
    ],
    ids=["short path", "long path", "words", "long name", "address", "nothing"],
)
def test_words_wrap_or_are_short(text: str, shown: str):
    assert wrapping(text) == shown


def test_a_record_has_its_values_by_name_whatever_is_shown():
    record = TABLES["grants"].value.records[-1].data
    assert (record["granted"], record["why less"]) == ("9,999,991", "supply and max below")
    assert FACTS in record


def test_a_shortfall_is_told_where_it_is_and_once():
    assert shortfalls(CERTIFICATE).splitlines() == [
        "**9,999,991 of 10,000,000 rows** are granted. 9 rows of the target cannot be filled.",
        "",
        "- documents/newspapers: asked 10,000,000, granted 9,999,991: supply and max below",
    ]
