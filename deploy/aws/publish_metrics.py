"""Sends the figures that the stack's alarms listen to: volumes, daemon, nights, slices due, age of the corpora.

Run by vlm-metrics.timer. `--print` shows them and sends nothing. A figure that cannot be taken is left out, told on
the error output and counted in `FiguresFailed`; the others are sent.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vlm_assets.installation.opening import open_installation
from vlm_assets.settings import Settings, load_settings
from vlm_assets.words.layout import MANIFEST, DataRoot

NAMESPACE = "VlmAssets"
_PERCENT, _NONE = "Percent", "None"


def takers(settings: Settings, home: Path, now: float) -> dict[str, tuple[str, Callable[[], float]]]:
    """Unit and how it is taken, by metric name.

    `HoursSinceNight`: since the newest run of the nightly schedule began, or since the data root was made where none
    has; 0 where nights are off. `SlicesDue`: listed and not committed as listed, over the sources in use.
    `StaleHours`: since when the newest committed slice is not in the oldest sealed corpus; 0 where none is behind.
    """
    return {
        "DataVolumeUsed": (_PERCENT, lambda: used_percent(settings.root.path)),
        "HomeVolumeUsed": (_PERCENT, lambda: used_percent(home)),
        "RootVolumeUsed": (_PERCENT, lambda: used_percent(Path("/"))),
        "DaemonAlive": (_NONE, lambda: float(daemon_alive())),
        "HoursSinceNight": (_NONE, lambda: hours_since_night(settings, now) if settings.nightly else 0.0),
        "SlicesDue": (_NONE, lambda: float(slices_due(settings))),
        "StaleHours": (_NONE, lambda: stale_hours(settings.root, now)),
    }


def taken(ways: dict[str, tuple[str, Callable[[], float]]]) -> tuple[dict[str, tuple[float, str]], list[str]]:
    """Value and unit by name, `FiguresFailed` among them; and in words what could not be taken."""
    found: dict[str, tuple[float, str]] = {}
    faults = []
    for name, (unit, take) in ways.items():
        try:
            found[name] = (take(), unit)
        except Exception as error:  # noqa: BLE001 - one figure's fault must not cost the others; it is told and counted
            faults.append(f"{name}: {type(error).__name__}: {error}")
    found["FiguresFailed"] = (float(len(faults)), _NONE)
    return found, faults


def used_percent(path: Path) -> float:
    """How full the file system is, as `df` says it."""
    usage = shutil.disk_usage(path)
    return 100 * usage.used / (usage.used + usage.free)


def daemon_alive() -> bool:
    """Whether the daemon has given a sign of life lately."""
    command = [str(Path(sys.executable).parent / "dagster-daemon"), "liveness-check"]
    return subprocess.run(command, capture_output=True, check=False, timeout=90).returncode == 0


def hours_since_night(settings: Settings, now: float) -> float:
    """Reads Dagster's storage."""
    import dagster as dg  # noqa: PLC0415, TID251 - the other figures are taken without it

    from vlm_assets.orchestration.night.schedules import NIGHTLY  # noqa: PLC0415 - loads Dagster

    with dg.DagsterInstance.get() as instance:
        nights = dg.RunsFilter(tags={"dagster/schedule_name": NIGHTLY})
        newest = instance.get_run_records(nights, limit=1)
    since = newest[0].create_timestamp.timestamp() if newest else settings.root.marker.stat().st_mtime
    return max(0.0, now - since) / 3600


def slices_due(settings: Settings) -> int:
    """Over the sources in use."""
    from vlm_assets.operate.status import uncommitted_slices  # noqa: PLC0415 - reads pyarrow's manifests

    return uncommitted_slices(open_installation(settings))


def stale_hours(root: DataRoot, now: float) -> float:
    """From the times of manifests alone."""
    slices, corpora = (
        _times(root.path, f"datasets/*/*/{MANIFEST}"),
        _times(root.path, f"corpora/*/*/{MANIFEST}"),
    )
    behind = [at for at in slices if not corpora or at > min(corpora)]
    return (now - min(behind)) / 3600 if behind else 0.0


def _times(folder: Path, pattern: str) -> list[float]:
    found = []
    for path in folder.glob(pattern):
        with contextlib.suppress(FileNotFoundError):  # replaced in between
            found.append(path.stat().st_mtime)
    return found


def send(client: Any, stack: str, found: dict[str, tuple[float, str]]) -> None:
    """All figures at once, under the stack's name."""
    dimensions = [{"Name": "Stack", "Value": stack}]
    data = [
        {"MetricName": name, "Value": value, "Unit": unit, "Dimensions": dimensions}
        for name, (value, unit) in found.items()
    ]
    client.put_metric_data(Namespace=NAMESPACE, MetricData=data)


def main() -> None:
    """Gathers and sends."""
    settings = load_settings(None)
    home = Path(os.environ["DAGSTER_HOME"])
    found, faults = taken(takers(settings, home, time.time()))
    sys.stderr.writelines(f"{fault}\n" for fault in faults)
    if "--print" in sys.argv:
        sys.stdout.write(json.dumps({name: value for name, (value, _) in found.items()}, indent=2) + "\n")
        return
    import boto3  # noqa: PLC0415 - where figures are only printed, it is not needed

    send(boto3.client("cloudwatch"), os.environ.get("VLM_STACK", "vlm-assets"), found)


if __name__ == "__main__":
    main()
