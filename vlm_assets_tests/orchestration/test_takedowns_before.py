"""Before a run: takedowns are looked for, and what carries them out is called where there may be one."""

from types import SimpleNamespace
from typing import Any

import pytest

from vlm_assets.operate import takedown
from vlm_assets.orchestration.assets.takedowns import finish_before
from vlm_assets.words.layout import DataRoot


@pytest.mark.parametrize(
    ("on_record", "called"),
    [(None, 0), ("README", 0), ("0123456789ab.json", 1), ("met/0123456789ab.json", 1)],
    ids=["nothing", "no takedown", "a takedown", "what a cut fetch met"],
)
def test_what_finishes_takedowns_is_called_where_one_may_be(tmp_path, monkeypatch, on_record, called):
    calls: list[Any] = []

    def finish(*given: Any, **_: Any) -> list[Any]:
        calls.append(given)
        return []

    monkeypatch.setattr(takedown, "finish_takedowns", finish)
    root = DataRoot(tmp_path)
    if on_record:
        path = root.tombstones / on_record
        path.parent.mkdir(parents=True)
        path.touch()
    installation: Any = SimpleNamespace(root=root, settings=SimpleNamespace(worker_count=1))
    assert finish_before(installation, calls.append) == []
    assert len(calls) == called
