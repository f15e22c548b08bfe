"""Annotations: computed, or taken from imported files."""

from typing import Annotated

import typer

from vlm_assets.commands.app import Json, app, chosen_source, console, errors, installed, print_json
from vlm_assets.commands.completion import source_names
from vlm_assets.commands.takedowns import finish_quietly
from vlm_assets.operate.bars import shown_steps
from vlm_assets.operate.tables import reasons
from vlm_assets.words.counts import so_many
from vlm_assets.words.nearest import did_you_mean


@app.command()
def annotate(
    source: Annotated[
        list[str] | None, typer.Option("--source", help="Only these sources.", autocompletion=source_names)
    ] = None,
    name: Annotated[list[str] | None, typer.Option("--name", help="Only these annotations.")] = None,
    *,
    force: Annotated[bool, typer.Option("--force", help="Compute also what is fresh.")] = False,
    as_json: Json = False,
) -> None:
    """Compute the annotations of the catalogue that are not fresh. Fetches nothing. Exit 1 where a slice failed."""
    from vlm_assets.annotate.run import annotate as annotate_slices

    installation = installed()
    known = [one.name for one in installation.catalog.corpus.annotations]
    for wrong in sorted(set(name or ()).difference(known)):
        raise typer.BadParameter(f"no annotation {wrong!r} in corpus.yaml; {did_you_mean(wrong, known)}")
    sources = [chosen_source(installation, one) for one in source or ()]
    finish_quietly(installation)
    with shown_steps("annotate") as progress:
        report = annotate_slices(
            installation, sources=sources or None, names=name or None, force=force, progress=progress
        )
    if as_json:
        print_json({**report.model_dump(mode="json"), "exit_code": report.exit_code})
    else:
        written = (
            reasons(report.files) or "everything is fresh" if known else "the catalogue names no annotations"
        )
        seen = f"; {so_many(report.seen, 'image')} and texts looked at" if report.files else ""
        console.print(
            f"{so_many(report.slices, 'slice')} annotated in {report.seconds:.1f} s: {written}{seen}",
            soft_wrap=True,
        )
        if report.broken:
            console.print(f"without values, for the annotator broke on them: {reasons(report.broken)}")
        for slice_name, told in report.failed.items():
            errors.print(f"FAILED {slice_name}: {told}", markup=False, soft_wrap=True)
    raise typer.Exit(report.exit_code)
