"""The check of what must not be in a corpus: images, pictures and words of benchmarks, and of the lists."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np

from vlm_assets.audit.benchmarks import WAYS, near_benchmark
from vlm_assets.audit.checks_rows import selected_though
from vlm_assets.audit.findings import MAX_EXAMPLES, Verdict
from vlm_assets.audit.recount import Recount
from vlm_assets.audit.words import Bool, among
from vlm_assets.words.counts import so_many

_COUNTED: Final = (*WAYS, "rows")


def check_decontamination(recount: Recount) -> Verdict:
    """Against every benchmark by sha256, dhash and words, and against what `grants.json` says of each."""
    content = recount.evidence.rules.content
    if not content["decontaminate"] and not content.get("benchmarks"):
        return Verdict("nothing: no benchmark, no `decontaminate` list", "not looked for")
    supply = recount.supply
    place = np.flatnonzero(recount.present > 0)
    bad: Bool = np.zeros(len(place), bool)
    for one in supply.benchmarks:
        bad |= among(supply.sha[place], one.sha)
        if supply.dhash is not None and supply.telling is not None and len(one.dhash):
            tells = np.flatnonzero(supply.telling[place])
            bad[tells] |= near_benchmark(supply.dhash[place[tells]], one.dhash, content["decontaminate_bits"])
    count, examples = selected_though(recount, "decontaminate")
    found = place[bad]
    examples += [f"{name}: a benchmark image" for name in recount.names_of(found)]
    differ = list(_differences(recount))
    images, pictures, grams = (
        sum(len(part) for part in parts)
        for parts in zip(*((b.sha, b.dhash, b.grams) for b in supply.benchmarks), strict=True)
    )
    return Verdict(
        f"nothing of {so_many(len(supply.benchmarks), 'benchmark')}, the lists as one ({images} sha256, "
        f"{pictures} dhash, "
        f"{so_many(grams, 'run')} of words), and what the plan excludes for each",
        f"{so_many(len(found), 'benchmark image')} present, {so_many(count, 'row')} selected; "
        f"{len(differ)} counts differ",
        (examples + differ)[:MAX_EXAMPLES],
        max(len(found), count) + len(differ),
        {"contamination": _lines(supply.contamination)},
    )


def _lines(counted: Mapping[tuple[str, str], Mapping[str, int]]) -> list[dict[str, Any]]:
    return [
        {"source": source, "benchmark": benchmark, **counts}
        for (source, benchmark), counts in sorted(counted.items())
    ]


def _differences(recount: Recount) -> Iterator[str]:
    """Where `grants.json` and the recount disagree; plans of a time before it told this are not compared."""
    told = recount.evidence.grants.get("contamination")
    if told is None:
        return
    claimed = {(one.get("source"), one.get("benchmark")): one for one in told}
    counted, slack = recount.supply.contamination, recount.supply.unsure
    for key in sorted(claimed.keys() | counted.keys(), key=str):
        for name in _COUNTED:
            said, found = claimed.get(key, {}).get(name, 0), counted.get(key, {}).get(name, 0)
            if abs(said - found) > slack:
                source, benchmark = key
                yield f"source {source}, benchmark {benchmark}: {name} {found}, grants.json says {said}"
