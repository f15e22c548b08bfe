"""The finding `renderer`: an error where a slice is mixed, a warning where a corpus is."""

from types import SimpleNamespace
from typing import Any

import pytest

from vlm_assets.audit.checks_slices import check_renderer


def judge(*renderers: str | None) -> Any:
    """The verdict on slices drawn under these."""
    slices = [
        SimpleNamespace(
            claim=SimpleNamespace(name=f"src/{place}"),
            directory="",
            manifest=SimpleNamespace(renderer=renderer),
        )
        for place, renderer in enumerate(renderers)
    ]
    return check_renderer(SimpleNamespace(evidence=SimpleNamespace(slices=slices)))  # type: ignore[arg-type]  # all that it asks of a recount


@pytest.mark.parametrize(
    ("renderers", "faults", "milder"),
    [
        pytest.param([None, None], [], True, id="nothing-drawn"),
        pytest.param(["poppler-a", None, "poppler-a"], [], True, id="one"),
        pytest.param(["poppler-a", "pdfium-b"], [], True, id="one-of-each-renderer"),
        pytest.param(
            ["poppler-a", "poppler-b", "poppler-b"],
            ["poppler-a drew 1 slice, among them src/0", "poppler-b drew 2 slices, among them src/1"],
            True,
            id="a-mixed-corpus-is-a-warning",
        ),
        pytest.param(
            ["poppler-a+poppler-b"],
            [
                "src/0: drawn under poppler-a and poppler-b", "poppler-a drew 1 slice, among them src/0",
                "poppler-b drew 1 slice, among them src/0",
            ],
            False,
            id="a-mixed-slice-is-an-error",
        ),
    ],
)  # fmt: skip
def test_what_is_mixed(renderers: list[str | None], faults: list[str], milder: bool) -> None:  # noqa: FBT001 - table
    verdict = judge(*renderers)
    assert list(verdict.faults) == faults
    assert verdict.milder is milder
    assert verdict.figures["mixed_slices"] == (not milder)
