"""Values become columns once their record is complete; few of them are Python objects at a time."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from vlm_assets.annotate import said as module
from vlm_assets.annotate.said import Said
from vlm_assets.annotate.wanted import Wanted
from vlm_assets.annotators.protocol import Reads
from vlm_assets.catalog.annotations import AnnotationSpec


def said(name: str, reads: Reads, records: int, *, gone: tuple[int, ...] = (), due: Any = None) -> Said:
    content: Any = SimpleNamespace(
        ids=pa.array([f"s/a/{number}" for number in range(records)]), gone=np.zeros(records, bool)
    )
    content.gone[list(gone)] = True
    rows = ~content.gone if due is None else np.isin(np.arange(records), due)
    return Said(Wanted(AnnotationSpec(name=name), "1"), reads, content, rows)


def fed(one: Said, rows: list[int], size: int, absent: set[int]) -> tuple[dict[str, list[Any]], int]:
    """Values that count up, in batches of so many, and how many records waited at most."""
    column = "laplacian" if one.wanted.name == "blur" else "words"
    most = 0
    for begin in range(0, len(rows), size):
        part = rows[begin : begin + size]
        one.add(part, [{column: begin + place} for place in range(len(part))], {})
        one.settle(part[-1], absent)
        most = max(most, len(one._pending))
    one.settle(len(one.due), absent, all_of_it=True)
    return one.table().to_pydict(), most


@pytest.mark.parametrize("size", [1, 2, 3, 100])
@pytest.mark.parametrize("at_once", [1, 3, 100])
def test_images_of_a_record_stay_together_however_batches_are_cut(
    monkeypatch: pytest.MonkeyPatch, size: int, at_once: int
):
    monkeypatch.setattr(module, "_RECORDS_AT_ONCE", at_once)
    one = said("blur", Reads.IMAGES, 7, gone=(4,), due=[0, 1, 2, 3, 5])
    table, _ = fed(one, [0, 1, 1, 1, 3, 3, 5], size, {2, 4})
    assert table == {
        "id": [f"s/a/{number}" for number in (0, 1, 2, 3, 4, 5)],
        "laplacian": [[0], [1, 2, 3], None, [4, 5], None, [6]],
    }


def test_few_records_wait(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "_RECORDS_AT_ONCE", 10)
    table, most = fed(said("blur", Reads.IMAGES, 1000), list(range(1000)), 4, set())
    assert table["laplacian"] == [[number] for number in range(1000)]
    assert most <= 14


def test_a_record_without_words_has_no_values():
    one = said("length", Reads.TEXT, 4)
    table, _ = fed(one, [1, 3], 2, {0, 2})
    assert table["words"] == [None, 0, None, 1]
    assert one.fault == ""


def test_what_is_no_value_is_a_fault_of_that_one_alone():
    one = said("length", Reads.TEXT, 2)
    one.add([0, 1], [{"words": 1}, {"words": "two"}], {1: "odd"})
    one.settle(2, set(), all_of_it=True)
    assert "annotator length: s/a/1: words is 'two'" in one.fault
    assert (one.broken, dict(one.failed)) == ({1}, {"odd": 1})
