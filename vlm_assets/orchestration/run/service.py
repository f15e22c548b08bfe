"""What this code location serves: the catalogue snapshot it loaded, and the note that says so.

Loaded by the code server, by every run that it starts, and by the CLI, which asks whether the daemon of its
DAGSTER_HOME serves the same. No asset is defined here.
"""

import logging
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import psutil
from pydantic import BaseModel, ConfigDict, ValidationError

from vlm_assets.installation.opening import Installation, open_installation
from vlm_assets.installation.snapshot import read_snapshot, write_snapshot
from vlm_assets.installation.trial import check_instance
from vlm_assets.operate.logs import configure_logging
from vlm_assets.orchestration.run.catalog_state import report_catalog
from vlm_assets.orchestration.run.clock import forget_future_ticks_here
from vlm_assets.settings import load_settings
from vlm_assets.words.errors import ConfigError, Problem
from vlm_assets.words.layout import DataRoot

logger = logging.getLogger("vlm_assets.service")

SNAPSHOT_VARIABLE: Final = "CATALOG_SNAPSHOT_OF_VLM"
"""Set by the process that read the YAML, inherited by the runs that it starts. Not a setting."""
_SAME_START_S: Final = 2.0


class Served(BaseModel):
    """One code location: what it serves, and the process (webserver, daemon, code server) that started it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    data_root: Path
    catalog_hash: str
    catalog_dir: Path
    host: str
    parent_pid: int
    parent_started: float

    @property
    def alive(self) -> bool:
        """Whether the process that started it still runs."""
        try:
            started = psutil.Process(self.parent_pid).create_time()
        except psutil.Error:
            return False
        return self.host == socket.gethostname() and abs(started - self.parent_started) < _SAME_START_S


def open_service() -> Installation:
    """The installation that this code location works on.

    A run works on the snapshot of the process that started it. A code location reads the YAML; when that has a fault
    and the same service has served a good catalogue before, it goes on with that one and says so, in the log
    and by the check `parses`.

    Raises:
        ConfigError: every fault of settings, data root and catalogue, at the first start of a service.
    """
    settings = load_settings()
    check_instance(settings)
    configure_logging(settings, settings.root.logs)
    inherited = os.environ.get(SNAPSHOT_VARIABLE)
    if inherited:
        return Installation(settings, settings.root, read_snapshot(settings.root, inherited))
    faults: tuple[Problem, ...] = ()
    try:
        installation = open_installation(settings)
    except ConfigError as error:
        faults = error.problems
        last = _last_served(settings.root)
        if last is None:
            raise
        logger.error(  # noqa: TRY400 - the faults are the message; the trace says nothing more
            "The catalogue has faults; still serving the last good one (%s):\n%s", last.catalog_hash, error
        )
        installation = Installation(settings, settings.root, read_snapshot(settings.root, last.catalog_hash))
    write_snapshot(installation.root, installation.catalog)
    os.environ[SNAPSHOT_VARIABLE] = installation.catalog.hash
    if _is_code_server():
        _announce(installation)
        forget_future_ticks_here()
        report_catalog(_notes_dir(installation.root), faults, installation.catalog.hash)
    return installation


def faults_of(installation: Installation) -> tuple[Problem, ...]:
    """What is wrong with the catalogue's files now, when a service still runs on an older snapshot."""
    try:
        open_installation(installation.settings)
    except ConfigError as error:
        return error.problems
    return ()


def served_here(root: DataRoot) -> list[Served]:
    """Code locations of running services that share this DAGSTER_HOME (or, unset, this data root)."""
    return [served for served in _notes(root) if served.alive]


def _is_code_server() -> bool:
    """Whether this process is `dagster api grpc`, as webserver, daemon and `dagster code-server` start it."""
    return sys.argv[1:3] == ["api", "grpc"]


def _notes_dir(root: DataRoot) -> Path:
    home = os.environ.get("DAGSTER_HOME")
    return (Path(home) if home else root.path / ".dagster") / "vlm_served"


def _notes(root: DataRoot) -> Iterator[Served]:
    for path in sorted(_notes_dir(root).glob("*.json")):
        try:
            yield Served.model_validate_json(path.read_bytes())
        except (ValidationError, FileNotFoundError):
            continue


def _last_served(root: DataRoot) -> Served | None:
    return next((one for one in served_here(root) if one.data_root == root.path), None)


def _announce(installation: Installation) -> None:
    """Leaves a note for the CLI, one file for each starting process; notes of dead processes are removed."""
    folder = _notes_dir(installation.root)
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.glob("*.json"):
        try:
            stale = not Served.model_validate_json(path.read_bytes()).alive
        except ValidationError:
            stale = True
        except FileNotFoundError:
            continue
        if stale:
            path.unlink(missing_ok=True)
    parent = psutil.Process(os.getppid())
    served = Served(
        data_root=installation.root.path,
        catalog_hash=installation.catalog.hash,
        catalog_dir=installation.catalog_dir,
        host=socket.gethostname(),
        parent_pid=parent.pid,
        parent_started=parent.create_time(),
    )
    temporary = folder / f".{parent.pid}.tmp"
    temporary.write_text(served.model_dump_json(indent=2), "utf-8")
    temporary.replace(folder / f"{parent.pid}.json")
