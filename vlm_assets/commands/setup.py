"""Before and around a build: check, plan, status, prune."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from vlm_assets.commands.app import (
    Json,
    Target,
    app,
    chosen_source,
    chosen_target,
    console,
    errors,
    installed,
    print_json,
    print_problems,
)
from vlm_assets.commands.completion import source_names
from vlm_assets.commands.remote import prune_remote
from vlm_assets.commands.takedowns import finish_quietly
from vlm_assets.operate.bars import shown_moves, shown_steps
from vlm_assets.operate.forecast_told import forecast_told
from vlm_assets.operate.tables import show_forecast, show_rights, show_status, show_what_if, size
from vlm_assets.words.counts import so_many
from vlm_assets.words.errors import ConfigError, Problem, RemoteError

if TYPE_CHECKING:
    from vlm_assets.installation.opening import Installation
    from vlm_assets.operate.renderers import RendererReport


@app.command()
def check(*, as_json: Json = False) -> None:
    """Look over settings and catalogue, and what draws pages here; tell every fault at once, with file and key."""
    from vlm_assets.installation.opening import open_installation, problems_of_everything
    from vlm_assets.operate.renderers import examine_renderers
    from vlm_assets.operate.what_if import problems_of_filters

    problems = problems_of_everything()
    problems += [] if problems else _problems_of_annotations()
    problems += _problems_of_remote()
    if not problems:
        problems += problems_of_filters(open_installation())
    renderers = [] if problems else examine_renderers(open_installation())
    problems += [Problem("", f"renderer {one.renderer}", one.problem) for one in renderers if one.problem]
    hints = [] if problems else _hints(open_installation())
    if as_json:
        print_json(
            {
                "problems": [asdict(one) for one in problems],
                "hints": [asdict(one) for one in hints],
                "renderers": [asdict(one) for one in renderers],
            }
        )
        raise typer.Exit(2 if problems else int(any(one.elsewhere for one in renderers)))
    if problems:
        print_problems(problems)
        raise typer.Exit(2)
    for one in renderers:
        show_renderer(one)
    for hint in hints:
        console.print(f"to look at: {hint}", markup=False, soft_wrap=True)
    console.print("settings and catalogue are fine")
    raise typer.Exit(int(any(one.elsewhere for one in renderers)))


def _hints(installation: "Installation") -> list[Problem]:
    """What is no fault, and is to be looked at."""
    from vlm_assets.installation.load import licence_hints

    lack = installation.catalog.lack()
    return [*([Problem("sources/", "", lack)] if lack else []), *licence_hints(installation.catalog_dir)]


def _problems_of_annotations() -> list[Problem]:
    """What annotators and imported files lack; settings and catalogue are sound."""
    from vlm_assets.annotate.checks import annotation_problems
    from vlm_assets.installation.opening import open_installation

    installation = open_installation()
    return annotation_problems(installation.catalog.corpus, installation.catalog_dir)


def _problems_of_remote() -> list[Problem]:
    """Whether `VLM_REMOTE` is well named and answers to who asks here: one small request."""
    from vlm_assets.remote.bucket import look_at_remote
    from vlm_assets.settings import load_settings

    try:
        settings = load_settings()
        if settings.remote:
            look_at_remote(settings)
    except ConfigError as error:
        return [one for one in error.problems if one.key == "VLM_REMOTE"]
    except RemoteError as error:
        return [Problem("settings", "VLM_REMOTE", str(error))]
    return []


def show_renderer(one: "RendererReport") -> None:
    """One line of what draws here, and one of each other identity that slices were drawn under."""
    console.print(
        f"{one.version} draws {', '.join(one.sources)}; renderer identity {one.identity}", soft_wrap=True
    )
    for identity, slices in one.elsewhere.items():
        errors.print(
            f"drawn under the renderer identity {identity}, where this machine's is {one.identity}: "
            f"{so_many(len(slices), 'slice')}, such as {slices[0]}. They stay, and what is due of them waits; "
            "build --accept-renderer draws them again here, as a whole",
            soft_wrap=True,
        )


@app.command()
def plan(
    target: Target = None,
    what_if: Annotated[
        list[str] | None,
        typer.Option(
            help="A filter as NAME: EXPRESSION: what it would cost of what is committed, by source and subcategory."
        ),
    ] = None,
    *,
    as_json: Json = False,
) -> None:
    """Show what a build would fetch, need and grant. Writes nothing."""
    if what_if:
        show_what_would_be(target, what_if, as_json=as_json)
    show_plan(installed(), target, as_json=as_json)


def show_what_would_be(target: str | None, filters: list[str], *, as_json: bool) -> NoReturn:
    """Prints what filters would exclude, and ends the command."""
    from vlm_assets.operate.what_if import what_if

    installation = installed()
    chosen = chosen_target(installation, target)
    with shown_moves():
        result = what_if(installation, chosen, filters)
    if as_json:
        lines = [{**one.model_dump(mode="json"), "lost": one.lost} for one in result.lines]
        print_json({**result.model_dump(mode="json"), "lines": lines})
    else:
        show_what_if(console, result)
    raise typer.Exit(0)


def show_plan(installation: "Installation", target: str | None, *, as_json: bool) -> NoReturn:
    """Prints the forecast of a target and ends the command."""
    from vlm_assets.operate.forecast import forecast

    chosen = chosen_target(installation, target)
    with shown_steps("plan") as progress:
        result = forecast(installation, chosen, progress)
    if as_json:
        print_json(result.model_dump(mode="json"))
    else:
        show_forecast(console, result)
        for line in forecast_told(result, installation.catalog.corpus, named=target is not None):
            console.print(line, markup=False, soft_wrap=True)
    raise typer.Exit(1 if result.problems else 0)


@app.command()
def status(*, as_json: Json = False) -> None:
    """Show where sources and targets stand."""
    from vlm_assets.operate.status import read_status

    result = read_status(installed())
    if as_json:
        print_json(result.model_dump(mode="json"))
    else:
        show_status(console, result)
        show_rights(console, result.rights)


@app.command()
def prune(
    source: Annotated[
        list[str] | None, typer.Option(help="Only these sources.", autocompletion=source_names)
    ] = None,
    *,
    remote: Annotated[
        bool, typer.Option("--remote", help="The remote instead: what nothing there names.")
    ] = False,
    keep: Annotated[
        int | None,
        typer.Option(help="With --remote: versions of a name that stay; keep_versions if not given."),
    ] = None,
    drop: Annotated[
        list[str] | None,
        typer.Option(
            help="With --remote: names that go altogether, such as corpora/NAME/TARGET, or datasets/SOURCE "
            "with its listing."
        ),
    ] = None,
    release_pins: Annotated[
        bool,
        typer.Option("--release-pins", help="With --remote: pins that this machine does not have go first."),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tell what would go, delete nothing.")] = False,
    retired: Annotated[
        bool, typer.Option("--retired", help="Also slices that are no longer listed.")
    ] = False,
    removed: Annotated[
        bool, typer.Option("--removed", help="Also all of sources that the catalogue has no more.")
    ] = False,
    runs: Annotated[
        bool, typer.Option("--runs", help="Also old Dagster runs whose results were superseded.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Remove what nothing needs: caches, old versions, leftovers of cut runs."""
    from vlm_assets.installation.removed import removed_sources
    from vlm_assets.operate.prune import prune_data_root

    if remote:
        prune_remote(keep=keep, drop=drop or [], release_pins=release_pins, dry_run=dry_run, as_json=as_json)
    if keep is not None or drop or release_pins:
        raise typer.BadParameter("--keep, --drop and --release-pins need --remote")
    installation = installed()
    gone = removed_sources(installation) if removed else {}
    names = [name if name in gone else chosen_source(installation, name) for name in source or ()] or None
    if not dry_run:
        finish_quietly(installation, pull=False)
    with shown_steps("prune") as progress:
        report = prune_data_root(
            installation, sources=names, retired=retired, removed=removed, dry_run=dry_run, progress=progress
        )
    if runs:
        from vlm_assets.orchestration.run.retention import prune_runs_here

        report.runs = prune_runs_here(installation, errors, dry_run=dry_run)
    if as_json:
        print_json(report.model_dump(mode="json"))
    else:
        for path in report.removed:
            console.print(path, markup=False, soft_wrap=True)
        told = ("would be removed", "to be freed") if dry_run else ("removed", "freed")
        console.print(
            f"{so_many(len(report.removed), 'file or folder', 'files and folders')} {told[0]}, "
            f"{size(report.freed_bytes)} {told[1]}"
        )
        if runs:
            console.print(f"{so_many(len(report.runs), 'superseded Dagster run')} {told[0]}")
        for kept in report.kept:
            console.print(kept, markup=False, soft_wrap=True)
        _tell_of_remote(installation, [name for name in gone if names is None or name in names])


def _tell_of_remote(installation: "Installation", removed: list[str]) -> None:
    if installation.settings.remote and removed:
        dropped = " ".join(f"--drop datasets/{name}" for name in removed)
        console.print(f"the remote has them still: vlm-assets prune --remote {dropped}", soft_wrap=True)
