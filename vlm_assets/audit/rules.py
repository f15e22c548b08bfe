"""What a corpus was asked to be, as plain data: read from beside its plan, and made anew from the catalogue.

The content is rule 7's *inputs*: what the inputs hash is over. Written down here a second time, so that a key the
allocator forgets shows as a difference.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import orjson

from vlm_assets.catalog.filters import FilterSpec
from vlm_assets.catalog.spec import ALL_ROWS, Catalog, CorpusSpec, QuotaNode, SourceSpec
from vlm_assets.words.layout import nfc
from vlm_assets.words.plain_files import sha256_of

ALGORITHM: Final = 2
_ALL: Final = "all"
"""In place of a number of rows: every row there is."""
_BEFORE_FILTERS: Final = ("tombstone", "unmapped_label", "licence", "min_side")
_AFTER_FILTERS: Final = ("too_large", "decontaminate", "max_samples", "duplicate", "duplicate_other_words")


@dataclass(frozen=True, slots=True)
class SupplyEntry:
    """One committed slice as the inputs name it."""

    source: str
    slice: str
    content_hash: str
    container: bool
    items_per_slice: int
    values: tuple[tuple[str, str], ...] = ()
    """Annotation and hash of its values, of those that filters read."""


@dataclass(frozen=True, slots=True)
class Rules:
    """The inputs of one target, with typed access to what the audit needs."""

    content: Mapping[str, Any]

    @classmethod
    def from_bytes(cls, data: bytes) -> "Rules":
        """As kept beside a plan."""
        return cls(orjson.loads(data))

    @property
    def hash(self) -> str:
        """The inputs hash."""
        return sha256(orjson.dumps(self.content, option=orjson.OPT_SORT_KEYS)).hexdigest()

    @property
    def seed(self) -> int:
        """Seed of all ranks."""
        return int(self.content["seed"])

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why a row may be excluded, in the order in which the reasons are tested; filters by name."""
        filters = (f"filter:{name}" for name in sorted(self.content.get("filters", {})))
        return (*_BEFORE_FILTERS, *filters, *_AFTER_FILTERS)

    @property
    def target_rows(self) -> int | None:
        """Rows asked for; None: all there are."""
        rows = self.content["rows"]
        return None if rows == _ALL else int(rows)

    @property
    def exact(self) -> str:
        """`image`, `image_text` or `none`."""
        return str(self.content["dedup"]["exact"])

    def near_bits(self, category: str) -> int:
        """Bits within which pictures of a category are the same."""
        return int(self.content["dedup"]["near_bits"].get(category, 0))

    @property
    def max_near_bits(self) -> int:
        """The largest of them."""
        return max((int(b) for b in self.content["dedup"]["near_bits"].values()), default=0)

    @property
    def precedence(self) -> Sequence[str]:
        """Sources in declared order of precedence."""
        return list(self.content["dedup"]["precedence"])

    @property
    def sources(self) -> Mapping[str, Mapping[str, Any]]:
        """Enabled sources by name."""
        named: Mapping[str, Mapping[str, Any]] = self.content["sources"]
        return named

    @property
    def quotas(self) -> Mapping[str, Mapping[str, Any]]:
        """The quota tree."""
        tree: Mapping[str, Mapping[str, Any]] = self.content["quotas"]
        return tree

    def admits(self, licence: str) -> bool:
        """Whether the policy lets rows of this licence in."""
        policy = self.content["licences"]
        if policy["allow"] is not None:
            return licence in policy["allow"]
        return licence not in policy["deny"]

    def subcategory_of(self, source: str, label: str | None) -> str | None:
        """Subcategory of a row; None where its label gives none."""
        spec = self.sources[source]
        if spec["subcategory"] is not None:
            return str(spec["subcategory"])
        if label is None:
            return None
        return spec["map"].get(nfc(label)) if spec["map"] is not None else nfc(label)

    def leaves(self) -> frozenset[tuple[str, str]]:
        """Every (category, subcategory) with a quota."""
        return frozenset(
            (category, leaf)
            for category, node in self.quotas.items()
            for leaf in (_leaves(node, "") if node["subcategories"] else ())
        )

    def weight(self, source: str) -> Fraction | None:
        """Weight among the sources of a subcategory."""
        given = self.sources[source]["weight"]
        return None if given is None else Fraction(given)


def _leaves(node: Mapping[str, Any], prefix: str) -> Iterator[str]:
    if not node["subcategories"]:
        yield prefix
    for name, child in node["subcategories"].items():
        yield from _leaves(child, f"{prefix}/{name}" if prefix else name)


def declared_rules(
    catalog: Catalog,
    target: str,
    supply: Sequence[SupplyEntry],
    tombstones: Sequence[str],
    catalog_dir: Path,
    *,
    benchmarks: Mapping[str, Sequence[Sequence[str]]] | None = None,
) -> Rules:
    """The inputs as catalogue and data root have them now. `benchmarks`: slices and content hashes of each.

    Raises:
        KeyError: no such target.
        OSError: a decontamination list cannot be read.
    """
    corpus = catalog.corpus
    lists = [sha256_of(catalog_dir / path) for path in corpus.decontaminate]
    allow = corpus.licences.allow
    ordered = sorted(supply, key=lambda one: (one.source, one.slice))
    filters: dict[str, Any] = {}
    if corpus.filters:
        filters = {
            "filters": {name: _filter(one) for name, one in corpus.filters.items()},
            "values": [
                [annotation, one.source, one.slice, values_hash]
                for one in ordered
                for annotation, values_hash in sorted(one.values)
            ],
        }
    return Rules(
        {
            **filters,
            **({"benchmarks": benchmarks} if benchmarks else {}),
            "algorithm": ALGORITHM,
            "seed": corpus.seed,
            "rows": _ALL if corpus.targets[target] == ALL_ROWS else corpus.targets[target],
            "quotas": {nfc(name): _quota(node) for name, node in corpus.quotas.items()},
            "shortfall": corpus.shortfall,
            "dedup": {
                "exact": corpus.dedup.exact,
                "near_bits": {nfc(name): corpus.dedup.bits_of(name) for name in corpus.quotas},
                "precedence": list(corpus.dedup.precedence),
            },
            "licences": {
                "allow": None if allow is None else sorted(set(allow)),
                "deny": sorted(set(corpus.licences.deny)),
            },
            "decontaminate": sorted(set(lists)),
            "decontaminate_bits": corpus.decontaminate_bits,
            "min_side_px": corpus.min_side_px,
            "shard": _shard(corpus),
            "sources": {spec.name: _source(spec) for spec in catalog.sources if spec.enabled},
            "supply": [
                [one.source, one.slice, one.content_hash, one.container, one.items_per_slice]
                for one in ordered
            ],
            "tombstones": sorted(tombstones),
        }
    )


def _filter(spec: FilterSpec) -> dict[str, Any]:
    return {
        "keep": spec.keep.strip(),
        "missing": spec.missing,
        "only": {"category": sorted({*spec.only.category}), "source": sorted({*spec.only.source})},
    }


def _shard(corpus: CorpusSpec) -> dict[str, int]:
    shard = corpus.shard
    return {
        "max_bytes": shard.max_bytes,
        "block_rows": shard.block_rows,
        "window_bytes": shard.window_bytes,
    }


def _quota(node: QuotaNode) -> dict[str, Any]:
    return {
        "share": None if node.share is None else str(node.share),
        "min": node.min,
        "max": node.max,
        "count": node.count,
        "subcategories": {nfc(name): _quota(child) for name, child in node.subcategories.items()},
    }


def _source(spec: SourceSpec) -> dict[str, Any]:
    rule = spec.subcategory_from
    labels = rule.map if rule is not None else None
    return {
        "category": spec.category,
        "subcategory": None if spec.subcategory is None else nfc(spec.subcategory),
        "selector": spec.label_selector(),
        "map": None if labels is None else {nfc(label): nfc(name) for label, name in labels.items()},
        "licence": spec.licence,
        "weight": None if spec.weight is None else str(spec.weight),
        "max_samples": spec.max_samples,
    }


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What changed between two inputs, one line each, in words; the supply slice by slice."""
    lines = list(_supply_differences(then["supply"], now["supply"]))
    lines += _value_differences(then.get("values", ()), now.get("values", ()))
    for key in sorted(then.keys() | now.keys()):
        if key not in ("supply", "values"):
            lines += _differences(key, then.get(key), now.get(key))
    return lines


def _supply_differences(then: Sequence[Sequence[Any]], now: Sequence[Sequence[Any]]) -> Iterator[str]:
    before = {(one[0], one[1]): list(one[2:]) for one in then}
    after = {(one[0], one[1]): list(one[2:]) for one in now}
    for key in sorted(before.keys() | after.keys()):
        name = "/".join(key)
        if key not in after:
            yield f"slice {name}: retired, or its source is gone"
        elif key not in before:
            yield f"slice {name}: committed since"
        elif before[key] != after[key]:
            yield f"slice {name}: fetched again with other content"


def _value_differences(then: Sequence[Sequence[str]], now: Sequence[Sequence[str]]) -> Iterator[str]:
    before = {(one[0], one[1], one[2]): one[3] for one in then}
    after = {(one[0], one[1], one[2]): one[3] for one in now}
    for key in sorted(before.keys() | after.keys()):
        annotation, *place = key
        name = f"annotation {annotation} of {'/'.join(place)}"
        if key not in after:
            yield f"{name}: not there, or not of what the slice has now"
        elif key not in before:
            yield f"{name}: annotated since"
        elif before[key] != after[key]:
            yield f"{name}: annotated again, with other values"


def _differences(key: str, then: Any, now: Any) -> Iterator[str]:
    if isinstance(then, dict) and isinstance(now, dict):
        for name in sorted(then.keys() | now.keys()):
            if name not in now:
                yield f"{key}.{name}: removed from the catalogue"
            elif name not in then:
                yield f"{key}.{name}: added to the catalogue"
            else:
                yield from _differences(f"{key}.{name}", then[name], now[name])
    elif then != now:
        yield f"{key}: {then} then, {now} now"
