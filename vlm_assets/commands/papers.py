"""The papers of a sealed corpus: what people, the Hub and regulators read of it."""

from itertools import count
from pathlib import Path
from typing import Annotated

import typer

from vlm_assets.commands.app import Json, app, chosen_target, console, errors, installed, print_json
from vlm_assets.commands.completion import target_names
from vlm_assets.commands.takedowns import finish_quietly
from vlm_assets.operate.bars import shown_steps
from vlm_assets.operate.tables import size


@app.command()
def report(
    target: Annotated[
        str | None, typer.Argument(help="The largest, if none is given.", autocompletion=target_names)
    ] = None,
    *,
    out: Annotated[
        Path | None,
        typer.Option(help="Copy the page here too, a file or a folder; takedowns write the copy anew."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a corpus's papers anew: report.html for people, card, croissant.json, summary.json."""
    from vlm_assets.papers.write import STEPS, copy_page, write_papers

    installation = installed()
    name = chosen_target(installation, target)
    finish_quietly(installation)
    with shown_steps("report") as show:
        begun = count()
        written = write_papers(installation, name, lambda step: show(step, next(begun), STEPS))
    page = copy_page(installation, name, out) if out is not None else written.report
    if as_json:
        print_json({"report": str(page), "folder": str(written.folder), "figures": written.figures})
        return
    console.print(f"{page}, {size(page.stat().st_size)}", markup=False, soft_wrap=True)
    if out is not None:
        told = "a takedown writes this copy anew while it lies here unchanged; copies of it are for you to remove"
        errors.print(f"{page}: {told}", markup=False, soft_wrap=True)
    console.print(f"card, croissant.json and summary.json: {written.folder}", markup=False, soft_wrap=True)
