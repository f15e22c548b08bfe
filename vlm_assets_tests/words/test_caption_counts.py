"""What is counted of captions over slices, and the sentences about it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from vlm_assets.words.caption_counts import NO_TEXT_LAYER, CaptionCounts, caption_facts
from vlm_assets.words.caption_rows import CaptionRows


@dataclass
class Slice:
    """As a manifest says it."""

    rows: int
    rows_with_text: int = 0
    rows_with_messages: int = 0
    rows_with_neither: int | None = None
    remarks: Mapping[str, int] = field(default_factory=dict)


@pytest.mark.parametrize(
    ("slices", "captions", "told"),
    [
        pytest.param([], None, [], id="nothing"),
        pytest.param(
            [], CaptionRows(name_nothing=1_200, waiting=3),
            ["captions that joined no image: 1,200", "captions that wait for archives to be fetched: 3"],
            id="listed only",
        ),
        pytest.param(
            [Slice(9, 2, 3, 5)], CaptionRows(joined=2), ["of 9 rows with text 2, with messages 3, with neither 5"],
            id="both",
        ),
        pytest.param(
            [Slice(9, 2), Slice(4, 0, 1), Slice(2, 0, 0)], None,
            ["of 15 rows with text 2, with messages 1, with neither 12"], id="it follows, in older slices",
        ),
        pytest.param(
            [Slice(9, 2, 3), Slice(1, 0, 0, 1)], None,
            ["of 10 rows with text 2, with messages 3, with neither not counted"], id="nobody counted",
        ),
        pytest.param(
            [Slice(2, 1, 0, 1, {NO_TEXT_LAYER: 1, "withheld": 2}), Slice(2, 0, 0, 2, {NO_TEXT_LAYER: 2})], None,
            [
                "of 4 rows with text 1, with messages 0, with neither 3",
                "pages without the text layer that was asked for: 3",
                "captions and conversations, mended or withheld: withheld 2",
            ],
            id="remarks",
        ),
    ],
)  # fmt: skip
def test_captions_are_counted_over_slices(
    slices: list[Slice], captions: CaptionRows | None, told: list[str]
) -> None:
    assert caption_facts(CaptionCounts.of(slices, captions)) == told
