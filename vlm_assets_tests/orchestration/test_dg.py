"""The project as the `dg` command sees it, by `[tool.dg]` in pyproject.toml."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from vlm_assets.installation.opening import Installation
from vlm_assets_tests.orchestration.kit import TOP
from vlm_assets_tests.workplace import STREET, fill, install


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "dagster.yaml").symlink_to(TOP / "dagster.yaml")
    fill(tmp_path / "in" / "s0", 2)
    return install(tmp_path, {**STREET, "path": tmp_path / "in"})


def dg_command(installation: Installation, *arguments: str) -> str:
    """Standard output of a `dg` command in the project that does well."""
    base = installation.root.path.parent
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("VLM_", "DAGSTER_"))}
    done = subprocess.run(
        [str(Path(sys.executable).with_name("dg")), *arguments],
        cwd=TOP,
        env={
            **clean,
            "DAGSTER_HOME": str(base / "home"),
            "VLM_DATA_ROOT": str(installation.root.path),
            "VLM_CATALOG": str(installation.catalog_dir),
            # dg warns about an environment of its own making that is not the active one.
            "VIRTUAL_ENV": sys.prefix,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.slow  # `test_definitions` loads them as Dagster does
def test_the_definitions_are_valid_for_dg(installation):
    assert "All definitions loaded successfully" in dg_command(installation, "check", "defs")


@pytest.mark.slow
def test_dg_lists_and_launches(installation):
    told = json.loads(dg_command(installation, "list", "defs", "--json"))
    assert "dataset/street" in {asset["asset_key"] for asset in told["assets"]}
    dg_command(installation, "launch", "--assets", "listing/street")
    assert installation.root.listing("street").is_file()
    dg_command(installation, "launch", "--assets", "dataset/street", "--partition", "s0")
    assert installation.root.slice("street", "s0").is_symlink()
