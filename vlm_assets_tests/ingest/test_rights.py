"""Rights stand in the status, the audit, the card and the page of the report, and say the same."""

import pytest

from vlm_assets.audit.run import audit_corpus
from vlm_assets.ingest.rights import source_terms
from vlm_assets.operate.status import read_status
from vlm_assets.orchestration.assets.metadata_line import rights_table, terms_table
from vlm_assets.papers.write import write_papers
from vlm_assets_tests.audit.breaking import TARGET, copy_of, good_once
from vlm_assets_tests.audit.mutations.registry import edit_catalog
from vlm_assets_tests.orchestration.kit import rows_of

ACCEPTED = "A. Yılmaz, in her Kaggle account, 2026-01-15"


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    broken = copy_of(good_once(tmp_path_factory), tmp_path_factory.mktemp("rights"))

    def declare(sources: list[dict[str, object]]) -> None:
        sources[0]["terms"] = {"url": "https://example.org/terms"}
        sources[1]["terms"] = {"url": "https://example.org/rules", "accepted": ACCEPTED}

    edit_catalog(broken, declare)
    return broken


def test_the_status_has_licences_terms_and_takedowns(broken):
    rights = read_status(broken.installation).rights
    assert {name: (one.sources, one.rows) for name, one in rights.licences.items()} == {
        "CC-BY-4.0": (["wild"], 24),
        "CC0-1.0": (["scans", "street"], 45),
        "unknown": (["murky"], 3),
    }
    assert [(one.source, one.state, one.accepted) for one in rights.terms] == [
        ("street", "open", ""),
        ("wild", "accepted", ACCEPTED),
    ]
    assert (len(rights.takedowns.names), rights.takedowns.images) == (1, 1)


def test_the_audit_warns_of_terms_that_nobody_accepted(broken):
    rights = next(f for f in audit_corpus(broken.installation, TARGET) if f.name == "rights")
    assert not rights.passed
    assert list(rights.examples) == [
        "source street: nobody has accepted its terms: https://example.org/terms"
    ]
    figures = rights.to_json()["figures"]
    assert figures["terms"] == [one.model_dump() for one in source_terms(broken.installation)]
    assert sum(one["rows"] for one in figures["licences"].values()) == 30


def test_the_card_and_its_page_list_them(broken):
    papers = write_papers(broken.installation, TARGET)
    text = papers.card.read_text("utf-8")
    assert "| street | client_folder | open | https://example.org/terms |  |" in text
    assert f"| accepted | https://example.org/rules | {ACCEPTED} |" in text
    [name] = papers.figures["takedowns"]["names"]
    assert name in text
    terms = terms_table(papers.figures).value
    assert ["street", "https://exa…e.org/terms", "NOT ACCEPTED"] in rows_of(terms)
    assert "https://exa…e.org/terms is https://example.org/terms" in str(terms.schema)
    assert "CC-BY-4.0" in {row[0] for row in rows_of(rights_table(papers.figures).value)}
