"""Every figure of the papers as JSON values, out of a corpus, its plan and the manifests of its slices."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from vlm_assets.corpus.diff import diff_versions
from vlm_assets.papers.contents import Contents, sums_by
from vlm_assets.papers.evidence import Evidence
from vlm_assets.store.left_out import added_up, inside_examples, listed_examples
from vlm_assets.store.listings import read_listing
from vlm_assets.words.caption_counts import CaptionCounts, caption_facts
from vlm_assets.words.caption_rows import caption_rows_of
from vlm_assets.words.manifest import Listing

Figures = dict[str, Any]
_DOMAINS_SHOWN = 50
_EXAMPLES = 3
"""Of what a source left out, at its listing and inside of its containers."""


def corpus_figures(evidence: Evidence, contents: Contents) -> Figures:
    """Everything that card and report say of numbers; shown in the UI as metadata too.

    Keys: corpus, target, version, target_rows, rows, holes, shards, mean_fill, data_bytes, images, image_bytes,
    composition (a line a subcategory), sources, licences, terms (none here: the catalogue has them), formats,
    domains, histograms, upstream (a line a source), captions (sentences, a source), rejects, excluded, by_source
    (reasons of each), benchmarks, contamination (a line a source and benchmark), policies, churn, history, takedowns,
    hashes.
    """
    manifest, plan, groups = evidence.manifest, evidence.plan, contents.groups
    rejects = {key: one.manifest.rejects for key, one in evidence.found}
    domains = list(contents.domains.items())
    return {
        "corpus": manifest.corpus,
        "target": manifest.target,
        "version": evidence.version.name,
        "target_rows": manifest.target_rows,
        "rows": manifest.rows,
        "holes": manifest.holes,
        "shards": len(manifest.shards),
        "mean_fill": round(manifest.mean_fill, 3),
        "data_bytes": manifest.data_bytes,
        "images": sum(int(one["images"]) for one in groups),
        "image_bytes": sum(int(one["image_bytes"]) for one in groups),
        "composition": _composition(evidence),
        "sources": _sources(evidence, contents),
        "licences": sums_by(groups, "licence"),
        "terms": [],
        "formats": contents.formats,
        "domains": dict(domains[:_DOMAINS_SHOWN]),
        "domains_in_all": len(domains),
        "histograms": {name: one.to_json() for name, one in contents.histograms.items()},
        "upstream": _upstream(evidence),
        "captions": _captions(evidence),
        "rejects": dict(_added(rejects.values()).most_common()),
        "excluded": {reason: rows for reason, rows in plan.excluded.items() if rows},
        "by_source": _by_source(evidence),
        "benchmarks": [one.model_dump(mode="json") for one in evidence.certificate.benchmarks],
        "contamination": [one.model_dump(mode="json") for one in evidence.certificate.contamination],
        "policies": _policies(evidence),
        "churn": _churn(evidence),
        "history": _history(evidence),
        "takedowns": {
            "in_plan": len(plan.tombstones),
            "since": len(manifest.tombstones),
            "names": sorted({*plan.tombstones, *manifest.tombstones}),
        },
        "hashes": {
            "root_hash": manifest.root_hash,
            "rows_hash": manifest.rows_hash,
            "inputs_hash": manifest.inputs_hash,
            "allocation": manifest.allocation_version,
            "seed": str(manifest.seed),
        },
    }


def _added(counts: Iterable[Mapping[str, int]]) -> Counter[str]:
    total: Counter[str] = Counter()
    for one in counts:
        total.update(one)
    return total


def _composition(evidence: Evidence) -> list[dict[str, Any]]:
    """Subcategories without children of their own: asked, granted, present, and why less."""
    nodes, present = evidence.certificate.nodes, evidence.manifest.categories
    parents = {node.path[:-1] for node in nodes if node.level != "source"}
    return [
        {
            "category": node.path[0],
            "subcategory": "/".join(node.path[1:]),
            "share": node.share or "count",
            "asked": node.asked,
            "granted": node.granted,
            "present": present.get(node.path[0], {}).get("/".join(node.path[1:]), 0),
            "supply": node.supply,
            "cause": node.cause,
        }
        for node in nodes
        if node.level == "subcategory" and node.path not in parents
    ]


def _sources(evidence: Evidence, contents: Contents) -> list[dict[str, Any]]:
    """A line a declared source, those without a row too."""
    present = sums_by(contents.groups, "source")
    licences = {cell.source: cell.licence for cell in evidence.plan.cells}
    lines = []
    for one in evidence.certificate.sources:
        known = [found.manifest for (source, _), found in evidence.found if source == one.source]
        lines.append(
            {
                "source": one.source,
                "kind": known[0].kind if known else "",
                "revision": ", ".join(sorted({m.revision for m in known})),
                "licence": licences.get(one.source, known[0].licence if known else ""),
                "slices": sum(1 for source, _ in evidence.slices if source == one.source),
                "admitted": one.admitted,
                "selected": one.selected,
                "not_selected": one.not_selected,
                "present": present.get(one.source, {}).get("rows", 0),
                "image_bytes": present.get(one.source, {}).get("image_bytes", 0),
                "excluded": dict(one.excluded),
                "why_none": one.cause,
            }
        )
    return lines


def _upstream(evidence: Evidence) -> list[dict[str, Any]]:
    """A line a source: what its listing in force has of upstream, and what its containers held besides records."""
    lines = []
    for source in _names(evidence):
        listing = read_listing(evidence.root, source)
        listed = added_up(listing.left_out if listing else None)
        counted = listing is not None and listing.upstream is not None
        lines.append(
            {
                "source": source,
                "upstream": listing.upstream if listing is not None and counted else "not counted",
                "items": listing.items if listing else 0,
                "companions": (listing.companions or 0) if listing else 0,
                "left out": told(listed),
                "left out inside": told(_inside(evidence, source)),
                "such as": "; ".join(_examples(evidence, source, listing)),
            }
        )
    return lines


def _examples(evidence: Evidence, source: str, listing: Listing | None) -> list[str]:
    """The first that were left out, at the listing and inside of containers; none that a takedown may cover."""
    versions = (
        one.directory for (name, _), one in evidence.found if name == source and one.manifest.left_out
    )
    listed = listed_examples(evidence.root, listing, for_papers=True) if listing else []
    return [*listed[:_EXAMPLES], *inside_examples(versions, for_papers=True)[:_EXAMPLES]]


def _captions(evidence: Evidence) -> dict[str, list[str]]:
    """What is told of the captions of each source, by its slices in the plan and its listing in force."""
    found = {}
    for source in _names(evidence):
        listing = read_listing(evidence.root, source)
        slices = {key: one.manifest for (name, key), one in evidence.found if name == source}
        found[source] = caption_facts(CaptionCounts.of(slices.values(), caption_rows_of(listing, slices)))
    return found


def _names(evidence: Evidence) -> list[str]:
    return sorted({name for name, _ in evidence.slices})


def _inside(evidence: Evidence, source: str) -> dict[str, int]:
    return added_up(*(one.manifest.left_out for (name, _), one in evidence.found if name == source))


def _by_source(evidence: Evidence) -> dict[str, dict[str, dict[str, int]]]:
    """Rejects, what was left out upstream, and rows that were excluded, by source and reason."""
    found = {}
    excluded = {one.source: dict(one.excluded) for one in evidence.certificate.sources}
    for source in sorted({*_names(evidence), *excluded}):
        listing = read_listing(evidence.root, source)
        rejects = _added(one.manifest.rejects for (name, _), one in evidence.found if name == source)
        found[source] = {
            "rejects": dict(rejects.most_common()),
            "left_out": added_up(listing.left_out if listing else None, _inside(evidence, source)),
            "excluded": excluded.get(source, {}),
        }
    return found


def told(counts: Mapping[str, int]) -> str:
    """Counts by reason in words."""
    return ", ".join(f"{reason} {count:,}" for reason, count in counts.items()) or "none"


_POLICIES = (
    "shortfall", "dedup", "licences", "decontaminate", "decontaminate_bits", "min_side_px", "filters", "shard",
)  # fmt: skip


def _policies(evidence: Evidence) -> dict[str, Any]:
    """What the catalogue said when the plan was made; keys that it did not say are not there."""
    return {key: evidence.rules[key] for key in _POLICIES if evidence.rules.get(key) not in (None, [], {})}


def _churn(evidence: Evidence) -> dict[str, Any] | None:
    """Against the version before of this target; None where it is not on disk any more."""
    earlier = [folder for folder, _ in evidence.other_versions()]
    if not earlier:
        return None
    diff = diff_versions(earlier[-1], evidence.version)
    return {"against": earlier[-1].name, **diff.totals, "by_source": diff.to_json()["rows"]}


def _history(evidence: Evidence) -> list[dict[str, Any]]:
    """A line a version of this target on disk, oldest first, this one last."""
    every = [*evidence.other_versions(), (evidence.version, evidence.manifest)]
    return [
        {
            "version": folder.name,
            "rows": one.rows,
            "holes": one.holes,
            "shards": len(one.shards),
            "data_bytes": one.data_bytes,
            "sources": sum(1 for rows in one.sources.values() if rows),
        }
        for folder, one in every
    ]
