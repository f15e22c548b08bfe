"""The card of a corpus: `README.md` with the Hub's header, and the same figures as data.

Reads a sealed corpus, its plan and the manifests of its slices; writes the card into the version's folder. Derived
and outside every hash, so it holds nothing that another file does not say.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import yaml
from pydantic import ValidationError

from vlm_assets.allocation.certificate import Certificate
from vlm_assets.allocation.manifest import AllocatedSlice, AllocationManifest
from vlm_assets.corpus.diff import diff_versions
from vlm_assets.corpus.manifest import CorpusManifest, index_name
from vlm_assets.images.plugins import READER_LINES
from vlm_assets.ingest.rights import source_terms
from vlm_assets.installation.opening import Installation
from vlm_assets.store.arrow_files import replace_file
from vlm_assets.store.left_out import added_up
from vlm_assets.store.listings import read_listing
from vlm_assets.store.versions import current_version, read_manifest
from vlm_assets.words.errors import StoreError
from vlm_assets.words.layout import MANIFEST, VERSIONS, DataRoot
from vlm_assets.words.manifest import SliceManifest

CARD_FILE: Final = "README.md"
_GROUPED: Final = ("source", "category", "subcategory", "licence")
_HUB_SIZES: Final = (
    (10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"), (10**7, "1M<n<10M"),
    (10**8, "10M<n<100M"),
)  # fmt: skip
_HUB_LICENCES: Final = frozenset({
    "apache-2.0", "mit", "cc0-1.0", "cc-by-2.0", "cc-by-2.5", "cc-by-3.0", "cc-by-4.0", "cc-by-sa-3.0",
    "cc-by-sa-4.0", "cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nd-4.0", "cc-by-nc-nd-3.0",
    "cc-by-nc-nd-4.0", "cc-by-nc-sa-2.0", "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0", "odc-by", "odbl",
    "pddl", "unlicense", "wtfpl",
    "gpl-3.0", "bsd-3-clause",
})  # fmt: skip
"""Licences that the Hub has an id for; others are `other` with their name."""
Figures = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Card:
    """Where the card is, and what it says: JSON values."""

    path: Path
    figures: Figures


def write_card(installation: Installation, target: str) -> Card:
    """Writes `README.md` into the current corpus of a target, replacing an older one in one step.

    Raises:
        StoreError: no corpus; its plan or an index file cannot be read.
    """
    root, name = installation.root, installation.catalog.corpus.name
    version = current_version(root.corpus(name, target))
    if version is None:
        raise StoreError(f"no corpus {name}/{target} under {root.path}; build it first")
    figures = card_figures(root, version)
    figures["terms"] = [one.model_dump() for one in source_terms(installation)]
    path = version / CARD_FILE
    replace_file(path, render_card(figures).encode())
    return Card(path, figures)


def card_figures(root: DataRoot, version: Path) -> Figures:
    """Everything that the card says, as JSON values; shown in the UI as metadata.

    Keys: corpus, target, version, target_rows, rows, holes, shards, mean_fill, data_bytes, image_bytes, composition
    (a line a subcategory), sources, licences, terms (none here: the catalogue has them), formats, upstream (a line a
    source), rejects, excluded, churn, takedowns, hashes.
    """
    manifest = read_manifest(version, CorpusManifest)
    plan_dir = (
        root.allocation(manifest.corpus, manifest.target).parent / VERSIONS / manifest.allocation_version
    )
    plan = read_manifest(plan_dir, AllocationManifest)
    certificate = Certificate.from_bytes((plan_dir / "grants.json").read_bytes())
    groups, formats = _groups(version, manifest)
    slices = {(one.source, one.slice): _slice_manifest(root, one) for one in plan.slices}
    return {
        "corpus": manifest.corpus,
        "target": manifest.target,
        "version": version.name,
        "target_rows": manifest.target_rows,
        "rows": manifest.rows,
        "holes": manifest.holes,
        "shards": len(manifest.shards),
        "mean_fill": round(manifest.mean_fill, 3),
        "data_bytes": manifest.data_bytes,
        "images": sum(int(one["images"]) for one in groups),
        "image_bytes": sum(int(one["image_bytes"]) for one in groups),
        "composition": _composition(certificate, manifest),
        "sources": _sources(certificate, plan, slices, groups),
        "licences": _sums(groups, "licence"),
        "terms": [],
        "formats": formats,
        "upstream": _upstream(root, slices),
        "rejects": dict(
            sum((Counter(one.rejects) for one in slices.values() if one), Counter[str]()).most_common()
        ),
        "excluded": {reason: rows for reason, rows in plan.excluded.items() if rows},
        "churn": _churn(version, manifest),
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


def _upstream(root: DataRoot, slices: Mapping[tuple[str, str], SliceManifest | None]) -> list[dict[str, Any]]:
    """A line a source: what its listing in force has of upstream, and what its containers held besides records."""
    lines = []
    for source in sorted({name for name, _ in slices}):
        listing = read_listing(root, source)
        inside = added_up(*(one.left_out for (name, _), one in slices.items() if name == source and one))
        listed = added_up(listing.left_out if listing else None)
        lines.append(
            {
                "source": source,
                "upstream": "not counted"
                if listing is None or listing.upstream is None
                else listing.upstream,
                "items": listing.items if listing else 0,
                "companions": (listing.companions or 0) if listing else 0,
                "left out": _told(listed),
                "left out inside": _told(inside),
            }
        )
    return lines


def _told(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{reason} {count:,}" for reason, count in counts.items()) or "none"


def _groups(
    version: Path, manifest: CorpusManifest
) -> tuple[list[dict[str, Any]], dict[str, dict[str, int]]]:
    """Rows, images and bytes of every (source, category, subcategory, licence); images and bytes of every format."""
    sums = ["image_count", "image_bytes"]
    parts, formats = [], []
    for bits in sorted(manifest.shards):
        path = version / index_name(bits)
        try:
            with pa.OSFile(str(path)) as file:
                table = pa.ipc.open_file(file).read_all().select([*_GROUPED, *sums, "image_facts"])
        except (OSError, pa.ArrowInvalid) as error:
            raise StoreError(f"{path}: {error}; run `vlm-assets verify`") from error
        parts.append(
            table.group_by(list(_GROUPED)).aggregate(
                [("image_count", "sum"), ("image_bytes", "sum"), ("image_count", "count")]
            )
        )
        facts = pc.list_flatten(table.column("image_facts"))
        images = pa.table({name: pc.struct_field(facts, name) for name in ("format", "size_bytes")})
        formats.append(images.group_by("format").aggregate([("size_bytes", "sum"), ("size_bytes", "count")]))
    lines = [
        {
            **{key: one[key] for key in _GROUPED},
            "images": one["image_count_sum_sum"],
            "image_bytes": one["image_bytes_sum_sum"],
            "rows": one["image_count_count_sum"],
        }
        for one in _summed(parts, list(_GROUPED), ["image_count_sum", "image_bytes_sum", "image_count_count"])
    ]
    by_format = _summed(formats, ["format"], ["size_bytes_sum", "size_bytes_count"])
    by_format.sort(key=lambda one: (-one["size_bytes_count_sum"], one["format"]))
    return sorted(lines, key=lambda one: tuple(str(one[key]) for key in _GROUPED)), {
        one["format"]: {"images": one["size_bytes_count_sum"], "image_bytes": one["size_bytes_sum_sum"]}
        for one in by_format
    }


def _summed(tables: list[pa.Table], keys: list[str], columns: list[str]) -> list[dict[str, Any]]:
    whole = pa.concat_tables(tables).group_by(keys).aggregate([(column, "sum") for column in columns])
    lines: list[dict[str, Any]] = whole.to_pylist()
    return lines


def _sums(groups: Iterable[Mapping[str, Any]], key: str) -> dict[str, dict[str, int]]:
    """Rows and image bytes by one column, most rows first."""
    rows: Counter[str] = Counter()
    size: Counter[str] = Counter()
    for one in groups:
        rows[str(one[key])] += one["rows"]
        size[str(one[key])] += one["image_bytes"]
    return {name: {"rows": count, "image_bytes": size[name]} for name, count in rows.most_common()}


def _composition(certificate: Certificate, manifest: CorpusManifest) -> list[dict[str, Any]]:
    """Subcategories without children of their own: asked, granted, present, and why less."""
    parents = {node.path[:-1] for node in certificate.nodes if node.level != "source"}
    return [
        {
            "category": node.path[0],
            "subcategory": "/".join(node.path[1:]),
            "share": node.share or "count",
            "asked": node.asked,
            "granted": node.granted,
            "present": manifest.categories.get(node.path[0], {}).get("/".join(node.path[1:]), 0),
            "supply": node.supply,
            "cause": node.cause,
        }
        for node in certificate.nodes
        if node.level == "subcategory" and node.path not in parents
    ]


def _sources(
    certificate: Certificate,
    plan: AllocationManifest,
    slices: Mapping[tuple[str, str], SliceManifest | None],
    groups: Sequence[Mapping[str, Any]],
) -> list[dict[str, Any]]:
    """A line a declared source, those without a row too."""
    present = _sums(groups, "source")
    licences = {cell.source: cell.licence for cell in plan.cells}
    lines = []
    for one in certificate.sources:
        known = [m for (source, _), m in slices.items() if source == one.source and m is not None]
        lines.append(
            {
                "source": one.source,
                "kind": known[0].kind if known else "",
                "revision": ", ".join(sorted({m.revision for m in known})),
                "licence": licences.get(one.source, known[0].licence if known else ""),
                "slices": sum(1 for source, _ in slices if source == one.source),
                "admitted": one.admitted,
                "selected": one.selected,
                "present": present.get(one.source, {}).get("rows", 0),
                "image_bytes": present.get(one.source, {}).get("image_bytes", 0),
                "excluded": dict(one.excluded),
                "why_none": one.cause,
            }
        )
    return lines


def _slice_manifest(root: DataRoot, entry: AllocatedSlice) -> SliceManifest | None:
    """The manifest of a slice of the plan, or of the version that has its content now; None where that is gone."""
    planned = root.source(entry.source) / VERSIONS / entry.version
    for path in (planned, current_version(root.slice(entry.source, entry.slice))):
        if path is None:
            continue
        try:
            manifest = SliceManifest.from_bytes((path / MANIFEST).read_bytes())
        except (OSError, ValidationError):
            continue
        if manifest.content_hash == entry.content_hash:
            return manifest
    return None


def _churn(version: Path, manifest: CorpusManifest) -> dict[str, Any] | None:
    """Against the version before of this target; None where it is not on disk any more."""
    earlier = []
    for path in version.parent.glob(f"*/{MANIFEST}"):
        try:
            other = read_manifest(path.parent, CorpusManifest)
        except StoreError:
            continue
        if path.parent != version and other.target == manifest.target:
            earlier.append((path.stat().st_mtime_ns, path.parent))
    if not earlier:
        return None
    before = max(earlier)[1]
    return {"against": before.name, **diff_versions(before, version).totals}


def render_card(figures: Figures) -> str:
    """The card as Markdown with the Hub's YAML header. Equal figures give equal bytes."""
    parts = [
        _header(figures),
        f"# {figures['corpus']} {figures['target']}\n",
        _summary(figures),
        "## Composition\n\n" + _table(
            ("category", "subcategory", "share", "asked", "granted", "present", "supply", "cause"),
            figures["composition"],
        ),
        "## Sources\n\n" + _table(
            ("source", "kind", "revision", "licence", "slices", "admitted", "selected", "present", "why_none"),
            figures["sources"],
        ),
        "## Licences\n\nEach row carries its own licence in the column `licence`.\n\n" + _counts(figures["licences"]),
        "## Terms\n\n" + _terms(figures["terms"]),
        "## Formats\n\n" + _counts(figures["formats"], "images"),
        "## Left out\n\n" + _left_out(figures),
        "## Against the version before\n\n" + _churn_text(figures["churn"]),
        "## Hashes\n\n" + _table(
            ("hash", "value"), [{"hash": key, "value": f"`{value}`"} for key, value in figures["hashes"].items()]
        ),
    ]  # fmt: skip
    return "\n".join(parts)


def _header(figures: Figures) -> str:
    names = list(figures["licences"])
    known = sorted({name.lower() for name in names if name.lower() in _HUB_LICENCES})
    other = sorted(name for name in names if name.lower() not in _HUB_LICENCES)
    header: dict[str, Any] = {
        "pretty_name": f"{figures['corpus']} {figures['target']}",
        "license": [*known, *(["other"] if other or not known else [])],
        "size_categories": [_hub_size(figures["rows"])],
        "task_categories": ["image-to-text", "image-text-to-text"],
        "tags": ["vision-language", "vlm-assets"],
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": "data-r*.arrow"}]}],
    }
    if other:
        header["license_name"] = ", ".join(other)
    return f"---\n{yaml.safe_dump(header, sort_keys=False, allow_unicode=True)}---\n"


def _hub_size(rows: int) -> str:
    return next((name for limit, name in _HUB_SIZES if rows < limit), "100M<n<1B")


def _summary(figures: Figures) -> str:
    rows, holes = figures["rows"], figures["holes"]
    disk, images = _size(figures["data_bytes"]), _size(figures["image_bytes"])
    lines = [
        (
            f"{rows:,} samples in {figures['shards']:,} shards ({figures['mean_fill']:.0%} of the cap on average): "
            f"{disk} on disk, {images} of it encoded images. The target was {figures['target_rows']:,}."
        )
    ]
    if holes:
        told = f"{rows:,} = {rows + holes:,} - {holes:,}"
        lines.append(
            f"{holes:,} samples were taken down after the corpus was planned ({told}). The next build fills them up."
        )
    plugins = "".join(f"{line}\n" for form, line in READER_LINES.items() if form in figures["formats"])
    lines.append(
        f"```python\nfrom datasets import load_from_disk\n{plugins}\n"
        f'corpus = load_from_disk("<data root>/corpora/{figures["corpus"]}/.versions/{figures["version"]}")\n```\n'
    )
    return "\n\n".join(lines)


def _left_out(figures: Figures) -> str:
    rejects = [{"reason": key, "items and records": f"{rows:,}"} for key, rows in figures["rejects"].items()]
    excluded = [{"reason": key, "rows": f"{rows:,}"} for key, rows in figures["excluded"].items()]
    takedowns = figures["takedowns"]
    columns = ("source", "upstream", "items", "companions", "left out", "left out inside")
    return (
        "What upstream shows, and what of it is no item (upstream = items + companions + left out):\n\n"
        + _table(columns, figures["upstream"])
        + "\nItems and records that did not become samples, by reason:\n\n"
        + _table(("reason", "items and records"), rejects)
        + "\nSamples that took no part in the allocation, by reason:\n\n"
        + _table(("reason", "rows"), excluded)
        + f"\nTakedowns: {takedowns['in_plan']} before the plan, {takedowns['since']} since"
        + (f" ({', '.join(takedowns['names'])}).\n" if takedowns["names"] else ".\n")
    )


def _terms(terms: Sequence[Mapping[str, Any]]) -> str:
    told = "Sources whose use is bound to terms that someone has to accept, and sources never listed:\n\n"
    return (
        told + _table(("source", "kind", "state", "url", "accepted"), terms) if terms else "None declared.\n"
    )


def _churn_text(churn: Mapping[str, Any] | None) -> str:
    if churn is None:
        return "There is no version before.\n"
    counts = ", ".join(f"{churn[key]:,} {key}" for key in ("added", "removed", "kept"))
    share = churn["removed"] / max(churn["removed"] + churn["kept"], 1)
    return f"Against `{churn['against']}`: {counts}; churn {share:.2%}, the share of its rows that went.\n"


def _counts(sums: Mapping[str, Mapping[str, int]], counted: str = "rows") -> str:
    lines = [
        {"name": name, counted: f"{one[counted]:,}", "bytes": _size(one["image_bytes"])}
        for name, one in sums.items()
    ]
    return _table(("name", counted, "bytes"), lines)


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 1e9:,.2f} GB" if size_bytes >= 10**9 else f"{size_bytes / 1e6:,.2f} MB"


def _table(columns: Sequence[str], lines: Sequence[Mapping[str, Any]]) -> str:
    if not lines:
        return "None.\n"
    head = f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}\n"
    return head + "".join(f"| {' | '.join(_cell(line[name]) for name in columns)} |\n" for line in lines)


def _cell(value: Any) -> str:
    text = f"{value:,}" if isinstance(value, int) else str(value)
    return text.replace("|", "\\|").replace("\n", " ")
