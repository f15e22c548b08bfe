"""Whether a sealed corpus was built from what is committed and declared now, and what of it is another since."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import orjson

from vlm_assets.allocation.committed import Supply, gather_supply
from vlm_assets.allocation.files import INPUTS_FILE
from vlm_assets.allocation.inputs import inputs_of, shared_inputs
from vlm_assets.allocation.step import complete_supply, planned_takedowns, tombstones_in_force
from vlm_assets.corpus.manifest import CorpusManifest
from vlm_assets.ingest.found import FoundSource
from vlm_assets.installation.opening import Installation
from vlm_assets.store.corpus_lock import Locked
from vlm_assets.store.versions import current_version, read_manifest
from vlm_assets.words.layout import VERSIONS
from vlm_assets.words.tombstones import Tombstones

_MOST: Final = 4
"""Sources that are named of a key; of the rest the number is told."""
_WORDS: Final[Mapping[str, str]] = {
    "algorithm": "how this version of the program plans", "rows": "the target's rows", "tombstones": "takedowns",
}  # fmt: skip
_DEDUP: Final = "dedup"
_NEAR_BITS: Final = "near_bits"
"""By category of the quotas."""
_BY_SOURCE: Final[Mapping[str, tuple[str, int]]] = {
    "supply": ("slices", 0), "benchmarks": ("slices of the benchmark", 0), "values": ("values that filters read", 1),
    "sources": ("the entry", 0),
}  # fmt: skip
"""What is told of a key whose parts belong to sources, and where in a part the source's name stands."""


@dataclass(frozen=True, slots=True)
class TargetState:
    """One target: the inputs hash it should have, and what is sealed."""

    target: str
    wanted: str
    sealed: str | None
    path: Path

    @property
    def up_to_date(self) -> bool:
        """Whether the sealed corpus was built from the present inputs."""
        return self.sealed == self.wanted


def target_states(
    installation: Installation, targets: tuple[str, ...], locked: Locked | None = None
) -> list[TargetState]:
    """The state of each target under the present supply; `locked`: planned with the takedowns of this lock.

    Raises:
        AllocationError: the sources are not complete, and `require_complete` is on.
    """
    present = PresentInputs(
        installation, complete_supply(installation), planned_takedowns(installation.root, locked)
    )
    corpus = installation.catalog.corpus.name
    return [
        TargetState(
            target, sha256(present.of(target)).hexdigest(), sealed_inputs(installation, target),
            installation.root.corpus(corpus, target),
        )
        for target in targets
    ]  # fmt: skip


def sealed_inputs(installation: Installation, target: str) -> str | None:
    """Inputs hash of the target's sealed corpus; None where there is none."""
    version = current_version(installation.root.corpus(installation.catalog.corpus.name, target))
    return None if version is None else read_manifest(version, CorpusManifest).inputs_hash


class PresentInputs:
    """What plans made now would be made from, complete or not; the disk is looked at once, when first asked."""

    def __init__(
        self,
        installation: Installation,
        supply: Supply | None = None,
        takedowns: Tombstones | None = None,
        *,
        found: Mapping[str, FoundSource] | None = None,
    ) -> None:
        """What is given is not looked at again; `found`: sources and benchmarks by name."""
        self._installation = installation
        self._supply = supply
        self._takedowns = takedowns
        self._found = found

    @cached_property
    def _shared(self) -> Mapping[str, Any]:
        here = self._installation
        supply = self._supply or gather_supply(here, self._found)
        takedowns = self._takedowns or tombstones_in_force(here.root)
        return shared_inputs(here.catalog, supply.everything, takedowns, base_dir=here.catalog_dir)

    def of(self, target: str) -> bytes:
        """What the inputs hash of a target is taken over.

        Raises:
            AllocationError: a list of `decontaminate` cannot be read.
        """
        return inputs_of(self._installation.catalog, target, self._shared)

    def changed_since(self, target: str, sealed: CorpusManifest) -> list[str] | None:
        """What is another than when the corpus was planned, in words; None where nothing is.

        Empty where nobody knows what it was: the plan that the corpus was built from is gone.

        Raises:
            AllocationError: a list of `decontaminate` cannot be read.
        """
        now = self.of(target)
        if sha256(now).hexdigest() == sealed.inputs_hash:
            return None
        plans = self._installation.root.allocation(sealed.corpus, target).parent / VERSIONS
        then = plans / sealed.allocation_version / INPUTS_FILE
        return changed_inputs(orjson.loads(then.read_bytes()), orjson.loads(now)) if then.is_file() else []


def changed_inputs(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Keys of two inputs that differ, in words; of those that belong to sources, whose."""
    told = []
    for key in sorted({*then, *now}):
        before, after = then.get(key), now.get(key)
        if key == _DEDUP:
            before, after = _of_common_categories(before, after)
        if before == after:
            continue
        if key not in _BY_SOURCE:
            told.append(_WORDS.get(key, key))
            continue
        words, place = _BY_SOURCE[key]
        parts = _by_source(before, place), _by_source(after, place)
        names = [name for name in sorted({*parts[0], *parts[1]}) if parts[0].get(name) != parts[1].get(name)]
        more = f" and {len(names) - _MOST} more" if len(names) > _MOST else ""
        told.append(f"{words} of {', '.join(names[:_MOST])}{more}")
    return told


def _of_common_categories(before: Any, after: Any) -> tuple[Any, Any]:
    """`dedup` of both without categories that only one has: whether there are others is what `quotas` says."""
    if not (isinstance(before, Mapping) and isinstance(after, Mapping)):
        return before, after
    common = before.get(_NEAR_BITS, {}).keys() & after.get(_NEAR_BITS, {}).keys()
    kept = [{**one, _NEAR_BITS: {name: one[_NEAR_BITS][name] for name in common}} for one in (before, after)]
    return kept[0], kept[1]


def _by_source(value: Any, place: int) -> dict[str, list[Any]]:
    """Parts of an input by source: a mapping by name, or a list of lists with the name at `place`."""
    if isinstance(value, Mapping):
        return {name: [part] for name, part in value.items()}
    parts: dict[str, list[Any]] = {}
    for one in value or ():
        parts.setdefault(one[place], []).append(one)
    return parts
