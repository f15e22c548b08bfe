"""What `takedown` does and prints; and finishing takedowns before anything that builds, pushes or prunes."""

import sys
from typing import TYPE_CHECKING

import typer

from vlm_assets.commands.app import console, errors, print_json
from vlm_assets.operate.bars import shown_moves
from vlm_assets.words.counts import so_many
from vlm_assets.words.errors import ConfigError

if TYPE_CHECKING:
    from vlm_assets.installation.opening import Installation
    from vlm_assets.operate.takedown import Preview, Receipt, TakedownOrder
    from vlm_assets.settings import Settings
    from vlm_assets.words.layout import DataRoot

_SHOWN = 10


def carry_out(
    installation: "Installation", order: "TakedownOrder", *, dry_run: bool, ask: bool, as_json: bool
) -> int:
    """Shows what goes, asks on a terminal, takes it down; then what was unfinished before.

    Returns the exit code: 1 also where no row on this machine is what was asked for, though it is on record then.
    """
    from vlm_assets.operate.takedown import preview_takedown, take_down
    from vlm_assets.orchestration.assets.previews import forget_previews

    preview = preview_takedown(installation, order)
    if dry_run and as_json:
        print_json(preview.model_dump(mode="json"))
    if not as_json:
        _show_preview(preview)
    if dry_run:
        return 0
    if ask and sys.stdin.isatty() and not typer.confirm("Take this down for good?", err=True):
        errors.print("Nothing was done.")
        return 1
    with shown_moves():
        receipt = take_down(
            installation,
            order,
            workers=installation.settings.worker_count,
            forget_previews=lambda slices: forget_previews(installation, slices),
        )
    if as_json:
        print_json(receipt.model_dump(mode="json"))
    else:
        _show_receipt(receipt)
    others = finish_quietly(installation, pull=False, attempted=False)
    return max([receipt.exit_code, int(not receipt.found), *(one.exit_code for one in others)])


def finish_here(installation: "Installation", *, as_json: bool) -> int:
    """Reads the remote's takedowns and goes on with all that are unfinished here. Returns the exit code."""
    receipts = finish_quietly(installation, thorough=True)
    if as_json:
        print_json([one.model_dump(mode="json") for one in receipts])
    else:
        for one in receipts:
            _show_receipt(one)
        if not receipts:
            console.print("No takedown is unfinished on this machine")
    return max((one.exit_code for one in receipts), default=0)


def finish_quietly(
    installation: "Installation", *, pull: bool = True, attempted: bool = True, thorough: bool = False
) -> "list[Receipt]":
    """Carries out, on this machine, takedowns that were cut or that another machine gave; tells what is outstanding.

    `pull`: reads those of the remote first; the steps of a build do that themselves. Without `attempted`, what stands
    on a receipt as outstanding is left to a person. `thorough` looks into every slice for rows that came in since.

    Raises:
        RemoteError: the remote's takedowns cannot be read.
    """
    from vlm_assets.orchestration.assets.takedowns import finish_before
    from vlm_assets.remote.line import line_remote

    if pull:
        line_remote(installation).before_slices()
    with shown_moves():
        return finish_before(
            installation,
            lambda told: errors.print(told, markup=False, soft_wrap=True),
            attempted=attempted,
            thorough=thorough,
        )


def holds_rows(root: "DataRoot") -> bool:
    """Whether there is a slice, a corpus or a listing on this machine."""
    return any(any(root.path.glob(one)) for one in ("listings/*.json", "datasets/*/*", "corpora/*/*"))


def finish_restored(settings: "Settings") -> int:
    """Carries out here what a restore has heard of from the remote. Returns the exit code: 1 where some is left."""
    from vlm_assets.installation.opening import open_installation
    from vlm_assets.operate.takedown import unfinished_takedowns

    names = unfinished_takedowns(settings.root, attempted=False)
    if not names:
        return 0
    try:
        installation = open_installation(settings)
    except ConfigError as error:
        errors.print(
            f"OUTSTANDING: {so_many(len(names), 'takedown')} of other machines not carried out on this one, since "
            f"its catalogue does not open: {error}. When it does: vlm-assets takedown --finish",
            markup=False, soft_wrap=True,
        )  # fmt: skip
        return 1
    receipts = finish_quietly(installation, pull=False, attempted=False)
    return max((one.exit_code for one in receipts), default=0)


def _show_preview(preview: "Preview") -> None:
    def say(line: str) -> None:
        console.print(line, markup=False, soft_wrap=True)

    rows, images = so_many(len(preview.ids), "row"), so_many(len(preview.records_per_image), "image")
    say(
        f"{preview.asked}: {rows}, {images} in slices "
        f"{', '.join(preview.slices[:_SHOWN]) or 'none'}; corpora {', '.join(preview.corpora) or 'none'}"
    )
    for sha, count in list(preview.records_per_image.items())[:_SHOWN]:
        say(f"  image {sha}: in {so_many(count, 'record')}")
    for one in preview.ids[:_SHOWN]:
        say(f"  {one}")
    if len(preview.ids) > _SHOWN:
        say(f"  … and {len(preview.ids) - _SHOWN:,} more")
    if not preview.found:
        say(f"NOT FOUND: no row on this machine is what {preview.asked} names")


def _show_receipt(receipt: "Receipt") -> None:
    told = (
        so_many(len(receipt.ids), "row"),
        so_many(len(receipt.image_sha256), "image"),
        f"{so_many(len(receipt.corpora), 'corpus', 'corpora')} rewritten",
        f"{so_many(len(receipt.slices_emptied), 'slice')} emptied",
        so_many(len(receipt.annotations_emptied), "annotation"),
        so_many(len(receipt.listings_emptied), "listing"),
        f"previews of {so_many(len(receipt.previews_cleaned), 'slice')} removed",
    )
    console.print(f"takedown {receipt.tombstone}: {', '.join(told)}", markup=False, soft_wrap=True)
    for line in (*receipt.remarks, *(f"OUTSTANDING: {one}" for one in receipt.outstanding)):
        console.print(line, markup=False, soft_wrap=True)
