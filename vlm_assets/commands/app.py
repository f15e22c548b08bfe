"""What all commands share: the application, the consoles, common options, exit codes."""

import sys
from collections.abc import Sequence
from difflib import get_close_matches
from importlib.metadata import version
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer
from rich.console import Console

from vlm_assets.commands.completion import target_names
from vlm_assets.operate.tables import stdout_console
from vlm_assets.words.counts import so_many
from vlm_assets.words.errors import Problem
from vlm_assets.words.nearest import did_you_mean

if TYPE_CHECKING:
    from vlm_assets.installation.opening import Installation

app = typer.Typer(
    name="vlm-assets", no_args_is_help=True, add_completion=True, pretty_exceptions_enable=False,
    help="One reproducible image corpus out of unlike sources. "
    "Exit codes: 0 fine, 1 findings or failed slices, 2 usage or configuration.",
)  # fmt: skip
console = stdout_console()
errors = Console(stderr=True, highlight=False)

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
Target = Annotated[
    str | None,
    typer.Option(help="A target of corpus.yaml; the largest if not given.", autocompletion=target_names),
]


def _print_version(wanted: bool) -> None:  # noqa: FBT001 - typer's callback
    if wanted:
        console.print(f"vlm-assets {version('vlm-assets')}")
        raise typer.Exit


@app.callback()
def _options(
    *,
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """What goes before every command."""


def print_problems(problems: Sequence[Problem]) -> None:
    """One line a fault on standard error, and their number."""
    for problem in problems:
        errors.print(str(problem), markup=False, soft_wrap=True)
    errors.print(so_many(len(problems), "problem"), markup=False)


def print_json(content: Any) -> None:
    """Indented JSON on standard output, by itself."""
    sys.stdout.write(orjson.dumps(content, option=orjson.OPT_INDENT_2, default=str).decode() + "\n")


def installed(*, test_mode: bool = False, with_sources: bool = False) -> "Installation":
    """The installation of the settings, with its log files open; in `test_mode` its data root is made if missing.

    Raises:
        ConfigError: every fault of settings and catalogue; `with_sources`: no source is enabled.
    """
    from vlm_assets.installation.load import check_any_source
    from vlm_assets.installation.opening import open_installation
    from vlm_assets.installation.trial import make_test_root
    from vlm_assets.operate.logs import configure_logging, show_waits
    from vlm_assets.settings import load_settings

    settings = load_settings(test_mode=True) if test_mode else load_settings()
    if with_sources and settings.catalog is not None:
        check_any_source(settings.catalog)
    if test_mode:
        make_test_root(settings)
    installation = open_installation(settings)
    configure_logging(installation.settings, installation.root.logs)
    show_waits(errors)
    if settings.remote:
        from vlm_assets.remote.away import lend_data

        lend_data(settings)
    return installation


def in_test_mode() -> bool:
    """Whether the settings say so."""
    from vlm_assets.settings import load_settings

    return load_settings().test_mode


def chosen_target(installation: "Installation", target: str | None) -> str:
    """The target, or the largest where none is named."""
    targets = installation.catalog.corpus.targets
    if target is None:
        return max(targets, key=lambda name: targets[name])
    if target not in targets:
        raise typer.BadParameter(f"no target {target!r}; {did_you_mean(target, targets)}")
    return target


def chosen_source(installation: "Installation", name: str) -> str:
    """The source's name, if there is one."""
    try:
        return installation.catalog.source(name).name
    except KeyError:
        known = [spec.name for spec in installation.catalog.fetched]
        raise typer.BadParameter(f"no source {name!r}; {did_you_mean(name, known)}") from None


def chosen_slices(installation: "Installation", sources: Sequence[str], keys: Sequence[str]) -> Sequence[str]:
    """The keys, if each is a slice of the one source; a source that was never listed has none to compare with."""
    from vlm_assets.store.listings import read_listing

    listing = read_listing(installation.root, sources[0]) if keys else None
    for key in keys if listing else ():
        if listing and key not in listing.slices:
            near = get_close_matches(key, listing.slices, 3, 0.4)
            told = f"did you mean {', '.join(near)}?" if near else f"there are {len(listing.slices):,} others"
            raise typer.BadParameter(f"{sources[0]} has no slice {key!r}; {told}")
    return keys
