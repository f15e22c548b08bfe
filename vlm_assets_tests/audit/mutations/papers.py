"""Card, summary, report and Croissant that say other than the corpus."""

from collections.abc import Callable
from typing import Any

import orjson

from vlm_assets_tests.audit.breaking import Broken
from vlm_assets_tests.audit.mutations.registry import mutation


def edit_summary(b: Broken, change: Callable[[Any], None]) -> None:
    path = b.corpus / "summary.json"
    content = orjson.loads(path.read_bytes())
    change(content)
    path.write_bytes(orjson.dumps(content))


@mutation("papers")
def a_licence_with_a_row_more_in_the_summary(b: Broken) -> None:
    edit_summary(b, lambda content: content["licences"]["CC0-1.0"].update(rows=99))


@mutation("papers")
def a_reject_less_in_the_summary(b: Broken) -> None:
    edit_summary(b, lambda content: content["processing"].update(rejects={}))


@mutation("papers")
def a_private_source_told_to_be_public(b: Broken) -> None:
    def swap(content: Any) -> None:
        sources = content["sources"]
        sources["public_datasets"], sources["private_datasets"] = sources["private_datasets"], []

    edit_summary(b, swap)


@mutation("papers")
def another_count_in_croissant(b: Broken) -> None:
    path = b.corpus / "croissant.json"
    path.write_bytes(path.read_bytes().replace(b'"composition/present": 9', b'"composition/present": 8'))


@mutation("papers")
def rows_that_the_header_of_the_card_does_not_have(b: Broken) -> None:
    path = b.corpus / "README.md"
    path.write_text(path.read_text("utf-8").replace("num_examples: 30", "num_examples: 31"), "utf-8")


@mutation("papers")
def a_report_of_another_corpus(b: Broken) -> None:
    path = b.corpus / "report.html"
    path.write_text(path.read_text("utf-8").replace(b.manifest["root_hash"], "0" * 64), "utf-8")


@mutation("papers")
def a_paper_that_is_gone(b: Broken) -> None:
    (b.corpus / "summary.json").unlink()


@mutation("papers")
def papers_cut_while_they_were_written(b: Broken) -> None:
    path = b.corpus / "papers.json"
    path.write_bytes(path.read_bytes().replace(b'"complete": true', b'"complete": false'))
