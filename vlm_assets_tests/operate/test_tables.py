"""Tables for a person: at every width each figure stands there whole."""

from io import StringIO

import pytest
from rich.console import Console
from rich.text import Text

from vlm_assets.operate.tables import stdout_console, table

COLUMNS = ["source", "state", "#items", "#rows", "#data", "rejects"]
ROWS = [
    (
        "kaggle_pictures_of_everything",
        "active",
        1_234_567,
        9_876_543,
        "1.23 GB",
        "truncated 1,234, corrupt 77",
    ),
    ("b[/red]", "never listed", 0, 12, "–", ""),
]


def printed(width: int) -> str:
    out = StringIO()
    Console(file=out, width=width).print(table("Sources", COLUMNS, ROWS))
    return out.getvalue()


@pytest.mark.parametrize("width", [20, 40, 60, 80, 100, 160])
def test_no_figure_is_cut_or_broken(width: int):
    told = printed(width)
    for figure in ("1,234,567", "9,876,543", "1.23 GB", "1,234", "77", "b[/red]"):
        assert figure in told
    assert "…" not in told
    assert max(map(len, told.splitlines())) <= width


def test_where_columns_do_not_fit_a_row_is_a_block():
    wide, narrow = printed(160).splitlines(), printed(80).splitlines()
    assert [line.split()[0] for line in wide if line.split()][1] == "source"
    assert narrow[:3] == ["Sources", "kaggle_pictures_of_everything", "  state    active"]
    assert narrow[-2:] == ["  data     –", ""]  # a cell without anything is left out


def test_what_is_told_of_a_node_stands_below_it():
    out = StringIO()
    rows = [("photos", 1, ""), ("  street", 1_234_567, "supply")]
    Console(file=out, width=22).print(table("Quotas", ["node", "#granted", "cause"], rows))
    assert out.getvalue().splitlines()[1:] == [
        "photos", "  granted  1", "  street", "    granted  1,234,567", "    cause    supply", "",
    ]  # fmt: skip


def test_coloured_cells_keep_their_words():
    out = StringIO()
    Console(file=out, width=40).print(table("t", ["a", "b"], [("x", Text("FAILED", "red"))]))
    assert "FAILED" in out.getvalue()


@pytest.mark.parametrize(
    ("cells", "told"),
    [
        (("0", "0 B", "0.00"), {"rows": "0"}),
        (("10", "100 B", "0.01"), {"rows": "0", "requests": "10", "bytes": "100 B", "hours": "0.01"}),
    ],
    ids=["nothing", "something"],
)
def test_a_block_leaves_out_what_is_nothing_where_that_goes_without_saying(
    cells: tuple[str, ...], told: dict[str, str]
):
    columns = ["source", "#rows", "#requests", "#bytes", "#hours"]
    out = StringIO()
    Console(file=out, width=20).print(
        table("Plan", columns, [("street", 0, *cells)], unsaid=("requests", "bytes", "hours"))
    )
    assert [line.split(maxsplit=1) for line in out.getvalue().split("\n")[2:] if line] == [
        [*one] for one in told.items()
    ]


@pytest.mark.parametrize("last", ["reasons", "#items"])
@pytest.mark.parametrize("width", range(16, 46, 2))
def test_no_header_breaks_inside_a_word_and_no_line_ends_in_spaces(width: int, last: str):
    out = StringIO()
    Console(file=out, width=width).print(table("t", ["source", "#left out", last], [("pictures", 1, "4")]))
    told = out.getvalue()
    assert ("left out" in told, last.removeprefix("#") in told) == (True, True)
    assert [line for line in told.splitlines() if line != line.rstrip()] == []


@pytest.mark.parametrize(("said", "width"), [("80", 80), ("", 160), ("wide", 160), ("0", 160)])
def test_a_pipe_is_as_wide_as_it_is_said_to_be(said: str, width: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sys.stdout", StringIO())
    monkeypatch.setenv("COLUMNS", said)
    assert stdout_console().width == width
