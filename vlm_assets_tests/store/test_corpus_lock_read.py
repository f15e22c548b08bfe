"""A lock that cannot be read is told on one line: where, what, and what to do."""

from pathlib import Path

import pytest

from vlm_assets.store.corpus_lock import read_lock
from vlm_assets.words.errors import StoreError


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "Invalid JSON"), ('{"corpus": "a', "Invalid JSON"), ("[]", "should be an object"),
        ('{"lock_version": 0}', r"lock_version: Input should be 1 \(and \d+ more\)"),
    ],
    ids=["empty", "cut", "no object", "of another version"],
)  # fmt: skip
def test_an_unreadable_lock_is_told_on_one_line(tmp_path: Path, content: str, says: str) -> None:
    (tmp_path / "corpus.lock").write_text(content)
    with pytest.raises(StoreError, match=rf"corpus\.lock: not a corpus\.lock .*{says}") as raised:
        read_lock(tmp_path / "corpus.lock")
    assert "`vlm-assets lock` writes it anew" in str(raised.value)
    assert "\n" not in str(raised.value)
    assert "pydantic" not in str(raised.value)
