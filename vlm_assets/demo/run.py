"""`vlm-assets demo`: services up, folder prepared, the whole line run, figures shown, root hashes compared."""

import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from rich.console import Console

from vlm_assets.demo.newspaper_site import NewspaperSite
from vlm_assets.demo.prepare import DemoFolder, prepare_demo
from vlm_assets.demo.services.images import ImageSite
from vlm_assets.demo.services.running import start_services
from vlm_assets.installation.opening import Installation, open_installation
from vlm_assets.operate.lock import sealed_corpus
from vlm_assets.pdf.identity import renderer_identity
from vlm_assets.settings import load_settings
from vlm_assets.words.errors import ConfigError, Problem
from vlm_assets.words.layout import DataRoot

_OWN: Final = frozenset({"data", "dagster_home", "catalog", "client"})
_ENV_MARK = "# written by vlm-assets demo"
PICTURES: Final = "http://127.0.0.2"
ARCHIVE: Final = "http://127.0.0.3"
"""Origins of the demo's pictures and newspapers. They are asked for through its proxy, wherever that listens, so
URLs, and with them ids and root hashes, are the same whatever ports are free."""
ROOT_HASHES: Final[Mapping[str, str]] = {
    "50": "bf08fb7a3abefb20a78a2ada6c62f822dc6309f173447cfeed9b5a8c3afc766e",
    "150": "86bf634095a866bd3527907cf88dc80c1c3bad51e8861ddf803ba0c7b59e177b",
    "300": "7038c1bbaf2d67bcd6cd443daec55801553f77b976c0efa1a5587c98c245de17",
}
"""By target. Of every machine that draws as `DRAWN_BY`: anything else that changes them is a change of bytes."""
DRAWN_BY: Final = "poppler-052a65ae0b9f1e19"


def run_demo(
    folder: Path,
    build: Callable[[Installation], int],
    console: Console,
    *,
    port: int = 18600,
    wait: Callable[[], None] | None = None,
) -> int:
    """Prepares the folder, builds all targets with the services up, writes `.env`; returns the exit code.

    `wait`, if given, is called before the services stop. Exit 1 also where the corpora are not those of every other
    machine.

    Raises:
        ConfigError: the port is taken, or the folder holds something else.
    """
    demo = DemoFolder(folder.absolute())
    foreign = sorted({path.name for path in folder.iterdir()} - _OWN) if folder.is_dir() else []
    if foreign and not DataRoot(demo.data_root).marker.is_file():
        told = f"{folder} holds something else ({foreign[0]}); name an empty or a new folder"
        raise ConfigError(Problem("demo", "--folder", told))
    with ExitStack() as services:
        try:
            site = services.enter_context(ImageSite(port))
            archive = services.enter_context(NewspaperSite(port=port + 1))
            site.known_as, archive.known_as = PICTURES, ARCHIVE
            hosted = services.enter_context(start_services(site, port + 2))
            hosted.kaggle.sites += [site, archive]
        except OSError as error:
            raise ConfigError(
                Problem("demo", f"ports from {port}", f"{error.strerror}; choose others: --port N")
            ) from error
        prepare_demo(demo, site, archive)
        variables = {**demo.environment(), **hosted.proxied()}
        os.environ.update(variables)
        installation = open_installation(load_settings(None))
        code = build(installation)
        if code == 0:
            code = compare_root_hashes(installation, console)
        _write_env(variables, Path.cwd() / ".env", console)  # before it waits: the UI is for while it serves
        _tell_ui(console)
        if wait is not None:
            wait()
    return code


def _tell_ui(console: Console) -> None:
    console.print(
        "To see it in the UI: dagster dev, here (in a virtual environment .venv/bin/dagster dev), then open "
        "http://127.0.0.1:3000. To fetch again from there, keep the demo's services up in another terminal: "
        "vlm-assets demo --serve",
        soft_wrap=True,
    )


def compare_root_hashes(installation: Installation, console: Console) -> int:
    """Tells whether the corpora are, to the byte, those of every other machine; the exit code.

    1 where they are not though this machine draws pages as `DRAWN_BY` does: the promise is broken.
    """
    other = []
    for target, stated in ROOT_HASHES.items():
        manifest = sealed_corpus(installation, target)
        if manifest is None or manifest.root_hash != stated:
            other.append(f"{target}: {stated} stated, {manifest.root_hash if manifest else 'nothing'} here")
    if not other:
        console.print("Root hashes: those that every machine gets, to the byte")
        return 0
    here = renderer_identity("poppler").name
    console.print("Root hashes: others than stated", *other, sep="\n  ", markup=False, soft_wrap=True)
    if here == DRAWN_BY:
        return 1
    console.print(
        f"This machine draws pages as {here}, they were stated for {DRAWN_BY}: another Poppler",
        soft_wrap=True,
    )
    return 0


def _write_env(variables: Mapping[str, str], path: Path, console: Console) -> None:
    """Leaves an `.env` with which `dagster dev` shows the demo; one that a person wrote is left alone."""
    if path.exists() and not path.read_text("utf-8").startswith(_ENV_MARK):
        console.print(f"{path} is yours and left alone; to see the demo in the UI, set:", soft_wrap=True)
        for name, value in variables.items():
            console.print(f"  {name}={value}", soft_wrap=True)
        return
    lines = [_ENV_MARK, *(f"{name}={value}" for name, value in variables.items())]
    path.write_text("\n".join(lines) + "\n", "utf-8")
