"""Texts and images of a table, however Arrow holds them."""

import io
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vlm_assets.hub.columns import Wanted
from vlm_assets.hub.tables import plan_columns, records_of
from vlm_assets.words.errors import SourceError
from vlm_assets.words.records import Record

IMAGE = b"\xff\xd8\xff\xe0--"
PLAIN_TEXT = pa.array(["şık", None])
PLAIN_IMAGE = pa.array([IMAGE, IMAGE])


def records(image: Any, text: Any, **wanted: Any) -> list[Record]:
    """Through a Parquet file, as pyarrow gives it back."""
    buffer = io.BytesIO()
    pq.write_table(pa.table({"image": image, "text": text}), buffer)
    found: list[Record] = []
    for batch in pq.ParquetFile(buffer).iter_batches():
        columns = plan_columns(batch.schema, "t.parquet", Wanted(**wanted))
        found += [
            r
            for r in records_of(batch, columns, "t", "t", first_row=0, first_record=0)
            if isinstance(r, Record)
        ]
    return found


TEXTS = {
    "large": pa.array(["şık", None], pa.large_string()),
    "view": pa.array(["şık", None], pa.string_view()),
    "dictionary": PLAIN_TEXT.dictionary_encode(),
    "large-dictionary": pa.array(["şık", None], pa.large_string()).dictionary_encode(),
    "bytes": pa.array(["şık".encode(), None]),
    "bytes-view": pa.array(["şık".encode(), None], pa.binary_view()),
}


@pytest.mark.parametrize("wanted", [{}, {"text_column": "text"}], ids=["found", "declared"])
@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_texts_of_every_kind_are_the_text(text, wanted):
    assert [(record.text, record.extra) for record in records(PLAIN_IMAGE, text, **wanted)] == [
        ("şık", {}),
        (None, {}),
    ]


@pytest.mark.parametrize(
    ("kind", "value", "told"),
    [
        (pa.timestamp("us"), 2**62, "<value out of range: 4611686018427387904>"),
        (pa.timestamp("s", tz="UTC"), -(2**62), "<value out of range: -4611686018427387904>"),
        (pa.duration("s"), 2**62, "4611686018427387904"),
        (pa.timestamp("us"), 0, "1970-01-01T00:00:00"),
    ],
    ids=str,
)
def test_times_beyond_pythons_years_are_kept_as_arrow_prints_them(kind, value, told):
    times = pa.array([value, None], pa.int64()).cast(kind)
    batch = pa.record_batch({"image": PLAIN_IMAGE, "text": PLAIN_TEXT, "t": times, "l": [[1], None]})
    columns = plan_columns(batch.schema, "t.parquet", Wanted())
    found = records_of(batch, columns, "t", "t", first_row=0, first_record=0)
    assert [one.extra for one in found if isinstance(one, Record)] == [
        {"t": told, "l": [1]}, {"t": None, "l": None},
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["Caption", "TEXT", "Text"])
def test_a_usual_name_may_be_in_other_letters(name):
    batch = pa.record_batch({"image": PLAIN_IMAGE, name: PLAIN_TEXT})
    columns = plan_columns(batch.schema, "t.parquet", Wanted())
    found = records_of(batch, columns, "t", "t", first_row=0, first_record=0)
    assert [record.text for record in found if isinstance(record, Record)] == ["şık", None]


def test_bytes_that_are_no_text_stay_beside_it():
    said = [(one.text, one.extra) for one in records(PLAIN_IMAGE, pa.array(["şık".encode(), b"\xfe"]))]
    assert said == [("şık", {}), (None, {"text": {"base64": "/g=="}})]


IMAGES = {
    "large": pa.array([IMAGE, IMAGE], pa.large_binary()),
    "view": pa.array([IMAGE, IMAGE], pa.binary_view()),
    "fixed": pa.array([IMAGE, IMAGE], pa.binary(len(IMAGE))),
    "struct-view": pa.array(
        [{"bytes": IMAGE, "path": "a.jpg"}] * 2, pa.struct({"bytes": pa.binary_view(), "path": pa.string_view()})
    ),
}  # fmt: skip


@pytest.mark.parametrize("wanted", [{}, {"image_column": "image"}], ids=["found", "declared"])
@pytest.mark.parametrize("image", IMAGES.values(), ids=IMAGES)
def test_bytes_of_every_kind_are_the_image(image, wanted):
    assert [[one.data for one in record.images] for record in records(image, PLAIN_TEXT, **wanted)] == [
        [IMAGE],
        [IMAGE],
    ]


@pytest.mark.parametrize(
    "kind",
    [pa.large_list(pa.binary()), pa.list_view(pa.binary()), pa.large_list_view(pa.binary_view())],
    ids=str,
)
def test_lists_of_every_kind_hold_images(kind):
    batch = pa.record_batch({"image": pa.array([[IMAGE, IMAGE], [IMAGE]], kind), "text": PLAIN_TEXT})
    columns = plan_columns(batch.schema, "t.parquet", Wanted())
    found = records_of(batch, columns, "t", "t", first_row=0, first_record=0)
    assert [len(record.images) for record in found if isinstance(record, Record)] == [2, 1]


TEXT_COLUMNS: dict[str, tuple[pa.Array, dict[str, str], list[str | None]]] = {
    "bytes": (pa.array(["şık".encode(), None]), {"text_column": "text"}, ["şık", None]),
    "list": (pa.array([["bir", None, "iki"], []]), {}, ["bir\niki", None]),
    "field": (pa.array([{"tr": "bir"}, None]), {"text_column": "text.tr"}, ["bir", None]),
    "number": (pa.array([7, None]), {"text_column": "text"}, ["7", None]),
}


@pytest.mark.parametrize(("text", "wanted", "expected"), TEXT_COLUMNS.values(), ids=TEXT_COLUMNS)
def test_a_text_is_what_its_cell_says(text, wanted, expected):
    assert [record.text for record in records(PLAIN_IMAGE, text, **wanted)] == expected


@pytest.mark.parametrize(
    ("text", "column", "message"),
    [
        (pa.array([{"tr": "bir"}]), "text", "objects, no text"),
        (pa.array([[{"q": "bir"}]]), "text", "objects, no text"),
        (pa.array([{"tr": "bir"}]), "text.en", "has no field 'en'; there are: tr"),
        (pa.array(["bir"]), "text.en", "string has no field 'en'"),
        (pa.array([b"\xff"]), "text", "no text in UTF-8"),
    ],
    ids=["struct", "list-of-structs", "no-field", "text-has-none", "bytes"],
)
def test_what_is_no_text_is_an_error(text, column, message):
    with pytest.raises(SourceError, match=message):
        records(pa.array([IMAGE]), text, text_column=column)


def test_the_text_of_a_row_is_the_first_usual_column_that_has_one():
    batch = pa.record_batch({"image": [IMAGE] * 3, "text": ["a", None, " "], "caption": ["b", "c", None]})
    columns = plan_columns(batch.schema, "t", Wanted())
    found = records_of(batch, columns, "t", "t", first_row=0, first_record=0)
    assert [(one.text, one.extra) for one in found if isinstance(one, Record)] == [
        ("a", {"caption": "b"}), ("c", {"text": None}), (None, {"caption": None}),
    ]  # fmt: skip


KIND = pa.struct({"bytes": pa.binary(), "path": pa.string(), "caption": pa.string(), "w": pa.int32()})
ONE = {"bytes": IMAGE, "path": "a.jpg", "caption": "şık", "w": 7}
BARE = {"bytes": IMAGE, "path": None, "caption": None, "w": None}
SAID = {"caption": "şık", "w": 7}


@pytest.mark.parametrize(
    ("cells", "wanted", "expected"),
    [
        (pa.array([ONE, BARE], KIND), {}, [(None, {"image": SAID, "image.path": "a.jpg"}), (None, {})]),
        (pa.array([ONE], KIND), {"text_column": "image.caption"}, [("şık", {"image": SAID, "image.path": "a.jpg"})]),
        (pa.array([[ONE, BARE], [BARE]], pa.list_(KIND)), {}, [(None, {"image": [SAID, None]}), (None, {})]),
        (
            pa.array([[ONE, BARE]], pa.list_(KIND)),
            {"split_images": True},
            [(None, {"image": SAID, "image.path": "a.jpg"}), (None, {"image": None})],
        ),
    ],
    ids=["one", "text", "several", "split"],
)  # fmt: skip
def test_what_stands_beside_an_image_in_its_struct_is_kept(cells, wanted, expected):
    batch = pa.record_batch({"image": cells})
    columns = plan_columns(batch.schema, "t", Wanted(**wanted))
    found = records_of(batch, columns, "t", "t", first_row=0, first_record=0)
    assert [(one.text, one.extra) for one in found if isinstance(one, Record)] == expected
