"""Sends four numbers to CloudWatch: how full the volumes are, and how long a corpus has been behind its slices.

Run by vlm-metrics.timer. `--print` shows them and sends nothing.
"""

import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from vlm_assets.settings import load_settings
from vlm_assets.words.layout import MANIFEST, DataRoot

NAMESPACE = "VlmAssets"


def figures(root: DataRoot, home: Path, now: float) -> dict[str, tuple[float, str]]:
    """Value and unit by metric name.

    `StaleHours`: since when the newest committed slice is not in the oldest sealed corpus; 0 where none is behind.
    """
    return {
        "DataVolumeUsed": (_used_percent(root.path), "Percent"),
        "DataVolumeFreeGB": (shutil.disk_usage(root.path).free / 1e9, "Gigabytes"),
        "HomeVolumeUsed": (_used_percent(home), "Percent"),
        "StaleHours": (_stale_hours(root, now), "None"),
    }


def _used_percent(path: Path) -> float:
    usage = shutil.disk_usage(path)
    return 100 * usage.used / (usage.used + usage.free)


def _stale_hours(root: DataRoot, now: float) -> float:
    slices = [path.stat().st_mtime for path in root.path.glob(f"datasets/*/*/{MANIFEST}")]
    corpora = [path.stat().st_mtime for path in root.path.glob(f"corpora/*/*/{MANIFEST}")]
    if not slices:
        return 0.0
    behind = [at for at in slices if not corpora or at > min(corpora)]
    return (now - min(behind)) / 3600 if behind else 0.0


def main() -> None:
    """Gathers and sends."""
    settings = load_settings(None)
    home = Path(os.environ.get("DAGSTER_HOME") or settings.root.path / ".dagster")
    found = figures(settings.root, home, time.time())
    if "--print" in sys.argv:
        sys.stdout.write(json.dumps({name: value for name, (value, _) in found.items()}, indent=2) + "\n")
        return
    import boto3  # noqa: PLC0415 - where figures are only printed, it is not needed

    stack = os.environ.get("VLM_STACK", "vlm-assets")
    data: list[dict[str, Any]] = [
        {"MetricName": name, "Value": value, "Unit": unit, "Dimensions": [{"Name": "Stack", "Value": stack}]}
        for name, (value, unit) in found.items()
    ]
    boto3.client("cloudwatch").put_metric_data(Namespace=NAMESPACE, MetricData=data)


if __name__ == "__main__":
    main()
