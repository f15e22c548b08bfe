"""`vlm-assets demo`: services up, folder prepared, the whole line run, figures shown."""

import os
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console

from vlm_assets.demo.newspaper_site import NewspaperSite
from vlm_assets.demo.prepare import DemoFolder, prepare_demo
from vlm_assets.demo.services.images import ImageSite
from vlm_assets.demo.services.running import start_services
from vlm_assets.installation.opening import Installation, open_installation
from vlm_assets.settings import load_settings
from vlm_assets.words.errors import ConfigError, Problem

_ENV_MARK = "# written by vlm-assets demo"


def run_demo(
    folder: Path,
    build: Callable[[Installation], int],
    console: Console,
    *,
    port: int = 18600,
    wait: Callable[[], None] | None = None,
) -> int:
    """Prepares the folder, builds all targets with the services up, writes `.env`; returns the exit code.

    `wait`, if given, is called before the services stop. Ports are fixed, so that URLs, and with them ids and root
    hashes, are the same on every machine.

    Raises:
        ConfigError: the port is taken.
    """
    demo = DemoFolder(folder.absolute())
    with ExitStack() as services:
        try:
            site = services.enter_context(ImageSite(port))
            archive = services.enter_context(NewspaperSite(port=port + 1))
            hosted = services.enter_context(start_services(site, port + 2))
        except OSError as error:
            raise ConfigError(
                Problem("demo", f"ports from {port}", f"{error.strerror}; choose others: --port N")
            ) from error
        prepare_demo(demo, site, archive)
        os.environ.update({**demo.environment(), **hosted.environment()})
        code = build(open_installation(load_settings(None)))
        if wait is not None:
            wait()
    _write_env(demo, Path.cwd() / ".env", console)
    console.print(
        "To see it in the UI: dagster dev, here (in a virtual environment .venv/bin/dagster dev), then open "
        "http://127.0.0.1:3000. To fetch again from there, keep the demo's services up in another terminal: "
        "vlm-assets demo --serve",
        soft_wrap=True,
    )
    return code


def _write_env(demo: DemoFolder, path: Path, console: Console) -> None:
    """Leaves an `.env` with which `dagster dev` shows the demo; one that a person wrote is left alone."""
    if path.exists() and not path.read_text("utf-8").startswith(_ENV_MARK):
        console.print(f"{path} is yours and left alone; to see the demo in the UI, set:", soft_wrap=True)
        for name, value in demo.environment().items():
            console.print(f"  {name}={value}", soft_wrap=True)
        return
    lines = [_ENV_MARK, *(f"{name}={value}" for name, value in demo.environment().items())]
    path.write_text("\n".join(lines) + "\n", "utf-8")
