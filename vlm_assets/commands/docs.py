"""The reference page, with the commands as they are registered."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from vlm_assets.commands.app import app, console


@app.command()
def docs(
    out: Annotated[Path | None, typer.Option(help="A file to write, in place of standard output.")] = None,
) -> None:
    """Print the reference: commands, settings, keys with their defaults, columns, reasons, findings."""
    page = reference(app)
    if out is None:
        console.print(page, markup=False, soft_wrap=True, end="")
    else:
        out.write_text(page, "utf-8")


def reference(commands: typer.Typer) -> str:
    """The page `vlm_assets/docs/reference.md`; `commands`: the application with all that it has."""
    from vlm_assets.operate.authoring.reference import reference_page

    return reference_page(list(_commands(commands)))


def _commands(commands: typer.Typer) -> Iterator[str]:
    group: Any = typer.main.get_command(commands)
    yield from ("| command | what it does |", "|---|---|")
    for name, command in sorted(group.commands.items()):
        words = " ".join([name, *(one.metavar or one.name.upper() for one in _arguments(command))])
        options = [
            f"`{max(one.opts, key=len)}` {one.help}"
            for one in command.params
            if one.param_type_name == "option" and one.name not in ("help", "as_json")
        ]
        told = " ".join([command.help.partition("\n\n")[0].replace("\n", " "), *options])
        yield f"| `{words}` | {told.replace('|', chr(92) + '|')} |"


def _arguments(command: Any) -> list[Any]:
    return [one for one in command.params if one.param_type_name == "argument"]
