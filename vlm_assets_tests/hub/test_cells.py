"""Cells that are not of their column's kind, as rows of JSON may be: each is a missing image that says so."""

import base64
from io import BytesIO

import pytest
from PIL import Image

from vlm_assets.hub.cells import ImageColumn, ImageShape, beside_image, cells_of, names_in


def png() -> bytes:
    out = BytesIO()
    Image.new("RGB", (2, 2)).save(out, "PNG")
    return out.getvalue()


PNG = png()
TEXT = base64.b64encode(PNG).decode()
ODD: tuple[object, ...] = (7, 0, 1.5, True, [], ["a"], {"a": 1}, "words", b"\0")


@pytest.mark.parametrize("value", ODD, ids=repr)
@pytest.mark.parametrize("held", ["alone", "in a list"])
@pytest.mark.parametrize(
    ("shape", "fine", "kind"),
    [("struct", {"bytes": PNG}, dict), ("binary", PNG, bytes), ("text", TEXT, str)], ids=["struct", "binary", "text"],
)  # fmt: skip
def test_a_value_of_another_kind_is_an_image_that_is_missing(
    shape: ImageShape,
    fine: object,
    kind: type,
    held: str,
    value: object,
) -> None:
    many = held == "in a list"
    column = ImageColumn("image", shape, many, beside=("note",))
    assert [one.data for one in cells_of({"image": [fine] if many else fine}, [column], None)] == [PNG]
    values = [value] if many else value
    [cell] = cells_of({"image": values}, [column], None)
    assert cell.data is None or isinstance(value, kind)
    assert cell.problem or isinstance(value, kind)
    list(names_in(values, column))
    beside_image(values, column)


@pytest.mark.parametrize("value", [7, True, "words", {"a": 1}, b"\0"], ids=repr)
@pytest.mark.parametrize("shape", ["struct", "binary", "text"])
def test_what_is_no_list_where_lists_are_is_one_missing_image(shape: ImageShape, value: object) -> None:
    column = ImageColumn("images", shape, many=True, beside=("note",))
    [cell] = cells_of({"images": value}, [column], None)
    assert cell.data is None
    assert "where a list of images is expected" in (cell.problem or "")
    assert list(names_in(value, column)) == []
    assert beside_image(value, column) is None


@pytest.mark.parametrize("data", [7, ["a"], {"a": 1}], ids=repr)
def test_bytes_that_are_none_are_no_image(data: object) -> None:
    [cell] = cells_of(
        {"image": {"bytes": data, "path": "a.png"}}, [ImageColumn("image", "struct", many=False)], None
    )
    assert (cell.data, cell.name) == (None, "image.bytes")
