"""All cases, by name."""

from typing import Final

from vlm_assets_tests.benchmarks.suite import cases_corpus, cases_ingest, cases_pages
from vlm_assets_tests.benchmarks.suite.case import Case

CASES: Final[dict[str, Case]] = {
    case.name: case for case in (*cases_ingest.CASES, *cases_pages.CASES, *cases_corpus.CASES)
}
