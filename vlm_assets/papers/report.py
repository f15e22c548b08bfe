"""The report of a corpus: one page for people, of one file, without a script and without anything from elsewhere.

What comes from data (labels, names, words, URLs) is escaped by the template engine; the page's content policy forbids
scripts besides, and every address but `data:` pictures.
"""

import base64
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from vlm_assets.papers.card import size
from vlm_assets.papers.charts import Chart, bar_chart
from vlm_assets.papers.evidence import Evidence
from vlm_assets.papers.figures import Figures
from vlm_assets.papers.lineage import Traced
from vlm_assets.papers.rejects import ShownReject
from vlm_assets.papers.shown import Sample

MOST_LINES: Final = 400
"""Of a table; the rest is counted."""
_PICTURE_BYTES: Final = 3_000_000
"""Of all pictures together, in base64."""
_TEMPLATES: Final = Path(__file__).parent / "templates"


@dataclass(frozen=True, slots=True)
class Table:
    """A table of a page. Columns whose name begins with `#` hold numbers."""

    columns: Sequence[str]
    lines: Sequence[Sequence[Any]]
    caption: str = ""

    @property
    def shown(self) -> Sequence[Sequence[Any]]:
        """The first lines."""
        return self.lines[:MOST_LINES]

    @property
    def more(self) -> int:
        """Lines that are not shown."""
        return max(0, len(self.lines) - MOST_LINES)


@dataclass(frozen=True, slots=True)
class Sheet:
    """A contact sheet: a title, what is said beside it, pictures."""

    title: str
    told: str
    samples: Sequence[Sample]


@dataclass(frozen=True, slots=True)
class Refused:
    """Rejects of one reason."""

    reason: str
    told: str
    rejects: Sequence[ShownReject]


@dataclass(frozen=True, slots=True)
class Reasons:
    """What was lost at one step: a chart by reason, and a table of sources by reason."""

    title: str
    told: str
    chart: Chart | None
    table: Table | None


def render_report(
    figures: Figures,
    evidence: Evidence,
    sheets: Sequence[Sheet],
    left_out: Sequence[Sheet],
    refused: Sequence[Refused],
    traced: Sequence[Traced],
) -> str:
    """The page as HTML. Equal arguments give equal bytes."""
    samples = [
        *(one.sample for one in traced),
        *(one for sheet in (*sheets, *left_out) for one in sheet.samples),
    ]
    drawn = _within_budget([*samples, *(one for some in refused for one in some.rejects)])
    return _template().render(
        figures=figures,
        tiles=_tiles(figures),
        charts=_charts(figures),
        composition=_composition(figures),
        quotas=_quotas(evidence),
        sources=_sources(figures),
        histograms=_histograms(figures),
        sheets=sheets,
        left_out=left_out,
        refused=refused,
        reasons=_reasons(figures),
        policies=_policies(figures),
        dedup=_dedup(figures),
        benchmarks=_benchmarks(figures),
        contamination=contamination_table(figures),
        licences=_licences(figures),
        terms=_terms(figures),
        domains=_domains(figures),
        churn=figures["churn"],
        churned=_churned(figures),
        history=_history(figures),
        traced=traced,
        hashes=_hashes(figures),
        papers=_said(figures),
        drawn=drawn,
    )


@cache
def _template() -> Template:
    engine = Environment(
        loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    engine.filters |= {"number": _number, "size": size, "picture": _picture}
    return engine.get_template("report.html.jinja")


def _number(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def _picture(pictured: Sample | ShownReject) -> Markup:
    """Base64 has nothing to escape, and the template engine would look at each letter of megabytes."""
    encoded = base64.b64encode(pictured.picture or b"").decode()
    return Markup(f"data:image/jpeg;base64,{encoded}")  # noqa: S704 - base64 has nothing to escape


def _within_budget(every: Iterable[Sample | ShownReject]) -> frozenset[str]:
    """Ids of those whose pictures are put in: all, unless these are too many bytes."""
    left = _PICTURE_BYTES
    found = set()
    for one in every:
        if one.picture is not None and one.id not in found:
            left -= 4 * len(one.picture) // 3
            if left < 0:
                break
            found.add(one.id)
    return frozenset(found)


def _tiles(figures: Figures) -> list[tuple[str, str]]:
    wanted, rows = figures["target_rows"], figures["rows"]
    return [
        ("samples", f"{rows:,}"),
        ("of the target", f"{rows / max(wanted, 1):.1%}"),
        ("images", f"{figures['images']:,}"),
        ("image bytes", size(figures["image_bytes"])),
        ("shards", f"{figures['shards']:,}"),
        ("sources with rows", f"{sum(1 for one in figures['sources'] if one['present']):,}"),
        ("licences", f"{len(figures['licences']):,}"),
        ("takedowns", f"{figures['takedowns']['in_plan'] + figures['takedowns']['since']:,}"),
    ]


def _charts(figures: Figures) -> list[Chart]:
    categories: Counter[str] = Counter()
    for one in figures["composition"]:
        categories[one["category"]] += one["present"]
    subcategories = {
        f"{one['category']}/{one['subcategory']}": one["present"] for one in figures["composition"]
    }
    sources = {one["source"]: one["present"] for one in figures["sources"]}
    licences = {name: one["rows"] for name, one in figures["licences"].items()}
    made = (
        bar_chart("Rows by category", categories.most_common()),
        bar_chart("Rows by subcategory", _most(subcategories)),
        bar_chart("Rows by source", _most(sources)),
        bar_chart("Rows by licence", licences),
    )
    return [one for one in made if one is not None]


def _most(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda one: (-one[1], one[0]))


def _histograms(figures: Figures) -> list[Chart]:
    formats = {name: one["images"] for name, one in figures["formats"].items()}
    made = [bar_chart("Format of an image", formats, "images")]
    for name, one in figures["histograms"].items():
        unit = "records" if name in {"images", "words"} else "images"
        made.append(bar_chart(one["title"], [(label, count) for label, count in one["bins"]], unit))
    return [one for one in made if one is not None]


def _composition(figures: Figures) -> Table:
    names = ("category", "subcategory", "share", "asked", "supply", "granted", "present", "cause")
    return Table(
        ("category", "subcategory", "share", "#asked", "#supply", "#granted", "#present", "why less"),
        [[one[name] for name in names] for one in figures["composition"]],
        "What each subcategory was to get, what it got, and why that is less",
    )


def _quotas(evidence: Evidence) -> Table:
    return Table(
        ("node", "share", "#asked", "#min", "max", "#admitted", "#supply", "#granted", "#shortfall", "why less"),
        [
            [
                "/".join(one.path), one.share or "count", one.asked, one.min,
                "" if one.max is None else _number(one.max), one.rows, one.supply, one.granted, one.shortfall,
                one.cause,
            ]
            for one in evidence.certificate.nodes
        ],
        "Every node of the quota tree, sources at its leaves",
    )  # fmt: skip


def _sources(figures: Figures) -> Table:
    names = (
        "source",
        "kind",
        "licence",
        "revision",
        "slices",
        "admitted",
        "selected",
        "not_selected",
        "present",
    )
    return Table(
        (
            "source", "kind", "licence", "revision", "#slices", "#admitted", "#selected", "#not selected", "#present",
            "image bytes", "why none",
        ),
        [[*(one[name] for name in names), size(one["image_bytes"]), one["why_none"]] for one in figures["sources"]],
        "Every declared source",
    )  # fmt: skip


_STEPS: Final = (
    ("excluded", "Rows that no target may have", ("Excluded before the quotas, each under the first reason that "
     "holds; filters of the catalogue stand here by their names.")),
    ("rejects", "Rejects", "Items and records that did not become samples."),
    ("left_out", "Left out upstream", "Things that upstream has and that are neither items nor companions of items."),
)  # fmt: skip


def _reasons(figures: Figures) -> list[Reasons]:
    """Whatever reasons there are: none is known by name here."""
    found = []
    for key, title, told in _STEPS:
        by_source = {source: one[key] for source, one in figures["by_source"].items()}
        totals: Counter[str] = Counter()
        for counts in by_source.values():
            totals.update(counts)
        reasons = [reason for reason, count in _most(totals) if count]
        lines = [
            [source, *(counts.get(reason, 0) for reason in reasons), sum(counts.values())]
            for source, counts in by_source.items()
            if any(counts.values())
        ]
        table = Table(
            ("source", *(f"#{reason}" for reason in reasons), "#all"), lines, f"{title}, by source and reason"
        )
        found.append(
            Reasons(title, told, bar_chart(f"{title}, by reason", _most(totals)), table if lines else None)
        )
    return found


def _policies(figures: Figures) -> Table:
    return Table(
        ("policy", "as the catalogue had it"),
        [[name, _said_of(one)] for name, one in figures["policies"].items()],
    )


def _said_of(value: Any) -> str:
    if isinstance(value, Mapping):
        return "; ".join(f"{name}: {_said_of(one)}" for name, one in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_said_of, value)) or "none"
    return "-" if value is None else str(value)


def _dedup(figures: Figures) -> Table:
    """Of each source: rows that fell to a duplicate or a benchmark, under whatever names these reasons have."""
    names = [
        name for name in figures["excluded"] if name.startswith(("duplicate", "decontaminate", "filter:"))
    ]
    lines = [
        [one["source"], one["admitted"], *(one["excluded"].get(name, 0) for name in names)]
        for one in figures["sources"]
        if any(one["excluded"].get(name) for name in names)
    ]
    return Table(("source", "#admitted", *(f"#{name}" for name in names)), lines)


def _benchmarks(figures: Figures) -> Table:
    names = ("name", "images", "pictures", "grams")
    return Table(
        ("benchmark", "#images", "#pictures", "#runs of words"),
        [[one[name] for name in names] for one in figures["benchmarks"]],
        "What rows were held against",
    )


def contamination_table(figures: Figures) -> Table:
    """Source by benchmark: rows that match, in each way and in any."""
    names = ("source", "benchmark", "exact", "near", "text", "rows")
    return Table(
        ("source", "benchmark", "#exact", "#near", "#text", "#excluded rows", "such as"),
        [[*(one[name] for name in names), ", ".join(one["examples"])] for one in figures["contamination"]],
        "Rows of each source that match a benchmark",
    )


def _licences(figures: Figures) -> Table:
    return Table(
        ("licence", "#rows", "image bytes", "sources"),
        [
            [name, one["rows"], size(one["image_bytes"]), _under(figures, name)]
            for name, one in figures["licences"].items()
        ],
    )


def _under(figures: Figures, licence: str) -> str:
    return ", ".join(
        one["source"] for one in figures["sources"] if one["licence"] == licence and one["present"]
    )


def _terms(figures: Figures) -> Table:
    names = ("source", "kind", "state", "url", "accepted")
    return Table(names, [[one[name] for name in names] for one in figures["terms"]])


def _domains(figures: Figures) -> Table:
    return Table(
        ("domain", "#images", "bytes"),
        [[name, one["images"], size(one["image_bytes"])] for name, one in figures["domains"].items()],
    )


def _churned(figures: Figures) -> Table:
    names = ("source", "category", "subcategory", "added", "removed", "kept")
    rows = figures["churn"]["by_source"] if figures["churn"] else []
    return Table(
        ("source", "category", "subcategory", "#added", "#removed", "#kept"),
        [[one[name] for name in names] for one in rows],
    )


def _history(figures: Figures) -> Table:
    names = ("version", "rows", "holes", "shards", "sources")
    return Table(
        ("version", "#rows", "#holes", "#shards", "#sources", "bytes"),
        [[*(one[name] for name in names), size(one["data_bytes"])] for one in figures["history"]],
    )


def _hashes(figures: Figures) -> Table:
    lock = figures.get("lock", {})
    rows: Iterable[tuple[str, str]] = {**figures["hashes"], "version": figures["version"], **lock}.items()
    return Table(("hash", "value"), [[name.replace("_", " "), value] for name, value in rows])


def _said(figures: Figures) -> Table:
    said = figures.get("papers", {})
    return Table(
        ("what", "as the catalogue says"),
        [[name.replace("_", " "), _said_of(value) or "not said"] for name, value in said.items()],
    )
