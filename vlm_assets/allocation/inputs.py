"""The inputs hash of a target: rebuild or not."""

from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import orjson

from vlm_assets.allocation.supply import SupplySlice, checked_benchmarks, checked_supply
from vlm_assets.catalog.filters import FilterSpec
from vlm_assets.catalog.spec import ALL_ROWS, Catalog, CorpusSpec, QuotaNode, SourceSpec
from vlm_assets.words.errors import AllocationError
from vlm_assets.words.layout import nfc
from vlm_assets.words.plain_files import sha256_of
from vlm_assets.words.tombstones import Tombstones

ALGORITHM_VERSION: Final = 2
"""Raised by hand when equal inputs give another plan or another corpus layout."""


def target_rows(catalog: Catalog, target: str) -> int:
    """Row count of a target; `ALL_ROWS` of one that takes all there is.

    Raises:
        AllocationError: no such target; the message lists those there are.
    """
    targets = catalog.corpus.targets
    if target not in targets:
        raise AllocationError(f"no target {target!r}; there are: {', '.join(targets)}")
    return targets[target]


def decontamination_files(corpus: CorpusSpec, base_dir: Path | None) -> tuple[Path, ...]:
    """The lists to read, in declared order; relative paths are under `base_dir`, the catalogue's folder.

    Raises:
        AllocationError: a relative path without `base_dir`, or a file that is missing.
    """
    paths = []
    for path in corpus.decontaminate:
        if not path.is_absolute() and base_dir is None:
            raise AllocationError(
                f"decontaminate: {path} is relative to the catalogue, whose folder was not given"
            )
        full = path if base_dir is None else base_dir / path
        if not full.is_file():
            raise AllocationError(f"decontaminate: {full}: no such file")
        paths.append(full)
    return tuple(paths)


def inputs_bytes(
    catalog: Catalog,
    target: str,
    supply: Sequence[SupplySlice],
    tombstones: Tombstones,
    *,
    base_dir: Path | None = None,
) -> bytes:
    """Canonical JSON of all that decides the rows and bytes of a target's corpus, and nothing else.

    `supply`: committed slices of sources and benchmarks. Order of declaration and way of writing a share (0.5, 1/2)
    do not matter. `base_dir` is needed where
    `decontaminate` names relative paths. Kept beside the plan: an audit judges the plan by it.

    Raises:
        AllocationError: no such target; a list that cannot be read; supply of a source that is not enabled.
    """
    return inputs_of(catalog, target, shared_inputs(catalog, supply, tombstones, base_dir=base_dir))


def inputs_of(catalog: Catalog, target: str, shared: Mapping[str, Any]) -> bytes:
    """`inputs_bytes` out of what all targets share.

    Raises:
        AllocationError: no such target.
    """
    rows = target_rows(catalog, target)
    content = {**shared, "rows": "all" if rows == ALL_ROWS else rows}
    return orjson.dumps(content, option=orjson.OPT_SORT_KEYS)


def shared_inputs(
    catalog: Catalog, supply: Sequence[SupplySlice], tombstones: Tombstones, *, base_dir: Path | None = None
) -> dict[str, Any]:
    """What `inputs_bytes` has of every target alike: of 100,000 slices it takes most of a second.

    Raises:
        AllocationError: as `inputs_bytes`, but for the target.
    """
    corpus = catalog.corpus
    content: dict[str, Any] = {
        "algorithm": ALGORITHM_VERSION,
        "seed": corpus.seed,
        "quotas": _quotas(corpus.quotas),
        "shortfall": corpus.shortfall,
        "dedup": {
            "exact": corpus.dedup.exact,
            "near_bits": {nfc(name): corpus.dedup.bits_of(name) for name in corpus.quotas},
            "precedence": corpus.dedup.precedence,
        },
        "licences": {
            "allow": None if corpus.licences.allow is None else sorted(set(corpus.licences.allow)),
            "deny": sorted(set(corpus.licences.deny)),
        },
        "decontaminate": sorted({sha256_of(path) for path in decontamination_files(corpus, base_dir)}),
        "decontaminate_bits": corpus.decontaminate_bits,
        "min_side_px": corpus.min_side_px,
        "shard": corpus.shard.model_dump(mode="json"),
        "sources": {spec.name: _source(spec) for spec in catalog.sources if spec.enabled},
        # Blocks are cut by container and items_per_slice, so the same rows may lie differently in the corpus.
        "supply": [
            [entry.source, entry.slice, entry.content_hash, entry.container, entry.items_per_slice]
            for entry in checked_supply(catalog, supply)
        ],
        "tombstones": sorted(tombstones.hashes),
    }
    if corpus.filters:  # without any, nothing is planned anew
        content["filters"] = {name: _filter(one) for name, one in corpus.filters.items()}
        content["values"] = [
            [one.annotation, entry.source, entry.slice, one.values_hash]
            for entry in checked_supply(catalog, supply)
            for one in entry.values
        ]
    if any(spec.enabled for spec in catalog.benchmarks):  # without any, nothing is planned anew
        content["benchmarks"] = _benchmarks(catalog, supply)
    return content


def inputs_hash(
    catalog: Catalog,
    target: str,
    supply: Sequence[SupplySlice],
    tombstones: Tombstones,
    *,
    base_dir: Path | None = None,
) -> str:
    """sha256 hex over `inputs_bytes`: rebuild or not.

    Raises:
        AllocationError: as `inputs_bytes`.
    """
    return sha256(inputs_bytes(catalog, target, supply, tombstones, base_dir=base_dir)).hexdigest()


def _benchmarks(catalog: Catalog, supply: Sequence[SupplySlice]) -> dict[str, list[list[str]]]:
    """What is committed of each enabled benchmark: slices and their content hashes."""
    found: dict[str, list[list[str]]] = {spec.name: [] for spec in catalog.benchmarks if spec.enabled}
    for entry in checked_benchmarks(catalog, supply):
        found[entry.source].append([entry.slice, entry.content_hash])
    return found


def _quotas(nodes: dict[str, QuotaNode]) -> dict[str, Any]:
    return {
        nfc(name): {
            "share": None if node.share is None else str(node.share),
            "min": node.min,
            "max": node.max,
            "count": node.count,
            "subcategories": _quotas(node.subcategories),
        }
        for name, node in nodes.items()
    }


def _filter(spec: FilterSpec) -> dict[str, Any]:
    only = {"category": sorted(set(spec.only.category)), "source": sorted(set(spec.only.source))}
    return {"keep": spec.keep.strip(), "missing": spec.missing, "only": only}


def _source(spec: SourceSpec) -> dict[str, Any]:
    rule = spec.subcategory_from
    return {
        "category": spec.category,
        "subcategory": None if spec.subcategory is None else nfc(spec.subcategory),
        "selector": spec.label_selector(),
        "map": None if rule is None or rule.map is None else {k: nfc(v) for k, v in rule.map.items()},
        "licence": spec.licence,
        "weight": None if spec.weight is None else str(spec.weight),
        "max_samples": spec.max_samples,
    }
