"""The first hour: a data root, a catalogue, sources in it."""

import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from vlm_assets.commands.app import app, console, errors
from vlm_assets.words.counts import so_many
from vlm_assets.words.errors import ConfigError, Problem
from vlm_assets.words.nearest import did_you_mean

if TYPE_CHECKING:
    from vlm_assets.operate.authoring.entries import Added

CORPUS_FILE: Final = "corpus.yaml"
_WORKSPACE: Final = """\
# What `dagster dev` in this folder loads.
load_from:
  - python_module:
      module_name: vlm_assets.definitions
      location_name: vlm_assets
"""
_QUOTA_KEYS: Final = (".category", ".subcategory", ".subcategory_from.map")


@app.command()
def init(
    path: Annotated[Path, typer.Argument(help="A folder for all data; made if it is missing.")],
    catalog: Annotated[
        Path | None, typer.Option(help="Also write a first catalogue, commented, into this new folder.")
    ] = None,
    contact: Annotated[
        str,
        typer.Option(help="With --catalog: e-mail or URL that the User-Agent names, for servers' owners."),
    ] = "",
) -> None:
    """Make a data root: a folder with the marker without which nothing is written."""
    from vlm_assets.operate.authoring.start import write_catalog
    from vlm_assets.words.layout import DataRoot

    marker = DataRoot(path.absolute()).marker
    if path.exists() and not path.is_dir():
        raise typer.BadParameter(f"{path} is no folder")
    if path.is_dir() and not marker.exists() and any(path.iterdir()):
        raise typer.BadParameter(
            f"{path} is not empty and no data root; name another folder, or touch {marker}"
        )
    again = catalog is not None and marker.exists() and (catalog / CORPUS_FILE).is_file()
    if catalog is not None and not again:
        try:
            write_catalog(catalog)
        except FileExistsError as error:
            told = f"{error}, and stays as it is; name a new folder, or leave --catalog out"
            raise ConfigError(Problem("init", "--catalog", told)) from None
    path.mkdir(parents=True, exist_ok=True)
    marker.touch()
    if catalog is None:
        console.print(f"{path} is a data root; set VLM_DATA_ROOT={path.absolute()}", soft_wrap=True)
        return
    already = " already, and stay as they are" if again else ""
    console.print(f"{path} is a data root, {catalog} a catalogue{already}", soft_wrap=True)
    settings = {
        "VLM_DATA_ROOT": path.absolute(),
        "VLM_CATALOG": catalog.absolute(),
        "VLM_CONTACT": contact,
        "DAGSTER_HOME": _instance(path.absolute()),
    }
    _write_env(Path(".env"), {name: str(value) for name, value in settings.items() if value})
    more = "; vlm-assets plan shows what a build would do" if again else ""
    told = f"{catalog / CORPUS_FILE} says what is wanted; vlm-assets add KIND WHERE adds a source{more}"
    console.print(told, soft_wrap=True)


def _instance(data_root: Path) -> Path:
    """Makes what `dagster dev` in this folder needs: the commands' own instance, and what to load."""
    from vlm_assets.orchestration.run.home import home_under, link_instance_file

    home = home_under(data_root)
    home.mkdir(exist_ok=True)
    link_instance_file(home)
    workspace = Path("workspace.yaml")
    if not workspace.exists():
        workspace.write_text(_WORKSPACE, "utf-8")
        console.print("Written to workspace.yaml, for dagster dev in this folder: what it loads")
    return home


def _write_env(path: Path, settings: Mapping[str, str]) -> None:
    """Leaves settings for commands in this folder; a file that is there is left alone."""
    lines = [f"{name}={shlex.quote(value)}" for name, value in settings.items()]
    if path.exists():
        there = path.read_text("utf-8", "replace").splitlines()
        lines = [line for line in lines if line not in there]
        if not lines:
            return
        console.print("The .env here is left alone; set in it, or in the environment:")
    else:
        path.write_text("\n".join(lines) + "\n", "utf-8")
        console.print("Written to .env, which counts for commands in this folder:")
    for line in lines:
        console.print(f"  {line}", markup=False, soft_wrap=True)


@app.command()
def add(
    kind: Annotated[str, typer.Argument(help="Such as client_folder, image_urls, hf_dataset, pdf_folder.")],
    where: Annotated[
        str, typer.Argument(help="A folder, an archive, a list, owner/name, or the address of one.")
    ],
    name: Annotated[str | None, typer.Option(help="Of the source; from its place if not given.")] = None,
    category: Annotated[str | None, typer.Option(help="A category of quotas in corpus.yaml.")] = None,
    subcategory: Annotated[str | None, typer.Option(help="A subcategory of it, as street/night.")] = None,
    licence: Annotated[str | None, typer.Option(help="SPDX id, proprietary or unknown.")] = None,
    catalog: Annotated[
        Path | None, typer.Option(help="The catalogue's folder; VLM_CATALOG if not given.")
    ] = None,
    *,
    benchmark: Annotated[bool, typer.Option("--benchmark", help="No corpus may hold what it has.")] = False,
) -> None:
    """Look at a source and write its entry into the catalogue, with what is left to fill in named."""
    from vlm_assets.installation.load import catalog_problems, licence_hints
    from vlm_assets.operate.authoring.entries import Wish, add_source
    from vlm_assets.settings import load_settings
    from vlm_assets.sources.registry import kinds

    if kind not in kinds():
        raise ConfigError(Problem("add", "KIND", f"no kind {kind!r}; {did_you_mean(kind, kinds())}"))
    settings = load_settings() if catalog is None else load_settings(catalog=catalog)
    folder = settings.catalog_dir
    before = {_about(one) for one in catalog_problems(folder)}
    wish = Wish(kind, where, name, category, subcategory, licence, benchmark=benchmark)
    added = add_source(folder, wish, settings)
    told = [*added.look.told, f"written: {_near(added.file)}", *_filled_in(added), *_of_quotas(added, folder)]
    for line in told:
        console.print(line, markup=False, soft_wrap=True)
    problems = catalog_problems(folder)
    fresh = [one for one in problems if _about(one) not in before and not _is_told(one, added)]
    for problem in fresh:
        errors.print(f"to do: {problem}", markup=False, soft_wrap=True)
    for hint in licence_hints(folder):
        if Path(hint.file.partition(":")[0]).name == added.file.name:
            errors.print(f"to look at: {hint}", markup=False, soft_wrap=True)
    others = sum(_about(one) in before for one in problems)
    if problems:
        before_it = f", {others:,} of them from before" if others else ""
        found = so_many(len(problems), "problem")
        last = f"not ready: vlm-assets check finds {found}{before_it}: exit 2 until that is mended"
        errors.print(last, markup=False, soft_wrap=True)


def _of_quotas(added: "Added", catalog: Path) -> list[str]:
    """What became of the quotas, or what they lack."""
    if added.shared:
        return [f"{_near(catalog / CORPUS_FILE)}: quotas are equal shares of all sources until you edit them"]
    if not added.quotas:
        return []
    first, *lines = added.quotas
    return [f"{CORPUS_FILE} lacks a quota for it, {first}", *(f"  {line}" for line in lines)]


def _filled_in(added: "Added") -> list[str]:
    """What nobody said, so that a person looks at it."""
    return [f"filled in, to be looked at: {', '.join(added.filled_in)}"] if added.filled_in else []


def _about(problem: Problem) -> tuple[str, str, str]:
    """A problem without its line, which moves."""
    return problem.file, problem.key, problem.message


def _is_told(problem: Problem, added: "Added") -> bool:
    """Whether it says again that there is no quota for the new source."""
    ours = problem.file.endswith(f"/{added.file.name}")
    return ours and bool(added.quotas) and problem.key.endswith(_QUOTA_KEYS)


def _near(path: Path) -> str:
    """The path as seen from here, where that is shorter."""
    return min(str(path), os.path.relpath(path), key=len)
