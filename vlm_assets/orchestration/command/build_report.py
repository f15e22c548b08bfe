"""The tables at the end of a build: what every source gave, what every target holds, where it lies."""

from collections.abc import Container, Sequence
from typing import Any, Final

from rich.console import Console

from vlm_assets.allocation.manifest import AllocationManifest
from vlm_assets.corpus.left_out import left_out_told
from vlm_assets.corpus.manifest import CorpusManifest
from vlm_assets.installation.opening import Installation
from vlm_assets.operate.status import SourceStatus, TargetStatus, read_status
from vlm_assets.operate.tables import due_facts, hint_facts, reasons, size, source_caption_facts, table
from vlm_assets.orchestration.run.runs import RunOutcome
from vlm_assets.store.versions import current_version, read_manifest

_MEND: Final = "Then run vlm-assets build again: what is done is not done anew"
INTERRUPTED: Final = 130
"""As of a process that ended by Ctrl-C."""


def build_summary(
    installation: Installation,
    targets: tuple[str, ...],
    failures: Sequence[RunOutcome],
    *,
    sound: bool,
    interrupted: bool = False,
) -> dict[str, Any]:
    """What `build --json` prints: exit_code, interrupted, failures (label, run_id, told), sources, benchmarks,
    targets.

    Sources and targets are as in `status --json`; targets are those that were built. `sound`: no finding of
    severity error, and every target was audited. Exit code 0 is more: no run failed, and each of the targets is
    `fine` (see `TargetOutcome`).
    """
    read = read_status(installation)
    fine = all(one.outcome.fine for one in read.targets if one.name in targets)
    status = read.model_dump(mode="json")
    return {
        "exit_code": INTERRUPTED if interrupted else int(not (sound and fine) or bool(failures)),
        "interrupted": interrupted,
        "failures": [{"label": one.wish.label, "run_id": one.run_id, "told": one.told} for one in failures],
        "sources": status["sources"],
        "benchmarks": status["benchmarks"],
        "targets": [one for one in status["targets"] if one["name"] in targets],
    }


def show_build(
    console: Console,
    installation: Installation,
    targets: tuple[str, ...],
    sources: Container[str] | None = None,
    causes: Sequence[str] = (),
) -> None:
    """Sources with listed items, rows, rejects and what entered each target; then the targets, and rejects by reason.

    `sources`: only these; all where None. `causes`: what failed, told last; a target that was never planned for it is
    not told of.
    """
    status = read_status(installation)
    told = [one for one in status.sources if sources is None or one.name in sources]
    held = [one for one in status.benchmarks if sources is None or one.name in sources]
    shares = {target: _shares(installation, target) for target in targets}
    console.print(
        table(
            "What went in",
            ["source", "state", "#slices", "#listed", "#rows", *(f"#in {target}" for target in targets), "#rejects"],
            [
                (
                    one.name, one.state, one.slices, f"{one.items:,}", f"{one.rows:,}",
                    *(_share(shares[target], one.name) for target in targets),
                    f"{sum(one.rejects.values()):,}",
                )
                for one in told
            ],
        )
    )  # fmt: skip
    shown = [
        one
        for one in status.targets
        if one.name in targets and not (causes and one.granted is None and one.rows is None)
    ]
    if shown:
        _show_targets(console, shown)
    for line in [
        *(f"{one.name}: {one.path}" for one in shown if one.path),
        *(line for one in shown for line in one.outcome.told),
        *_source_facts([*told, *held]),
        *(
            left_out_told(one.name, source, rows)
            for one in shown
            for source, rows in one.outcome.left_out.items()
        ),
        *causes,
        *([_MEND] if causes else []),
    ]:
        console.print(line, markup=False, soft_wrap=True)


def _show_targets(console: Console, shown: Sequence[TargetStatus]) -> None:
    console.print(
        table(
            "What came out",
            ["target", "#asked", "#granted", "#in corpus", "#holes", "#shards", "#bytes", "root hash"],
            [
                (
                    one.name, "all" if one.target_rows is None else f"{one.target_rows:,}",
                    _number(one.granted), _number(one.rows), _number(one.holes),
                    _number(one.shards), size(one.data_bytes), one.root_hash or "not built",
                )
                for one in shown
            ],
        )
    )  # fmt: skip


def _source_facts(sources: Sequence[SourceStatus]) -> list[str]:
    """What of the sources is not in: slices that wait, captions that joined no image, files that are not read."""
    due = due_facts(sources)
    lost = [_lost(one) for one in sources if one.rejects]
    return due + lost + source_caption_facts(sources) + hint_facts(sources)


def _lost(one: SourceStatus) -> str:
    """What share of a source's records and items gave no row, and why."""
    rejected = sum(one.rejects.values())
    share = f"{100 * rejected / (one.rows + rejected):.1f} %"
    again = f"; {one.transient_rejects:,} of them are tried again" if one.transient_rejects else ""
    return (
        f"{one.name}: lost {rejected:,} ({share}): {reasons(one.rejects)}{again}; each is in rejects.parquet"
    )


def _shares(installation: Installation, target: str) -> tuple[dict[str, int], dict[str, int]]:
    """Granted and present rows a source."""
    name = installation.catalog.corpus.name
    plan = current_version(installation.root.allocation(name, target))
    corpus = current_version(installation.root.corpus(name, target))
    granted: dict[str, int] = {}
    for cell in read_manifest(plan, AllocationManifest).cells if plan else ():
        granted[cell.source] = granted.get(cell.source, 0) + cell.grant
    return granted, dict(read_manifest(corpus, CorpusManifest).sources) if corpus else {}


def _share(shares: tuple[dict[str, int], dict[str, int]], source: str) -> str:
    granted, present = (counts.get(source, 0) for counts in shares)
    return f"{present:,}" if present == granted else f"{present:,} of {granted:,}"


def _number(value: Any) -> str:
    return "–" if value is None else f"{value:,}"
