#!/usr/bin/env python3
"""Prints a bill of materials (CycloneDX 1.6, JSON) of the locked packages: `deploy/sbom.py > sbom.json`.

Needs no network and no package: all of it stands in `requirements.lock`. The same lock gives the same bytes. What the
system brings (Python, Poppler, libc) is none of it.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

TOP = Path(__file__).resolve().parent.parent
_PACKAGE = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)(?:\s*;\s*([^\\]+?))?\s*\\?$")
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


def components(lock: str) -> tuple[list[dict[str, Any]], dict[str, set[str]]]:
    """Packages of a lock in its order, and which of them each needs; "" stands for the project."""
    found: list[dict[str, Any]] = []
    needs: dict[str, set[str]] = {"": set()}
    for line in lock.splitlines():
        if package := _PACKAGE.match(line):
            name, version, marker = package.groups()
            found.append(_component(name, version, marker))
            needs.setdefault(name, set())
        elif digest := _HASH.search(line):
            found[-1]["externalReferences"][0]["hashes"].append({"alg": "SHA-256", "content": digest[1]})
        elif line.strip().startswith("#") and found:
            for by in line.strip("# ").removeprefix("via").split():
                if not by.startswith("("):
                    needs.setdefault("" if by == "vlm-assets" else by, set()).add(found[-1]["name"])
    return found, needs


def _component(name: str, version: str, marker: str | None) -> dict[str, Any]:
    made: dict[str, Any] = {
        "type": "library",
        "bom-ref": f"pkg:pypi/{name}@{version}",
        "name": name,
        "version": version,
        "purl": f"pkg:pypi/{name}@{version}",
        "externalReferences": [
            {"type": "distribution", "url": f"https://pypi.org/project/{name}/{version}/", "hashes": []}
        ],
    }
    if marker:
        made["properties"] = [{"name": "vlm-assets:marker", "value": marker}]
    return made


def bill(lock: str) -> dict[str, Any]:
    """The whole document."""
    found, needs = components(lock)
    refs: dict[str, list[str]] = {"": ["vlm-assets"]}
    for one in found:  # a name may stand there in several versions, for several platforms
        refs.setdefault(one["name"], []).append(one["bom-ref"])
    graph = [
        {"ref": ref, "dependsOn": sorted(other for one in wanted for other in refs[one])}
        for name, wanted in sorted(needs.items())
        for ref in refs[name]
    ]
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {"type": "application", "bom-ref": "vlm-assets", "name": "vlm-assets"}},
        "components": found,
        "dependencies": graph,
    }


if __name__ == "__main__":
    json.dump(bill((TOP / "requirements.lock").read_text("utf-8")), sys.stdout, indent=1)
    sys.stdout.write("\n")
