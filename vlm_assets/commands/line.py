"""The line itself: build, and the demo of it."""

import signal
import threading
from pathlib import Path
from typing import Annotated

import typer

from vlm_assets.commands.app import (
    Json,
    app,
    chosen_slices,
    chosen_source,
    chosen_target,
    console,
    errors,
    in_test_mode,
    installed,
    print_json,
)
from vlm_assets.commands.completion import source_names, target_names
from vlm_assets.commands.pandas_unasked import leave_pandas_out
from vlm_assets.commands.setup import show_plan
from vlm_assets.commands.takedowns import finish_quietly
from vlm_assets.words.collector import loading
from vlm_assets.words.counts import so_many


@app.command()
def build(
    target: Annotated[
        list[str] | None,
        typer.Option(
            help="Targets to build; refresh_targets, else all, if none is given.", autocompletion=target_names
        ),
    ] = None,
    source: Annotated[
        list[str] | None, typer.Option(help="Only these sources, and no corpus.", autocompletion=source_names)
    ] = None,
    slice_key: Annotated[
        list[str] | None, typer.Option("--slice", help="Only these slices of the source; needs one --source.")
    ] = None,
    *,
    failed: Annotated[
        bool,
        typer.Option("--failed", help="Only slices that failed or were never built; lists nothing anew."),
    ] = False,
    force_redownload: Annotated[
        bool, typer.Option("--force-redownload", help="Ignore caches and what is committed.")
    ] = False,
    accept_shrink: Annotated[
        bool, typer.Option("--accept-shrink", help="Accept a listing that lost many items.")
    ] = False,
    accept_drift: Annotated[
        bool, typer.Option("--accept-drift", help="Take other pictures that known addresses give now.")
    ] = False,
    accept_renderer: Annotated[
        bool,
        typer.Option(
            "--accept-renderer", help="Draw again what another machine's renderer drew, slice by slice."
        ),
    ] = False,
    locked: Annotated[
        bool,
        typer.Option(
            "--locked", help="Exactly what corpus.lock says; what is gone or changed is named, exit 1."
        ),
    ] = False,
    test_mode: Annotated[
        bool,
        typer.Option("--test-mode", help="Few rows a slice, in a data root of its own: <data root>-test."),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what it would do, as `plan` does. Writes nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Run the whole line; what is done already is not done again."""
    with loading("dagster"):
        from vlm_assets.orchestration.command.build import run_build

        leave_pandas_out()
    if slice_key and len(source or ()) != 1:
        raise typer.BadParameter("--slice needs exactly one --source")
    others = (failed, force_redownload, accept_shrink, accept_drift, accept_renderer, test_mode, dry_run)
    if locked and (any(others) or in_test_mode()):
        raise typer.BadParameter(
            "--locked takes what the lock says: only --target, --source and --slice go with it"
        )
    if dry_run:
        if test_mode or len(target or ()) > 1:
            raise typer.BadParameter("--dry-run shows one --target, and goes without --test-mode")
        show_plan(installed(), target[0] if target else None, as_json=as_json)
    installation = installed(test_mode=test_mode or in_test_mode(), with_sources=not source)
    if installation.settings.test_mode:
        told = (
            f"Test mode: at most {so_many(installation.settings.test_mode_rows, 'row')} a slice, in "
            f"{installation.root.path}"
        )
        errors.print(told, markup=False, soft_wrap=True)
    finish_quietly(installation, pull=False)
    raise typer.Exit(
        run_build(
            installation,
            slices=chosen_slices(installation, source or [], slice_key or []),
            targets=[chosen_target(installation, name) for name in target or ()],
            sources=[chosen_source(installation, name) for name in source or ()],
            failed_only=failed,
            force_redownload=force_redownload,
            accept_shrink=accept_shrink,
            accept_drift=accept_drift,
            accept_renderer=accept_renderer,
            by_lock=locked,
            console=errors if as_json else console,  # standard output is the JSON's alone
            tell=print_json if as_json else lambda summary: None,  # noqa: ARG005 - does nothing
        )
    )


@app.command()
def demo(
    folder: Annotated[Path, typer.Option(help="Where the demo lies.")] = Path(".vlm_demo"),
    port: Annotated[int, typer.Option(help="First of the ports that the demo's services listen on.")] = 18600,
    *,
    serve: Annotated[
        bool, typer.Option("--serve", help="Keep the services up until Ctrl-C, for the UI.")
    ] = False,
) -> None:
    """Build a small corpus offline, from services on loopback, with every kind of source."""
    from vlm_assets.demo.run import run_demo
    from vlm_assets.orchestration.command.build import run_build

    def wait() -> None:
        serve_until_stopped(f"services are up on 127.0.0.1:{port} and the next ports; Ctrl-C ends them")

    raise typer.Exit(
        run_demo(
            folder,
            lambda installation: run_build(installation, targets=[], sources=[], console=console),
            console,
            port=port,
            wait=wait if serve else None,
        )
    )


def serve_until_stopped(told: str) -> None:
    """Says that it serves, waits for SIGTERM, and says at once that what was begun now stops.

    Raises:
        KeyboardInterrupt: Ctrl-C came. It is said as well.
    """
    stopped = threading.Event()
    before = signal.signal(signal.SIGTERM, lambda _number, _frame: stopped.set())
    try:
        typer.echo(told)  # an interrupted print of Rich's would say it twice
        stopped.wait()
    finally:
        typer.echo("stopping the demo's services…")
        signal.signal(signal.SIGTERM, before)
