"""The card of a corpus: `README.md` with the Hub's header. Equal figures give equal bytes."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from vlm_assets.images.plugins import READER_LINES
from vlm_assets.papers.figures import Figures
from vlm_assets.papers.hub_header import hub_header
from vlm_assets.papers.shown import Sample
from vlm_assets.words.column_words import COLUMN_WORDS
from vlm_assets.words.counts import so_many
from vlm_assets.words.schema import COLUMNS

SAMPLES = 5
_WORDS_SHOWN = 160


def render_card(figures: Figures, samples: Sequence[Sample] = ()) -> str:
    """The card as Markdown; the first samples stand in it by their words and facts."""
    parts = [
        hub_header(figures),
        f"# {figures['corpus']} {figures['target']}\n",
        _summary(figures),
        "## Asked and got\n\n" + _came_of(figures["outcome"]),
        "## Composition\n\n" + _table(
            ("category", "subcategory", "share", "asked", "granted", "present", "supply", "cause"),
            figures["composition"],
        ),
        "## Sources\n\n" + _table(
            ("source", "kind", "revision", "licence", "slices", "admitted", "selected", "present", "why_none"),
            figures["sources"],
        ),
        "## Columns\n\n" + _table(("column", "what it holds"), [
            {"column": f"`{one.name}`", "what it holds": COLUMN_WORDS[one.name]} for one in COLUMNS
        ]),
        "## Samples\n\n" + _samples(samples[:SAMPLES]),
        "## Licences\n\nEach row carries its own licence in the column `licence`.\n\n" + _counts(figures["licences"]),
        "## Terms\n\n" + _terms(figures["terms"]),
        "## Formats\n\n" + _counts(figures["formats"], "images"),
        "## Left out\n\n" + _left_out(figures),
        "## Captions\n\n" + _captions(figures),
        "## Benchmarks\n\n" + _benchmarks(figures),
        "## Against the version before\n\n" + _churn_text(figures["churn"]),
        "## Hashes\n\n" + _table(
            ("hash", "value"), [{"hash": key, "value": f"`{value}`"} for key, value in figures["hashes"].items()]
        ),
    ]  # fmt: skip
    return "\n".join(parts)


def _summary(figures: Figures) -> str:
    rows, holes = figures["rows"], figures["holes"]
    disk, images = size(figures["data_bytes"]), size(figures["image_bytes"])
    about = figures.get("papers", {}).get("description", "")
    lines = [_plain(about)] if about else []
    lines.append(
        f"{so_many(rows, 'sample')} in {so_many(figures['shards'], 'shard')} ({figures['mean_fill']:.0%} of the "
        f"cap on average): "
        f"{disk} on disk, {images} of it encoded images. The target was {figures['target_rows']:,}."
    )
    if holes:
        told = f"{rows:,} = {rows + holes:,} - {holes:,}"
        lines.append(
            f"{so_many(holes, 'sample')} taken down after the corpus was planned ({told}). The next build "
            f"fills them up."
        )
    plugins = "".join(f"{line}\n" for form, line in READER_LINES.items() if form in figures["formats"])
    lines.append(
        f"```python\nfrom datasets import load_from_disk\n{plugins}\n"
        f'corpus = load_from_disk("corpora/{figures["corpus"]}/{figures["target"]}")  # run in the data root\n```\n'
    )
    return "\n\n".join(lines)


def _came_of(outcome: Mapping[str, Any]) -> str:
    """What the target lacks, in sentences; a fact that another is about stands below it."""
    lines = [("  - " if one.startswith("  ") else "- ") + _plain(one.strip()) for one in outcome["told"]]
    lines += [
        f"- {source}: {so_many(slices, 'slice')} {'is' if slices == 1 else 'are'} due; what "
        f"{'it brings' if slices == 1 else 'they bring'} is not in here"
        for source, slices in (outcome["due"] or {}).items()
    ]
    if lines:
        return "As of when this card was written:\n\n" + "".join(f"{one}\n" for one in lines)
    return "Every quota is met.\n" if outcome["due"] is None else "Every quota is met, and no slice is due.\n"


def _samples(samples: Sequence[Sample]) -> str:
    return _table(
        ("id", "category", "subcategory", "images", "words"),
        [
            {
                "id": one.id,
                "category": one.category,
                "subcategory": one.subcategory,
                "images": ", ".join(one.image_told),
                "words": one.words[:_WORDS_SHOWN],
            }
            for one in samples
        ],
    )


def _left_out(figures: Figures) -> str:
    rejects = [{"reason": key, "items and records": f"{rows:,}"} for key, rows in figures["rejects"].items()]
    excluded = [{"reason": key, "rows": f"{rows:,}"} for key, rows in figures["excluded"].items()]
    takedowns = figures["takedowns"]
    columns = ("source", "upstream", "items", "companions", "left out", "left out inside", "such as")
    return (
        "What upstream shows, and what of it is no item (upstream = items + companions + left out):\n\n"
        + _table(columns, figures["upstream"])
        + "\nItems and records that did not become samples, by reason:\n\n"
        + _table(("reason", "items and records"), rejects)
        + "\nSamples that took no part in the allocation, by reason:\n\n"
        + _table(("reason", "rows"), excluded)
        + f"\nTakedowns: {takedowns['in_plan']} before the plan, {takedowns['since']} since"
        + (f" ({', '.join(takedowns['names'])}).\n" if takedowns["names"] else ".\n")
    )


def _captions(figures: Figures) -> str:
    """Rows of the sources by their words, captions that joined nothing, pages without text."""
    told = [f"{source}: {fact}" for source, facts in figures["captions"].items() for fact in facts]
    return "".join(f"* {_plain(one)}\n" for one in told) or "None.\n"


def _benchmarks(figures: Figures) -> str:
    """What rows were held against, and those that matched."""
    if not figures["benchmarks"]:
        return "None declared.\n"
    held = [
        {
            "benchmark": one["name"],
            "images": one["images"],
            "pictures": one["pictures"],
            "runs of words": one["grams"],
        }
        for one in figures["benchmarks"]
    ]
    found = [
        {**one, "excluded rows": one["rows"], "such as": ", ".join(one["examples"])}
        for one in figures["contamination"]
    ]
    return (
        "No row has an image of these, one like it, or thirteen words in a row in common with one:\n\n"
        + _table(("benchmark", "images", "pictures", "runs of words"), held)
        + "\nRows of the sources that have, and were excluded, each in every way in which it does:\n\n"
        + _table(("source", "benchmark", "exact", "near", "text", "excluded rows", "such as"), found)
    )


def _terms(terms: Sequence[Mapping[str, Any]]) -> str:
    told = "Sources whose use is bound to terms that someone has to accept, and sources never listed:\n\n"
    return (
        told + _table(("source", "kind", "state", "url", "accepted"), terms) if terms else "None declared.\n"
    )


def _churn_text(churn: Mapping[str, Any] | None) -> str:
    if churn is None:
        return "There is no version before.\n"
    counts = ", ".join(f"{churn[key]:,} {key}" for key in ("added", "removed", "kept"))
    share = churn["removed"] / max(churn["removed"] + churn["kept"], 1)
    return f"Against `{churn['against']}`: {counts}; churn {share:.2%}, the share of its rows that went.\n"


def _counts(sums: Mapping[str, Mapping[str, int]], counted: str = "rows") -> str:
    lines = [
        {"name": name, counted: f"{one[counted]:,}", "bytes": size(one["image_bytes"])}
        for name, one in sums.items()
    ]
    return _table(("name", counted, "bytes"), lines)


def size(size_bytes: int) -> str:
    """In MB, or in GB where it is one."""
    return f"{size_bytes / 1e9:,.2f} GB" if size_bytes >= 10**9 else f"{size_bytes / 1e6:,.2f} MB"


def _table(columns: Sequence[str], lines: Sequence[Mapping[str, Any]]) -> str:
    if not lines:
        return "None.\n"
    head = f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}\n"
    return head + "".join(f"| {' | '.join(_cell(line[name]) for name in columns)} |\n" for line in lines)


def _cell(value: Any) -> str:
    return _plain(f"{value:,}" if isinstance(value, int) else str(value)).replace("|", "\\|")


def _plain(text: str) -> str:
    """On one line, and without tags: Markdown passes HTML through."""
    return re.sub(r"[\r\n]+", " ", text).replace("<", "&lt;")
