"""What `prune --remote` and `verify --remote` do and print."""

from typing import NoReturn

import typer

from vlm_assets.commands.app import console, installed, print_json
from vlm_assets.operate.bars import shown_steps, shown_transfer
from vlm_assets.operate.tables import size
from vlm_assets.words.counts import so_many


def prune_remote(
    *, keep: int | None, drop: list[str], release_pins: bool, dry_run: bool, as_json: bool
) -> NoReturn:
    """Deletes at the remote what is no longer kept; exit 1 where a pin holds something that should go."""
    from vlm_assets.remote.prune import PruneOrder
    from vlm_assets.remote.prune import prune_remote as prune

    installation = installed()
    order = PruneOrder(
        keep_versions=installation.catalog.corpus.keep_versions if keep is None else keep,
        drop=frozenset(drop),
        release_pins=release_pins,
        dry_run=dry_run,
    )
    with shown_steps("prune --remote") as progress:
        report = prune(installation.settings, order, progress=progress)
    if as_json:
        print_json(report.model_dump(mode="json"))
        raise typer.Exit(report.exit_code)
    for name in report.versions:
        console.print(name, markup=False, soft_wrap=True)
    console.print(
        f"{report.remote}: {so_many(len(report.versions), 'version')}, {so_many(report.objects, 'object')}, "
        f"{size(report.object_bytes)} {'would go' if dry_run else 'removed'}; "
        f"{so_many(report.young_objects, 'unnamed object')} too young to be judged",
        markup=False, soft_wrap=True,
    )  # fmt: skip
    for name in report.outstanding:
        console.print(f"PINNED {name}: vlm-assets unpin, or --release-pins", markup=False, soft_wrap=True)
    raise typer.Exit(report.exit_code)


def verify_remote(*, deep: bool, repair: bool, as_json: bool) -> NoReturn:
    """Compares the remote with its manifests; exit 1 where something is wrong and was not mended."""
    from vlm_assets.remote.verify import verify_remote as verify
    from vlm_assets.settings import load_settings

    with shown_transfer("verify") as progress:
        report = verify(load_settings(), deep=deep, repair=repair, progress=progress)
    if as_json:
        print_json(report.model_dump(mode="json"))
        raise typer.Exit(report.exit_code)
    for problem in report.problems:
        console.print(str(problem), markup=False, soft_wrap=True)
    wrong = sum(not one.mended for one in report.problems)
    console.print(
        f"{report.remote}: {so_many(report.versions, 'version')}, {so_many(report.objects, 'object')}, "
        f"{size(report.object_bytes)} {'read' if deep else 'by size'} in {report.seconds:.1f} s: "
        f"{so_many(wrong, 'problem')}"
        + (f", {len(report.problems) - wrong} mended" if wrong < len(report.problems) else ""),
        markup=False, soft_wrap=True,
    )  # fmt: skip
    if wrong and not repair:
        console.print(
            "vlm-assets verify --remote --repair sends again what lies whole on this machine", markup=False
        )
    raise typer.Exit(report.exit_code)
