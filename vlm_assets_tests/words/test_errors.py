import pytest

from vlm_assets.words.errors import told_why


@pytest.mark.parametrize(
    ("detail", "told"),
    [
        ("no image", "no_image"),
        ("", "no_image"),
        (" No image ", "no_image"),
        ("no image bytes", "no_image: no image bytes"),
    ],
)
def test_a_reason_is_told_once(detail: str, told: str):
    assert told_why("no_image", detail) == told
