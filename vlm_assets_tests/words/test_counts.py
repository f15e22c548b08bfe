"""Numbers of things, as people read them; and that every message has them so."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from vlm_assets.words.counts import so_many

PRODUCT = Path(__file__).resolve().parents[2] / "vlm_assets"
THINGS = (
    "rows|items|slices|images|files|shards|sources|labels|targets|pages|records|categories|subcategories|archives|"
    "members|requests|URLs|words|captions|repositories|versions|nodes|rejects|entries|lines|hosts|keys|values|columns|"
    "folders|documents|checks|findings|faults|samples|holes|parts|tombstones|tables|problems|errors|texts|chunks|"
    "blocks|groups|messages|objects|partitions|batches|levels|licences|pictures|benchmarks|annotations|things|cells|"
    "links|runs"
)
"""What is counted in messages. Units (bytes, pixels, bits, days) are limits and measures, not counts."""
OF_WHICH = (
    "selected|planned|granted|unfinished|due|sampled|annotated|declared|unnamed|benchmark|index|repeated"
)
NOT_ONE = frozenset({".1%", ",.1f", ">10,"})
"""Formats of a share, of a rate, and of a column of figures."""


@pytest.mark.parametrize(
    ("count", "words", "told"),
    [
        (0, ("row",), "0 rows"),
        (1, ("row",), "1 row"),
        (1_200, ("row",), "1,200 rows"),
        (1, ("corpus", "corpora"), "1 corpus"),
        (2, ("corpus", "corpora"), "2 corpora"),
    ],
)
def test_one_is_told_as_one(count, words, told):
    assert so_many(count, *words) == told


def bare_counts(source: str) -> Iterator[str]:
    """Values in f-strings that a plural follows, whatever the value is."""
    for text in ast.walk(ast.parse(source)):
        if not isinstance(text, ast.JoinedStr):
            continue
        for value, after in zip(text.values, text.values[1:], strict=False):
            if not isinstance(value, ast.FormattedValue) or not isinstance(after, ast.Constant):
                continue
            shown = ast.unparse(value.format_spec)[2:-1] if value.format_spec else ""
            noun = re.match(rf" ((?:(?:{OF_WHICH}) )?(?:{THINGS}))\b", str(after.value))
            if noun and shown not in NOT_ONE:
                yield f"{value.lineno}: {ast.unparse(value.value)} {noun[1]}"


def test_a_bare_count_is_seen():
    told = 'f"{n:,} rows of {so_many(n, chr(105))} there, {n} due items"'
    assert list(bare_counts(told)) == ["1: n rows", "1: n due items"]


def test_no_message_counts_without_plural():
    modules = {path: path.read_text("utf-8") for path in sorted(PRODUCT.rglob("*.py"))}
    told = {str(path.relative_to(PRODUCT)): list(bare_counts(text)) for path, text in modules.items()}
    assert {path: found for path, found in told.items() if found} == {}
