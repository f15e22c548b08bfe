"""A sealed corpus taken away: other formats, other places."""

from typing import TYPE_CHECKING, Annotated

import typer

from vlm_assets.commands.app import Json, app, chosen_target, console, installed, print_json
from vlm_assets.commands.completion import target_names
from vlm_assets.commands.pandas_unasked import leave_pandas_out
from vlm_assets.commands.takedowns import finish_quietly
from vlm_assets.exports.formats import Format
from vlm_assets.operate.bars import shown_progress
from vlm_assets.operate.tables import size
from vlm_assets.words.counts import so_many

if TYPE_CHECKING:
    from vlm_assets.exports.manifest import ExportManifest
    from vlm_assets.exports.publishing.run import Decision

WhereText = Annotated[
    str | None,
    typer.Option(
        "--where",
        help="Only rows for which this is true, as \"category == 'photos' and min_side_px >= 512\".",
    ),
]


@app.command()
def export(
    out: Annotated[
        str | None,
        typer.Option(
            help="A new folder, s3://bucket/prefix, or where an earlier export is to be brought up to date; "
            "CORPUS-TARGET-FORMAT here, if none is given."
        ),
    ] = None,
    target: Annotated[
        str | None, typer.Option(help="The largest, if none is given.", autocompletion=target_names)
    ] = None,
    form: Annotated[Format, typer.Option("--format", help="Parquet or tars of samples.")] = Format.PARQUET,
    where: WhereText = None,
    *,
    as_json: Json = False,
) -> None:
    """Write a sealed corpus as Parquet or WebDataset; what stands there already is not written again."""
    from vlm_assets.exports.run import export_corpus
    from vlm_assets.exports.where import Where

    leave_pandas_out()
    wanted = None if where is None else Where.parse(where)
    installation = installed()
    name = chosen_target(installation, target)
    finish_quietly(installation)
    with shown_progress("export") as advance:
        done = export_corpus(
            installation,
            name,
            form,
            out or f"{installation.catalog.corpus.name}-{name}-{form}",
            where=wanted,
            workers=installation.settings.worker_count,
            progress=advance,
        )
    if as_json:
        print_json(done.manifest.model_dump(mode="json"))
        return
    console.print(
        f"{_told(done.manifest)}: "
        f"{done.written} written, {done.kept} kept, {done.removed} removed. {done.out}",
        markup=False,
        soft_wrap=True,
    )


def _told(manifest: "ExportManifest") -> str:
    rows, files = so_many(manifest.rows, "row"), so_many(len(manifest.files), "file")
    return f"{rows} in {files}, {size(manifest.size_bytes)}"


@app.command()
def publish(
    repo: Annotated[
        str, typer.Option(help="owner/name at the Hugging Face Hub; made, private, where there is none.")
    ],
    target: Annotated[
        str | None, typer.Option(help="The largest, if none is given.", autocompletion=target_names)
    ] = None,
    where: WhereText = None,
    *,
    public: Annotated[
        bool,
        typer.Option(
            "--public", help="A new repository is for everybody; one that is public may be changed."
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List files with their bytes, configs and splits; send nothing.")
    ] = False,
    forget_history: Annotated[
        bool,
        typer.Option(
            "--forget-history", help="Then have the Hub delete for good what only earlier commits have."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Publish a sealed corpus at the Hugging Face Hub as Parquet; of what is there already nothing is sent again."""
    from vlm_assets.exports.publishing.run import decide, publish_corpus
    from vlm_assets.exports.publishing.takedowns import files_of_earlier_commits
    from vlm_assets.exports.where import Where

    leave_pandas_out()
    wanted = None if where is None else Where.parse(where)
    installation = installed()
    name = chosen_target(installation, target)
    finish_quietly(installation)
    if dry_run:
        _show_decision(decide(installation, name, repo, where=wanted, public=public), as_json=as_json)
        return
    with shown_progress("publish") as advance:
        done = publish_corpus(installation, name, repo, where=wanted, public=public, progress=advance)
    old = files_of_earlier_commits(installation, repo, forget=True) if forget_history else None
    if as_json:
        forgotten = None if old is None else {"files": len(old.sha256), "size_bytes": old.size_bytes}
        counts = {"sent": done.sent, "kept": done.kept, "removed": done.removed, "forgotten": forgotten}
        print_json(
            {"repo": repo, "commit": done.sha, **counts, "manifest": done.manifest.model_dump(mode="json")}
        )
        return
    console.print(
        f"{_told(done.manifest)}: "
        f"{done.sent} sent, {done.kept} kept, {done.removed} removed. {repo} at {done.sha[:12]}",
        markup=False,
        soft_wrap=True,
    )
    if old is not None:
        gone = so_many(len(old.sha256), "file")
        console.print(f"Deleted of earlier commits: {gone}, {size(old.size_bytes)}")


def _show_decision(decision: "Decision", *, as_json: bool) -> None:
    from vlm_assets.exports.publishing.report import decision_figures

    figures = decision_figures(decision)
    if as_json:
        print_json(figures)
        return
    for one in figures["files"]:
        console.print(
            f"{one['state']:<8} {size(one['size_bytes']):>8} {one['rows']:>10,} rows  {one['path']}",
            markup=False,
        )
    for path in figures["removed"]:
        console.print(f"removed  {path}", markup=False, soft_wrap=True)
    for one in figures["configs"]:
        console.print(
            f"config {one['config']}, split {one['split']}: {so_many(one['rows'], 'row')}", markup=False
        )
    console.print(
        f"{figures['repo']}, {figures['visibility']}: {so_many(figures['rows'], 'row')}, "
        f"{size(figures['size_bytes'])}; "
        f"{figures['files_to_send']} of {so_many(len(figures['files']), 'file')}, "
        f"{size(figures['bytes_to_send'])}, would be "
        "sent, less the chunks that the Hub has. Nothing was sent.",
        markup=False,
        soft_wrap=True,
    )
