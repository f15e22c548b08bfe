"""Corpora that a wrong allocator made: everything fits together, and the audit disagrees with it."""

import shutil
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from vlm_assets.allocation import benchmarks as benchmarks_module
from vlm_assets.allocation import plan as plan_module
from vlm_assets.allocation.reasons import ExclusionReason
from vlm_assets.allocation.rows import RowReader
from vlm_assets.allocation.sampling import select_lowest
from vlm_assets.allocation.tree import grants_of
from vlm_assets_tests.audit.breaking import TARGET, build, copy_of, failed, good_once

Patch = Callable[[pytest.MonkeyPatch], None]


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    return good_once(tmp_path_factory)


def a_seat_to_the_wrong_child(patch: pytest.MonkeyPatch) -> None:
    right = grants_of

    def wrong(*args: Any):
        grants = right(*args)
        for path, seats in (("day", -1), ("night", 1)):
            grants["photos", "nature", path] += seats
            grants["photos", "nature", path, "wild"] += seats
        return grants

    patch.setattr(plan_module, "grants_of", wrong)


def a_seat_less_than_asked(patch: pytest.MonkeyPatch) -> None:
    right = grants_of
    patch.setattr(plan_module, "grants_of", lambda root, seats, bounds: right(root, seats - 1, bounds))


def not_the_lowest_rank(patch: pytest.MonkeyPatch) -> None:
    right = select_lowest

    def wrong(table, ordered, grants):
        selected = right(table, ordered, grants)
        cell = next(n for n, grant in enumerate(grants) if 0 < grant < (table.cell[ordered] == n).sum())
        rows = ordered[table.cell[ordered] == cell]
        selected[rows[0]], selected[rows[-1]] = False, True
        return selected

    patch.setattr(plan_module, "select_lowest", wrong)


def duplicates_forgotten(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(plan_module, "exact_duplicates", lambda *_: (np.empty(0, np.int64), np.empty(0, np.int64)))


def benchmark_forgotten(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        benchmarks_module,
        "read_decontamination",
        lambda *_: (np.empty((0, 4), np.uint64), *[np.empty(0, np.uint64)] * 2),
    )


def max_samples_forgotten(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(plan_module, "outside_lowest_keys", lambda *_: np.empty(0, np.int64))


def small_images_let_in(patch: pytest.MonkeyPatch) -> None:
    right = RowReader._tests

    def wrong(self, *args: Any):
        return {
            reason: holds
            for reason, holds in right(self, *args).items()
            if reason != ExclusionReason.MIN_SIDE
        }

    patch.setattr(RowReader, "_tests", wrong)


# A reason forgotten changes counts (`allocation_sums`) and, where the rows are of a bounded supply, grants and ranks.
@pytest.mark.parametrize(
    ("bug", "target", "caught"),
    [
        (a_seat_to_the_wrong_child, 30, "quotas"),
        (a_seat_less_than_asked, 30, "quotas"),
        (not_the_lowest_rank, 30, "ranks"),
        (duplicates_forgotten, 1000, "allocation_sums duplicates quotas"),
        (benchmark_forgotten, 1000, "allocation_sums decontamination quotas"),
        (max_samples_forgotten, 1000, "allocation_sums exclusions quotas"),
        (small_images_let_in, 1000, "allocation_sums exclusions quotas"),
    ],
    ids=lambda value: value.__name__ if callable(value) else str(value),
)
def test_a_bug_of_the_allocator_is_caught(good, tmp_path, monkeypatch, bug, target, caught):
    broken = copy_of(good, tmp_path)
    for folder in ("allocations", "corpora"):
        shutil.rmtree(tmp_path / "data" / folder)
    corpus = tmp_path / "catalog" / "corpus.yaml"
    corpus.write_text(corpus.read_text("utf-8").replace(f"{TARGET}: 30", f"{TARGET}: {target}"), "utf-8")
    build(broken.installation)
    assert failed(broken.installation) == set()
    for folder in ("allocations", "corpora"):
        shutil.rmtree(tmp_path / "data" / folder)
    bug(monkeypatch)
    build(broken.installation)
    assert " ".join(sorted(failed(broken.installation, full=True))) == caught
