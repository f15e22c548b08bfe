"""All cases, by name, and the modules that hold them."""

from typing import Final

from vlm_assets_tests.benchmarks.suite import (
    cases_allocation,
    cases_annotate,
    cases_corpus,
    cases_export,
    cases_growth,
    cases_ingest,
    cases_pages,
    cases_reading,
)
from vlm_assets_tests.benchmarks.suite.case import Case

_MODULES: Final = (
    cases_ingest,
    cases_pages,
    cases_annotate,
    cases_allocation,
    cases_corpus,
    cases_export,
    cases_reading,
    cases_growth,
)
CASES: Final[dict[str, Case]] = {case.name: case for module in _MODULES for case in module.CASES}
MODULE_OF: Final[dict[str, str]] = {
    case.name: module.__name__ for module in _MODULES for case in module.CASES
}
"""By case: a way imports its own alone, for all of them take seconds."""
