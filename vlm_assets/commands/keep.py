"""Keeping what was built: backup and restore, and a new Dagster instance brought up to what is on disk."""

from typing import TYPE_CHECKING, Annotated

import typer

from vlm_assets.commands.app import Json, app, chosen_source, console, errors, installed, print_json
from vlm_assets.commands.completion import source_names, target_names
from vlm_assets.commands.takedowns import finish_quietly, finish_restored, holds_rows
from vlm_assets.operate.bars import shown_steps, shown_transfer
from vlm_assets.operate.tables import size
from vlm_assets.words.counts import so_many

if TYPE_CHECKING:
    from vlm_assets.remote.report import TransferReport

Sources = Annotated[
    list[str] | None, typer.Option("--source", help="Only these sources.", autocompletion=source_names)
]
Targets = Annotated[
    list[str] | None, typer.Option("--target", help="Only these targets.", autocompletion=target_names)
]


@app.command()
def backup(
    source: Sources = None,
    target: Targets = None,
    *,
    take_over: Annotated[
        bool,
        typer.Option("--take-over", help="Also over versions of other machines that this one never had."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Push to the remote what it lacks: objects once, manifests after them. Deletes nothing."""
    from vlm_assets.remote.backup import backup as push

    installation = installed()
    finish_quietly(installation)
    with shown_transfer("backup") as progress:
        report = push(
            installation,
            sources=source or None,
            targets=target or None,
            take_over=take_over,
            progress=progress,
        )
    _tell(report, "pushed", as_json=as_json)


@app.command()
def restore(
    source: Sources = None,
    target: Targets = None,
    *,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Also over versions here that were never pushed.")
    ] = False,
    thorough: Annotated[
        bool, typer.Option("--thorough", help="Hash files that are on disk, not only measure them.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Bring everything back from the remote, or some sources and targets; every byte is verified."""
    from vlm_assets.remote.restore import RestoreOptions
    from vlm_assets.remote.restore import restore as fetch
    from vlm_assets.settings import load_settings

    settings = load_settings()
    had_rows = holds_rows(settings.root)
    with shown_transfer("restore") as progress:
        report = fetch(
            settings,
            sources=source or None,
            targets=target or None,
            options=RestoreOptions(overwrite=overwrite, thorough=thorough),
            progress=progress,
        )
    if not as_json:
        for name, digest in report.root_hashes.items():
            console.print(f"{name}: root hash {digest}", soft_wrap=True)
        for name, told in report.kept.items():
            console.print(f"kept {name}: {told}", markup=False, soft_wrap=True)
    # What came was looked at; what lay here before may be what another machine has taken down.
    outstanding = finish_restored(settings) if had_rows else 0
    _tell(report, "restored", as_json=as_json, at_least=outstanding)


def _tell(report: "TransferReport", verb: str, *, as_json: bool, at_least: int = 0) -> None:
    if as_json:
        print_json(report.model_dump(mode="json"))
    else:
        console.print(
            f"{report.remote}: {len(report.done)} {verb}, {report.unchanged} unchanged, "
            f"{so_many(report.objects, 'object')}, "
            f"{size(report.transferred_bytes)} in {report.seconds:.1f} s",
            markup=False,
            soft_wrap=True,
        )
        for name, told in report.failed.items():
            errors.print(f"FAILED {name}: {told}", markup=False, soft_wrap=True)
    raise typer.Exit(max(report.exit_code, at_least))


@app.command()
def reconcile() -> None:
    """Give a new or restored Dagster instance its partition keys and materializations back, from what is on disk."""
    from vlm_assets.orchestration.command.reconcile import reconcile_here

    done = reconcile_here(installed(), console)
    console.print(
        f"{so_many(done.partitions, 'partition key')} registered, "
        f"{so_many(done.materializations, 'materialization')} reported"
    )


@app.command()
def migrate(
    *,
    apply: Annotated[bool, typer.Option("--apply", help="Do it; without, it is only told.")] = False,
    as_json: Json = False,
) -> None:
    """Bring data of an older version of this program up to date, without fetching. Exit 1 while something is left."""
    from vlm_assets.operate.migration import migrate as bring_up

    installation = installed()
    with shown_steps("migrate") as progress:
        report = bring_up(installation, apply=apply, progress=progress)
    if as_json:
        print_json(report.model_dump(mode="json"))
    else:
        for one in report.found:
            told = f"FAILED: {one.problem}" if one.problem else f"{'done: ' if one.done else ''}{one.told}"
            console.print(
                f"{one.kind} {one.name}: schema version {one.found}: {one.action}: {told}",
                markup=False,
                soft_wrap=True,
            )
        left = sum(not one.done for one in report.found)
        console.print(f"schema version {report.schema_version}: {len(report.found)} outdated, {left} left")
        again = [one for one in report.found if one.action == "fetch again" or one.requests]
        if again:
            requests, size_bytes = sum(one.requests for one in again), sum(one.size_bytes for one in again)
            console.print(
                f"to fetch again: {so_many(len(again), 'slice')}, {so_many(requests, 'item')}, {size(size_bytes)}"
            )
        if left and not apply:
            console.print("vlm-assets migrate --apply does it")
    raise typer.Exit(report.exit_code)


@app.command()
def rename(
    old: Annotated[str, typer.Argument(help="The source's name before: the catalogue has it no more.")],
    new: Annotated[str, typer.Argument(help="Its name now, in the catalogue.", autocompletion=source_names)],
    *,
    as_json: Json = False,
) -> None:
    """Move what was fetched under a source's old name to its new one in the catalogue. Fetches nothing."""
    from vlm_assets.operate.rename import rename_source
    from vlm_assets.orchestration.command.reconcile import reconcile_here
    from vlm_assets.remote.line import line_remote

    installation = installed()
    remote = line_remote(installation)
    finish_quietly(installation)
    with shown_steps("rename") as progress:
        report = rename_source(installation, old, chosen_source(installation, new), progress)
    remote.after_listing(new)
    for key in report.moved:
        remote.after_slice(new, key)
        remote.slice_told(new, key)
    reconcile_here(installation, errors)
    if as_json:
        print_json(report.model_dump(mode="json"))
        return
    more = f", {len(report.kept)} were there" if report.kept else ""
    console.print(
        f"{old} is {new} now: {so_many(len(report.moved), 'slice')} moved{more}; nothing was fetched"
    )
    console.print(
        "vlm-assets build brings corpora up to date; vlm-assets prune then frees what they drew from"
    )
    if installation.settings.remote:
        told = f"the remote has {old} still: vlm-assets prune --remote --drop datasets/{old}"
        console.print(told, markup=False, soft_wrap=True)
