"""The card: words that its figures decide, and a header that the Hub's own library takes."""

from typing import Any

import pytest
import yaml
from datasets import Dataset, Features
from huggingface_hub import DatasetCard

from vlm_assets.papers import card
from vlm_assets.papers.contents import count_contents
from vlm_assets.papers.evidence import sealed_evidence
from vlm_assets.papers.figures import corpus_figures
from vlm_assets.papers.hub_header import hub_header
from vlm_assets.papers.shown import Sample
from vlm_assets.papers.write import write_papers
from vlm_assets.words.schema import SAMPLE_SCHEMA
from vlm_assets_tests.audit.breaking import TARGET, good_once

FIGURES: dict[str, Any] = {
    "rows": 1_000, "holes": 0, "shards": 2, "mean_fill": 0.5, "data_bytes": 10**9, "image_bytes": 999_999_999,
    "target_rows": 1_200, "formats": {}, "corpus": "c", "target": "t", "version": "v",
    "licences": {"CC0-1.0": {"rows": 9, "image_bytes": 1}}, "terms": [], "sources": [],
    "papers": {"languages": ["tr", "en"], "description": ""},
}  # fmt: skip
SAMPLE = Sample(
    id="street/a/1.jpg", category="photos", subcategory="street", source="street", slice="a", origin="1.jpg",
    licence="CC0-1.0", words="<script>alert(1)</script> | bir\nsokak", image_told=("64 × 48 JPEG",),
    image_sha256=("0" * 64,), picture=None,
)  # fmt: skip


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0.00 MB"),
        (1_500_000, "1.50 MB"),
        (10**9 - 1, "1,000.00 MB"),
        (10**9, "1.00 GB"),
        (10**12, "1,000.00 GB"),
    ],
)
def test_sizes_are_read_at_a_glance(size_bytes: int, text: str):
    assert card.size(size_bytes) == text


def test_samples_taken_down_later_are_told_with_the_sum_and_only_then():
    assert "taken down" not in card._summary(FIGURES)
    told = card._summary({**FIGURES, "rows": 997, "holes": 3})
    assert "3 samples taken down after the corpus was planned (997 = 1,000 - 3)" in told


def test_the_lines_that_open_the_corpus_can_be_pasted_in_the_data_root(tmp_path, monkeypatch):
    code = card._summary(FIGURES).split("```python\n")[1].split("```")[0]
    Dataset.from_dict({"id": ["a"]}).save_to_disk(tmp_path / "corpora" / "c" / "t")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(code, names)  # noqa: S102 - as a reader does
    assert names["corpus"].num_rows == 1


@pytest.mark.parametrize(
    ("told", "due", "lines"),
    [
        pytest.param([], {}, ["Every quota is met, and no slice is due."], id="nothing"),
        pytest.param([], None, ["Every quota is met."], id="nothing that this disk knows"),
        pytest.param(["x: less", "  <b>why"], {}, ["- x: less", "  - &lt;b>why"], id="less, and why"),
        pytest.param([], {"a": 1, "b": 1_200},
                     ["- a: 1 slice is due; what it brings is not in here",
                      "- b: 1,200 slices are due; what they bring is not in here"], id="due"),
    ],
)  # fmt: skip
def test_what_a_corpus_lacks_stands_in_sentences(
    told: list[str], due: dict[str, int] | None, lines: list[str]
):
    assert card._came_of({"told": told, "due": due}).splitlines()[-len(lines) :] == lines


def test_words_of_a_sample_are_neither_tags_nor_cells():
    line = card._samples([SAMPLE]).splitlines()[-1]
    assert line.endswith("| &lt;script>alert(1)&lt;/script> \\| bir sokak |")


def test_the_card_shows_the_first_ledger_with_examples_and_captions():
    line = {
        "source": "street",
        "upstream": 7,
        "items": 3,
        "companions": 1,
        "left out": "os_junk 3",
        "left out inside": "none",
        "such as": "a|b<c>.db: os_junk",
    }
    captions = {"street": ["of 3 rows with text 1, with messages 0, with neither 2"], "b": []}
    figures = {
        **FIGURES,
        "upstream": [line],
        "captions": captions,
        "rejects": {},
        "excluded": {},
        "takedowns": {"in_plan": 0, "since": 0, "names": []},
    }
    assert "| street | 7 | 3 | 1 | os_junk 3 | none | a\\|b&lt;c>.db: os_junk |" in card._left_out(figures)
    assert card._captions(figures) == "* street: of 3 rows with text 1, with messages 0, with neither 2\n"
    assert card._captions({"captions": {"b": []}}) == "None.\n"


def header(**figures: Any) -> dict[str, Any]:
    text = hub_header({**FIGURES, **figures})
    data: dict[str, Any] = DatasetCard(text).data.to_dict()
    assert data == yaml.safe_load(
        text.split("---\n")[1]
    )  # nothing that the Hub's library drops or reads otherwise
    return data


def test_the_hubs_library_reads_the_header():
    found = header()
    assert (found["language"], found["license"], found["size_categories"]) == (
        ["tr", "en"], ["cc0-1.0"], ["1K<n<10K"]
    )  # fmt: skip
    assert found["dataset_info"]["splits"] == [{"name": "train", "num_bytes": 10**9, "num_examples": 1_000}]
    assert "license_name" not in found


@pytest.mark.parametrize(
    ("licences", "terms", "told"),
    [
        pytest.param(["proprietary"], [], ("proprietary", "README.md#licences"), id="one"),
        pytest.param(
            ["CC0-1.0", "Etalab 2.0"], [("a", "https://example.org/terms")],
            ("etalab-2.0", "https://example.org/terms"), id="with terms",
        ),
        pytest.param(["unknown", "x"], [], ("several-see-licences", "README.md#licences"), id="several"),
        pytest.param([], [], ("several-see-licences", "README.md#licences"), id="none"),
    ],
)  # fmt: skip
def test_other_licences_have_a_name_and_a_place(licences: list[str], terms: Any, told: tuple[str, str]):
    found = header(
        licences={name: {"rows": 1, "image_bytes": 1} for name in licences},
        sources=[{"source": "a", "licence": licences[-1], "present": 1}] if licences else [],
        terms=[{"source": source, "url": url} for source, url in terms],
    )
    assert found["license"][-1] == "other"
    assert (found["license_name"], found["license_link"]) == told


def test_the_columns_of_the_header_are_those_of_datasets():
    wanted = Features.from_arrow_schema(SAMPLE_SCHEMA)
    assert Features._from_yaml_list(header()["dataset_info"]["features"]) == wanted


def test_the_card_counts_what_is_there(tmp_path_factory):
    good = good_once(tmp_path_factory)
    evidence = sealed_evidence(good, TARGET)
    figures = corpus_figures(evidence, count_contents(evidence.version, evidence.manifest, chosen=0))
    assert figures["rows"] == 30
    assert sum(one["present"] for one in figures["composition"]) == 30
    assert sum(one["rows"] for one in figures["licences"].values()) == 30
    assert next(one for one in figures["sources"] if one["source"] == "murky")["why_none"]
    assert figures["excluded"]["duplicate"] == 1
    assert figures["rejects"] == {"truncated": 1}
    assert [set(one) >= {"upstream", "such as"} for one in figures["upstream"]] == [True] * len(
        figures["captions"]
    )
    assert all(facts[0].startswith("of ") for facts in figures["captions"].values())
    written = write_papers(good, TARGET)
    assert {name: written.figures[name] for name in figures} | {"terms": [], "histograms": 0} == figures | {
        "histograms": 0
    }  # words are counted from the data files
    told = DatasetCard(written.card.read_text("utf-8")).data.to_dict()
    assert told["license"] == ["cc-by-4.0", "cc0-1.0"]
    assert told["size_categories"] == ["n<1K"]
    assert told["dataset_info"]["splits"][0]["num_examples"] == 30
