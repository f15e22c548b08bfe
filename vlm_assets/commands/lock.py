"""`lock`: what a corpus was made from, for git and for whoever makes it again."""

from typing import Annotated

import typer

from vlm_assets.commands.app import Json, app, chosen_target, console, errors, installed, print_json
from vlm_assets.commands.completion import target_names
from vlm_assets.operate.bars import shown_steps
from vlm_assets.words.counts import so_many


@app.command()
def lock(
    target: Annotated[
        list[str] | None,
        typer.Option(
            help="Targets to lock; all that are built, if none is given.", autocompletion=target_names
        ),
    ] = None,
    *,
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="Write nothing: compare the lock with the catalogue and with what is built here."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Write corpus.lock beside the catalogue: `build --locked` makes the same corpora from it. Exit 1: it differs."""
    from vlm_assets.operate.lock import check_lock, write_lock
    from vlm_assets.remote.line import line_remote

    installation = installed()
    if check:
        if target:
            raise typer.BadParameter("--check compares all of the lock, without --target")
        with shown_steps("lock") as progress:
            report = check_lock(installation, progress)
    else:
        targets = [chosen_target(installation, name) for name in target or ()]
        with shown_steps("lock") as progress:
            report = write_lock(installation, targets, progress)
        line_remote(installation).after_lock(report.name)
    if as_json:
        print_json({**report.model_dump(mode="json"), "exit_code": report.exit_code})
        raise typer.Exit(report.exit_code)
    for difference in report.differences:
        errors.print(difference, markup=False, soft_wrap=True)
    for name, digest in report.targets.items():
        console.print(f"{name}: root hash {digest}", soft_wrap=True)
    count = len(report.differences)
    told = f"{count} difference{'s' if count > 1 else ''}" if count else "as locked" if check else "locked"
    console.print(f"{report.path}: {so_many(report.slices, 'slice')}, {told}", markup=False, soft_wrap=True)
    if not check:
        console.print(f"publish {report.items_file} with it; it is not for git", markup=False, soft_wrap=True)
    raise typer.Exit(report.exit_code)
