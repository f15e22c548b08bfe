"""What can be proven, looked up and taken back: audit, verify, show, diff, takedown, pin, unpin."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vlm_assets.commands.app import Json, Target, app, chosen_target, console, errors, installed, print_json
from vlm_assets.commands.remote import verify_remote
from vlm_assets.commands.takedowns import carry_out, finish_here
from vlm_assets.operate.bars import shown_moves, shown_progress, shown_steps
from vlm_assets.operate.lineage_table import show_lineage
from vlm_assets.operate.tables import show_findings, size, table
from vlm_assets.words.counts import so_many

if TYPE_CHECKING:
    from vlm_assets.operate.lock_diff import SliceChange


@app.command()
def audit(
    target: Target = None,
    *,
    full: Annotated[bool, typer.Option("--full", help="Read and hash every byte, not a sample.")] = False,
    as_json: Json = False,
) -> None:
    """Count the sealed corpus again, against sources and catalogue. Exit 1 where an error is found."""
    from vlm_assets.audit.run import audit_corpus, exit_code, finding_names

    installation = installed()
    chosen = chosen_target(installation, target)
    names = finding_names()
    begun: set[str] = set()
    with shown_steps("audit") as progress:

        def tell(name: str, rows: int) -> None:
            begun.add(name)
            progress(f"{name}, {so_many(rows, 'row')} read" if rows else name, len(begun) - 1, len(names))

        findings = audit_corpus(installation, chosen, full=full, progress=tell)
    if as_json:
        print_json([finding.to_json() for finding in findings])
    else:
        show_findings(console, findings)
    raise typer.Exit(exit_code(findings))


@app.command()
def verify(
    *,
    fresh: Annotated[bool, typer.Option("--fresh", help="Do not go on where a cut run stopped.")] = False,
    remote: Annotated[
        bool, typer.Option("--remote", help="The remote instead: every small key, sizes of the objects.")
    ] = False,
    deep: Annotated[
        bool, typer.Option("--deep", help="With --remote: fetch and hash every object as well.")
    ] = False,
    repair: Annotated[
        bool, typer.Option("--repair", help="With --remote: send again what is wrong there and whole here.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Hash every file that a manifest names. Exit 1 where one is missing or differs."""
    if remote:
        verify_remote(deep=deep, repair=repair, as_json=as_json)
    if deep or repair:
        raise typer.BadParameter("--deep and --repair need --remote")
    from vlm_assets.operate.verify import verify as verify_files

    installation = installed()
    with shown_progress("verify") as advance:
        report = verify_files(
            installation,
            workers=installation.settings.workers,
            fresh=fresh,
            progress=lambda state, total: advance(state.size_bytes, total),
        )
    if as_json:
        print_json(report.to_json())
    else:
        for problem in report.problems:
            console.print(str(problem), markup=False, soft_wrap=True)
        console.print(
            f"{so_many(report.files, 'file')}, {size(report.size_bytes)} in {report.seconds:.1f} s "
            f"({report.resumed_files:,} read by an earlier run): {so_many(len(report.problems), 'problem')}"
        )
        if report.away_files:
            console.print(
                f"{so_many(report.away_files, 'file')} of data, {size(report.away_bytes)}, at the remote alone: "
                "vlm-assets verify --remote (--deep) looks at them there"
            )
        for one in report.leftovers:
            console.print(
                f"{one}: left by a cut write or deletion; vlm-assets prune removes it", markup=False
            )
        for one in report.unfinished:
            console.print(f"takedown {one} is not finished here: vlm-assets takedown --finish", markup=False)
    raise typer.Exit(report.exit_code)


@app.command()
def show(
    sample_id: Annotated[
        str | None, typer.Argument(metavar="ID", help="An id, or the sha256 of an image.")
    ] = None,
    *,
    sheet: Annotated[
        Path | None,
        typer.Option(
            metavar="PNG", help="Draw a contact sheet here: of these rows, or without ID of a corpus."
        ),
    ] = None,
    target: Target = None,
    as_json: Json = False,
) -> None:
    """Show where a row comes from: item, revision, licence, the run that fetched it, the corpora that have it."""
    from vlm_assets.operate.lineage import show_row

    if sample_id is None:
        if sheet is None:
            raise typer.BadParameter("name an ID, or a place for a contact sheet with --sheet")
        _draw_corpus(sheet, target)
        return
    installation = installed()
    rows = show_row(installation, sample_id)
    if as_json:
        print_json([row.model_dump(mode="json") for row in rows])
    else:
        show_lineage(console, rows)
    if sheet is not None:
        from vlm_assets.operate.sheets import sheet_of_rows

        errors.print(str(sheet_of_rows(installation, rows, sheet)), markup=False, soft_wrap=True)
        _tell_of_takedowns()


def _draw_corpus(sheet: Path, target: str | None) -> None:
    from vlm_assets.operate.sheets import sheet_of_corpus

    installation = installed()
    drawn = sheet_of_corpus(installation, chosen_target(installation, target), sheet)
    console.print(str(drawn), markup=False, soft_wrap=True)
    _tell_of_takedowns()


def _tell_of_takedowns() -> None:
    told = "a takedown of what it shows removes it while it lies there unchanged; copies of it are for you to remove"
    errors.print(told, markup=False, soft_wrap=True)


@app.command()
def diff(
    a: Annotated[
        str | None, typer.Argument(help="A target, a version (10m@HASH, HASH), or a folder.")
    ] = None,
    b: Annotated[str | None, typer.Argument(help="The other one.")] = None,
    *,
    lock: Annotated[
        bool, typer.Option("--lock", help="Instead: what upstream changed since corpus.lock, item by item.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Compare two corpora: rows added, removed and kept, per source and subcategory."""
    from vlm_assets.corpus.diff import diff_corpora

    if lock in {a is not None, b is not None}:
        raise typer.BadParameter("give two corpora, or --lock without any")
    if lock or a is None or b is None:
        _show_upstream_changes(as_json=as_json)
        return
    result = diff_corpora(installed(), a, b)
    if as_json:
        print_json(result.to_json())
        return
    columns = ["source", "category", "subcategory", "#added", "#removed", "#kept"]
    names = [name.removeprefix("#") for name in columns]
    lines = [[row[name] for name in names] for row in result.to_json()["rows"]]
    console.print(table(f"{a} to {b}", columns, lines))
    console.print(", ".join(f"{count:,} {name}" for name, count in result.totals.items()))


def _show_upstream_changes(*, as_json: bool) -> None:
    from vlm_assets.operate.lock_diff import diff_lock

    with shown_moves():
        result = diff_lock(installed())
    if as_json:
        print_json({**result.model_dump(mode="json"), "totals": result.totals})
    else:
        lines = [
            (one.source, one.slice, len(one.added), len(one.gone), len(one.changed), _first_items(one))
            for one in result.slices
        ]
        columns = ["source", "slice", "#added", "#gone", "#changed", "first"]
        if lines:
            console.print(table(f"upstream since {result.lock}", columns, lines))
        totals = ", ".join(f"{count:,} {name}" for name, count in result.totals.items())
        told = totals if lines else f"upstream has nothing else than {result.lock}"
        console.print(told, markup=False, soft_wrap=True)
        for name in result.not_locked:
            console.print(f"source {name}: in the catalogue, not locked", markup=False, soft_wrap=True)
        for name, told in result.unlisted.items():
            console.print(f"NOT LISTED {name}: {told}", markup=False, soft_wrap=True)
    raise typer.Exit(result.exit_code)


def _first_items(change: "SliceChange") -> str:
    told = [*(f"+{one}" for one in change.added), *(f"-{one}" for one in change.gone)]
    told += [f"~{one}" for one in change.changed]
    return ", ".join(told[:3]) + (", …" if len(told) > 3 else "")


@app.command()
def takedown(
    *,
    url: Annotated[str | None, typer.Option(help="Rows fetched from this URL.")] = None,
    sha256: Annotated[str | None, typer.Option(help="Every row with this image.")] = None,
    row_id: Annotated[str | None, typer.Option("--id", help="The row with this id.")] = None,
    like: Annotated[Path | None, typer.Option(help="An image file: it and its near duplicates.")] = None,
    reason: Annotated[str, typer.Option(help="Kept on record.")] = "",
    image: Annotated[
        int | None, typer.Option(min=1, help="Of a record of several images, the one that is meant (from 1).")
    ] = None,
    all_images: Annotated[
        bool, typer.Option("--all-images", help="Of a record of several images, all, wherever they stand.")
    ] = False,
    only_row: Annotated[
        bool, typer.Option("--only-row", help="Leave equal images in other places alone.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would go, and where it stands. Writes nothing.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask on a terminal.")] = False,
    finish: Annotated[
        bool, typer.Option("--finish", help="Go on with takedowns that were cut, or are of other machines.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Take rows out for good, everywhere. Exit 1 where no row here is meant, or something is outstanding."""
    from vlm_assets.operate.takedown import TakedownOrder

    given = sum(one is not None for one in (url, sha256, row_id, like))
    if given != (0 if finish else 1):
        raise typer.BadParameter("give exactly one of --url, --sha256, --id, --like; or --finish alone")
    if finish:
        raise typer.Exit(finish_here(installed(), as_json=as_json))
    if sha256 is not None and not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
        raise typer.BadParameter(f"--sha256 is 64 hex digits, as `show` prints them; got {sha256!r}")
    order = TakedownOrder(
        url=url, sha256=sha256.lower() if sha256 else None, id=row_id, like=like, image=image,
        all_images=all_images, only_row=only_row, reason=reason,
    )  # fmt: skip
    raise typer.Exit(carry_out(installed(), order, dry_run=dry_run, ask=not yes, as_json=as_json))


@app.command()
def pin(
    target: Target = None,
    note: Annotated[str, typer.Option(help="Who uses it, for the next person.")] = "",
) -> None:
    """Protect the current version of a corpus and print its real path: what a trainer should load."""
    from vlm_assets.corpus.pins import pin_version
    from vlm_assets.remote.line import line_remote
    from vlm_assets.store.away import away_in

    installation = installed()
    chosen = chosen_target(installation, target)
    version = pin_version(installation, chosen, note)
    console.print(str(version), soft_wrap=True)
    if away_in(version):
        told = f"its data lies at the remote alone: VLM_ROWS_FROM=disk vlm-assets restore --target {chosen}"
        errors.print(told, markup=False, soft_wrap=True)
    line_remote(installation).after_pin(chosen)


@app.command()
def unpin(
    version: Annotated[str, typer.Argument(help="The version's hash, or the path that pin printed.")],
) -> None:
    """Take a pin away; a later build or prune may then remove the version."""
    from vlm_assets.corpus.pins import unpin_version

    console.print(f"{unpin_version(installed(), version)} is no longer pinned")
