"""An annotator that crashes, hangs or takes too long costs the values of one image, and nothing else."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from vlm_assets.annotate import pool as module
from vlm_assets.annotate.pool import AnnotatorPool
from vlm_assets.words.errors import AnnotationError
from vlm_assets.workers.errors import WorkerDiedError


@pytest.fixture(scope="module")
def pool() -> Iterator[AnnotatorPool]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "HANDLER", "vlm_assets_tests.annotate.handlers:odd")
        with AnnotatorPool(["good", "bad"], 2, cpu_s=0.2) as made:
            yield made


@pytest.mark.parametrize(
    ("batch", "sizes", "failed"),
    [
        (["a", "bbb"], [1, 3], {}),
        (["a", "crash", "bbb"], [1, None, 3], {"crashed": 1}),
        (["spin", "bbb"], [None, 3], {"timeout": 1}),
        (["raise me not", "crash", "x", "crash"], [12, None, 1, None], {"crashed": 2}),
    ],
    ids=["sound", "crash", "spin", "two"],
)
def test_the_one_at_fault_has_no_values(pool: AnnotatorPool, batch, sizes, failed):
    answer = pool.ask(["good"], batch)
    assert [one and one["size"] for one in answer.values["good"]] == sizes
    broken = answer.failed.get("good", {})
    assert Counter(broken.values()) == Counter(failed)
    assert [place for place, size in enumerate(sizes) if size is None] == sorted(broken)


def test_the_other_annotators_keep_theirs(pool: AnnotatorPool):
    answer = pool.ask(["good", "bad"], ["crash for bad"])
    assert answer.values == {"good": [{"size": 13}], "bad": [None]}


def test_a_crash_that_does_not_come_again_costs_nothing(pool: AnnotatorPool, tmp_path: Path):
    thing = f"once:{tmp_path / 'mark'}"
    answer = pool.ask(["good"], [thing])
    assert answer.values == {"good": [{"size": len(thing)}]}


def test_a_machine_without_memory_is_no_fault_of_the_image(pool: AnnotatorPool):
    with pytest.raises(WorkerDiedError, match="killed, or out of memory"):
        pool.ask(["good"], ["killed"])


def test_a_broken_handler_is_told_of(pool: AnnotatorPool):
    with pytest.raises(AnnotationError, match="annotator good: RuntimeError: odd"):
        pool.ask(["good"], ["raise"])


def test_answers_come_in_order_and_are_not_read_ahead(pool: AnnotatorPool):
    taken: list[int] = []

    def batches() -> Iterator[list[str]]:
        for number in range(20):
            taken.append(number)
            yield ["x" * number]

    found = []
    for answer in pool.in_order(lambda batch: pool.ask(["good"], batch), batches()):
        found += [one["size"] for one in answer.values["good"] if one]
        assert len(taken) - len(found) <= 5
    assert found == list(range(20))
