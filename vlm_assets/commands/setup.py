"""Before and around a build: init, check, plan, status, prune."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from vlm_assets.commands.app import (
    Json,
    Target,
    app,
    chosen_source,
    chosen_target,
    console,
    installed,
    print_json,
    print_problems,
)

if TYPE_CHECKING:
    from vlm_assets.installation import Installation


@app.command()
def init(path: Annotated[Path, typer.Argument(help="A folder for all data; made if it is missing.")]) -> None:
    """Make a data root: a folder with the marker without which nothing is written."""
    from vlm_assets.layout import DataRoot

    path.mkdir(parents=True, exist_ok=True)
    marker = DataRoot(path.absolute()).marker
    if not marker.exists() and any(path.iterdir()):
        raise typer.BadParameter(
            f"{path} is not empty and no data root; name another folder, or touch {marker}"
        )
    marker.touch()
    console.print(f"{path} is a data root; set VLM_DATA_ROOT={path.absolute()}", soft_wrap=True)


@app.command()
def check(*, as_json: Json = False) -> None:
    """Look over settings and catalogue; tell every fault at once, with file and key."""
    from dataclasses import asdict

    from vlm_assets.installation import problems_of_everything

    problems = problems_of_everything()
    if as_json:
        print_json({"problems": [asdict(one) for one in problems]})
        raise typer.Exit(2 if problems else 0)
    if problems:
        print_problems(problems)
        raise typer.Exit(2)
    console.print("settings and catalogue are fine")


@app.command()
def plan(target: Target = None, *, as_json: Json = False) -> None:
    """Show what a build would fetch, need and grant. Writes nothing."""
    from vlm_assets.forecast import forecast
    from vlm_assets.tables import show_forecast

    installation = installed()
    result = forecast(installation, chosen_target(installation, target))
    if as_json:
        print_json(result.model_dump(mode="json"))
    else:
        show_forecast(console, result)
    raise typer.Exit(1 if result.problems else 0)


@app.command()
def status(*, as_json: Json = False) -> None:
    """Show where sources and targets stand."""
    from vlm_assets.status import read_status
    from vlm_assets.tables import show_rights, show_status

    result = read_status(installed())
    if as_json:
        print_json(result.model_dump(mode="json"))
    else:
        show_status(console, result)
        show_rights(console, result.rights)


@app.command()
def prune(
    source: Annotated[list[str] | None, typer.Option(help="Only these sources.")] = None,
    *,
    remote: Annotated[
        bool, typer.Option("--remote", help="The remote instead: what nothing there names.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="With --remote: tell, delete nothing.")] = False,
    retired: Annotated[
        bool, typer.Option("--retired", help="Also slices that are no longer listed.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Remove what nothing needs: caches, old versions, leftovers of cut runs."""
    from vlm_assets.prune import prune_data_root
    from vlm_assets.tables import size

    installation = installed()
    if remote:
        _prune_remote(installation, dry_run=dry_run, as_json=as_json)
    names = [chosen_source(installation, name) for name in source or ()] or None
    report = prune_data_root(installation, sources=names, retired=retired)
    if as_json:
        print_json(report.model_dump(mode="json"))
    else:
        for path in report.removed:
            console.print(path, markup=False, soft_wrap=True)
        console.print(f"{len(report.removed)} folders removed, {size(report.freed_bytes)} freed")
        for told in report.kept:
            console.print(told, markup=False, soft_wrap=True)


def _prune_remote(installation: "Installation", *, dry_run: bool, as_json: bool) -> NoReturn:
    from vlm_assets.store.remote.prune import PruneOrder, prune_remote

    keep = installation.catalog.corpus.keep_versions
    report = prune_remote(installation.settings, PruneOrder(keep_versions=keep, dry_run=dry_run))
    if as_json:
        print_json(report.model_dump(mode="json"))
    else:
        console.print(
            f"{report.remote}: {len(report.versions)} versions {'would go' if dry_run else 'removed'}"
        )
        for name in report.versions:
            console.print(name, markup=False, soft_wrap=True)
    raise typer.Exit(report.exit_code)
