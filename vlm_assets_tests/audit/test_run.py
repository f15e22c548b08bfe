"""A check that cannot judge is never a check that passed."""

import pytest

from vlm_assets.audit import (
    checks_benchmarks,
    checks_files,
    checks_papers,
    checks_plan,
    checks_rows,
    checks_slices,
    checks_state,
    checks_upstream,
)
from vlm_assets.audit.evidence import UnjudgedError
from vlm_assets.audit.findings import FindingName, Verdict, exit_code, finding_names
from vlm_assets.audit.run import audit_corpus
from vlm_assets_tests.audit.breaking import TARGET, good_once

MODULES = (
    checks_benchmarks,
    checks_files,
    checks_papers,
    checks_plan,
    checks_rows,
    checks_slices,
    checks_state,
    checks_upstream,
)


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    return good_once(tmp_path_factory)


def replace_check(monkeypatch, name, check):
    (module,) = [one for one in MODULES if hasattr(one, f"check_{name}")]
    monkeypatch.setattr(module, f"check_{name}", check)


def raising(error):
    def check(_recount):
        raise error

    return check


@pytest.mark.parametrize("name", finding_names())
def test_a_check_that_crashes_has_failed_and_the_others_are_judged(good, monkeypatch, name):
    replace_check(monkeypatch, name, raising(ZeroDivisionError("by nought")))
    findings = {one.name: one for one in audit_corpus(good, TARGET)}
    crashed = findings.pop(name)
    assert (crashed.passed, crashed.judged, crashed.failed) == (False, True, True)
    assert crashed.observed == "the check itself failed: ZeroDivisionError: by nought"
    assert crashed.expected == "to be judged"
    assert all(one.passed and one.judged for one in findings.values())
    assert exit_code([crashed]) == (crashed.severity == "error")


def test_what_nothing_broken_explains_is_a_failure_when_it_was_not_judged(good, monkeypatch):
    replace_check(monkeypatch, FindingName.LABELS, raising(UnjudgedError("no rows to read")))
    findings = {one.name: one for one in audit_corpus(good, TARGET)}
    found = findings[FindingName.LABELS]
    assert (found.passed, found.judged, found.observed) == (False, True, "no rows to read")
    assert exit_code(list(findings.values())) == 1


def test_what_hangs_on_something_broken_is_not_judged_and_not_passed(good, monkeypatch):
    replace_check(monkeypatch, FindingName.LABELS, raising(UnjudgedError("no rows to read")))
    replace_check(monkeypatch, FindingName.SCHEMA, lambda _: Verdict("a", "b", ["a fault"]))
    findings = {one.name: one for one in audit_corpus(good, TARGET)}
    hanging = findings[FindingName.LABELS]
    assert (hanging.passed, hanging.judged, hanging.failed) == (False, False, False)
    assert [one.name for one in findings.values() if one.failed] == [FindingName.SCHEMA]
