"""The bill of materials has every locked package with its hashes, and who needs it."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

TOP = Path(__file__).parents[2]
LOCK = (TOP / "requirements.lock").read_text("utf-8")


@pytest.fixture(scope="module")
def bill() -> dict[str, Any]:
    made = subprocess.run([sys.executable, TOP / "deploy/sbom.py"], capture_output=True, check=True).stdout
    return dict(json.loads(made))


def test_every_locked_package_is_in_it_once_with_all_its_hashes(bill):
    named = re.findall(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", LOCK, re.MULTILINE)
    assert [(one["name"], one["version"]) for one in bill["components"]] == named
    hashes = [
        digest["content"] for one in bill["components"] for digest in one["externalReferences"][0]["hashes"]
    ]
    assert hashes == re.findall(r"sha256:([0-9a-f]{64})", LOCK)
    assert all(one["externalReferences"][0]["hashes"] for one in bill["components"])


def test_references_lead_somewhere_and_direct_packages_are_the_projects(bill):
    refs = {one["bom-ref"] for one in bill["components"]}
    needs = {one["ref"]: set(one["dependsOn"]) for one in bill["dependencies"]}
    assert set(needs) == refs | {"vlm-assets"}
    assert set().union(*needs.values()) == refs, "everything is there for somebody"
    names = {ref.removeprefix("pkg:pypi/").rpartition("@")[0] for ref in needs["vlm-assets"]}
    assert {"dagster", "pyarrow", "datasets", "scrapy", "kagglehub", "boto3"} <= names
    assert "twisted" not in names
