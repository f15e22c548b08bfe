"""From which loss of rows, and which growth of rejects, a slice stands out."""

from types import SimpleNamespace

import pytest

from vlm_assets.audit.checks_state import check_slice_health
from vlm_assets.words.layout import DataRoot
from vlm_assets_tests.builders import commit_slice, sample


def judge(root, versions):
    """The verdict on a slice of these (rows, rejects), version after version."""
    for rows, rejects in versions:
        commit_slice(root, "src", "s", [sample("src", "s", f"i{n}") for n in range(rows)], rejected=rejects)
    evidence = SimpleNamespace(root=root, rules=SimpleNamespace(sources=["src"]))
    return check_slice_health(SimpleNamespace(evidence=evidence))  # type: ignore[arg-type]  # all that it asks of a recount


@pytest.mark.parametrize(
    ("before", "now", "told"),
    [
        pytest.param((100, 0), (90, 0), [], id="a-tenth-lost-is-borne"),
        pytest.param((100, 0), (89, 0), ["src/s: 89 rows, 100 before"], id="more-is-told"),
        pytest.param((100, 0), (0, 0), ["src/s: 0 rows, 100 before"], id="all-lost"),
        pytest.param((0, 0), (100, 0), [], id="grown-from-nothing"),
        pytest.param((100, 0), (95, 5), [], id="a-twentieth-rejected-is-borne"),
        pytest.param(
            (100, 0), (94, 6), ["src/s: 6.0% rejects (corrupt 6), 0.0% before"], id="more-rejects-are-told"
        ),
        pytest.param((95, 5), (91, 9), [], id="what-grew-counts-not-what-is-there"),
        pytest.param(
            (100, 0),
            (80, 20),
            ["src/s: 80 rows, 100 before", "src/s: 20.0% rejects (corrupt 20), 0.0% before"],
            id="both",
        ),
    ],
)
def test_what_stands_out_against_the_version_before(tmp_path, before, now, told):
    verdict = judge(DataRoot(tmp_path), [before, now])
    assert (list(verdict.faults), verdict.fault_count) == (told, len(told))
    assert verdict.observed == f"1 slice with a version before; {len(told)} stand out"
    assert verdict.expected == "no slice lost more than 10% of its rows or gained 5% of rejects"


def test_a_slice_without_a_version_before_is_not_compared(tmp_path):
    assert judge(DataRoot(tmp_path), [(5, 0)]).observed == "0 slices with a version before; 0 stand out"
