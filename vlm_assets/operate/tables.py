"""Figures as tables for a person: what the commands print. Decides nothing."""

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from vlm_assets.words.caption_counts import caption_facts
from vlm_assets.words.counts import so_many

if TYPE_CHECKING:
    from vlm_assets.annotate.costs import AnnotationForecast
    from vlm_assets.annotate.states import AnnotationStatus
    from vlm_assets.audit.findings import Finding
    from vlm_assets.ingest.rights import Rights
    from vlm_assets.operate.first_ledger import FirstLedger
    from vlm_assets.operate.forecast import Forecast, SourceForecast
    from vlm_assets.operate.status import SourceStatus, Status
    from vlm_assets.operate.what_if import WhatIf

_GAP: Final = 3
"""Columns of a terminal between two of a table."""
_EDGES: Final = 2
"""Columns of a terminal that the box takes left and right of a table."""
_OLD_DAYS: Final = 7
"""From this age on a plan says how old a listing is."""
_EXAMPLES: Final = 3
"""Of what was left out, a source and place."""
_NOTHING: Final = frozenset({"0", "0 B", "0.00"})
_LEAST_WRAPPED: Final = 16
"""Columns of a terminal that the last one of a table may be wrapped to."""


def stdout_console() -> Console:
    """Standard output: as wide as the terminal, or as `COLUMNS` says; 160 columns where there is neither."""
    console = Console(highlight=False)
    said = os.environ.get("COLUMNS", "")
    told = console.is_terminal or (said.isdecimal() and int(said))
    return console if told else Console(highlight=False, width=160)


def size(count: int | None) -> str:
    """Bytes in powers of 1000, three digits."""
    if count is None:
        return "–"
    value = float(count)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < 1000 or unit == "TB":
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.3g} {unit}"
        value /= 1000
    return ""


def reasons(counts: Mapping[str, int]) -> str:
    """`truncated 3, corrupt 1`."""
    return ", ".join(f"{name} {count:,}" for name, count in sorted(counts.items(), key=lambda kv: -kv[1]))


@dataclass(frozen=True, slots=True)
class Figures:
    """A table that never cuts a figure: a line a row where they all fit the console, else a block a row."""

    title: str
    columns: Sequence[str]
    """One whose name begins with `#` holds numbers, right-aligned."""
    rows: Sequence[Sequence[Text]]
    unsaid: Collection[str] = ()
    """Columns by name of which a block leaves out what is nothing."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """As rich prints it."""
        widths = [
            max(cell_len(line) for cell in column for line in str(cell).split("\n"))
            for column in zip([name.removeprefix("#") for name in self.columns], *self.rows, strict=True)
        ]
        last = min(widths[-1], max(_LEAST_WRAPPED, *map(cell_len, self.columns[-1].split()))) if widths else 0
        fits = sum(widths[:-1]) + last + _GAP * (len(widths) - 1) + _EDGES <= options.max_width
        if fits:
            for line in console.render_lines(self._lines(), options, pad=False):
                yield from _without_end(line)
                yield Segment.line()
        else:
            yield from self._blocks()

    def _lines(self) -> Table:
        """Only the last column wraps."""
        result = Table(
            title=self.title, title_justify="left", header_style="bold", box=box.SIMPLE_HEAD, pad_edge=False
        )
        for place, column in enumerate(self.columns, 1):
            result.add_column(
                column.removeprefix("#"),
                justify="right" if column.startswith("#") else "left",
                no_wrap=place < len(self.columns),
                overflow="fold",
            )
        for row in self.rows:
            result.add_row(*row)
        return result

    def _blocks(self) -> Iterator[Text]:
        names = [name.removeprefix("#") for name in self.columns]
        indent = max(map(len, names)) + 4
        yield Text(self.title, style="italic")
        for row in self.rows:
            head = str(row[0])
            depth = " " * (len(head) - len(head.lstrip()))  # of a node in a tree
            yield Text.assemble((head, "bold"), overflow="fold")
            for name, cell in zip(names[1:], row[1:], strict=True):
                if cell and not (name in self.unsaid and cell.plain in _NOTHING):
                    yield Text.assemble(f"{depth}  {name:<{indent - 2}}", cell, overflow="fold")
        yield Text("")


def _without_end(line: Sequence[Segment]) -> list[Segment]:
    """The line without spaces at its end."""
    kept = list(line)
    while kept and not (text := kept[-1].text.rstrip()):
        kept.pop()
    if kept:
        kept[-1] = Segment(text, kept[-1].style)
    return kept


def table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], unsaid: Collection[str] = ()
) -> Figures:
    """A table of values as they are, integers with separators. `unsaid`: see `Figures`."""
    return Figures(title, columns, [[_cell(value) for value in row] for row in rows], unsaid)


def _cell(value: object) -> Text:
    if isinstance(value, Text):
        return value
    return Text(f"{value:,}" if isinstance(value, int) else str(value))


def show_status(console: Console, status: "Status") -> None:
    """Sources, benchmarks and targets."""
    console.print(f"data root {status.data_root}, {size(status.free_bytes)} free")
    if status.away_bytes:
        away = size(status.away_bytes)
        console.print(f"{away} of slices and shards lie at the remote alone (VLM_ROWS_FROM=remote)")
    console.print(_sources_table("Sources", status.sources))
    if status.benchmarks:
        console.print(_sources_table("Benchmarks: in no corpus", status.benchmarks))
    show_upstream(console, [*status.sources, *status.benchmarks])
    show_annotations(console, status.annotations)
    for gone in status.removed:
        console.print(
            f"{gone.name}: not in the catalogue any more; {so_many(gone.slices, 'slice')}, "
            f"{so_many(gone.rows, 'row')}, {size(gone.data_bytes)} lie here. "
            f"vlm-assets rename {gone.name} NEW moves them to a new name, "
            "vlm-assets prune --removed deletes them",
            markup=False, soft_wrap=True,
        )  # fmt: skip
    console.print(
        table(
            "Targets",
            ["target", "#asked", "#granted", "#rows", "#holes", "#shards", "#data", "root hash", "excluded"],
            [
                (
                    t.name, t.target_rows or "all", *map(_counted, (t.granted, t.rows, t.holes, t.shards)),
                    size(t.data_bytes), (t.root_hash or "–")[:16], reasons(t.excluded),
                )
                for t in status.targets
            ],
        )
    )  # fmt: skip
    told = [line for t in status.targets for line in t.outcome.told]
    listed = [*status.sources, *status.benchmarks]
    for line in [
        *told,
        *due_facts(status.sources),
        *source_caption_facts(listed),
        *hint_facts(status.sources),
        *failure_facts(listed),
    ]:
        console.print(line, markup=False, soft_wrap=True)


def source_caption_facts(sources: "Sequence[FirstLedger]") -> list[str]:
    """`caption_facts` of every source."""
    return [f"{one.name}: {fact}" for one in sources for fact in caption_facts(one.captions)]


def show_upstream(console: Console, sources: "Sequence[FirstLedger]") -> None:
    """What upstream shows, in figures that add up, and the first that were left out."""
    console.print(
        table(
            "What upstream shows = items + companions + left out",
            ["source", "#upstream", "#items", "#companions", "#left out", "#left out inside", "reasons"],
            [
                (
                    s.name, _counted(s.upstream), s.items, _counted(s.companions), sum(s.left_out_listed.values()),
                    sum(s.left_out_inside.values()), _reasons_left_out(s),
                )
                for s in sources
            ],
        )
    )  # fmt: skip
    for one in sources:
        for where, examples in (
            ("left out", one.left_out_examples),
            ("left out inside", one.left_out_inside_examples),
        ):
            for example in examples[:_EXAMPLES]:
                console.print(f"{one.name}: {where}: {example}", markup=False, soft_wrap=True)


def _reasons_left_out(one: "FirstLedger") -> str:
    inside = f"inside: {reasons(one.left_out_inside)}" if one.left_out_inside else ""
    return "; ".join(filter(None, (reasons(one.left_out_listed), inside)))


def hint_facts(sources: "Sequence[SourceStatus | SourceForecast]") -> list[str]:
    """What their listings tell to do about what is not read, or read otherwise than meant."""
    return [f"{one.name}: {hint}" for one in sources for hint in one.hints]


def due_facts(sources: "Sequence[SourceStatus]") -> list[str]:
    """A sentence a source that has slices which wait, or failed: targets do not have what is in them."""
    return [
        f"{one.name}: {so_many(one.due, 'slice')} {'is' if one.due == 1 else 'are'} due; what "
        f"{'it brings' if one.due == 1 else 'they bring'} is in no target"
        for one in sources
        if one.due
    ]


def failure_facts(sources: "Sequence[SourceStatus]") -> list[str]:
    """Why slices are due still: what the last try of the first few of a source ended with."""
    lines = []
    for one in sources:
        for key, why in list(one.failed.items())[:_EXAMPLES]:
            lines.append(f"{one.name}/{key} failed: {why.removeprefix(f'{one.name}/{key}: ')}")
        if len(one.failed) > _EXAMPLES:
            lines.append(f"{one.name}: {so_many(len(one.failed) - _EXAMPLES, 'more slice')} failed")
    return lines


def _sources_table(title: str, sources: Sequence["SourceStatus"]) -> Figures:
    return table(
        title,
        ["source", "kind", "state", "#slices", "#due", "#items", "#rows", "#data", "#cache", "rejects"],
        [
            (
                s.name, s.kind, s.state, f"{s.committed:,}/{s.slices:,}", s.due, s.items, s.rows, size(s.data_bytes),
                size(s.cache_bytes), reasons(s.rejects),
            )
            for s in sources
        ],
    )  # fmt: skip


def show_annotations(console: Console, annotations: Sequence["AnnotationStatus"]) -> None:
    """Slices by state; nothing where the catalogue names no annotations."""
    rows = [
        (
            one.name, one.source, one.fresh, one.stale, one.missing, one.damaged, reasons(one.failed), one.problem,
        )
        for one in annotations
    ]  # fmt: skip
    columns = [
        "annotation", "source", "#fresh", "#stale", "#missing", "#damaged", "without values", "problem",
    ]  # fmt: skip
    if rows:
        console.print(table("Annotations, slices by state", columns, rows))


def show_annotation_costs(console: Console, costs: Sequence["AnnotationForecast"]) -> None:
    """What is due of annotations; nothing where the catalogue names none."""
    rows = [
        (one.name, one.source, one.slices, one.seen, f"{one.core_hours:.3f}", one.problem) for one in costs
    ]
    columns = ["annotation", "source", "#slices due", "#images or records", "#hours of a core", "problem"]
    if rows:
        console.print(table("What annotating would take", columns, rows))


def show_rights(console: Console, rights: "Rights") -> None:
    """Licences of what is committed, terms that wait, takedowns."""
    console.print(
        table(
            "Rights",
            ["licence", "sources", "#rows", "#data"],
            [
                (name, ", ".join(one.sources), one.rows, size(one.data_bytes))
                for name, one in rights.licences.items()
            ],
        )
    )
    for one in rights.terms:
        told = f"accepted: {one.accepted}" if one.accepted else "TO ACCEPT" if one.url else one.state
        console.print(f"terms of {one.source}: {one.url} {told}", markup=False, soft_wrap=True)
    down = rights.takedowns
    if down.names:
        console.print(
            f"{so_many(len(down.names), 'takedown')}: {so_many(down.rows, 'row')}, "
            f"{so_many(down.images, 'image')}, {so_many(down.urls, 'URL')}"
        )


def show_forecast(console: Console, plan: "Forecast") -> None:
    """Sources, quotas and totals of a dry run."""
    console.print(
        table(
            f"What a build of {plan.target} would fetch",
            ["source", "kind", "#slices", "#due", "buckets", "#requests", "#bytes", "#hours", "#rows", "#items"],
            [
                (
                    s.name, s.kind + told, s.slices, s.due, _buckets(s.buckets), s.requests,
                    size(s.bytes) + ("?" if s.bytes_assumed else ""), f"{s.hours:.2f}", s.rows, s.items,
                )
                for told, of in (("", plan.sources), (", benchmark", plan.benchmarks))
                for s in of
            ],
            unsaid=("requests", "bytes", "hours"),  # of kinds that need no network
        )
    )  # fmt: skip
    listed = [*plan.sources, *plan.benchmarks]
    show_upstream(console, listed)
    console.print(
        table(
            "Quotas" if plan.exact else "Quotas, estimated: slices not fetched count one row an item",
            ["node", "#asked", "#supply", "#granted", "#shortfall", "cause", "excluded"],
            [
                ("  " * n.path.count("/") + n.path.rpartition("/")[2], n.asked, n.supply, n.granted, n.shortfall,
                 n.cause,
                    reasons(n.excluded))
                for n in plan.nodes
            ],
        )
    )  # fmt: skip
    console.print(
        f"to fetch {size(plan.fetch_bytes)}, corpus {size(plan.corpus_bytes)}, "
        f"disk needed at most {size(plan.disk_needed_bytes)} of {size(plan.disk_free_bytes)} free, "
        f"about {plan.hours:.2f} h (politeness, and writing at 125 MB/s, the base rate of a gp3 volume)",
        soft_wrap=True,
    )
    if plan.range_requests is not None and plan.range_bytes is not None:
        console.print(
            f"rows by range (VLM_ROWS_FROM=remote): about {so_many(plan.range_requests, 'request')} for "
            f"{size(plan.range_bytes)} of slices that are not on the disk of the machine that writes the shards"
        )
    for one in plan.sources:
        if one.packed:
            told = f"{one.name}: what is in its files is counted when they are fetched; each stands for one row here"
            console.print(told, markup=False, soft_wrap=True)
        if one.unknown_labels:
            items = so_many(one.unknown_labels, "item")
            told = f"{one.name}: {items} on no quota: their labels are known when they are fetched"
            console.print(told, markup=False, soft_wrap=True)
        if one.listing_days is not None and one.listing_days >= _OLD_DAYS:
            told = (
                f"{one.name}: listed {one.listing_days:.0f} days ago; what upstream got since is not in here"
            )
            console.print(told, markup=False, soft_wrap=True)
    for told in [*source_caption_facts(listed), *hint_facts(plan.sources)]:
        console.print(told, markup=False, soft_wrap=True)
    show_annotation_costs(console, plan.annotations)
    for told in (*plan.hints, *plan.unannotated):
        console.print(told, markup=False, soft_wrap=True)
    for told in plan.problems:
        console.print(
            f"NOT LISTED, and what it would give is not in here: {told}", markup=False, soft_wrap=True
        )
    if plan.disk_needed_bytes > plan.disk_free_bytes:
        console.print("[bold red]There is not enough room on this volume.")


def show_what_if(console: Console, result: "WhatIf") -> None:
    """Rows lost a source and subcategory, and what that leaves of the grants."""
    asked = "; ".join(f"{name}: {one.keep} (missing: {one.missing})" for name, one in result.filters.items())
    console.print(
        table(
            f"{result.target} with {asked}",
            ["source", "subcategory", "#rows", "#fail", "#missing", "#could be taken", "#then", "#lost", "#granted",
             "#granted then"],
            [
                (
                    one.source, one.subcategory, one.rows, one.fails, one.missing, one.supply_now, one.supply_then,
                    one.lost, one.granted_now, one.granted_then,
                )
                for one in result.lines
            ],
        )
    )  # fmt: skip
    lost = sum(one.lost for one in result.lines)
    granted = [sum(getattr(one, name) for one in result.lines) for name in ("granted_now", "granted_then")]
    console.print(f"{so_many(lost, 'row')} lost; {granted[0]:,} granted now, {granted[1]:,} then")
    for told in result.unannotated:
        console.print(told, markup=False, soft_wrap=True)


def _counted(count: int | None) -> int | str:
    return "–" if count is None else count


def _buckets(buckets: Mapping[str, int]) -> str:
    return ", ".join(
        f"{name}: {count}" if name else str(count) for name, count in buckets.items() if count > 1
    )


def show_findings(console: Console, findings: "Sequence[Finding]") -> None:
    """One line a finding; what failed with its examples below."""
    marks = {True: Text("passed", "green"), False: Text("FAILED", "red")}
    console.print(
        table(
            "Audit",
            ["finding", "severity", "result", "observed"],
            [
                (
                    str(f.name),
                    str(f.severity),
                    marks[f.passed] if f.judged else Text("not judged", "yellow"),
                    f.observed,
                )
                for f in findings
            ],
        )
    )
    for finding in findings:
        if finding.failed:
            console.print(
                f"{finding.name}: expected {finding.expected}; observed {finding.observed}", markup=False
            )
            for example in finding.examples:
                console.print(f"  {example}", markup=False, soft_wrap=True)
