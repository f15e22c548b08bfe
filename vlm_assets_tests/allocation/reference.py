"""The allocation as DESIGN words it: slow, plain, one row and one seat at a time. Shares no code with the real one.

Dictionaries over rows, all pairs for nearness, a loop per seat. What it costs is the point: nothing here is clever.
"""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from hashlib import sha256
from typing import Any

from vlm_assets.catalog.spec import Catalog, QuotaNode

Row = dict[str, Any]
MASK = 2**64 - 1


def finaliser(z: int) -> int:
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def seat_by_seat(seats: int, children: Sequence[tuple[str, Fraction, int, int]]) -> dict[str, int]:
    """children: (name, share, low, cap). One seat at a time; share 0 takes its low only."""
    granted = {name: 0 for name, *_ in children}
    for _ in range(seats):
        poor = [(name, Fraction(low)) for name, _, low, _ in children if granted[name] < low]
        free = poor or [(n, share) for n, share, _, cap in children if share > 0 and granted[n] < cap]
        if not free:
            break
        quotients = {name: weight / (2 * granted[name] + 1) for name, weight in free}
        best = max(quotients.values())
        granted[min(name for name, value in quotients.items() if value == best)] += 1
    return granted


class Tree:
    """A node of the reference's tree: dictionaries all the way down."""

    def __init__(
        self,
        share: Fraction | None,
        low: int,
        high: int | None,
        children: dict[str, "Tree"],
        supply: int | None,
    ) -> None:
        self.share, self.own_low, self.high = share, low, high
        self.children, self.own_supply = children, supply

    def cap(self) -> int:
        if self.own_supply is not None:
            room = self.own_supply
        else:
            room = sum(c.low() if c.share == 0 else c.cap() for c in self.children.values())
        return room if self.high is None else min(room, self.high)

    def low(self) -> int:
        return min(self.cap(), max(self.own_low, sum(c.low() for c in self.children.values())))

    def grants(self, seats: int, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], int]:
        out = {path: seats}
        given = seat_by_seat(
            seats, [(name, c.share or Fraction(0), c.low(), c.cap()) for name, c in self.children.items()]
        )
        for name, child in self.children.items():
            out |= child.grants(given[name], (*path, name))
        return out


def tree_of(
    quotas: Mapping[str, QuotaNode], cells: Mapping[tuple[str, ...], Mapping[str, tuple[int, Any]]]
) -> Tree:
    """cells: path of a leaf → source → (supply, weight)."""

    def node(quota: QuotaNode, path: tuple[str, ...]) -> Tree:
        if quota.subcategories:
            children = {name: node(child, (*path, name)) for name, child in quota.subcategories.items()}
        else:
            here = cells.get(path, {})
            weights = {
                n: Fraction(supply) if weight is None else weight for n, (supply, weight) in here.items()
            }
            children = {n: Tree(weights[n], 0, None, {}, supply) for n, (supply, _) in here.items()}
        low, high = (quota.min, quota.max) if quota.count is None else (quota.count, quota.count)
        return Tree(quota.share, low, high, children, None)

    return Tree(Fraction(1), 0, None, {name: node(quota, (name,)) for name, quota in quotas.items()}, None)


def key_of(row: Row, exact: str) -> bytes:
    if exact == "none":
        return sha256(row["id"].encode()).digest()
    images = [bytes.fromhex(fact["sha256"]) for fact in row["image_facts"]]
    image = images[0] if len(images) == 1 else sha256(b"".join(images)).digest()
    if exact == "image":
        return image
    return sha256(image + row["text_sha256"] + row["messages_sha256"]).digest()


def shas(row: Row) -> set[str]:
    return {fact["sha256"] for fact in row["image_facts"]}


def flat(dhash: int | None) -> bool:
    return dhash is None or not 5 <= dhash.bit_count() <= 59


def allocate(
    catalog: Catalog,
    seats: int,
    rows: Sequence[Row],
    *,
    tombstoned_images: frozenset[str] = frozenset(),
    tombstoned_ids: frozenset[str] = frozenset(),
    benchmark_images: frozenset[str] = frozenset(),
    benchmark_dhashes: Sequence[int] = (),
) -> tuple[set[str], dict[str, str], dict[tuple[str, ...], int]]:
    """(selected ids, id → reason of exclusion, grants by path)."""
    corpus = catalog.corpus
    specs = {spec.name: spec for spec in catalog.sources}
    seed = finaliser((corpus.seed + 0x9E3779B97F4A7C15) & MASK)
    cell: dict[str, tuple[str, ...] | None] = {}
    rank: dict[str, tuple[int, bytes]] = {}
    reason: dict[str, str] = {}
    for row in rows:
        spec = specs[row["source"]]
        subcategory = spec.subcategory_of(row["label"])
        mapped = (spec.category, subcategory) in corpus.leaves()
        cell[row["id"]] = (spec.category, *str(subcategory).split("/"), spec.name) if mapped else None
        key = key_of(row, corpus.dedup.exact)
        rank[row["id"]] = (finaliser(int.from_bytes(key[:8], "little") ^ seed), row["id"].encode())
        assigned = sum(len(str(text).encode()) for text in (spec.category, subcategory, spec.licence))
        near_benchmark = any(
            not flat(fact["dhash"])
            and not flat(other)
            and (fact["dhash"] ^ other).bit_count() <= corpus.decontaminate_bits
            for fact in row["image_facts"]
            for other in benchmark_dhashes
        )
        tests = [
            ("tombstone", bool(shas(row) & tombstoned_images) or row["id"] in tombstoned_ids),
            ("unmapped_label", not mapped),
            ("licence", not corpus.licences.admits(spec.licence)),
            ("min_side", row["min_side_px"] < corpus.min_side_px),
            ("too_large", row["row_bytes"] + assigned + 16384 + 65536 > corpus.shard.max_bytes),
            ("decontaminate", bool(shas(row) & benchmark_images) or near_benchmark),
        ]
        found = [name for name, holds in tests if holds]
        if found:
            reason[row["id"]] = found[0]
    alive = [row for row in rows if row["id"] not in reason]
    for name, spec in specs.items():
        if spec.max_samples is not None:
            mine = sorted((r for r in alive if r["source"] == name), key=lambda r: rank[r["id"]])
            keys = list(dict.fromkeys(key_of(row, corpus.dedup.exact) for row in mine))[: spec.max_samples]
            for row in mine:
                if key_of(row, corpus.dedup.exact) not in keys:
                    reason[row["id"]] = "max_samples"
    alive = [row for row in alive if row["id"] not in reason]
    for row in alive:
        found_by = [_replaces(corpus, specs, other, row) for other in alive]
        if "same" in found_by:
            key = key_of(row, corpus.dedup.exact)
            twins = [one for one in alive if key_of(one, corpus.dedup.exact) == key]
            stays = min(twins, key=lambda one: _precedence(corpus, one))
            words = [(one["text_sha256"], one["messages_sha256"]) for one in (row, stays)]
            reason[row["id"]] = "duplicate" if words[0] == words[1] else "duplicate_other_words"
        elif "near" in found_by:
            reason[row["id"]] = "duplicate"
    alive = [row for row in alive if row["id"] not in reason]
    supplies: dict[tuple[str, ...], dict[str, tuple[int, Any]]] = {}
    for row in rows:
        path = cell[row["id"]]
        if path is not None:
            supplies.setdefault(path[:-1], {}).setdefault(path[-1], (0, specs[path[-1]].weight))
    for row in alive:
        path = cell[row["id"]] or ()
        supply, weight = supplies[path[:-1]][path[-1]]
        supplies[path[:-1]][path[-1]] = (supply + 1, weight)
    tree = tree_of(corpus.quotas, supplies)
    grants = tree.grants(min(seats, tree.cap()))
    selected: set[str] = set()
    for path in {cell[row["id"]] for row in alive}:
        here = sorted((r for r in alive if cell[r["id"]] == path), key=lambda r: rank[r["id"]])
        selected |= {row["id"] for row in here[: grants[path or ()]]}
    return selected, reason, grants


def _precedence(corpus: Any, one: Row) -> tuple[int, str, bytes]:
    declared = list(corpus.dedup.precedence)
    name = one["source"]
    return (declared.index(name) if name in declared else len(declared), name, one["id"].encode())


def _replaces(corpus: Any, specs: Mapping[str, Any], other: Row, row: Row) -> str:
    """How `other`, if it has precedence, shows the same thing: `same`, `near`, or "" where it does not."""
    exact = corpus.dedup.exact
    if _precedence(corpus, other) >= _precedence(corpus, row) or exact == "none":
        return ""
    if key_of(other, exact) == key_of(row, exact):
        return "same"
    bits = min(corpus.dedup.bits_of(specs[one["source"]].category) for one in (other, row))
    silent = sha256(b"").digest()
    near = (
        bits > 0
        and all(one["messages_sha256"] == silent and one["image_count"] == 1 for one in (other, row))
        and not flat(other["dhash"])
        and not flat(row["dhash"])
        and int(other["dhash"] ^ row["dhash"]).bit_count() <= bits
    )
    return "near" if near else ""
