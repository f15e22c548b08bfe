"""`summary.json`: the figures that regulators ask for, of one corpus, each out of a ledger.

The sections follow the European Commission's template for the public summary of training content (AI Act, Article
53(1)(d); 24 July 2025): general information, lists of data sources, aspects of data processing. Behind them what
Türkiye's law on personal data (KVKK, no. 6698, Article 10) has a controller tell. What no ledger knows is what the
catalogue says under `papers`, or null: nothing here is guessed.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Final

from vlm_assets.ingest.slice import read_run
from vlm_assets.installation.opening import Installation
from vlm_assets.papers.contents import Contents, sums_by
from vlm_assets.papers.evidence import Evidence
from vlm_assets.papers.figures import Figures
from vlm_assets.sources.protocol import Obtained
from vlm_assets.sources.registry import kinds, traits_of
from vlm_assets.transfer.agent import AGENT, user_agent
from vlm_assets.words.counts import so_many
from vlm_assets.words.errors import RejectReason
from vlm_assets.words.manifest import RunRecord

SUMMARY_VERSION: Final = 1
_TEMPLATE: Final = (
    "European Commission, Template for the Public Summary of Training Content for general-purpose AI models, "
    "Article 53(1)(d) of Regulation (EU) 2024/1689, 24 July 2025"
)
_IMAGE_CLASSES: Final = ((10**6, "less than 1 million"), (10**9, "1 million to 1 billion"))
_OPT_OUTS: Final = (
    RejectReason.ROBOTS,
    RejectReason.NOAI,
    RejectReason.TDM_RESERVED,
    RejectReason.FORBIDDEN,
    RejectReason.TOMBSTONED,
)
"""Rejects by which somebody upstream, or by a takedown, keeps something from being trained on."""
_ARTICLE_11: Final = (
    "Whoever is shown or named may ask, by Article 11 of law no. 6698, whether and how data on them are processed, "
    "to whom they are handed, and for correction, deletion and compensation. A deletion is carried out by "
    "`vlm-assets takedown`: the row leaves this corpus, the slices it came from, and what is fetched later."
)


def summary_of(
    installation: Installation, evidence: Evidence, contents: Contents, figures: Figures
) -> dict[str, Any]:
    """The summary as JSON values."""
    return {
        "summary_version": SUMMARY_VERSION,
        "template": _TEMPLATE,
        "general": _general(installation, evidence, contents, figures),
        "sources": _by_class(installation, evidence, contents),
        "crawler": _crawler(installation),
        "domains": _domains(contents),
        "processing": _processing(evidence, figures),
        "licences": figures["licences"],
        "data_protection": _data_protection(installation, evidence),
    }


def _general(
    installation: Installation, evidence: Evidence, contents: Contents, figures: Figures
) -> dict[str, Any]:
    images = figures["images"]
    return {
        "corpus": figures["corpus"],
        "target": figures["target"],
        "version": figures["version"],
        "root_hash": figures["hashes"]["root_hash"],
        "description": installation.catalog.corpus.papers.description or None,
        "languages": list(installation.catalog.corpus.papers.languages) or None,
        "rows": figures["rows"],
        "modalities": {
            "image": {
                "images": images,
                "bytes": figures["image_bytes"],
                "size_class": next(
                    (name for limit, name in _IMAGE_CLASSES if images < limit), "more than 1 billion"
                ),
                "formats": contents.formats,
            },
            "text": _text(contents),
        },
        "collected": _period(_runs(evidence).values()),
    }


def _text(contents: Contents) -> dict[str, int]:
    return {
        "rows_with_text": contents.words["text"],
        "rows_with_messages": contents.words["messages"],
        "rows_with_neither": contents.words["neither"],
    }


def _runs(evidence: Evidence) -> dict[tuple[str, str], RunRecord]:
    found = {key: read_run(one.directory) for key, one in evidence.found}
    return {key: run for key, run in found.items() if run is not None}


def _period(runs: Iterable[RunRecord]) -> dict[str, str] | None:
    """First and last day of these fetches, UTC; rows that a fetch took over from an older one may be older."""
    days = [(run.started_at, run.finished_at or run.started_at) for run in runs]
    if not days:
        return None
    first, last = min(one for one, _ in days), max(one for _, one in days)
    return {"from": first.date().isoformat(), "to": last.date().isoformat()}


def _by_class(
    installation: Installation, evidence: Evidence, contents: Contents
) -> dict[str, list[dict[str, Any]]]:
    """Sources with rows in the corpus, under the class that their kind belongs to."""
    counted = sums_by(contents.groups, "source")
    images: Counter[str] = Counter()
    for one in contents.groups:
        images[str(one["source"])] += one["images"]
    runs = _runs(evidence)
    specs = {spec.name: spec for spec in installation.catalog.sources}
    found: dict[str, list[dict[str, Any]]] = {str(one): [] for one in Obtained}
    for name in sorted(counted):
        manifests = [one.manifest for (source, _), one in evidence.found if source == name]
        spec = specs.get(name)
        kind = manifests[0].kind if manifests else spec.kind if spec else ""
        if kind not in kinds():
            continue
        found[traits_of(kind).obtained].append(
            {
                "source": name,
                "kind": kind,
                "address": spec.upstream_url() if spec else None,
                "revisions": sorted({one.revision for one in manifests})[:20],
                "licences": sorted({str(one["licence"]) for one in contents.groups if one["source"] == name}),
                "rows": counted[name]["rows"],
                "images": images[name],
                "image_bytes": counted[name]["image_bytes"],
                "collected": _period(run for (source, _), run in runs.items() if source == name),
            }
        )
    return found


def _crawler(installation: Installation) -> dict[str, Any]:
    """How the one crawler there is behaves, as settings and code have it."""
    settings = installation.settings
    return {
        "name": AGENT,
        "user_agent": user_agent(settings),
        "obeys_robots_txt": settings.obey_robots,
        "obeys_x_robots_tag_noai": settings.obey_robots,
        "obeys_tdm_reservation_and_ai_txt": settings.heeds_opt_outs,
        "behaviour": [
            "robots.txt is read once a day for each origin, and what it forbids is not asked for; a robots.txt that "
            "cannot be read for a fault of the server forbids everything for now (RFC 9309)"
            if settings.obey_robots
            else "robots.txt was NOT obeyed: the settings of this machine say so",
            "TDMRep (tdm-reservation, tdmrep.json) and ai.txt are obeyed for URLs of images"
            if settings.heeds_opt_outs
            else "TDMRep and ai.txt were NOT obeyed: the settings of this machine say so",
            "Crawl-delay, Retry-After and 429 are waited out; one rate a host, over all runs of a machine",
            f"at most {so_many(settings.http_per_host, 'request')} to one host at a time",
            "no log-in, no payment wall and no captcha is got round: 401, 403 and 451 are rejects",
            "addresses that were taken down are not asked for again",
        ],
    }


def _domains(contents: Contents) -> dict[str, Any]:
    """All hosts that images were fetched from, by bytes, and how many make up the largest tenth that is published."""
    return {
        "count": len(contents.domains),
        "top_tenth": -(-len(contents.domains) // 10),
        "by_bytes": [{"domain": name, **one} for name, one in contents.domains.items()],
    }


def _processing(evidence: Evidence, figures: Figures) -> dict[str, Any]:
    rejects: Mapping[str, int] = figures["rejects"]
    return {
        "opt_outs_honoured": {str(one): rejects.get(one, 0) for one in _OPT_OUTS},
        "takedowns": {
            "before_the_plan": figures["takedowns"]["in_plan"],
            "since": figures["takedowns"]["since"],
        },
        "rows_taken_down_since": evidence.manifest.holes,
        "rejects": dict(sorted(rejects.items())),
        "excluded": dict(sorted(figures["excluded"].items())),
        "benchmarks": figures["benchmarks"],
        "contamination": [
            {key: value for key, value in one.items() if key != "examples"}
            for one in figures["contamination"]
        ],
        "policies": figures["policies"],
    }


def _data_protection(installation: Installation, evidence: Evidence) -> dict[str, Any]:
    """What a controller has to tell; what nobody has said is null, and whoever publishes has to say it."""
    said = installation.catalog.corpus.papers
    kinds_of_data = sorted({one.manifest.kind for _, one in evidence.found})
    return {
        "law": "KVKK, law no. 6698, Article 10; GDPR, Article 14",
        "controller": said.controller or None,
        "contact": said.contact or installation.settings.contact or None,
        "purpose": said.purpose or None,
        "legal_basis": said.legal_basis or None,
        "retention": said.retention or None,
        "recipients": said.recipients or None,
        "collected_by": kinds_of_data,
        "personal_data": "Images and words may show and name people. Nothing here looks for faces or names, so "
        "how many rows do is not known.",
        "rights": _ARTICLE_11,
        "copies": "this machine's data root"
        + (f", and {installation.settings.remote}" if installation.settings.remote else ""),
    }
