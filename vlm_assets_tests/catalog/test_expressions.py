"""What a filter may say, and what is told where it says something else."""

import pytest

from vlm_assets.catalog.expressions import (
    ROW_COLUMNS,
    ColumnKind,
    ExpressionError,
    Kind,
    check_kinds,
    names_in,
    parsed,
)
from vlm_assets.words.schema import FACT_NAMES, INDEX_SCHEMA

COLUMNS = {
    **ROW_COLUMNS,
    "blur.laplacian": ColumnKind(Kind.NUMBER, of_images=True),
    "blank.is_blank": ColumnKind(Kind.TRUTH, of_images=True),
    "language.code": ColumnKind(Kind.TEXT),
    "language.share": ColumnKind(Kind.NUMBER),
    "scores.clip-score (%)": ColumnKind(Kind.NUMBER),
}


@pytest.mark.parametrize(
    "text",
    [
        "min(blur.laplacian) >= 30",
        "max(blur.laplacian) - min(blur.laplacian) < 1e3",
        "0.2 <= language.share <= .9",
        "language.code in ['tr', 'ota'] or not has_text",
        "language.code not in ('de',) and label != 'x'",
        "not any(blank.is_blank)",
        "all(image_facts.format == 'JPEG' and image_facts.width_px > min_side_px / 2)",
        "any(image_facts.orientation in [1, -1])",
        "(image_count == 1) == has_text",
        "true",
        "has_messages == false",
        "\n min_side_px > -1 \n",
        "any(image_facts.width_px > min(image_facts.height_px))",
        "scores['clip-score (%)'] > 20",
        'min(blur["laplacian"]) > 0x10',
    ],
)
def test_what_may_be_said(text):
    check_kinds(parsed(text), COLUMNS)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "not an expression"),
        ("min_side_px >", "not an expression: invalid syntax"),
        ("min_side_px == 3 3", "invalid syntax at column 18"),
        ("min_side_px > 3; true", "not an expression"),
        ("x\0", "not an expression"),
        ("(" * 300 + "1" + ")" * 300, "not an expression"),
        ("not " * 100 + "true", "nested deeper than 40"),
        ("1 < " * 600 + "1", "longer than 2,000 characters"),
        ("__import__('os').system('true')", "no function"),
        ("[x for x in y]", "is not part of the language"),
        ("lambda: 1", "is not part of the language"),
        ("f'{min_side_px}' == label", "is not part of the language"),
        ("label[0] == 'a'", "is not part of the language"),
        ("blur[label] == 1", "is not part of the language"),
        ("blur['a']['b'] == 1", "is not part of the language"),
        ("scores['clip'] > 20", "no column 'scores.clip'; did you mean scores.clip-score (%)?"),
        ("image_bytes > " + "9" * 999, "is no value of the language"),
        ("image_bytes > 1j", "is no value of the language"),
        ("image_bytes > ...", "is no value of the language"),
        ("any(has_text)(1)", "no function"),
        ("label == '\udcff'", "not an expression"),
        ("(1).real > 0", "is not part of the language"),
        ("min_side_px ** 2 > 1", "is not part of the language"),
        ("min_side_px % 2 == 1", "is not part of the language"),
        ("+min_side_px > 1", "is not part of the language"),
        ("1 if has_text else 0", "is not part of the language"),
        ("(n := 3) > 2", "is not part of the language"),
        ("label is None", "`is` is not part of the language"),
        ("label == None", "a missing value is said by the key `missing`"),
        ("image_bytes > 1e999", "is no value of the language"),
        ("image_bytes > 9007199254740993", "is no value of the language"),
        ("label == b'a'", "is no value of the language"),
        ("label in 'abc'", "`in` takes a list in brackets"),
        ("image_count in [1, min_side_px]", "a list holds plain numbers or texts"),
        ("sum(blur.laplacian) > 3", "no function sum"),
        ("mni(blur.laplacian) > 3", "no function mni; did you mean min?"),
        ("min(blur.laplacian, 3) > 3", "min takes one value"),
        ("min(*blur.laplacian) > 3", "min takes one value"),
        ("blur.laplacian >= 30", "speaks of images, and a record may have several: say min(...)"),
        ("min(blur.laplacian)", "is a number, where true or false is expected"),
        ("min(min_side_px) > 3", "`min_side_px` is one value of a record; min is for values of its images"),
        ("any(blur.laplacian)", "is a number, where true or false is expected"),
        ("min(blank.is_blank) > 0", "is true or false, where a number is expected"),
        ("min(blur.laplacien) > 3", "no column 'blur.laplacien'; did you mean blur.laplacian?"),
        ("min_side > 3", "no column 'min_side'; did you mean min_side_px?"),
        ("image_sha256 == 'a'", "no column 'image_sha256'; "),
        ("True.x > 1", "is not part of the language"),
        ("label > 'a'", "only numbers are smaller or larger"),
        ("label == 3", "`3` is a number, where text is expected"),
        ("min_side_px and has_text", "`min_side_px` is a number, where true or false is expected"),
        ("label in ['a', 3]", "`3` is a number, where text is expected"),
        ("-label == 'a'", "`label` is text, where a number is expected"),
    ],
)
def test_what_may_not_be_said(text, told):
    with pytest.raises(ExpressionError) as caught:
        check_kinds(parsed(text), COLUMNS)
    assert told in str(caught.value)


def test_the_names_in_an_expression():
    text = "true and any(blur.laplacian > 3 or image_facts.format in ['min']) and min(blur['x']) > language.share"
    assert names_in(parsed(text)) == {"blur.laplacian", "blur.x", "image_facts.format", "language.share"}


def test_what_every_row_has_is_in_its_index():
    named = {"has_text": "text_sha256", "has_messages": "messages_sha256"}
    for name in ROW_COLUMNS:
        table, _, fact = name.partition(".")
        assert named.get(table, table) in INDEX_SCHEMA.names
        assert ROW_COLUMNS[name].of_images == bool(fact)
        assert not fact or fact in FACT_NAMES
