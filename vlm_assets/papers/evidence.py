"""What papers are written from: a sealed corpus, its plan, the slices of that plan as they lie on disk."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import orjson
from pydantic import ValidationError

from vlm_assets.allocation.certificate import Certificate
from vlm_assets.allocation.files import GRANTS_FILE, INPUTS_FILE
from vlm_assets.allocation.manifest import AllocatedSlice, AllocationManifest
from vlm_assets.corpus.manifest import CorpusManifest
from vlm_assets.installation.opening import Installation
from vlm_assets.store.versions import current_version, read_manifest
from vlm_assets.words.errors import StoreError
from vlm_assets.words.layout import MANIFEST, VERSIONS, DataRoot
from vlm_assets.words.manifest import SliceManifest

SliceKey = tuple[str, str]
"""Source and slice."""


@dataclass(frozen=True, slots=True)
class FoundSlice:
    """A slice of the plan: the version that was planned, or that which has its content now."""

    directory: Path
    manifest: SliceManifest


class Evidence:
    """One version of a corpus; what else is read, is read when first asked for."""

    def __init__(self, root: DataRoot, version: Path) -> None:
        """Reads the manifest of the version.

        Raises:
            StoreError: there is none.
        """
        self.root = root
        self.version = version
        self.manifest = read_manifest(version, CorpusManifest)

    @cached_property
    def plan_dir(self) -> Path:
        """Folder of the plan that the corpus was made from."""
        plans = self.root.allocation(self.manifest.corpus, self.manifest.target).parent / VERSIONS
        return plans / self.manifest.allocation_version

    @cached_property
    def plan(self) -> AllocationManifest:
        """The plan's manifest."""
        return read_manifest(self.plan_dir, AllocationManifest)

    @cached_property
    def certificate(self) -> Certificate:
        """Grants of every node."""
        return Certificate.from_bytes((self.plan_dir / GRANTS_FILE).read_bytes())

    @cached_property
    def rules(self) -> Mapping[str, Any]:
        """What the catalogue said when the plan was made, as the inputs hash has it; empty where nobody kept it."""
        path = self.plan_dir / INPUTS_FILE
        rules: Mapping[str, Any] = orjson.loads(path.read_bytes()) if path.is_file() else {}
        return rules

    @cached_property
    def slices(self) -> Mapping[SliceKey, FoundSlice | None]:
        """Every slice of the plan; None where its content is gone from this disk."""
        return {(one.source, one.slice): self._find(one) for one in self.plan.slices}

    @cached_property
    def found(self) -> tuple[tuple[SliceKey, FoundSlice], ...]:
        """Those of them that are there."""
        return tuple((key, one) for key, one in self.slices.items() if one is not None)

    def _find(self, entry: AllocatedSlice) -> FoundSlice | None:
        planned = self.root.source(entry.source) / VERSIONS / entry.version
        for path in (planned, current_version(self.root.slice(entry.source, entry.slice))):
            if path is None:
                continue
            try:
                manifest = SliceManifest.from_bytes((path / MANIFEST).read_bytes())
            except (OSError, ValidationError):
                continue
            if manifest.content_hash == entry.content_hash:
                return FoundSlice(path, manifest)
        return None

    def other_versions(self) -> Iterator[tuple[Path, CorpusManifest]]:
        """Versions of the same target that are on disk besides this one, oldest first."""
        found = []
        for path in self.version.parent.glob(f"*/{MANIFEST}"):
            try:
                other = read_manifest(path.parent, CorpusManifest)
            except StoreError:
                continue
            if path.parent != self.version and other.target == self.manifest.target:
                found.append((path.stat().st_mtime_ns, path.parent, other))
        for _, folder, manifest in sorted(found, key=lambda one: one[:2]):
            yield folder, manifest


def sealed_evidence(installation: Installation, target: str) -> Evidence:
    """What is sealed of a target.

    Raises:
        StoreError: nothing.
    """
    root, name = installation.root, installation.catalog.corpus.name
    version = current_version(root.corpus(name, target))
    if version is None:
        raise StoreError(f"no corpus {name}/{target} under {root.path}; build it first")
    return Evidence(root, version)
