"""`vlm-assets`: the commands. Each resolves the installation, calls one function, prints, and gives the exit code.

0 fine, 1 findings or failed slices, 2 usage or configuration.
"""

import json
import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from dotenv import load_dotenv
from rich.console import Console

from vlm_assets.errors import ConfigError, VlmAssetsError
from vlm_assets.tables import stdout_console

app = typer.Typer(
    name="vlm-assets", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
    help="One reproducible image corpus out of unlike sources.",
)  # fmt: skip
_console = stdout_console()
_errors = Console(stderr=True, highlight=False)

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
Target = Annotated[str | None, typer.Option(help="A target of corpus.yaml; the largest if not given.")]


def main() -> None:
    """Entry point: runs a command and turns errors into messages and exit codes.

    `.env` of the working directory counts below the environment, DAGSTER_HOME and tokens in it included.
    """
    load_dotenv(Path(".env").absolute(), override=False)
    try:
        app()
    except ConfigError as error:
        _print_problems(error.problems)
        sys.exit(2)
    except VlmAssetsError as error:
        _errors.print(f"{type(error).__name__}: {error}", markup=False, soft_wrap=True)
        sys.exit(1)


def _print_problems(problems: Any) -> None:
    for problem in problems:
        _errors.print(str(problem), markup=False, soft_wrap=True)
    _errors.print(f"{len(problems)} problem{'s' if len(problems) != 1 else ''}", markup=False)


def _print_json(model: Any) -> None:
    sys.stdout.write(model.model_dump_json(indent=2) + "\n")


def _chosen(installation: Any, target: str | None) -> str:
    targets: dict[str, int] = installation.catalog.corpus.targets
    if target is None:
        return max(targets, key=lambda name: targets[name])
    if target not in targets:
        raise typer.BadParameter(f"no target {target!r}; there are: {', '.join(targets)}")
    return target


@app.command()
def check() -> None:
    """Look over settings and catalogue; tell every fault at once, with file and key."""
    from vlm_assets.installation import problems_of_everything

    problems = problems_of_everything()
    if problems:
        _print_problems(problems)
        raise typer.Exit(2)
    _console.print("settings and catalogue are fine")


@app.command()
def plan(target: Target = None, *, as_json: Json = False) -> None:
    """Show what a build would fetch, need and grant. Writes nothing."""
    from vlm_assets.forecast import forecast
    from vlm_assets.installation import open_installation
    from vlm_assets.tables import show_forecast

    installation = open_installation()
    result = forecast(installation, _chosen(installation, target))
    if as_json:
        _print_json(result)
    else:
        show_forecast(_console, result)
    raise typer.Exit(1 if result.problems else 0)


@app.command()
def status(*, as_json: Json = False) -> None:
    """Show where sources and targets stand."""
    from vlm_assets.installation import open_installation
    from vlm_assets.status import read_status
    from vlm_assets.tables import show_status

    result = read_status(open_installation())
    if as_json:
        _print_json(result)
    else:
        show_status(_console, result)


@app.command()
def init(
    path: Annotated[Path, typer.Argument(help="A folder for all data; made if it is missing.")],
) -> None:
    """Make a data root: a folder with the marker without which nothing is written."""
    from vlm_assets.layout import DataRoot

    path.mkdir(parents=True, exist_ok=True)
    marker = DataRoot(path.absolute()).marker
    if not marker.exists() and any(path.iterdir()):
        raise typer.BadParameter(
            f"{path} is not empty and no data root; name another folder, or touch {marker}"
        )
    marker.touch()
    _console.print(f"{path} is a data root; set VLM_DATA_ROOT={path.absolute()}", soft_wrap=True)


@app.command()
def build(
    target: Annotated[
        list[str] | None, typer.Option(help="Targets to build; refresh_targets, else all, if none is given.")
    ] = None,
    source: Annotated[list[str] | None, typer.Option(help="Only these sources, and no corpus.")] = None,
    *,
    failed: Annotated[
        bool, typer.Option("--failed", help="Only slices that failed or were never built.")
    ] = False,
    force_redownload: Annotated[
        bool, typer.Option("--force-redownload", help="Ignore caches and what is committed.")
    ] = False,
    accept_shrink: Annotated[
        bool, typer.Option("--accept-shrink", help="Accept a listing that lost many items.")
    ] = False,
) -> None:
    """Run the whole line; what is done already is not done again."""
    from vlm_assets.installation import open_installation
    from vlm_assets.orchestration.build import run_build

    installation = open_installation()
    raise typer.Exit(
        run_build(
            installation,
            targets=[_chosen(installation, name) for name in target or ()],
            sources=[_source(installation, name) for name in source or ()],
            failed_only=failed,
            force_redownload=force_redownload,
            accept_shrink=accept_shrink,
            console=_console,
        )
    )


def _source(installation: Any, name: str) -> str:
    try:
        installation.catalog.source(name)
    except KeyError as error:
        raise typer.BadParameter(str(error.args[0])) from None
    return name


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
    from vlm_assets.orchestration.build import run_build

    def wait() -> None:
        _console.print(f"services are up on 127.0.0.1:{port} and the next ports; Ctrl-C ends them")
        signal.sigwait({signal.SIGINT, signal.SIGTERM})

    raise typer.Exit(
        run_demo(
            folder,
            lambda installation: run_build(installation, targets=[], sources=[], console=_console),
            _console,
            port=port,
            wait=wait if serve else None,
        )
    )


@app.command()
def audit(
    target: Target = None,
    *,
    full: Annotated[bool, typer.Option("--full", help="Read and hash every byte, not a sample.")] = False,
    as_json: Json = False,
) -> None:
    """Count the sealed corpus again, against sources and catalogue. Exit 1 where an error is found."""
    from vlm_assets.audit.run import audit_corpus, exit_code
    from vlm_assets.installation import open_installation
    from vlm_assets.tables import show_findings

    installation = open_installation()
    findings = audit_corpus(installation, _chosen(installation, target), full=full)
    if as_json:
        sys.stdout.write(
            json.dumps([finding.to_json() for finding in findings], indent=2, ensure_ascii=False) + "\n"
        )
    else:
        show_findings(_console, findings)
    raise typer.Exit(exit_code(findings))
