"""A sealed corpus taken away: other formats."""

from pathlib import Path
from typing import Annotated

import typer

from vlm_assets.commands.app import Json, app, chosen_target, console, installed, print_json
from vlm_assets.commands.takedowns import finish_quietly
from vlm_assets.exports.formats import Format
from vlm_assets.operate.tables import shown_progress, size


@app.command()
def export(
    out: Annotated[
        Path, typer.Option(help="A new folder, or that of an earlier export to bring up to date.")
    ],
    target: Annotated[str | None, typer.Option(help="The largest, if none is given.")] = None,
    form: Annotated[Format, typer.Option("--format", help="Parquet or tars of samples.")] = Format.PARQUET,
    *,
    as_json: Json = False,
) -> None:
    """Write a sealed corpus as Parquet or WebDataset; what stands there already is not written again."""
    from vlm_assets.exports.run import export_corpus

    installation = installed()
    name = chosen_target(installation, target)
    finish_quietly(installation)
    with shown_progress("export") as advance:
        done = export_corpus(
            installation,
            name,
            form,
            out,
            workers=installation.settings.worker_count,
            progress=advance,
        )
    if as_json:
        print_json(done.manifest.model_dump(mode="json"))
        return
    console.print(
        f"{done.manifest.rows:,} rows in {len(done.manifest.files)} files, {size(done.size_bytes)}: "
        f"{done.written} written, {done.kept} kept, {done.removed} removed. {done.folder}",
        markup=False,
        soft_wrap=True,
    )
