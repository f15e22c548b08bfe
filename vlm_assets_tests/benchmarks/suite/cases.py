"""All cases, by name."""

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

CASES: Final[dict[str, Case]] = {
    case.name: case
    for case in (
        *cases_ingest.CASES,
        *cases_pages.CASES,
        *cases_annotate.CASES,
        *cases_allocation.CASES,
        *cases_corpus.CASES,
        *cases_export.CASES,
        *cases_reading.CASES,
        *cases_growth.CASES,
    )
}
