"""Whether a daemon works on this DAGSTER_HOME, and whether what it serves is what the command works on."""

import time
from pathlib import Path
from typing import Final

import dagster as dg
import psutil

from vlm_assets.installation.opening import Installation
from vlm_assets.orchestration.run.service import Served, served_here
from vlm_assets.words.errors import ConfigError, Problem

_FRESH_S: Final = 120.0
"""Daemons write a heartbeat every 30 s, later when the machine is busy."""
_QUEUE_DAEMON: Final = "QUEUED_RUN_COORDINATOR"


def daemon_serves(instance: dg.DagsterInstance, home: Path, installation: Installation) -> bool:
    """True: queue the runs. False: no daemon, run them here.

    Raises:
        ConfigError: a daemon is alive, but serves another data root or catalogue, or does not say what it serves.
    """
    if not _alive(instance, home):
        return False
    served = served_here(installation.root)
    mine = f"{installation.root.path}, catalogue {installation.catalog.hash[:12]}"
    if not served:
        raise ConfigError(
            Problem("DAGSTER_HOME", str(home), f"its daemon is alive, but has no code location of vlm_assets loaded. "
                    f"Here: {mine}. Load workspace.yaml in it, or stop it.")
        )  # fmt: skip
    other = [one for one in served if not _same(one, installation)]
    if other:
        theirs = "; ".join(
            f"process {one.parent_pid} serves {one.data_root}, catalogue {one.catalog_hash[:12]}"
            for one in other
        )
        raise ConfigError(
            Problem("DAGSTER_HOME", str(home), f"its daemon is alive, but {theirs}. Here: {mine}. Reload the code "
                    "location (UI: Deployment, Reload; or restart the service), or set another DAGSTER_HOME.")
        )  # fmt: skip
    return True


def _same(served: Served, installation: Installation) -> bool:
    return served.data_root == installation.root.path and served.catalog_hash == installation.catalog.hash


def _alive(instance: dg.DagsterInstance, home: Path) -> bool:
    """A fresh heartbeat, and not one that a stopped daemon of this machine has left behind."""
    heartbeat = instance.get_daemon_heartbeats().get(_QUEUE_DAEMON)
    if heartbeat is None or abs(time.time() - heartbeat.timestamp) > _FRESH_S:
        return False
    return _daemon_process(home) or not is_local(instance)


def is_local(instance: dg.DagsterInstance) -> bool:
    """Whether only processes of this machine can use the instance: SQLite."""
    return "sqlite" in type(instance.run_storage).__module__


def _daemon_process(home: Path) -> bool:
    for process in psutil.process_iter():
        try:
            words = " ".join(process.cmdline())
            if "dagster" in words and "daemon" in words and _home_of(process) == home.resolve():
                return True
        except psutil.Error:
            continue
    return False


def _home_of(process: psutil.Process) -> Path | None:
    told = process.environ().get("DAGSTER_HOME")
    return Path(told).resolve() if told else None
